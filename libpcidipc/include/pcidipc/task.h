/* SPDX-License-Identifier: MIT */
/*
 * Tasks: functions with a small stack of their own on the loop's thread, so that control flows
 * (bring a controller up, attach a pool along a chain of processes) are written top to bottom. A
 * task runs until it awaits; it is resumed by the loop, never from inside the call that made it
 * ready. Stacks have a guard page and PCIDIPC_TASK_STACK bytes.
 */
#ifndef PCIDIPC_TASK_H
#define PCIDIPC_TASK_H

#include <pcidipc/loop.h>

#define PCIDIPC_TASK_STACK (64u << 10)

struct pcidipc_task;

/* Start fn(arg) on the loop; it first runs later in this turn or in the next. -ENOMEM. */
int pcidipc_spawn(struct pcidipc_loop *loop, void (*fn)(void *arg), void *arg);
/* Is the caller inside a task? */
bool pcidipc_in_task(void);

/* Something one task waits for. Zero it before use; it may be posted before it is awaited. */
struct pcidipc_completion {
	struct pcidipc_task *waiter;
	bool done;
	int32_t res;
	uint64_t big[2];
};
/* Suspend the calling task until post. Returns res. One waiter. */
int pcidipc_await(struct pcidipc_completion *completion);
/* The same, but after `ns` it is posted with -ETIMEDOUT, and what comes later is ignored. */
int pcidipc_await_for(struct pcidipc_completion *completion, uint64_t ns);
/* It is done, with `res`. The waiter is resumed by the loop, not in here. */
void pcidipc_post(struct pcidipc_completion *completion, int32_t res);

/* Suspend the calling task for `ns`. */
void pcidipc_task_sleep(uint64_t ns);
/* Suspend until `fd` shows one of `events` or `ns` have passed (0: no limit). Returns events, or
 * -ETIMEDOUT. */
int pcidipc_task_wait_fd(int fd, unsigned events, uint64_t ns);
/* Let everything else run once. */
void pcidipc_task_yield(void);

/* One task at a time, in order of arrival. Zero it before use. */
struct pcidipc_task_mutex {
	struct pcidipc_task *owner;
	struct pcidipc_task *first, *last;
};
/* Wait until it is ours, or let the next one have it. Not recursive. Task. */
void pcidipc_task_lock(struct pcidipc_task_mutex *mutex);
void pcidipc_task_unlock(struct pcidipc_task_mutex *mutex);

#endif
