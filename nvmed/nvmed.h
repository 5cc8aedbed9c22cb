/* SPDX-License-Identifier: MIT */
/* The controller and its namespaces. Everything runs on the loop's one thread. */
#ifndef NVMED_H
#define NVMED_H

#include <pcidipc/blockserve.h>
#include <pcidipc/pci.h>
#include <pcidipc/task.h>

#include "prp.h"
#include "queue.h"

#define MAX_NAMESPACES 128
#define MAX_PAIRS 64
#define MAX_SESSIONS 1024 /* of a disk */
#define MAX_EVENTS 4	  /* Asynchronous Event Requests outstanding */
#define ADMIN_ENTRIES 32
#define IO_ENTRIES 128
#define DMA_BYTES (64ull << 20)
#define MOST_COMMAND_BYTES (4u << 20) /* of one command, where MDTS sets no lower limit */
#define TICK_NS 1000000000ull	      /* of the clock for timeouts */
#define IO_LIMIT 30		      /* ticks */
#define ADMIN_LIMIT 60

struct controller {
	struct pcidipc_loop *loop;
	struct pcidipc_pci *pci;
	struct pcidipc_users users; /* of all disks */
	const char *address;
	struct pcidipc_mmio bar;
	struct pcidipc_dma dma;
	struct pcidipc_vectors vectors;
	uint64_t cap;
	unsigned stride;
	uint32_t page;		  /* CC.MPS */
	uint32_t max_bytes;	  /* of one command */
	uint32_t list_bytes;	  /* PRP list of one command */
	uint32_t event_notices;	  /* of OAES, those that we want */
	uint32_t namespaces_most; /* NN */
	uint16_t max_pairs;
	bool mapped; /* registers are memory here; where not, each access is a request to pcid */
	uint16_t oncs;
	uint8_t aerl;
	uint16_t aborts_most; /* ACL */
	bool volatile_cache;
	bool doorbell_buffers;
	char serial[21], model[41], firmware[9];

	struct nvme_queue admin;
	struct pcidipc_buf *scratch; /* a page for identify and the like */
	struct pcidipc_task_mutex scratch_lock;
	struct pcidipc_buf *shadow_pages;
	volatile uint32_t *shadow, *event; /* shadow doorbells, or NULL */

	struct pair *pairs[MAX_PAIRS];
	unsigned npairs; /* those that are lie below */
	struct pcidipc_task_mutex
		pairs_lock; /* an identifier is free only when its queues are deleted */
	struct pcidipc_poller poller;
	struct pcidipc_watch admin_irq, io_irq;
	bool io_masked;
	bool io_told; /* an interrupt came since the loop went to sleep */

	/* Time and recovery. */
	uint64_t tick_ns;
	uint32_t io_limit, admin_limit; /* ticks */
	uint32_t clock;
	struct pcidipc_timer watchdog;
	uint32_t resets;
	uint16_t aborts; /* outstanding */
	bool watching;	 /* the watchdog's timer is set */
	bool recovering; /* its task runs */
	bool paused;	 /* no I/O is sent */
	bool started;
	bool dead; /* the controller is gone or given up */
	bool stopping;

	/* Health: what was told since told_at. */
	uint8_t told_warnings;
	uint64_t told_at; /* ns; 0: never */

	struct namespace *namespaces[MAX_NAMESPACES];
	unsigned nnamespaces;
	struct pcidipc_task_mutex namespaces_lock;
};

/*
 * An I/O queue pair. Where registers are mapped a session has one of its own while there are any,
 * else it shares. Where they are not all share one: a queue that runs empty costs a register write
 * to begin again, and one that many use seldom does.
 */
struct pair {
	struct controller *controller;
	struct nvme_queue queue;
	unsigned users;
	uint32_t made; /* controller->resets when it was created last */

	/* share.c */
	uint32_t epoch, sent;		      /* sent: in this one */
	unsigned active_now, active_before;   /* sessions in this epoch so far, in the last one */
	struct share *line_first, *line_last; /* sessions that wait for a slot */
};

/* A session's share of its pair; its private memory. */
struct share {
	struct pair *pair;
	struct share *next; /* in the line */
	struct pcidipc_request *parked_first, *parked_last;
	uint32_t epoch; /* the last in which it asked for something */
	uint16_t in_flight;
	bool in_line;
};

struct namespace
{
	struct controller *controller;
	uint32_t nsid;
	bool deallocates_zeroes; /* Write Zeroes takes DEAC */
	bool seen;		 /* in a rescan */
	struct pcidipc_disk disk;
	struct pcidipc_service service;
};

/* controller.c (tasks) */
int controller_start(struct controller *c);
/* After a reset of the function, which takes the vectors away. */
int controller_renew_vectors(struct controller *c);
/* CC.SHN, then disable. */
void controller_stop(struct controller *c);
int controller_disable(struct controller *c);
/* From disabled to ready with its features set. The admin queue exists. */
int controller_enable(struct controller *c);
uint32_t controller_status(struct controller *c);
#define CSTS_READY 1u
#define CSTS_FATAL 2u

/* admin.c (tasks) */
int admin_create(struct controller *c);
/* One admin command: 0, or an errno for its status, which is logged. */
int admin_command(struct controller *c, const struct nvme_sqe *command, uint32_t *result);
/* The same with the status as it came, and a limit in ticks (0: the usual). */
uint16_t admin_status(struct controller *c, const struct nvme_sqe *command, uint32_t limit,
		      uint32_t *result);
int identify(struct controller *c, uint32_t cns, uint32_t nsid, void *to);
/* Up to a page of a log. */
int log_page(struct controller *c, uint8_t id, void *to, uint32_t bytes);
/* The errno that a status stands for; says what it was. */
int status_error(const struct controller *c, uint16_t status, const char *what);

/* identity.c: Identify Controller, checked. (task) */
int identify_controller(struct controller *c);

/* event.c: asynchronous events */
void events_start(struct controller *c); /* task; also after a reset */

/* recover.c */
/* There are commands in flight, so time matters. Cheap. */
void watchdog_start(struct controller *c);
/* The controller is gone: end everything with -ENODEV, remove the disks, stop the loop with `code`.
 * Task. */
void controller_lost(struct controller *c, int code);

/* pair.c (tasks) */
int pair_get(struct controller *c, struct pair **pair);
void pair_put(struct pair *pair);
int pairs_start(struct controller *c);
/* Watch the vector of the I/O queues. */
int pairs_watch(struct controller *c);
/* After a reset: create the queues again. */
int pairs_restore(struct controller *c);

/* share.c */
/* It asks for something. */
void share_note(struct share *share);
bool share_is_used_up(const struct share *share);
void share_sent(struct share *share);
void share_completed(struct share *share);
/* Wait for a slot: behind the session's other requests, or before them. */
void share_park(struct share *share, struct pcidipc_request *rq);
void share_park_first(struct share *share, struct pcidipc_request *rq);
struct pcidipc_request *share_unpark(struct share *share);
/* To the end of the pair's line, if something is parked; who is first in it, taken out. */
void share_line_up(struct share *share);
struct share *share_next(struct pair *pair);

/* command.c */
#define COMMAND_IO_BYTES 48 /* what it keeps of each request: a client of depth 128 has 128 */
int command_submit(struct pcidipc_block_io *io);
void command_resume(struct pair *pair);

/* passthrough.c, health.c: start a task; as disk->submit */
int passthrough_submit(struct pcidipc_block_io *io);
int health_submit(struct pcidipc_block_io *io);

/* namespace.c (tasks) */
int namespaces_start(struct controller *c);
void namespaces_rescan(struct controller *c);
void namespaces_stop(struct controller *c);

/* disk.c (tasks) */
int disk_publish(struct namespace *ns);

/* limits.c: what one user's clients may have, as the command line has it; 0: the usual */
struct limits {
	uint64_t connections, pools, pool_gib, dma_mib;
};
void limits_apply(const struct limits *limits, struct pcidipc_users *users);

#endif
