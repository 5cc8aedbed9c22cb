// SPDX-License-Identifier: MIT
/* Several sessions in one queue pair: whose commands the controller gets, and in which order. */
#include "nvmerig.h"
#include "suites.h"

#define SESSIONS 20
#define MANY 400

/* A session, and the requests that it made. */
static struct user {
	struct share share;
	struct asked asked[MANY];
	unsigned n;
} users[SESSIONS];

static void get_task(void *arg)
{
	start_result = pair_get(c, arg);
	flag = true;
}

/* Commands are held until a test has them answered; their starting block says who sent them. */
static void begin_users(unsigned n)
{
	begin();
	m.cap |= 127;
	m.blocks = 1000000;
	c->io_limit = 1000000;
	start();
	m.hold_io = true;
	memset(users, 0, sizeof(users));
	for (unsigned i = 0; i < n; i++) {
		flag = false;
		pcidipc_spawn(c->loop, get_task, &users[i].share.pair);
		until(&flag);
		CU_ASSERT_PTR_EQUAL_FATAL(users[i].share.pair, model_pair);
	}
	CU_ASSERT_EQUAL_FATAL(model_pair->queue.params.entries, 128);
}

static struct asked *request(unsigned user, uint64_t blocks)
{
	struct asked *a = &users[user].asked[users[user].n++];

	prepare(a, PCIDIPC_BLOCK_READ, blocks);
	a->rq->session = (void *)&users[user].share;
	a->io->lba = user * 10000u;
	return a;
}

static void ask_of(unsigned user, unsigned n)
{
	while (n--)
		submit(request(user, 1));
}

static unsigned sender(unsigned held)
{
	return le32toh(m.held[held].cdw10) / 10000;
}

static unsigned held_of(unsigned user)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m.nheld; i++)
		n += sender(i) == user;
	return n;
}

/* Answer the oldest, as a controller does that works in order. */
static unsigned answer_oldest(void)
{
	unsigned user = sender(0);
	uint16_t cid = m.held[0].cid, queue = m.held_queue[0];

	m.nheld--;
	memmove(m.held, m.held + 1, m.nheld * sizeof(*m.held));
	memmove(m.held_queue, m.held_queue + 1, m.nheld * sizeof(*m.held_queue));
	model_complete(queue, cid, 0, 0);
	c->poller.poll(&c->poller);
	return user;
}

static void answer(unsigned n)
{
	while (n--)
		answer_oldest();
}

static unsigned done_of(unsigned user)
{
	unsigned n = 0;

	for (unsigned i = 0; i < users[user].n; i++)
		n += users[user].asked[i].done;
	return n;
}

static void finish_users(unsigned n)
{
	while (m.nheld)
		answer_oldest();
	for (unsigned i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(done_of(i), users[i].n);
		CU_ASSERT_EQUAL(users[i].share.in_flight, 0);
		CU_ASSERT_PTR_NULL(users[i].share.parked_first);
		for (unsigned k = 0; k < users[i].n; k++)
			free(users[i].asked[k].rq);
	}
	CU_ASSERT_PTR_NULL(model_pair->line_first);
	finish();
}

/* ---- how much ---- */

static void test_alone(void)
{
	begin_users(3);
	ask_of(0, 150);
	CU_ASSERT_EQUAL(m.nheld, 127);
	finish_users(3);
}

/* Of two at work, a greedy one has 32 commands with the controller, and the modest one's is the
 * 33rd; again and again, also while the modest one thinks. */
static void test_greedy(void)
{
	begin_users(2);
	ask_of(1, 1);
	ask_of(0, 150);
	CU_ASSERT_EQUAL(held_of(0), 32);
	for (unsigned round = 1; round <= 100; round++) {
		unsigned before = 0;

		while (answer_oldest() != 1)
			before++;
		CU_ASSERT(before <= 32);
		CU_ASSERT_EQUAL(done_of(1), round);
		ask_of(0, before ? 1 : 0);
		CU_ASSERT(held_of(0) <= 32);
		ask_of(1, 1);
	}
	finish_users(2);
}

/* Who has not asked for 2048 commands' time is forgotten: the queue is the other's again. */
static void test_forgotten(void)
{
	begin_users(2);
	ask_of(1, 1);
	ask_of(0, 100);
	CU_ASSERT_EQUAL(held_of(0), 32);
	for (unsigned sent = 0; sent < 2 * 1024; sent++) {
		struct asked *a = users[0].asked;

		while (!a->done)
			answer_oldest();
		free(a->rq);
		memmove(a, a + 1, --users[0].n * sizeof(*a));
		for (unsigned i = 0; i < users[0].n; i++)
			a[i].rq->sqe.user_data = (uintptr_t)&a[i];
		ask_of(0, 1);
	}
	ask_of(0, 50);
	CU_ASSERT(held_of(0) > 64);
	finish_users(2);
}

/* Eight have an eighth of the queue each; twenty still four. */
static void equal_parts(unsigned n, unsigned expect)
{
	begin_users(n);
	for (unsigned i = 0; i < n; i++)
		ask_of(i, 1);
	answer(n);
	for (unsigned i = 0; i < n; i++)
		ask_of(i, 50);
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_EQUAL(held_of(i), expect);
	finish_users(n);
}

static void test_equal_parts(void)
{
	equal_parts(2, 32);
	equal_parts(8, 127 / 8);
	equal_parts(20, 127 / 20);
}

/* ---- in which order ---- */

/* One alone has filled the queue, and more waits. A newcomer's is the next that is sent. */
static void test_newcomer(void)
{
	begin_users(2);
	ask_of(0, 150);
	CU_ASSERT_EQUAL(m.nheld, 127);
	ask_of(1, 3);
	CU_ASSERT_EQUAL(held_of(1), 0);
	answer(1);
	CU_ASSERT_EQUAL(held_of(1), 1);
	answer(2);
	CU_ASSERT_EQUAL(held_of(1), 3);
	CU_ASSERT_EQUAL(held_of(0), 124);
	answer(92);
	CU_ASSERT_EQUAL(held_of(0), 32); /* nothing of its own before it is down to its part */
	answer(1);
	CU_ASSERT_EQUAL(held_of(0), 32);
	finish_users(2);
}

/* Slots go round among those that wait for one, however many requests each has. */
static void test_round_robin(void)
{
	unsigned before[4];

	begin_users(4);
	ask_of(0, 127);
	for (unsigned i = 1; i < 4; i++)
		ask_of(i, 10 * i);
	CU_ASSERT_EQUAL(held_of(0), 127);
	for (unsigned round = 1; round <= 10; round++) {
		answer(3);
		for (unsigned i = 1; i < 4; i++)
			CU_ASSERT_EQUAL(before[i] = held_of(i), round);
	}
	answer(2); /* the first has no more */
	CU_ASSERT_EQUAL(held_of(1), before[1]);
	CU_ASSERT_EQUAL(held_of(2), before[2] + 1);
	CU_ASSERT_EQUAL(held_of(3), before[3] + 1);
	finish_users(4);
}

/* A request of many commands is one session's: it goes in pieces, and ends before that session's
 * next begins. */
static void test_long_request(void)
{
	struct asked *a, *b;

	begin_users(2);
	ask_of(1, 1);
	a = request(0, 16 * 100); /* 100 commands: the model's MDTS is 16 blocks */
	submit(a);
	b = request(0, 1);
	submit(b);
	CU_ASSERT_EQUAL(held_of(0), 32);
	for (unsigned i = 0; i < 100; i++) {
		CU_ASSERT(!a->done);
		CU_ASSERT(!b->done);
		ask_of(1, 1);
		while (answer_oldest() != 0)
			;
	}
	CU_ASSERT(a->done);
	CU_ASSERT_EQUAL(a->res, 0);
	finish_users(2);
}

/* ---- ends ---- */

/* What waits when the controller is reset goes on afterwards; what it had in flight failed. */
static void test_reset(void)
{
	unsigned failed = 0;

	begin_users(3);
	m.heals = true;
	for (unsigned i = 0; i < 3; i++)
		ask_of(i, 60);
	CU_ASSERT(m.nheld > 90);
	m.csts |= CSTS_FATAL;
	c->io_limit = 4;
	UNTIL(c->recovering);
	UNTIL(!c->recovering);
	CU_ASSERT_EQUAL(m.enables, 2);
	for (unsigned i = 0; i < 3; i++) {
		UNTIL(done_of(i) == 60);
		for (unsigned k = 0; k < 60; k++)
			failed += users[i].asked[k].res != 0;
	}
	CU_ASSERT(failed > 90 && failed < 180);
	finish_users(3);
}

/* The controller goes: nobody waits any more, in the line or out of it. */
static void test_gone(void)
{
	begin_users(3);
	for (unsigned i = 0; i < 3; i++)
		ask_of(i, 100);
	m.gone = true;
	c->io_limit = 4;
	UNTIL(c->dead);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 100; k++) {
			UNTIL(users[i].asked[k].done);
			CU_ASSERT_EQUAL(users[i].asked[k].res, -ENODEV);
		}
	m.nheld = 0;
	finish_users(3);
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"one alone may fill the queue", test_alone},
		{"a greedy one beside a modest one", test_greedy},
		{"one that asks no more is forgotten", test_forgotten},
		{"equal parts", test_equal_parts},
		{"a newcomer and a full queue", test_newcomer},
		{"slots go round", test_round_robin},
		{"a request of many commands", test_long_request},
		{"a reset while some wait", test_reset},
		{"the controller goes while some wait", test_gone},
		CU_TEST_INFO_NULL,
	};

	pcidipc_log_init("test_nvmed_share", 0);
	return run_tests("nvmed's sessions in one queue pair", tests);
}
