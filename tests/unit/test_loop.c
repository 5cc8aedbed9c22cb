/* SPDX-License-Identifier: MIT */
/* The loop, over io_uring and over epoll alike: its spinning, timers, pollers, deferred calls. */
#include "../../libpcidipc/src/loop_internal.h"
#include "loopsource.h"

#include <limits.h>
#include <fcntl.h>
#include <stdlib.h>

#define MS 1000000ull

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

/* ---- spinning ---- */

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

/* Two that find nothing; the loop wants to sleep when it arms them, and that stops it. */
struct waiter {
	struct pcidipc_poller poller;
	unsigned looks;
	uint32_t cpu;
	unsigned awaited;
};

static unsigned wait_look(struct pcidipc_poller *poller)
{
	struct waiter *w = pcidipc_container_of(poller, struct waiter, poller);

	return ++w->looks >= 1000; /* one look is before the spin */
}

static unsigned wait_awaits(struct pcidipc_poller *poller, uint32_t cpu)
{
	struct waiter *w = pcidipc_container_of(poller, struct waiter, poller);

	w->cpu = cpu;
	return w->awaited;
}

static bool wait_arm(struct pcidipc_poller *poller)
{
	(void)poller;
	pcidipc_loop_stop(loop, 1);
	return false;
}

/* One turn of two; returns the first one's looks. */
static unsigned turn_of(unsigned first, unsigned second, bool says)
{
	struct waiter w[2] = {{.awaited = first}, {.awaited = second}};

	start();
	loop->spin.ns = loop->spin.most = UINT32_MAX;
	for (int i = 0; i < 2; i++) {
		w[i].poller.poll = wait_look;
		w[i].poller.arm = wait_arm;
		w[i].poller.awaits = says || i ? wait_awaits : NULL;
		pcidipc_poller_add(loop, &w[i].poller);
	}
	pcidipc_loop_turn(loop, true);
	CU_ASSERT_NOT_EQUAL(w[1].cpu, 0); /* asked, whatever the first said */
	for (int i = 0; i < 2; i++)
		pcidipc_poller_remove(&w[i].poller);
	stop();
	return w[0].looks;
}

static void test_spin_for_whom(void)
{
	CU_ASSERT_EQUAL(turn_of(0, 0, true), 1); /* nobody: the loop sleeps at once */
	CU_ASSERT_EQUAL(turn_of(PCIDIPC_AWAITED_DEVICE, 0, true), 1000);
	CU_ASSERT_EQUAL(turn_of(0, PCIDIPC_AWAITED_ELSEWHERE, true), 1000);
	CU_ASSERT_EQUAL(turn_of(0, 0, false), 1000); /* a device says nothing */
	CU_ASSERT_TRUE(turn_of(PCIDIPC_AWAITED_HERE, 0, true) > 1);
}

static void test_spin_how(void)
{
	static const struct {
		unsigned who;
		enum spin_how how;
	} cases[] = {
		{0, SPIN_NOT},
		{PCIDIPC_AWAITED_HERE, SPIN_BESIDE},
		{PCIDIPC_AWAITED_ELSEWHERE, SPIN_UNTIL},
		{PCIDIPC_AWAITED_HERE | PCIDIPC_AWAITED_ELSEWHERE, SPIN_UNTIL},
		{PCIDIPC_AWAITED_ANSWER, SPIN_BESIDE},
		{PCIDIPC_AWAITED_ANSWER | PCIDIPC_AWAITED_ELSEWHERE, SPIN_BESIDE},
		{PCIDIPC_AWAITED_ANSWER | PCIDIPC_AWAITED_DEVICE, SPIN_UNTIL},
		{PCIDIPC_AWAITED_DEVICE | PCIDIPC_AWAITED_HERE, SPIN_UNTIL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		CU_ASSERT_EQUAL(spin_how(cases[i].who), cases[i].how);
}

struct looks {
	unsigned n, enough;
};

static bool look_once(void *arg)
{
	struct looks *looks = arg;

	return ++looks->n >= looks->enough;
}

/* Where yields bring nothing it ends by itself, and where there is no spinning it does not begin.
 */
static void test_spin_beside(void)
{
	struct spin spin = {.most = SPIN_MAX_NS};
	struct looks soon = {.enough = 1}, never = {.enough = UINT_MAX}, off = {.enough = 1};

	CU_ASSERT_TRUE(spin_beside(&spin, look_once, &soon));
	CU_ASSERT_EQUAL(soon.n, 1);
	CU_ASSERT_FALSE(spin_beside(&spin, look_once, &never));
	CU_ASSERT_TRUE(never.n >= 1);
	spin.most = 0;
	CU_ASSERT_FALSE(spin_beside(&spin, look_once, &off));
	CU_ASSERT_EQUAL(off.n, 0);
}

/* The other side has told that it runs on `peer` - 1; ours must be told, whatever stood there. */
static bool elsewhere(uint32_t cpu, uint32_t peer, uint32_t stood)
{
	uint32_t told = stood;
	bool pays = spin_elsewhere(cpu, &told, &peer);

	CU_ASSERT_EQUAL(told, cpu);
	return pays;
}

static void test_spin_elsewhere(void)
{
	CU_ASSERT_TRUE(elsewhere(1, 2, 0));
	CU_ASSERT_FALSE(elsewhere(2, 2, 1));
	CU_ASSERT_TRUE(elsewhere(2, 0, 2)); /* it has not told */
	CU_ASSERT_TRUE(elsewhere(0, 0, 2)); /* nor do we know */
	CU_ASSERT_TRUE(elsewhere(0, 2, 0));
	CU_ASSERT_TRUE(elsewhere(1, UINT32_MAX, UINT32_MAX)); /* no such CPU */
	CU_ASSERT_FALSE(elsewhere(1, 1, UINT32_MAX));	      /* a lie, perhaps */
}

static CU_TestInfo tests[] = {
	{"the backend asked for", test_backend},
	{"the kernel's ring takes polls only", test_restricted},
	{"pinned to one CPU", test_spin_pinned},
	{"spin again after a short sleep", test_spin_again},
	{"eventfd, while spinning", test_spin_hears},
	{"timers", test_timers},
	{"a timer that sets itself", test_timer_again},
	{"pollers", test_pollers},
	{"the last look before sleep", test_last_look},
	{"pollers that go", test_poller_removes},
	{"nobody starves", test_no_starvation},
	{"deferred calls", test_deferred},
	{"spin only for who is elsewhere", test_spin_elsewhere},
	{"who is waited for", test_spin_for_whom},
	{"how to wait for whom", test_spin_how},
	{"wait beside somebody", test_spin_beside},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("loop", tests);
}
