/* SPDX-License-Identifier: MIT */
/* Tasks: under both loops, and under the sanitizers' eyes as fibers. */
#include "looptrace.h"

#include <errno.h>
#include <pcidipc/task.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ull

static int left; /* tasks that have not finished */

static void begin(void)
{
	start();
	left = 0;
}

static void spawn(void (*fn)(void *), void *arg)
{
	left++;
	CU_ASSERT_EQUAL_FATAL(pcidipc_spawn(loop, fn, arg), 0);
}

static void finished(void)
{
	if (!--left)
		pcidipc_loop_stop(loop, 5);
}

static void run(void)
{
	CU_ASSERT_EQUAL(pcidipc_loop_run(loop), 5);
	CU_ASSERT_EQUAL(left, 0);
}

/* ---- yield, spawn ---- */

static void yielder(void *arg)
{
	char name = *(const char *)arg;

	CU_ASSERT_TRUE(pcidipc_in_task());
	for (int i = 0; i < 3; i++) {
		say(name);
		pcidipc_task_yield();
	}
	finished();
}

static void test_yield(void)
{
	begin();
	spawn(yielder, "a");
	spawn(yielder, "b");
	spawn(yielder, "c");
	CU_ASSERT_FALSE(pcidipc_in_task());
	CU_ASSERT_STRING_EQUAL(trace, ""); /* never from inside spawn */
	run();
	CU_ASSERT_STRING_EQUAL(trace, "abcabcabc");
	CU_ASSERT_FALSE(pcidipc_in_task());
	stop();
}

static void nest(void *arg)
{
	int depth = (int)(intptr_t)arg;

	if (depth)
		spawn(nest, (void *)(intptr_t)(depth - 1));
	pcidipc_task_yield();
	finished();
}

static void test_nested_spawn(void)
{
	begin();
	spawn(nest, (void *)(intptr_t)500);
	run();
	stop();
}

/* ---- completions ---- */

static struct pcidipc_completion done;

static void waiter(void *arg)
{
	(void)arg;
	say('w');
	CU_ASSERT_EQUAL(pcidipc_await(&done), -EIO);
	say('W');
	finished();
}

static void poster(void *arg)
{
	(void)arg;
	say('p');
	pcidipc_post(&done, -EIO);
	pcidipc_post(&done, 1); /* too late */
	say('P');		/* who awaits is resumed by the loop, not in here */
	finished();
}

static void test_await(void)
{
	begin();
	done = (struct pcidipc_completion){0};
	spawn(waiter, NULL);
	spawn(poster, NULL);
	run();
	CU_ASSERT_STRING_EQUAL(trace, "wpPW");
	stop();
}

static void test_posted_before(void)
{
	begin();
	done = (struct pcidipc_completion){0};
	spawn(poster, NULL);
	spawn(waiter, NULL);
	run();
	CU_ASSERT_STRING_EQUAL(trace, "pPwW");
	stop();
}

/* ---- a chain of many: each waits for the next one, on its own stack ---- */

#ifdef __SANITIZE_THREAD__
#define MANY 300 /* each is a thread to it */
#define IN_TURN 1000
#else
#define MANY 3000
#define IN_TURN 20000
#endif

static struct pcidipc_completion chain[MANY + 1];

static void link_of(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;
	volatile char here[512];

	memset((char *)here, (int)i, sizeof(here));
	CU_ASSERT_EQUAL(pcidipc_await(&chain[i + 1]), (int)(i + 1));
	for (size_t k = 0; k < sizeof(here); k++)
		if (here[k] != (char)i)
			CU_FAIL("a stack was shared");
	pcidipc_post(&chain[i], (int32_t)i);
	finished();
}

static void test_thousands(void)
{
	begin();
	memset(chain, 0, sizeof(chain));
	for (size_t i = 0; i < MANY; i++)
		spawn(link_of, (void *)(uintptr_t)i);
	pcidipc_loop_turn(loop, false);
	CU_ASSERT_FALSE(chain[0].done);
	pcidipc_post(&chain[MANY], MANY);
	run();
	CU_ASSERT_TRUE(chain[0].done);
	stop();
}

static void brief(void *arg)
{
	++*(int *)arg;
	finished();
}

/* Stacks are used again. */
static void test_many_in_turn(void)
{
	int count = 0;

	begin();
	for (int i = 0; i < IN_TURN; i++) {
		spawn(brief, &count);
		if (left == 7)
			pcidipc_loop_turn(loop, false);
	}
	if (left)
		pcidipc_loop_turn(loop, false);
	CU_ASSERT_EQUAL(count, IN_TURN);
	stop();
}

/* ---- deep stacks ---- */

static int dive(int depth)
{
	volatile char frame[256];

	frame[0] = (char)depth;
	if (!depth) {
		pcidipc_task_yield();
		return 0;
	}
	return dive(depth - 1) + (frame[0] == (char)depth);
}

static void diver(void *arg)
{
	(void)arg;
	CU_ASSERT_EQUAL(dive(100), 100); /* 25 KiB and more of it */
	finished();
}

static void test_deep(void)
{
	begin();
	for (int i = 0; i < 20; i++)
		spawn(diver, NULL);
	run();
	stop();
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Winfinite-recursion"
static __attribute__((noinline)) int bottomless(volatile char *above)
{
	volatile char frame[1024];

	frame[0] = above[0];
	return bottomless(frame) + frame[0];
}
#pragma GCC diagnostic pop

static void overflower(void *arg)
{
	(void)arg;
	bottomless("x");
}

/* Too deep is a clean death at the guard page, and no neighbour's stack. */
static void test_guard(void)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		fclose(stderr);
		if (pcidipc_loop_create(rig_loop_flags, &loop) ||
		    pcidipc_spawn(loop, overflower, NULL))
			_exit(0);
		pcidipc_loop_turn(loop, false);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_NOT_EQUAL(status, 0);
}

/* ---- the mutex ---- */

static struct pcidipc_task_mutex mutex;
static int inside;

static void locker(void *arg)
{
	pcidipc_task_lock(&mutex);
	CU_ASSERT_EQUAL(++inside, 1);
	say(*(const char *)arg);
	pcidipc_task_yield();
	pcidipc_task_yield();
	CU_ASSERT_EQUAL(inside--, 1);
	pcidipc_task_unlock(&mutex);
	finished();
}

static void test_mutex(void)
{
	begin();
	for (const char *name = "abcdefgh"; *name; name++)
		spawn(locker, (void *)name);
	run();
	CU_ASSERT_STRING_EQUAL(trace, "abcdefgh"); /* in order of arrival */
	CU_ASSERT_PTR_NULL(mutex.owner);
	stop();
}

/* One that comes between unlock and the next one's turn does not overtake it. */
static void late(void *arg)
{
	(void)arg;
	pcidipc_task_lock(&mutex);
	say('l');
	pcidipc_task_unlock(&mutex);
	finished();
}

static void first(void *arg)
{
	(void)arg;
	pcidipc_task_lock(&mutex);
	pcidipc_task_yield();
	spawn(late, NULL);
	pcidipc_task_unlock(&mutex);
	pcidipc_task_lock(&mutex);
	say('2');
	pcidipc_task_unlock(&mutex);
	finished();
}

static void test_mutex_fair(void)
{
	begin();
	spawn(first, NULL);
	spawn(locker, "a");
	run();
	CU_ASSERT_STRING_EQUAL(trace, "a2l");
	stop();
}

/* ---- time and files ---- */

static void sleeper(void *arg)
{
	uint64_t ns = (uint64_t)(uintptr_t)arg * MS;
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	pcidipc_task_sleep(ns);
	clock_gettime(CLOCK_MONOTONIC, &after);
	CU_ASSERT_TRUE((uint64_t)(after.tv_sec - before.tv_sec) * 1000 * MS +
			       (uint64_t)after.tv_nsec - (uint64_t)before.tv_nsec >=
		       ns);
	say((char)('0' + (int)(uintptr_t)arg / 10));
	finished();
}

static void test_sleep(void)
{
	begin();
	spawn(sleeper, (void *)60);
	spawn(sleeper, (void *)0);
	spawn(sleeper, (void *)20);
	run();
	CU_ASSERT_STRING_EQUAL(trace, "026");
	stop();
}

/* Posted in time, or not; what comes too late changes nothing. */
static void patient(void *arg)
{
	struct pcidipc_completion *c = arg;

	CU_ASSERT_EQUAL(pcidipc_await_for(c, 1000000 * MS), 4);
	*c = (struct pcidipc_completion){0};
	CU_ASSERT_EQUAL(pcidipc_await_for(c, 2 * MS), -ETIMEDOUT);
	pcidipc_post(c, 5);
	CU_ASSERT_EQUAL(pcidipc_await_for(c, 2 * MS), -ETIMEDOUT);
	finished();
}

static void late_poster(void *arg)
{
	pcidipc_post(arg, 4);
	finished();
}

static void test_await_for(void)
{
	struct pcidipc_completion c = {0};

	begin();
	spawn(patient, &c);
	spawn(late_poster, &c);
	run();
	stop();
}

static int event;

static void reader(void *arg)
{
	uint64_t value;

	(void)arg;
	CU_ASSERT_EQUAL(pcidipc_task_wait_fd(event, POLLIN, 2 * MS), -ETIMEDOUT);
	say('t');
	pcidipc_post(&done, 0);
	CU_ASSERT_EQUAL(pcidipc_task_wait_fd(event, POLLIN, 0), POLLIN);
	CU_ASSERT_EQUAL(read(event, &value, sizeof(value)), 8);
	CU_ASSERT_EQUAL(value, 3);
	finished();
}

static void writer(void *arg)
{
	(void)arg;
	pcidipc_await(&done);
	say('w');
	CU_ASSERT_EQUAL(write(event, &(uint64_t){3}, 8), 8);
	finished();
}

static void test_wait_fd(void)
{
	begin();
	done = (struct pcidipc_completion){0};
	event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	spawn(reader, NULL);
	spawn(writer, NULL);
	run();
	CU_ASSERT_STRING_EQUAL(trace, "tw");
	close(event);
	stop();
}

static CU_TestInfo tests[] = {
	{"yield", test_yield},
	{"tasks that spawn", test_nested_spawn},
	{"await", test_await},
	{"posted before it is awaited", test_posted_before},
	{"thousands at once", test_thousands},
	{"thousands in turn", test_many_in_turn},
	{"deep stacks", test_deep},
	{"too deep a stack", test_guard},
	{"mutex", test_mutex},
	{"mutex is fair", test_mutex_fair},
	{"sleep", test_sleep},
	{"await for so long", test_await_for},
	{"wait for a file", test_wait_fd},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("task", tests);
}
