/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the producer share: session.c (life of a session), order.c (which request runs
 * when), control.c (channel messages), listener.c, reach.c (pools).
 */
#ifndef SCHEME_INTERNAL_H
#define SCHEME_INTERNAL_H

#include <pcidipc/scheme.h>
#include <pcidipc/task.h>

#include "users.h"

#define SCHEME_ENTRIES 64 /* of a scheme that does not say */
#define SCHEME_SESSIONS 64
#define SESSION_BUDGET 32     /* requests taken per session and turn: nobody starves the others */
#define SESSION_MAX_PACKETS 8 /* unanswered messages that a consumer may have */

/* Where a request stands. */
enum request_state {
	REQUEST_FREE,
	REQUEST_WAITING, /* for its chain's predecessor, or for a drain */
	REQUEST_RUNNABLE,
	REQUEST_DRIVER, /* the handler said PENDING */
	REQUEST_PARKED, /* with a task of ours: memory is being mapped, or a pool detached */
};

/* Its flags. */
#define REQUEST_STALLED (1u << 0)     /* behind a drain: not counted as live */
#define REQUEST_SKIP (1u << 1)	      /* no CQE on success */
#define REQUEST_SKIP_ALWAYS (1u << 2) /* canceled with a chain whose failed member was to skip */
#define REQUEST_CANCELED (1u << 3)    /* before it began */
#define REQUEST_SEVERED (1u << 4)     /* with its chain, and so are those behind it */

struct session_pool {
	struct pcidipc_pool_view view;
	struct pcidipc_task_mutex growing;
	uint64_t mapped_bytes; /* charged to the user */
	uint64_t users_before; /* requests whose order is lower may use it: none while it is
				  attached, all, or those before its detach */
};

/* On its task's stack. */
struct quiet_waiter {
	struct quiet_waiter *next;
	struct pcidipc_completion woken;
};

struct queued_packet {
	struct queued_packet *next;
	struct pcidipc_packet packet;
};

struct pcidipc_session {
	struct pcidipc_scheme *scheme;
	struct pcidipc_loop *loop;
	struct pcidipc_list link;
	struct pcidipc_poller poller;
	struct pcidipc_producer_ring ring;
	struct pcidipc_deferred publish;

	/*
	 * Requests: cq_entries of them, because each holds a CQ slot. Free ones are used last in,
	 * first out, and pages of the array as they are needed.
	 */
	unsigned char *requests;
	size_t request_stride;
	struct pcidipc_request *free_first;
	uint32_t nused; /* the others have never been used */
	uint32_t nrequests;
	uint64_t next_order;

	/* Order. */
	struct pcidipc_request *runnable_first, *runnable_last;
	struct pcidipc_request *stalled_first, *stalled_last; /* chain heads behind a drain */
	struct pcidipc_request *link_prev; /* last SQE had IO_LINK and is not complete */
	union {
		struct {
			bool link_open; /* the next SQE belongs to the last one's chain */
			bool draining;	/* the live ones are one drain request and its chain */
			bool stalled;	/* stalled_first is not NULL */
		};
		uint32_t ordering; /* any of them */
	};
	bool link_failed, link_skip, link_drain;
	bool pumping;
	uint32_t live;		    /* begun or waiting in a chain, not stalled */
	uint32_t pending;	    /* with the driver, or parked */
	struct quiet_waiter *quiet; /* tasks that wait for requests to end */

	struct pcidipc_watch watch;
	int channel;
	int pid;
	struct user *user;
	uint32_t flags, open_flags;
	bool greeted, opened, ringed, ending, control_busy;
	struct pcidipc_timer hello; /* runs until there is one */
	int error;
	struct queued_packet *packets, *packets_last;
	unsigned npackets;
	uint64_t wakes;

	struct session_pool *pools[RINGABI_MAX_POOLS];
	uint64_t pool_bytes; /* of them all, one being attached included */
	_Alignas(64) unsigned char priv[];
};

static inline struct pcidipc_request *session_request(const struct pcidipc_session *s,
						      uint32_t slot)
{
	return (void *)(s->requests + slot * s->request_stride);
}

static inline uint32_t session_max_pools(const struct pcidipc_session *s)
{
	uint32_t n = s->scheme->max_pools ? s->scheme->max_pools : PCIDIPC_SESSION_POOLS;

	return n < RINGABI_MAX_POOLS ? n : RINGABI_MAX_POOLS;
}

static inline uint64_t session_max_pool_bytes(const struct pcidipc_session *s)
{
	return s->scheme->max_pool_bytes ? s->scheme->max_pool_bytes : PCIDIPC_SESSION_POOL_BYTES;
}

/* order.c */
unsigned order_take(struct pcidipc_session *s, unsigned budget);
void order_run(struct pcidipc_session *s, struct pcidipc_request *rq);
void order_finish(struct pcidipc_session *s, struct pcidipc_request *rq, int32_t res);
void order_pump(struct pcidipc_session *s);
void order_drop_waiting(struct pcidipc_session *s);
/* cancel.c */
int order_cancel(struct pcidipc_request *rq);
/* reach.c */
int reach_attach(struct pcidipc_session *s, const struct ringabi_attach_pool *m, int fd,
		 uint64_t *iova);
int reach_command(struct pcidipc_request *rq);
void reach_detach_all(struct pcidipc_session *s);
/* control.c */
void control_ready(struct pcidipc_watch *watch, unsigned events);
void control_drop(struct pcidipc_session *s);
int session_make_ring(struct pcidipc_session *s, uint32_t sq, uint32_t cq, int *fd);
/* session.c */
struct pcidipc_users *scheme_users(struct pcidipc_scheme *scheme);
/* What it leaves out gets its default. */
void session_prepare_scheme(struct pcidipc_scheme *scheme);
void session_expect_hello(struct pcidipc_session *s);
void session_publish(struct pcidipc_session *s);
void session_publish_soon(struct pcidipc_session *s);
void session_wake_quiet(struct pcidipc_session *s);
void session_await_users(struct pcidipc_session *s, const struct pcidipc_request *detach);
uint64_t scheme_generation(void);

#endif
