/* SPDX-License-Identifier: MIT */
/* A service's answers: in any order, more than the CQ holds, beside operations, taken late or
 * never.
 */
#include "../../libpcidipc/src/consumer_internal.h"
#include "rigsession.h"

static int op_res; /* of the operation that ended */

/* A hundred pending at once, released in an order that is neither theirs nor its reverse. */
static void test_any_order(void)
{
	enum { MANY = 100 };

	start(128, 128);
	for (int i = 0; i < MANY; i++)
		put(c, (char)i, RIG_HOLD, 0, 0);
	pcidipc_submit(c);
	for (int i = 0; i < MANY; i++)
		rig_expect(&rig, (char[]){'H', (char)(i == '.' ? '.' : i), 0});
	for (int i = 0; i < MANY; i++) {
		int who = i * 37 % MANY;

		rig_release(&rig, (uint64_t)who, who + 5);
		expect_cqe(c, (char)who, who + 5);
	}
	stop();
}

/* More are waited for than the CQ holds: they are kept, or the producer would wait for a slot. */
static void test_wait_beyond_cq(void)
{
	enum { MANY = 16 };

	start(8, 8);
	for (int i = 0; i < MANY; i++) {
		while (!pcidipc_sq_space(c))
			pcidipc_submit(c);
		put(c, (char)i, RIG_ECHO, (uint32_t)i, 0);
	}
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, MANY), 0);
	for (int i = 0; i < MANY; i++)
		expect_cqe(c, (char)i, i);
	stop();
}

static void note_op(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	(void)op;
	op_res = cqe->res;
}

/* An operation that ended during a call is none of those that are waited for. */
static void test_wait_beside_operations(void)
{
	struct io_uring_sqe echo = {.opcode = IORING_OP_URING_CMD, .cmd_op = RIG_ECHO}, *sqe;
	struct pcidipc_op op = {.done = note_op};

	start(8, 8);
	op_res = 0;
	sqe = put(c, '1', RIG_ECHO, 7, 0);
	CU_ASSERT_EQUAL(pcidipc_sqe_set_op(c, sqe, &op), 0);
	CU_ASSERT_EQUAL(pcidipc_call(c, &echo, NULL), 0);
	CU_ASSERT_EQUAL(op_res, 0); /* a call reaps its own only */
	put(c, '2', RIG_ECHO, 9, 0);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 1), 0);
	CU_ASSERT_EQUAL(op_res, 7);
	expect_cqe(c, '2', 9);
	stop();
}

static void test_big_cqes(void)
{
	const struct rig_params params = {.features = RINGABI_RING_CQE32};
	struct pcidipc_cqe cqe = {0};

	rig_start(&rig, &params);
	c = rig_open(&rig, 4, 4);
	for (uint64_t i = 1; i < 20; i++) {
		struct io_uring_sqe *sqe = put(c, 1, RIG_ECHO, 3, 0);

		sqe->addr = i << 40;
		CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 1), 0);
		CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.big[0], i << 40);
		CU_ASSERT_EQUAL(cqe.big[1], ~(i << 40));
	}
	stop();
}

static void test_limits(void)
{
	const struct rig_params params = {.sq_entries = 8, .cq_entries = 16, .max_sessions = 2};
	struct pcidipc_consumer_params more = {.interface = RIG_INTERFACE};
	struct pcidipc_consumer *third = NULL;

	rig_start(&rig, &params);
	c = rig_open(&rig, 1024, 4096); /* lowered to what the producer allows */
	CU_ASSERT_EQUAL(pcidipc_sq_space(c), 8);
	CU_ASSERT_EQUAL(pcidipc_consumer_adopt(rig_channel(&rig), &more, &third), -EMFILE);
	CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 3), 3);
	stop();
}

static void test_events(void)
{
	struct pcidipc_cqe cqe;

	start(8, 8);
	for (char i = '1'; i <= '5'; i++)
		put(c, i, RIG_EVENT, (uint32_t)i, 0);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 5), 0);
	while (pcidipc_next_cqe(c, &cqe) == 1)
		CU_ASSERT_EQUAL(cqe.res, 0);
	stop();
}

/* Completions that the program does not take while its operations go on: so many may wait. */
static void test_not_taken(void)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = RIG_ECHO, .len = 3};
	struct pcidipc_cqe cqe = {0};

	start(8, 8); /* 16 */
	for (int i = 0; i < 16; i++) {
		put(c, (char)i, RIG_ECHO, (uint32_t)i, 0);
		CU_ASSERT_EQUAL(pcidipc_call(c, &sqe, NULL), 3);
	}
	for (int i = 0; i < 16; i++) {
		CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.res, i);
	}
	for (int i = 0; i < 16; i++) {
		put(c, (char)i, RIG_ECHO, (uint32_t)i, 0);
		CU_ASSERT_EQUAL(pcidipc_call(c, &sqe, NULL), 3);
	}
	put(c, 17, RIG_ECHO, 17, 0);
	CU_ASSERT_EQUAL(pcidipc_call(c, &sqe, NULL), 3); /* it had its answer */
	CU_ASSERT_EQUAL(pcidipc_submit(c), -EPROTO);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c), -EPROTO);
	stop();
}

/* Both sides tell where they ran when they waited, into words that only hint: whatever the other
 * side finds there, it goes on. Returns how often a call took till ours was told. */
static unsigned call_until_told(uint32_t cpu)
{
	struct io_uring_sqe nop = {.opcode = IORING_OP_NOP};
	struct ringabi_ring *shared = c->ring.map.shared;
	unsigned n = 0;

	while (__atomic_load_n(&shared->consumer_cpu, __ATOMIC_RELAXED) != cpu && n++ < 100000) {
		__atomic_store_n(&shared->producer_cpu, n % 2 ? cpu : UINT32_MAX - n,
				 __ATOMIC_RELAXED);
		CU_ASSERT_EQUAL_FATAL(pcidipc_call(c, &nop, NULL), 0);
	}
	return n;
}

static void test_told_cpu(void)
{
	struct ringabi_ring *shared;
	cpu_set_t all, one;
	int cpu = 0;

	start(8, 8);
	shared = c->ring.map.shared;
	CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof(one), &one), 0);
	for (unsigned i = 0; i < 100; i++) {
		__atomic_store_n(&shared->consumer_cpu, UINT32_MAX - i, __ATOMIC_RELAXED);
		CU_ASSERT(call_until_told((uint32_t)cpu + 1) <= 100000);
	}
	CU_ASSERT_NOT_EQUAL(__atomic_load_n(&shared->producer_cpu, __ATOMIC_RELAXED), 0);
	CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof(all), &all), 0);
	stop();
}

static CU_TestInfo tests[] = {
	{"in any order", test_any_order},
	{"waiting for more than the CQ holds", test_wait_beyond_cq},
	{"waiting beside operations", test_wait_beside_operations},
	{"values in CQEs", test_big_cqes},
	{"limits", test_limits},
	{"completions that nobody takes", test_not_taken},
	{"events", test_events},
	{"where both sides ran", test_told_cpu},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("scheme", tests);
}
