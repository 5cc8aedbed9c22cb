/* SPDX-License-Identifier: MIT */
/* What the loop watches, over io_uring and over epoll alike: files, signals, processes. */
#include "loopsource.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* In liburing's place: the kernel takes nothing while it is short of memory, or our answers wait.
 */
static bool refuse_submit;
static unsigned refused;

int io_uring_submit(struct io_uring *ring)
{
	if (refuse_submit) {
		refused++;
		return -EBUSY;
	}
	return io_uring_submit_and_wait(ring, 0);
}

static void test_watch(void)
{
	struct source s;

	start();
	source_open(&s, 'a');
	for (unsigned i = 1; i <= 50; i++) {
		fire(&s);
		pcidipc_loop_run(loop);
		CU_ASSERT_EQUAL(s.calls, i);
		CU_ASSERT_EQUAL(s.events, EPOLLIN);
	}
	source_close(&s);
	stop();
}

/* Level-triggered: told until it has been read. */
static void test_level(void)
{
	struct source s;

	start();
	source_open(&s, 0);
	s.keep = true;
	fire(&s);
	for (unsigned i = 1; i <= 5; i++) {
		pcidipc_loop_run(loop);
		CU_ASSERT_EQUAL(s.calls, i);
	}
	s.keep = false;
	pcidipc_loop_run(loop);
	fire(&s);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(s.calls, 7);
	source_close(&s);
	stop();
}

/* All are ready; the first one that is told takes the others out, and itself. */
static void test_remove_inside(void)
{
	struct source a, b;

	start();
	source_open(&a, 'a');
	source_open(&b, 'b');
	a.remove = &b;
	b.remove = &a;
	fire(&a);
	fire(&b);
	pcidipc_loop_run(loop);
	for (int i = 0; i < 100; i++)
		pcidipc_loop_turn(loop, false);
	CU_ASSERT_EQUAL(a.calls + b.calls, 1);
	source_close(&a);
	source_close(&b);

	source_open(&a, 'a');
	a.remove = &a;
	fire(&a);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(pcidipc_watch_add(loop, &a.watch, a.fd, EPOLLIN, source_ready), 0);
	a.remove = NULL;
	fire(&a);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(a.calls, 2);
	source_close(&a);
	stop();
}

/* The structure may be gone the moment that remove returns, with the kernel's answer still to come.
 */
static void test_remove_and_free(void)
{
	start();
	for (int i = 0; i < 2000; i++) {
		struct source *s = malloc(sizeof(*s));

		source_open(s, 0);
		if (i % 3)
			fire(s);
		if (i % 2)
			pcidipc_loop_turn(loop, false);
		source_close(s);
		free(s);
		if (i % 5 == 0)
			pcidipc_loop_turn(loop, false);
	}
	stop();
}

/* More than the kernel's queue has room for, all ready at once, again and again. */
static void test_many(void)
{
	enum { MANY = 900 };
	static struct source many[MANY];
	struct rlimit limit = {4096, 4096};
	unsigned calls;

	setrlimit(RLIMIT_NOFILE, &limit);
	start();
	for (int i = 0; i < MANY; i++)
		source_open(&many[i], 0);
	for (unsigned round = 1; round <= 3; round++) {
		for (int i = 0; i < MANY; i++)
			fire(&many[i]);
		do {
			pcidipc_loop_run(loop);
			calls = 0;
			for (int i = 0; i < MANY; i++)
				calls += many[i].calls;
		} while (calls < round * MANY);
		CU_ASSERT_EQUAL(calls, round * MANY);
		for (int i = 0; i < MANY; i++)
			CU_ASSERT_EQUAL(many[i].calls, round);
	}
	for (int i = 0; i < MANY; i++)
		source_close(&many[i]);
	stop();
}

/* While the kernel takes nothing, watches are told and removed: none stays deaf, no file stays
 * open. */
static void test_refused(void)
{
	enum { MANY = 600 };
	static struct source many[MANY];
	struct rlimit limit = {4096, 4096};
	unsigned deaf = 0;
	struct source s = {0};
	int ends[2];
	char byte;

	setrlimit(RLIMIT_NOFILE, &limit);
	start();
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pcidipc_watch_add(loop, &s.watch, ends[0], EPOLLIN, source_ready);
	for (int i = 0; i < MANY; i++)
		source_open(&many[i], 0);
	for (int i = 0; i < MANY; i++)
		fire(&many[i]);
	while (!many[MANY - 1].calls) /* the kernel has all of them, and has told of them */
		pcidipc_loop_run(loop);
	for (int i = 0; i < MANY; i++)
		fire(&many[i]);
	refuse_submit = true;
	for (int i = 0; i < 100; i++)
		pcidipc_loop_turn(loop, false);
	pcidipc_watch_remove(&s.watch);
	close(ends[0]);
	for (int i = 0; i < MANY; i += 7)
		source_close(&many[i]);
	refuse_submit = false;
	CU_ASSERT_TRUE(rig_loop_flags & PCIDIPC_LOOP_EPOLL || refused > 0);
	for (int i = 0; i < MANY; i++) {
		many[i].calls = 0;
		if (i % 7)
			fire(&many[i]);
	}
	for (int i = 0; i < 1000; i++)
		pcidipc_loop_turn(loop, false);
	for (int i = 0; i < MANY; i++)
		deaf += i % 7 && !many[i].calls;
	CU_ASSERT_EQUAL(deaf, 0);
	CU_ASSERT_EQUAL(recv(ends[1], &byte, 1, MSG_DONTWAIT), 0);
	for (int i = 0; i < MANY; i++)
		if (i % 7)
			source_close(&many[i]);
	close(ends[1]);
	stop();
}

static void both_ready(struct pcidipc_watch *watch, unsigned events)
{
	struct source *s = source_of(watch);

	s->calls++;
	s->events |= events;
	pcidipc_loop_stop(loop, 0);
}

static void test_change(void)
{
	struct source s = {0};
	char byte = 'x';
	int ends[2];

	start();
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	CU_ASSERT_EQUAL(pcidipc_watch_add(loop, &s.watch, ends[0], EPOLLIN, both_ready), 0);
	for (int i = 0; i < 100; i++)
		pcidipc_loop_turn(loop, false);
	CU_ASSERT_EQUAL(s.calls, 0);
	pcidipc_watch_change(&s.watch, EPOLLIN | EPOLLOUT);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(s.events, EPOLLOUT);
	s.events = 0;
	pcidipc_watch_change(&s.watch, 0);
	CU_ASSERT_EQUAL(write(ends[1], &byte, 1), 1);
	while (s.calls--) /* what was under way */
		pcidipc_loop_turn(loop, false);
	s.calls = s.events = 0;
	for (int i = 0; i < 100; i++)
		pcidipc_loop_turn(loop, false);
	CU_ASSERT_EQUAL(s.calls, 0);
	pcidipc_watch_change(&s.watch, EPOLLIN);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(s.events, EPOLLIN);
	CU_ASSERT_EQUAL(read(ends[0], &byte, 1), 1);
	s.events = 0;
	close(ends[1]);
	pcidipc_loop_run(loop);
	CU_ASSERT_TRUE(s.events & EPOLLHUP);
	pcidipc_watch_remove(&s.watch);
	close(ends[0]);
	stop();
}

/* A closed peer sees the close at once: nothing of ours keeps the file open. */
static void test_remove_closes(void)
{
	struct source s = {0};
	int ends[2];
	char byte;

	start();
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pcidipc_watch_add(loop, &s.watch, ends[0], EPOLLIN, both_ready);
	for (int i = 0; i < 40; i++)
		pcidipc_loop_turn(loop, false);
	pcidipc_watch_remove(&s.watch);
	close(ends[0]);
	CU_ASSERT_EQUAL(read(ends[1], &byte, 1), 0); /* or it waits for ever */
	close(ends[1]);
	stop();
}

static void test_signalfd(void)
{
	struct source s = {.keep = true};
	struct signalfd_siginfo info;
	sigset_t set, old;

	start();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	s.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	pcidipc_watch_add(loop, &s.watch, s.fd, EPOLLIN, source_ready);
	kill(getpid(), SIGUSR1);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(s.calls, 1);
	CU_ASSERT_EQUAL(read(s.fd, &info, sizeof(info)), sizeof(info));
	CU_ASSERT_EQUAL(info.ssi_signo, SIGUSR1);
	source_close(&s);
	sigprocmask(SIG_SETMASK, &old, NULL);
	stop();
}

static void test_pidfd(void)
{
	struct source s = {.keep = true};
	int status = 0;
	pid_t pid;

	start();
	pid = fork();
	if (!pid)
		_exit(7);
	s.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_watch_add(loop, &s.watch, s.fd, EPOLLIN, source_ready), 0);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(waitpid(pid, &status, WNOHANG), pid);
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 7);
	source_close(&s);
	stop();
}

static CU_TestInfo tests[] = {
	{"eventfd", test_watch},
	{"level-triggered", test_level},
	{"removed while being told", test_remove_inside},
	{"removed and freed", test_remove_and_free},
	{"many at once", test_many},
	{"a kernel that takes no more", test_refused},
	{"other events", test_change},
	{"removed and closed", test_remove_closes},
	{"signalfd", test_signalfd},
	{"pidfd", test_pidfd},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("loop, files", tests);
}
