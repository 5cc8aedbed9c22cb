/* SPDX-License-Identifier: MIT */
/* What the parts of the consumer share: consumer_make.c, consumer.c (at work), consumer_loop.c,
 * handshake.c (channel), recover.c (a lost producer), reconnect.c (its successor). */
#ifndef CONSUMER_INTERNAL_H
#define CONSUMER_INTERNAL_H

#include <pcidipc/consumer.h>
#include <pcidipc/task.h>

#include "replay.h"
#include "spin.h"

/* user_data of operations: 0xff, a generation, a slot. */
#define OP_TAG (0xffull << 56)
#define OP_TAG_MASK (0xffull << 56)
#define OP_SILENT (OP_TAG | 0xffffffffull)
#define OP_NONE UINT32_MAX

struct op_slot {
	struct pcidipc_op *op; /* NULL: free */
	uint32_t generation;   /* 24 bits: a CQE that comes twice is noticed */
	uint32_t next_free;
};

struct attached_pool {
	int fd; /* ours; -1: index not in use */
	uint64_t bytes;
};

/* A packet that came while nobody could take it. */
struct kept_packet {
	struct kept_packet *next;
	struct pcidipc_packet packet;
};

#define MAX_UNANSWERED 8 /* the ABI's limit: the producer hangs up on one who sends more */

/* A request over the channel, unanswered or waiting for its turn to be sent; on its asker's stack.
 */
struct ask {
	struct ask *next;
	uint32_t tag;
	bool sent;
	const struct ringabi_msg *request;
	const int *fds;
	unsigned nfds;
	struct pcidipc_packet *reply;
	struct pcidipc_completion answered;
};

struct pcidipc_consumer {
	struct pcidipc_consumer_ring ring;
	int channel;
	int error;
	char *path; /* NULL: adopted */
	struct pcidipc_consumer_params params;
	uint64_t generation;
	uint32_t ring_features;

	struct op_slot *slots;
	uint32_t nslots;
	uint32_t free_slot;
	uint32_t nops;	  /* slots in use */
	bool silent_used; /* a completion may be that of a silent operation */
	bool reaping;
	bool told_gone; /* that posted requests fail because the device is gone */
	uint32_t empty_polls;

	/* CQEs that a blocking call took on its way to its own. */
	struct pcidipc_cqe *backlog;
	uint32_t backlog_head, backlog_tail; /* free-running, size nslots (a power of two) */
	uint32_t backlog_ops;		     /* operations' among them */

	struct pcidipc_loop *loop;
	struct pcidipc_watch watch;
	struct pcidipc_poller poller;
	struct pcidipc_timer retry;
	struct pcidipc_deferred deliver;
	struct spin spin;

	uint32_t max_pools; /* the producer's word, not more than RINGABI_MAX_POOLS */
	uint32_t next_tag;
	struct ask *asks; /* in order: those that were sent, then those that wait */
	unsigned unanswered;
	struct kept_packet *kept_first, *kept_last;
	unsigned nkept;

	/* Recovery: a new channel on which HELLO was sent, -1 when there is none. */
	bool lost_producer;
	bool removed;	/* the producer has said that what it serves is gone */
	int lost_error; /* how the connection ends once its buffers are known to be left alone */
	int successor;
	bool successor_ready;
	uint64_t successor_generation;
	uint64_t give_up_at; /* while it is made again, too */
	/* Of a class driver: its connection to pcid, which says when the function whose driver we
	 * have lost was stopped. NULL: nobody does. */
	struct pcidipc_consumer *warden;

	/* Of a connection that goes on with its producer's successor (reconnect.c); else NULL. */
	struct replay *replay;
	uint32_t kept_tail; /* SQEs of this ring that are in it */
	bool reconnecting;  /* a failure now is the caller's to deal with */
	bool ask_lost;	    /* the last question was not answered: its producer died */
	int (*resume)(struct pcidipc_consumer *, void *arg);
	void *resume_arg;

	struct attached_pool pools[RINGABI_MAX_POOLS];
	struct pcidipc_consumer_stats stats;

	void (*lost)(struct pcidipc_consumer *, int error, void *arg);
	void *lost_arg;
	void (*event)(struct pcidipc_consumer *, uint32_t event, void *arg);
	void *event_arg;
	void (*adopt)(struct pcidipc_consumer *, uint32_t child, int channel, void *arg);
	void *adopt_arg;
};

/* handshake.c */
int consumer_send_hello(struct pcidipc_consumer *c, int channel);
int consumer_check_hello(struct pcidipc_consumer *c, const struct pcidipc_packet *reply);
int consumer_setup(struct pcidipc_consumer *c, int channel);
int consumer_attach_ring(struct pcidipc_consumer *c);
int consumer_wait_readable(int fd, uint64_t ns);
/* Until the channel has something to read; while it is made again, not for ever. */
void consumer_wait_channel(struct pcidipc_consumer *c);
void consumer_read_channel(struct pcidipc_consumer *c);
void consumer_deliver_kept(struct pcidipc_consumer *c);
int consumer_send_pool(struct pcidipc_consumer *c, uint32_t index, int fd, uint64_t bytes,
		       uint64_t *iova);
void consumer_fail_asks(struct pcidipc_consumer *c, int error);

/* consumer_make.c */
void consumer_free(struct pcidipc_consumer *c);

/* consumer.c */
void consumer_publish(struct pcidipc_consumer *c);
void consumer_drain(struct pcidipc_consumer *c);
void consumer_fail(struct pcidipc_consumer *c, int error);
void consumer_wait(struct pcidipc_consumer *c);
/* Tell the producer that we run on `cpu` (spin_cpu), and: was it elsewhere? There is a ring. */
bool consumer_elsewhere(struct pcidipc_consumer *c, uint32_t cpu);
void consumer_recover_in_loop(struct pcidipc_consumer *c);

/* reconnect.c */
void consumer_keep_requests(struct pcidipc_consumer *c);
/*
 * The successor is there, and goes on with what the producer was lost with: 0, or how the
 * connection ends; -EAGAIN: the successor was lost as well. *handed_over: it was given requests, so
 * it may have their buffers, however this ends.
 */
int consumer_resume(struct pcidipc_consumer *c, bool *handed_over);

/* recover.c: the producer is gone. Returns true once its function is known to be reset. */
uint64_t consumer_patience(const struct pcidipc_consumer *c); /* ns */
void consumer_recover_start(struct pcidipc_consumer *c, int error);
bool consumer_recover_step(struct pcidipc_consumer *c);

#endif
