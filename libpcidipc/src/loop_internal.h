/* SPDX-License-Identifier: MIT */
/* What loop.c, its two backends and task.c share. */
#ifndef LOOP_INTERNAL_H
#define LOOP_INTERNAL_H

#include <liburing.h>
#include <pcidipc/loop.h>
#include <pcidipc/task.h>
#include <sys/epoll.h>

#include <pcidipc/list.h>
#include "spin.h"

#define LOOP_FOREVER UINT64_MAX
#define LOOP_KERNEL_TURNS 16 /* busy turns between two system calls that ask the kernel */

struct loop_backend {
	const char *name;
	int (*init)(struct pcidipc_loop *loop);
	void (*fini)(struct pcidipc_loop *loop);
	int (*add)(struct pcidipc_loop *loop, struct pcidipc_watch *watch);
	void (*change)(struct pcidipc_loop *loop, struct pcidipc_watch *watch);
	void (*remove)(struct pcidipc_loop *loop, struct pcidipc_watch *watch);
	/* Handle what the kernel has told, without sleeping. Returns how many events. */
	unsigned (*reap)(struct pcidipc_loop *loop);
	/* The same while spinning, for next to nothing when there is nothing. */
	unsigned (*glance)(struct pcidipc_loop *loop);
	/* Sleep until something happens or `ns` have passed. */
	void (*sleep)(struct pcidipc_loop *loop, uint64_t ns);
};

#define EPOLL_BATCH 32

struct pcidipc_loop {
	const struct loop_backend *backend;
	union {
		struct {
			struct io_uring ring;
			struct pcidipc_list late; /* slots that the kernel had no room for */
			unsigned unsubmitted_turns;
		} uring;
		struct {
			int fd;
			unsigned turns, glances;
			struct epoll_event *batch; /* being handled: watch_remove clears entries */
			int nbatch;
		} epoll;
	};
	struct pcidipc_list timers; /* soonest first */
	struct pcidipc_list pollers;
	struct pcidipc_list *next_poller; /* while they are being run */
	struct pcidipc_list deferred;
	struct pcidipc_task *ready_first, *ready_last;
	struct pcidipc_task *spare; /* finished tasks whose stacks are kept */
	unsigned nspare;
	uint64_t now; /* 0: not read in this turn */
	unsigned turn;
	struct spin spin;
	bool stopping;
	int code;
};

extern const struct loop_backend loop_backend_uring;
extern const struct loop_backend loop_backend_epoll;

/* The primary ring's fd, or -1 where the loop is epoll. */
int loop_ring_fd(const struct pcidipc_loop *loop);
unsigned loop_run_tasks(struct pcidipc_loop *loop);
void loop_free_tasks(struct pcidipc_loop *loop);

#endif
