/* SPDX-License-Identifier: MIT */
/* The loop, over io_uring and over epoll alike. */
#include "../../libpcidipc/src/loop_internal.h"
#include "harness.h"

#include <fcntl.h>
#include <pcidipc/loop.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ull

static struct pcidipc_loop *loop;
static char trace[128];

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

static void start(void)
{
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(rig_loop_flags, &loop), 0);
	trace[0] = 0;
}

static void stop(void)
{
	pcidipc_loop_destroy(loop);
}

static void say(char what)
{
	size_t n = strlen(trace);

	if (n + 1 < sizeof(trace)) {
		trace[n] = what;
		trace[n + 1] = 0;
	}
}

static void test_backend(void)
{
	start();
	CU_ASSERT_STRING_EQUAL(pcidipc_loop_backend(loop),
			       rig_loop_flags & PCIDIPC_LOOP_EPOLL ? "epoll" : "io_uring");
	stop();
	setenv("PCIDIPC_LOOP", "epoll", 1);
	start();
	CU_ASSERT_STRING_EQUAL(pcidipc_loop_backend(loop), "epoll");
	stop();
	unsetenv("PCIDIPC_LOOP");
}

static int primary_result(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait(ring, 1);

	if (ret < 0 || io_uring_peek_cqe(ring, &cqe))
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

/* A driver's filter of system calls does not see what a ring is asked: polls, and nothing else. */
static void test_restricted(void)
{
	struct io_uring *ring;
	int fd = STDERR_FILENO;

	start();
	CU_ASSERT_EQUAL(loop_ring_fd(loop) < 0, !!(rig_loop_flags & PCIDIPC_LOOP_EPOLL));
	if (loop_ring_fd(loop) >= 0) {
		ring = &loop->uring.ring;
		io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, "/", O_RDONLY, 0);
		CU_ASSERT_EQUAL(primary_result(ring), -EACCES);
		io_uring_prep_nop(io_uring_get_sqe(ring));
		CU_ASSERT_EQUAL(primary_result(ring), -EACCES);
		CU_ASSERT_EQUAL(
			io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_FILES, &fd, 1),
			-EACCES);
	}
	stop();
}

/* ---- file descriptors ---- */

struct source {
	struct pcidipc_watch watch;
	int fd;
	char name;
	unsigned calls, events;
	bool keep; /* unread: it stays readable */
	struct source *remove;
};

static struct source *source_of(struct pcidipc_watch *watch)
{
	return pcidipc_container_of(watch, struct source, watch);
}

static void source_ready(struct pcidipc_watch *watch, unsigned events)
{
	struct source *s = source_of(watch);
	uint64_t value;

	s->calls++;
	s->events |= events;
	if (s->name)
		say(s->name);
	if (!s->keep && read(s->fd, &value, sizeof(value)) < 0)
		s->calls += 1000;
	if (s->remove) {
		pcidipc_watch_remove(&s->remove->watch);
		pcidipc_watch_remove(&s->remove->watch); /* twice is fine */
	}
	pcidipc_loop_stop(loop, 0);
}

static void source_open(struct source *s, char name)
{
	memset(s, 0, sizeof(*s));
	s->name = name;
	s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(pcidipc_watch_add(loop, &s->watch, s->fd, EPOLLIN, source_ready), 0);
}

static void source_close(struct source *s)
{
	pcidipc_watch_remove(&s->watch);
	close(s->fd);
}

static void fire(struct source *s)
{
	CU_ASSERT_EQUAL(write(s->fd, &(uint64_t){1}, 8), 8);
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

/* A poller that finds nothing, and has the loop spin. At its first look in a spin the event comes.
 */
struct looker {
	struct pcidipc_poller poller;
	struct source *source;
	unsigned looks;
};

static unsigned look(struct pcidipc_poller *poller)
{
	struct looker *l = pcidipc_container_of(poller, struct looker, poller);

	if (++l->looks == 2) /* the first was before the spin */
		fire(l->source);
	if (l->looks > 1000000)
		pcidipc_loop_stop(loop, 1);
	return 0;
}

/* What the kernel has to tell is heard while the loop spins, and not only when it is over. */
static void test_spin_hears(void)
{
	struct looker l = {.poller.poll = look};
	struct source s;

	start();
	source_open(&s, 'a');
	l.source = &s;
	pcidipc_poller_add(loop, &l.poller);
	for (unsigned i = 1; i <= 50; i++) {
		l.looks = 0;
		loop->spin.ns = loop->spin.most = UINT32_MAX;
		CU_ASSERT_EQUAL(pcidipc_loop_run(loop), 0);
		CU_ASSERT_EQUAL(s.calls, i);
		loop->code = 0;
	}
	pcidipc_poller_remove(&l.poller);
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

/* ---- signals and processes ---- */

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

/* ---- timers ---- */

struct clock {
	struct pcidipc_timer timer;
	char name;
	unsigned again;
	struct pcidipc_timer *cancel;
};

static void clock_fires(struct pcidipc_timer *timer)
{
	struct clock *c = pcidipc_container_of(timer, struct clock, timer);

	say(c->name);
	if (c->cancel)
		pcidipc_timer_cancel(c->cancel);
	if (c->again && c->again--)
		pcidipc_timer_set(loop, timer, MS, clock_fires);
	else
		pcidipc_loop_stop(loop, 9);
}

static void run_until(size_t length)
{
	while (strlen(trace) < length)
		pcidipc_loop_run(loop);
}

static void test_timers(void)
{
	struct clock c[5] = {
		{.name = 'a'}, {.name = 'b'}, {.name = 'c'}, {.name = 'd'}, {.name = 'e'}};

	start();
	pcidipc_timer_set(loop, &c[0].timer, 60 * MS, clock_fires);
	pcidipc_timer_set(loop, &c[1].timer, 20 * MS, clock_fires);
	pcidipc_timer_set(loop, &c[2].timer, 0, clock_fires);
	pcidipc_timer_set(loop, &c[3].timer, 40 * MS, clock_fires);
	pcidipc_timer_set(loop, &c[4].timer, 10 * MS, clock_fires);
	pcidipc_timer_set(loop, &c[0].timer, 5 * MS, clock_fires); /* moved */
	pcidipc_timer_cancel(&c[3].timer);
	pcidipc_timer_cancel(&c[3].timer);
	c[4].cancel = &c[1].timer; /* one that fires cancels another */
	run_until(3);
	CU_ASSERT_STRING_EQUAL(trace, "cae");
	pcidipc_timer_set(loop, &c[3].timer, MS, clock_fires);
	run_until(4);
	CU_ASSERT_STRING_EQUAL(trace, "caed"); /* b never came */
	stop();
}

static void test_timer_again(void)
{
	struct clock c = {.name = 'x', .again = 9};

	start();
	pcidipc_timer_set(loop, &c.timer, 0, clock_fires);
	CU_ASSERT_EQUAL(pcidipc_loop_run(loop), 9);
	CU_ASSERT_STRING_EQUAL(trace, "xxxxxxxxxx");
	stop();
}

/* ---- pollers ---- */

struct worker {
	struct pcidipc_poller poller;
	char name;
	unsigned work, budget;
	unsigned arms, disarms, slept;
	bool armed;
	struct worker *remove;
	struct source *wakes; /* work that comes between the last poll and arm */
};

static struct worker *worker_of(struct pcidipc_poller *poller)
{
	return pcidipc_container_of(poller, struct worker, poller);
}

static unsigned work(struct pcidipc_poller *poller)
{
	struct worker *w = worker_of(poller);
	unsigned n = w->work < w->budget ? w->work : w->budget;

	CU_ASSERT_FALSE(w->armed);
	if (n)
		say(w->name);
	w->work -= n;
	if (w->remove)
		pcidipc_poller_remove(&w->remove->poller);
	return n;
}

static bool arm(struct pcidipc_poller *poller)
{
	struct worker *w = worker_of(poller);

	w->arms++;
	w->armed = true;
	if (w->arms == 1 && w->wakes)
		w->work = 1;
	return !w->work;
}

static void disarm(struct pcidipc_poller *poller)
{
	worker_of(poller)->armed = false;
	worker_of(poller)->disarms++;
}

static void worker_add(struct worker *w, char name, unsigned amount, unsigned budget)
{
	memset(w, 0, sizeof(*w));
	w->name = name;
	w->work = amount;
	w->budget = budget;
	w->poller = (struct pcidipc_poller){.poll = work, .arm = arm, .disarm = disarm};
	pcidipc_poller_add(loop, &w->poller);
}

/* Each its budget per turn, in turn; before the sleep all are armed, afterwards disarmed. */
static void test_pollers(void)
{
	struct worker a, b;
	struct source s;

	start();
	worker_add(&a, 'a', 3, 1);
	worker_add(&b, 'b', 30, 10);
	source_open(&s, 's');
	pcidipc_loop_turn(loop, true);
	CU_ASSERT_STRING_EQUAL(trace, "ab");
	pcidipc_loop_turn(loop, true);
	pcidipc_loop_turn(loop, true);
	CU_ASSERT_STRING_EQUAL(trace, "ababab");
	CU_ASSERT_EQUAL(a.arms, 0);
	fire(&s);
	pcidipc_loop_run(loop);
	CU_ASSERT_TRUE(a.arms == b.arms && a.disarms >= a.arms);
	CU_ASSERT_STRING_EQUAL(trace, "abababs");
	pcidipc_poller_remove(&a.poller);
	pcidipc_poller_remove(&a.poller);
	b.work = 1;
	pcidipc_loop_turn(loop, false);
	CU_ASSERT_STRING_EQUAL(trace, "abababsb");
	pcidipc_poller_remove(&b.poller);
	source_close(&s);
	stop();
}

/* Work that comes after the last poll is found by arm: no sleep. */
static void test_last_look(void)
{
	struct worker a, b;
	struct source s;

	start();
	worker_add(&a, 'a', 0, 1);
	worker_add(&b, 'b', 0, 1);
	source_open(&s, 's');
	b.wakes = &s;
	while (!b.arms)
		pcidipc_loop_turn(loop, true); /* or it sleeps for ever: nothing else is to come */
	CU_ASSERT_FALSE(a.armed || b.armed);
	pcidipc_loop_turn(loop, true);
	CU_ASSERT_STRING_EQUAL(trace, "b");
	pcidipc_poller_remove(&a.poller);
	pcidipc_poller_remove(&b.poller);
	source_close(&s);
	stop();
}

static void test_poller_removes(void)
{
	struct worker a, b, c;

	start();
	worker_add(&a, 'a', 9, 1);
	worker_add(&b, 'b', 9, 1);
	worker_add(&c, 'c', 9, 1);
	a.remove = &b; /* the next one */
	pcidipc_loop_turn(loop, false);
	CU_ASSERT_STRING_EQUAL(trace, "ac");
	a.remove = &a; /* itself */
	pcidipc_loop_turn(loop, false);
	pcidipc_loop_turn(loop, false);
	CU_ASSERT_STRING_EQUAL(trace, "acacc");
	pcidipc_poller_remove(&c.poller);
	stop();
}

/* A poller that is always busy starves neither files nor timers. */
static void test_no_starvation(void)
{
	struct clock c = {.name = 't'};
	struct worker w;
	struct source s;
	int code;

	start();
	worker_add(&w, 0, UINT32_MAX, 1);
	source_open(&s, 0);
	fire(&s);
	pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(s.calls, 1);
	pcidipc_timer_set(loop, &c.timer, MS, clock_fires);
	code = pcidipc_loop_run(loop);
	CU_ASSERT_EQUAL(code, 9);
	pcidipc_poller_remove(&w.poller);
	source_close(&s);
	stop();
}

/* ---- deferred calls ---- */

struct later {
	struct pcidipc_deferred deferred;
	char name;
	struct later *next;
};

static void call_later(struct pcidipc_deferred *deferred)
{
	struct later *l = pcidipc_container_of(deferred, struct later, deferred);

	say(l->name);
	if (l->next)
		pcidipc_defer(loop, &l->next->deferred, call_later);
}

static void test_deferred(void)
{
	struct later c = {.name = 'c'}, b = {.name = 'b'}, a = {.name = 'a', .next = &c};

	start();
	pcidipc_defer(loop, &a.deferred, call_later);
	pcidipc_defer(loop, &a.deferred, call_later); /* once */
	pcidipc_defer(loop, &b.deferred, call_later);
	CU_ASSERT_STRING_EQUAL(trace, "");
	pcidipc_loop_turn(loop, true); /* does not sleep: there is work */
	CU_ASSERT_STRING_EQUAL(trace, "abc");
	pcidipc_defer(loop, &a.deferred, call_later);
	pcidipc_defer(loop, &b.deferred, call_later);
	pcidipc_defer_cancel(&a.deferred);
	pcidipc_defer_cancel(&a.deferred);
	pcidipc_loop_turn(loop, true);
	CU_ASSERT_STRING_EQUAL(trace, "abcb");
	stop();
}

/* Who does not spin any more tries again after a sleep that a spin would have caught the end of,
 * and only then. */
static void test_spin_again(void)
{
	struct spin spin = {.ns = 0, .most = SPIN_MAX_NS};

	spin_slept(&spin, SPIN_MAX_NS);
	CU_ASSERT_EQUAL(spin.ns, 0);
	spin_slept(&spin, SPIN_MAX_NS - 1);
	CU_ASSERT_EQUAL(spin.ns, SPIN_MAX_NS);
	spin_miss(&spin);
	CU_ASSERT_EQUAL(spin.ns, SPIN_MAX_NS / 2);
	spin_slept(&spin, 1);
	CU_ASSERT_EQUAL(spin.ns, SPIN_MAX_NS / 2);
	spin = (struct spin){0};
	spin_slept(&spin, 0);
	CU_ASSERT_EQUAL(spin.ns, 0);
}

/* A thread that is pinned spins like any other where the machine has more CPUs: its peer is on one
 * of them. */
static void test_spin_pinned(void)
{
	cpu_set_t all, one;
	struct spin spin;
	int cpu = 0;

	CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof(one), &one), 0);
	spin_init(&spin);
	CU_ASSERT_EQUAL(spin.ns > 0, sysconf(_SC_NPROCESSORS_ONLN) > 1);
	CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof(all), &all), 0);
}

static CU_TestInfo tests[] = {
	{"the backend asked for", test_backend},
	{"the kernel's ring takes polls only", test_restricted},
	{"pinned to one CPU", test_spin_pinned},
	{"spin again after a short sleep", test_spin_again},
	{"eventfd", test_watch},
	{"eventfd, while spinning", test_spin_hears},
	{"level-triggered", test_level},
	{"removed while being told", test_remove_inside},
	{"removed and freed", test_remove_and_free},
	{"many at once", test_many},
	{"a kernel that takes no more", test_refused},
	{"other events", test_change},
	{"removed and closed", test_remove_closes},
	{"signalfd", test_signalfd},
	{"pidfd", test_pidfd},
	{"timers", test_timers},
	{"a timer that sets itself", test_timer_again},
	{"pollers", test_pollers},
	{"the last look before sleep", test_last_look},
	{"pollers that go", test_poller_removes},
	{"nobody starves", test_no_starvation},
	{"deferred calls", test_deferred},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("loop", tests);
}
