/* SPDX-License-Identifier: MIT */
/* Tasks: coroutines by <ucontext.h>. They carry control flows, not the hot path: swapcontext's
 * system call is fine. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "loop_internal.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define HAVE_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define HAVE_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define HAVE_TSAN 1
#endif

#ifdef HAVE_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef HAVE_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(HAVE_ASAN) || defined(HAVE_TSAN)
#define STACK_BYTES (4 * PCIDIPC_TASK_STACK) /* red zones take their part, and reports */
#else
#define STACK_BYTES PCIDIPC_TASK_STACK
#endif

#define GUARD_BYTES 4096
#define MAX_SPARE 8

struct pcidipc_task {
	ucontext_t context;
	struct pcidipc_loop *loop;
	void (*fn)(void *arg);
	void *arg;
	struct pcidipc_task *next; /* in the ready list, a mutex's queue or the spare list */
	char *stack;		   /* the guard page is its first */
	bool finished;
	void *fiber;
};

static _Thread_local struct pcidipc_task *current;
static _Thread_local ucontext_t loop_context;
#ifdef HAVE_ASAN
static _Thread_local const void *loop_stack;
static _Thread_local size_t loop_stack_bytes;
#endif
#ifdef HAVE_TSAN
static _Thread_local void *loop_fiber;
#endif

bool pcidipc_in_task(void)
{
	return current != NULL;
}

/* ---- switching, with what the sanitizers want to know ---- */

static void enter(struct pcidipc_task *task)
{
#ifdef HAVE_ASAN
	void *fake = NULL;

	__sanitizer_start_switch_fiber(&fake, task->stack + GUARD_BYTES, STACK_BYTES);
#endif
#ifdef HAVE_TSAN
	loop_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(task->fiber, 0);
#endif
	current = task;
	swapcontext(&loop_context, &task->context);
	current = NULL;
#ifdef HAVE_ASAN
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

static void leave(struct pcidipc_task *task)
{
#ifdef HAVE_ASAN
	void *fake = NULL;

	__sanitizer_start_switch_fiber(task->finished ? NULL : &fake, loop_stack, loop_stack_bytes);
#endif
#ifdef HAVE_TSAN
	__tsan_switch_to_fiber(loop_fiber, 0);
#endif
	swapcontext(&task->context, &loop_context);
#ifdef HAVE_ASAN
	__sanitizer_finish_switch_fiber(fake, &loop_stack, &loop_stack_bytes);
#endif
}

static void task_main(void)
{
	struct pcidipc_task *task = current;

#ifdef HAVE_ASAN
	__sanitizer_finish_switch_fiber(NULL, &loop_stack, &loop_stack_bytes);
#endif
	task->fn(task->arg);
	task->finished = true;
	leave(task);
}

/* ---- making and unmaking ---- */

static void *map_stack(void)
{
	char *p = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (!mprotect(p, GUARD_BYTES, PROT_NONE))
		return p;
	munmap(p, GUARD_BYTES + STACK_BYTES); /* too many mappings: rather no task than one without
						 a guard page */
	return NULL;
}

static struct pcidipc_task *new_task(struct pcidipc_loop *loop)
{
	struct pcidipc_task *task = loop->spare;

	if (task) {
		loop->spare = task->next;
		loop->nspare--;
		return task;
	}
	task = calloc(1, sizeof(*task));
	if (!task)
		return NULL;
	task->stack = map_stack();
	if (task->stack)
		return task;
	free(task);
	return NULL;
}

static void free_task(struct pcidipc_task *task)
{
	munmap(task->stack, GUARD_BYTES + STACK_BYTES);
	free(task);
}

static void retire(struct pcidipc_loop *loop, struct pcidipc_task *task)
{
#ifdef HAVE_TSAN
	__tsan_destroy_fiber(task->fiber);
#endif
	if (loop->nspare >= MAX_SPARE) {
		free_task(task);
		return;
	}
	task->next = loop->spare;
	loop->spare = task;
	loop->nspare++;
}

void loop_free_tasks(struct pcidipc_loop *loop)
{
	while (loop->spare) {
		struct pcidipc_task *task = loop->spare;

		loop->spare = task->next;
		free_task(task);
	}
}

static void make_ready(struct pcidipc_task *task)
{
	struct pcidipc_loop *loop = task->loop;

	task->next = NULL;
	if (loop->ready_last)
		loop->ready_last->next = task;
	else
		loop->ready_first = task;
	loop->ready_last = task;
}

/* Apart from its caller, because getcontext may return twice as far as the compiler knows. */
static __attribute__((noinline)) void prepare_context(struct pcidipc_task *task)
{
	getcontext(&task->context);
	task->context.uc_stack.ss_sp = task->stack + GUARD_BYTES;
	task->context.uc_stack.ss_size = STACK_BYTES;
	task->context.uc_link = NULL;
	makecontext(&task->context, task_main, 0);
}

int pcidipc_spawn(struct pcidipc_loop *loop, void (*fn)(void *arg), void *arg)
{
	struct pcidipc_task *task = new_task(loop);

	if (!task)
		return -ENOMEM;
	task->loop = loop;
	task->fn = fn;
	task->arg = arg;
	task->finished = false;
	prepare_context(task);
#ifdef HAVE_TSAN
	task->fiber = __tsan_create_fiber(0);
#endif
	make_ready(task);
	return 0;
}

/* Those that become ready meanwhile run in the next turn, so that tasks cannot starve rings. */
unsigned loop_run_tasks(struct pcidipc_loop *loop)
{
	struct pcidipc_task *task = loop->ready_first;
	unsigned n = 0;

	loop->ready_first = loop->ready_last = NULL;
	while (task) {
		struct pcidipc_task *next = task->next;

		enter(task);
		if (task->finished)
			retire(loop, task);
		task = next;
		n++;
	}
	return n;
}

/* ---- waiting ---- */

int pcidipc_await(struct pcidipc_completion *completion)
{
	while (!completion->done) {
		completion->waiter = current;
		leave(current);
	}
	completion->waiter = NULL;
	return completion->res;
}

void pcidipc_post(struct pcidipc_completion *completion, int32_t res)
{
	if (completion->done)
		return;
	completion->res = res;
	completion->done = true;
	if (completion->waiter)
		make_ready(completion->waiter);
}

void pcidipc_task_yield(void)
{
	make_ready(current);
	leave(current);
}

struct sleeper {
	struct pcidipc_timer timer;
	struct pcidipc_watch watch;
	struct pcidipc_completion woken;
};

static void sleep_over(struct pcidipc_timer *timer)
{
	pcidipc_post(&pcidipc_container_of(timer, struct sleeper, timer)->woken, -ETIMEDOUT);
}

static void fd_ready(struct pcidipc_watch *watch, unsigned events)
{
	pcidipc_post(&pcidipc_container_of(watch, struct sleeper, watch)->woken, (int32_t)events);
}

void pcidipc_task_sleep(uint64_t ns)
{
	struct sleeper sleeper = {0};

	pcidipc_timer_set(current->loop, &sleeper.timer, ns, sleep_over);
	pcidipc_await(&sleeper.woken);
}

struct patience {
	struct pcidipc_timer timer;
	struct pcidipc_completion *completion;
};

static void patience_over(struct pcidipc_timer *timer)
{
	pcidipc_post(pcidipc_container_of(timer, struct patience, timer)->completion, -ETIMEDOUT);
}

int pcidipc_await_for(struct pcidipc_completion *completion, uint64_t ns)
{
	struct patience patience = {.completion = completion};
	int ret;

	pcidipc_timer_set(current->loop, &patience.timer, ns, patience_over);
	ret = pcidipc_await(completion);
	pcidipc_timer_cancel(&patience.timer);
	return ret;
}

int pcidipc_task_wait_fd(int fd, unsigned events, uint64_t ns)
{
	struct sleeper sleeper = {0};
	int ret = pcidipc_watch_add(current->loop, &sleeper.watch, fd, events, fd_ready);

	if (ret)
		return ret;
	if (ns)
		pcidipc_timer_set(current->loop, &sleeper.timer, ns, sleep_over);
	ret = pcidipc_await(&sleeper.woken);
	pcidipc_timer_cancel(&sleeper.timer);
	pcidipc_watch_remove(&sleeper.watch);
	return ret;
}

void pcidipc_task_lock(struct pcidipc_task_mutex *mutex)
{
	if (!mutex->owner) {
		mutex->owner = current;
		return;
	}
	current->next = NULL;
	if (mutex->last)
		mutex->last->next = current;
	else
		mutex->first = current;
	mutex->last = current;
	while (mutex->owner != current)
		leave(current);
}

/* The mutex goes straight to the next in line. */
void pcidipc_task_unlock(struct pcidipc_task_mutex *mutex)
{
	struct pcidipc_task *next = mutex->first;

	mutex->owner = next;
	if (!next)
		return;
	mutex->first = next->next;
	if (!mutex->first)
		mutex->last = NULL;
	make_ready(next);
}
