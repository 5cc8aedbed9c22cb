/* SPDX-License-Identifier: MIT */
/*
 * The executor: one thread, one loop, over one primary ring with the kernel (io_uring through
 * liburing; epoll where the kernel forbids it) and any number of secondary rings, as consumer and
 * as producer.
 *
 * A turn: kernel events, then every poller once, then tasks that became ready. When a turn finds
 * nothing the loop spins for a bounded, adaptive time, then arms every poller (NEED_WAKEUP,
 * interrupts) and sleeps. Everything here is called from the loop's own thread, except
 * pcidipc_loop_create and, after it returned, nothing else.
 */
#ifndef PCIDIPC_LOOP_H
#define PCIDIPC_LOOP_H

#include <pcidipc/list.h>
#include <stdbool.h>
#include <stdint.h>

struct pcidipc_loop;

#define PCIDIPC_LOOP_EPOLL \
	(1u << 0) /* do not use io_uring even where it works; also $PCIDIPC_LOOP=epoll */

int pcidipc_loop_create(unsigned flags, struct pcidipc_loop **loop);
void pcidipc_loop_destroy(
	struct pcidipc_loop *loop); /* watches, timers, pollers, tasks: removed before */
/* Run until pcidipc_loop_stop; returns its code. May be called again. */
int pcidipc_loop_run(struct pcidipc_loop *loop);
void pcidipc_loop_stop(struct pcidipc_loop *loop, int code);
/* One turn, which may sleep if `may_sleep`. For tests, and for blocking until a flag is set. */
void pcidipc_loop_turn(struct pcidipc_loop *loop, bool may_sleep);
const char *pcidipc_loop_backend(const struct pcidipc_loop *loop); /* "io_uring" or "epoll" */
/* CLOCK_MONOTONIC in ns, read once a turn. */
uint64_t pcidipc_loop_now(const struct pcidipc_loop *loop);

/* ---- file descriptors: level-triggered; the structure is the caller's and stays in place while
 * watched ---- */
struct pcidipc_watch {
	void (*ready)(struct pcidipc_watch *watch,
		      unsigned events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
	int fd;
	/* the loop's */
	struct pcidipc_loop *loop;
	unsigned events;
	void *slot;
};
/* events: EPOLLIN and EPOLLOUT; HUP and ERR are always told. -EEXIST, -ENOMEM. */
int pcidipc_watch_add(struct pcidipc_loop *loop, struct pcidipc_watch *watch, int fd,
		      unsigned events, void (*ready)(struct pcidipc_watch *, unsigned));
void pcidipc_watch_change(struct pcidipc_watch *watch, unsigned events);
/* After this `ready` is not called again, and fd may be closed. Fine from inside `ready`; fine
 * twice. */
void pcidipc_watch_remove(struct pcidipc_watch *watch);

/* ---- timers ---- */
struct pcidipc_timer {
	void (*fire)(struct pcidipc_timer *timer);
	/* the loop's */
	struct pcidipc_loop *loop;
	struct pcidipc_list link;
	uint64_t when;
};
/* Fire once, `ns` from now; setting a set timer moves it. A zeroed timer is not set. */
void pcidipc_timer_set(struct pcidipc_loop *loop, struct pcidipc_timer *timer, uint64_t ns,
		       void (*fire)(struct pcidipc_timer *));
void pcidipc_timer_cancel(struct pcidipc_timer *timer); /* fine when it is not set */

/* ---- pollers: rings, and devices polled in the manner of NAPI ---- */

/* Who is waited for: it decides whether to keep the CPU, to let somebody have it, or to sleep. */
enum pcidipc_awaited {
	PCIDIPC_AWAITED_HERE = 1,      /* who may ask us, and ran on our own CPU */
	PCIDIPC_AWAITED_ELSEWHERE = 2, /* who may ask us, and ran on another */
	PCIDIPC_AWAITED_ANSWER = 4,    /* whom we asked, and who ran on our own CPU */
	PCIDIPC_AWAITED_DEVICE = 8,    /* whom we asked, and who ran on another, as devices do */
};

struct pcidipc_poller {
	/* Do up to a budget's worth of work; return how much was done. */
	unsigned (*poll)(struct pcidipc_poller *poller);
	/*
	 * The loop wants to sleep: arrange to be woken (set NEED_WAKEUP, unmask the interrupt),
	 * then look once more. True: nothing there, sleep. False: there is work, do not. May be
	 * NULL.
	 */
	bool (*arm)(struct pcidipc_poller *poller);
	/* The loop runs again after arm said true, or after another poller's arm said false. May be
	 * NULL. */
	void (*disarm)(struct pcidipc_poller *poller);
	/*
	 * A turn found nothing: who is waited for, and where did it run last? enum pcidipc_awaited,
	 * 0: nobody. `cpu` is the one that we run on, + 1; 0: not known. NULL: always a device.
	 */
	unsigned (*awaits)(struct pcidipc_poller *poller, uint32_t cpu);
	/* the loop's */
	struct pcidipc_loop *loop;
	struct pcidipc_list link;
};
void pcidipc_poller_add(struct pcidipc_loop *loop, struct pcidipc_poller *poller);
void pcidipc_poller_remove(struct pcidipc_poller *poller); /* fine from inside poll; fine twice */

/* ---- call a function once, at the end of this turn ---- */
struct pcidipc_deferred {
	void (*call)(struct pcidipc_deferred *deferred);
	struct pcidipc_loop *loop;
	struct pcidipc_list link;
};
void pcidipc_defer(struct pcidipc_loop *loop, struct pcidipc_deferred *deferred,
		   void (*call)(struct pcidipc_deferred *)); /* no-op when deferred already */
/* It is not called any more. Fine when it is not deferred. */
void pcidipc_defer_cancel(struct pcidipc_deferred *deferred);

#endif
