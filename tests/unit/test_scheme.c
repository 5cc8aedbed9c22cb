/* SPDX-License-Identifier: MIT */
/* A service and its clients: answers in any order, pools that grow and go, ends of either side, the
 * hot path. */
#include "harness.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pcidipc/log.h>
#include <pcidipc/task.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK RINGABI_POOL_CHUNK

static struct rig rig;
static struct pcidipc_consumer *c;
static struct pcidipc_pool *pool;
static uint16_t index_of_pool;
static int op_res; /* of the operation that ended */

static void start(uint32_t sq, uint32_t cq)
{
	rig_start(&rig, NULL);
	c = rig_open(&rig, sq, cq);
	rig_expect(&rig, "O0");
}

static void stop(void)
{
	rig_stop(&rig);
	pcidipc_consumer_close(c);
}

static void start_with_pool(uint64_t bytes)
{
	start(64, 64);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(bytes, 0, &pool), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_attach_pool(c, pool, &index_of_pool), 0);
	rig_expect(&rig, "A0");
}

static void stop_with_pool(void)
{
	stop();
	pcidipc_pool_destroy(pool);
}

static void reach(char user_data, uint64_t at, uint32_t bytes)
{
	put(c, user_data, RIG_REACH, bytes, 0)->addr = at;
}

static void gate(void)
{
	CU_ASSERT_EQUAL(rig_do(&rig, RIG_GATE, 0, 0), 0);
}

/* ---- answers ---- */

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

/* ---- growth ---- */

/* Who names memory beyond what is mapped waits, alone; and the chunk is mapped once. */
static void test_growth(void)
{
	start_with_pool(4ull * CHUNK);
	reach('1', 0, 4096);
	expect_cqe(c, '1', 0);
	rig_expect(&rig, "B1M0B1"); /* the handler runs again, from its start */
	rig.knobs->gated = 1;
	reach('2', 2ull * CHUNK, 4096);
	reach('3', 2ull * CHUNK + 8192, 4096);
	reach('4', CHUNK - 4096, 4096); /* mapped already */
	put(c, '5', RIG_ECHO, 55, 0);
	expect_cqe(c, '4', 0);
	expect_cqe(c, '5', 55);
	gate();
	expect_cqe(c, '2', 0);
	expect_cqe(c, '3', 0);
	rig.knobs->gated = 0;
	reach('6', 3ull * CHUNK - 1, 2); /* two chunks, one of them new */
	expect_cqe(c, '6', 0);
	reach('7', 0, UINT32_MAX >> 5); /* all four: one is missing */
	expect_cqe(c, '7', 0);
	stop_with_pool();
}

/* A task that has a request awaits the mapping, and goes on where it was; others go on meanwhile.
 */
static void test_growth_in_task(void)
{
	start_with_pool(2ull * CHUNK);
	rig.knobs->gated = 1;
	put(c, '1', RIG_TASK, 4096, 0)->addr = CHUNK;
	put(c, '2', RIG_ECHO, 2, 0);
	expect_cqe(c, '2', 2);
	gate();
	expect_cqe(c, '1', 7);
	rig_expect(&rig, "T1R2M1t1");
	put(c, '3', RIG_TASK, 4096, 0)->addr = CHUNK; /* mapped already */
	expect_cqe(c, '3', 7);
	put(c, '4', RIG_TASK, 4096, 0)->addr = 2ull * CHUNK - 64;
	expect_cqe(c, '4', -EFAULT);
	put(c, '5', RIG_TASK, 64, 0)->buf_index = 1;
	expect_cqe(c, '5', -ENXIO);
	put(c, '6', RIG_TASK, 0, 0)->addr = 2ull * CHUNK;
	expect_cqe(c, '6', 7);
	rig.knobs->gated = 0;
	rig.knobs->map_result = -EDQUOT;
	put(c, '7', RIG_TASK, 64, 0);
	expect_cqe(c, '7', -EDQUOT);
	stop_with_pool();
}

static void test_growth_order(void)
{
	start_with_pool(4ull * CHUNK);
	rig.knobs->gated = 1;
	put(c, '1', RIG_REACH, 4096, IOSQE_IO_LINK)->addr = CHUNK;
	put(c, '2', RIG_ECHO, 2, 0);
	put(c, '3', RIG_ECHO, 3, IOSQE_IO_DRAIN);
	pcidipc_submit(c);
	rig_expect(&rig, "B1M1");
	gate();
	expect_cqe(c, '1', 0);
	expect_cqe(c, '2', 2);
	expect_cqe(c, '3', 3);
	rig_expect(&rig, "B1R2R3");
	stop_with_pool();
}

static void test_growth_fails(void)
{
	start_with_pool(2ull * CHUNK);
	rig.knobs->map_result = -EDQUOT;
	reach('1', 0, 64);
	put(c, '2', RIG_ECHO, 2, 0);
	expect_cqe(c, '2', 2);
	expect_cqe(c, '1', -EDQUOT);
	rig.knobs->map_result = 0;
	reach('3', 0, 64); /* tried again */
	expect_cqe(c, '3', 0);
	rig_expect(&rig, "B1R2M0B3M0B3");
	stop_with_pool();
}

static void test_ranges(void)
{
	const uint64_t bytes = CHUNK + RINGABI_POOL_ALIGN;
	struct io_uring_sqe *sqe;

	start_with_pool(bytes);
	reach('1', bytes - 64, 64);
	expect_cqe(c, '1', 0);
	reach('2', bytes - 64, 65);
	expect_cqe(c, '2', -EFAULT);
	reach('3', UINT64_MAX - 10, 64);
	expect_cqe(c, '3', -EFAULT);
	reach('4', UINT64_MAX - 10, 5);
	expect_cqe(c, '4', -EFAULT);
	reach('5', bytes, 0);
	expect_cqe(c, '5', 0);
	sqe = put(c, '6', RIG_REACH, 64, 0);
	sqe->buf_index = 1;
	expect_cqe(c, '6', -ENXIO);
	sqe = put(c, '7', RIG_REACH, 64, 0);
	sqe->buf_index = UINT16_MAX;
	expect_cqe(c, '7', -ENXIO);
	*(char *)pcidipc_pool_base(pool) = 'y';
	put(c, '8', RIG_MAPPED, 1, 0);
	expect_cqe(c, '8', 'y');
	put(c, '9', RIG_MAPPED, 1, 0)->addr = bytes;
	expect_cqe(c, '9', -EFAULT);
	stop_with_pool();
}

/* What whoever forwards a pool asks for. */
static int pool_map(uint16_t index, uint64_t at, uint32_t bytes)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = RINGABI_CMD_POOL_MAP,
				   .addr = at,
				   .len = bytes,
				   .buf_index = index};

	return pcidipc_call(c, &sqe, NULL);
}

static void test_forwarding(void)
{
	uint16_t second;
	uint64_t iova;

	start_with_pool(4ull * CHUNK);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool_fd(c, pcidipc_pool_fd(pool), 4ull * CHUNK,
							&second, &iova),
			0);
	CU_ASSERT_EQUAL(second, 1);
	CU_ASSERT_EQUAL(iova, 0); /* not from pcid */
	rig_expect(&rig, "A1");
	CU_ASSERT_EQUAL(pool_map(second, CHUNK, CHUNK), 0);
	CU_ASSERT_EQUAL(pool_map(second, CHUNK, CHUNK), 0); /* again is no error */
	rig_expect(&rig, "M1");				    /* and asks the driver once */
	CU_ASSERT_EQUAL(pool_map(second, CHUNK + 1, CHUNK), -EINVAL);
	CU_ASSERT_EQUAL(pool_map(second, CHUNK, CHUNK - 1), -EINVAL);
	CU_ASSERT_EQUAL(pool_map(second, CHUNK, 0), -EINVAL);
	CU_ASSERT_EQUAL(pool_map(second, 0, 2 * CHUNK), -EINVAL);
	CU_ASSERT_EQUAL(pool_map(second, 4ull * CHUNK, CHUNK), -EFAULT);
	CU_ASSERT_EQUAL(pool_map(second, UINT64_MAX - 4095, CHUNK), -EFAULT);
	CU_ASSERT_EQUAL(pool_map(2, 0, CHUNK), -ENXIO);
	rig.knobs->map_result = -EDQUOT;
	CU_ASSERT_EQUAL(pool_map(second, 0, CHUNK), -EDQUOT);
	CU_ASSERT_EQUAL(pcidipc_consumer_detach_pool(c, second), 0);
	rig_expect(&rig, "M0D1");
	CU_ASSERT_EQUAL(pcidipc_consumer_detach_pool(c, second), -ENXIO);
	stop_with_pool();
}

/* ---- detaching ---- */

static void put_detach(char user_data)
{
	struct io_uring_sqe *sqe = put(c, user_data, RINGABI_CMD_POOL_DETACH, 0, 0);

	sqe->buf_index = index_of_pool;
}

static void test_detach(void)
{
	start_with_pool(2ull * CHUNK);
	rig.knobs->gated = 1;
	reach('1', 0, 64);
	put(c, '2', RIG_HOLD, 0, 0);
	put_detach('3');
	reach('4', 0, 64); /* too late */
	put_detach('5');
	expect_cqe(c, '4', -ENXIO);
	expect_cqe(c, '5', -ENXIO);
	gate();
	expect_cqe(c, '1', 0);
	rig_release(&rig, '2', 0);
	expect_cqe(c, '2', 0);
	expect_cqe(c, '3', 0);
	stop_with_pool();
}

/* Two pools on their way out at the same time, behind the same request. */
static void test_detach_two(void)
{
	uint16_t second;

	start_with_pool(CHUNK);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, pool, &second), 0);
	put(c, '1', RIG_HOLD, 0, 0);
	put_detach('2');
	put(c, '3', RINGABI_CMD_POOL_DETACH, 0, 0)->buf_index = second;
	put(c, '4', RIG_ECHO, 4, 0);
	expect_cqe(c, '4', 4);
	rig_release(&rig, '1', 1);
	expect_cqe(c, '1', 1);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 2), 0);
	stop_with_pool();
}

/* A detach whose turn comes late, behind its chain: what came after it, and has begun, has the pool
 * still. */
static void test_detach_late(void)
{
	start_with_pool(2ull * CHUNK);
	put(c, '1', RIG_HOLD, 0, IOSQE_IO_LINK);
	put_detach('2');
	put(c, '3', RIG_HOLD, 0, 0)->buf_index = index_of_pool;
	pcidipc_submit(c);
	rig_expect(&rig, "H1H3");
	rig_release(&rig, '1', 0);
	expect_cqe(c, '1', 0);
	reach('4', 0, 64); /* too late */
	expect_cqe(c, '4', -ENXIO);
	rig_release(&rig, '3', 0);
	expect_cqe(c, '3', 0);
	expect_cqe(c, '2', 0);
	rig_expect(&rig, "L1B4L3D0");
	stop_with_pool();
}

/* The client goes in the midst of everything: parked, held, waiting, detaching. */
static void test_client_goes(void)
{
	start_with_pool(4ull * CHUNK);
	rig.knobs->cancel = RIG_CANCEL_COMPLETES;
	rig.knobs->gated = 1;
	reach('1', CHUNK, 64);
	put(c, '2', RIG_HOLD, 0, IOSQE_IO_LINK);
	put(c, '3', RIG_ECHO, 3, 0);
	put_detach('4');
	put(c, '5', RIG_ECHO, 5, IOSQE_IO_DRAIN);
	put(c, '6', RIG_ECHO, 6, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "B1H2M1");
	pcidipc_consumer_close(c);
	rig_expect(&rig, "X2");
	gate();
	rig_expect(&rig, "D0C0");
	CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 9), 9);
	c = NULL;
	stop_with_pool();
}

/* ---- ends ---- */

static void test_end_in_handler(void)
{
	struct pcidipc_cqe cqe;

	start(16, 16);
	rig.knobs->cancel = RIG_CANCEL_COMPLETES;
	put(c, '1', RIG_HOLD, 0, IOSQE_IO_LINK);
	put(c, '2', RIG_ECHO, 2, 0);
	put(c, '3', RIG_END, 0, IOSQE_IO_LINK);
	put(c, '4', RIG_ECHO, 4, 0);
	put(c, '5', RIG_ECHO, 5, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "H1E3X1C0");
	while (!pcidipc_next_cqe(c, &cqe))
		;
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c), -ENOTCONN);
	CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 9), 9);
	stop();
}

/* The same by a request that nothing orders: its own CQE does not come either. */
static void test_end_in_plain_handler(void)
{
	struct pcidipc_cqe cqe;
	int ret;

	start(16, 16);
	rig.knobs->cancel = RIG_CANCEL_COMPLETES;
	put(c, '1', RIG_HOLD, 0, 0);
	put(c, '2', RIG_END, 0, 0);
	put(c, '3', RIG_ECHO, 3, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "H1E2X1C0");
	while (!(ret = pcidipc_next_cqe(c, &cqe)))
		;
	CU_ASSERT_EQUAL(ret, -ENOTCONN);
	CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 9), 9);
	stop();
}

static bool held;

/* The client may not touch its buffers yet: for it, nothing has ended. */
static void expect_no_end(void)
{
	struct pcidipc_cqe cqe;

	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 256; k++)
			CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), 0);
		CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 9), 9);
	}
}

static void open_by_path(void)
{
	struct pcidipc_consumer_params params = {
		.interface = RIG_INTERFACE, .sq_entries = 8, .cq_entries = 8};

	rig_start(&rig, NULL);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_open(rig.path, &params, &c), 0);
	rig_expect(&rig, "O0");
}

static void expect_end_only_now(int error)
{
	struct pcidipc_cqe cqe;
	int ret;

	while (!(ret = pcidipc_next_cqe(c, &cqe)))
		;
	CU_ASSERT_EQUAL(ret, error);
	pcidipc_consumer_close(c);
	c = NULL;
	stop();
}

/* The producer ends the session while a request is with the device. */
static void test_end_waits_for_device(void)
{
	open_by_path();
	put(c, '1', RIG_HOLD, 0, 0);
	put(c, '2', RIG_END, 0, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "H1E2X1");
	expect_no_end();
	rig_release(&rig, '1', 0);
	expect_end_only_now(-ENOTCONN);
}

static void held_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	(void)op;
	CU_ASSERT_EQUAL(cqe->res, -EPROTO);
	held = false;
}

/* The consumer ends it, because of what it does not understand. */
static void test_giving_up_waits_for_device(void)
{
	struct io_uring_sqe echo = {.opcode = IORING_OP_URING_CMD, .cmd_op = RIG_ECHO}, *sqe;
	struct pcidipc_op op = {.done = held_done};
	struct pcidipc_cqe cqe;
	uint64_t user_data;

	open_by_path();
	sqe = put(c, '1', RIG_HOLD, 0, 0);
	CU_ASSERT_EQUAL(pcidipc_sqe_set_op(c, sqe, &op), 0);
	user_data = sqe->user_data;
	held = true;
	for (int i = 0; i < 17; i++) { /* one more than may wait */
		put(c, 1, RIG_ECHO, 0, 0);
		CU_ASSERT_EQUAL(pcidipc_call(c, &echo, NULL), 0);
	}
	pcidipc_submit(c);
	rig_expect(&rig, "R.R.R.R.R.R.R.R.R.R.R.R.R.R.R.R.R.X.");
	for (int i = 0; i < 16; i++)
		CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), 1);
	expect_no_end();
	CU_ASSERT_TRUE(held);
	rig_release(&rig, user_data, 0);
	expect_end_only_now(-EPROTO);
	CU_ASSERT_FALSE(held);
}

struct again {
	struct pcidipc_loop *loop;
	struct pcidipc_completion lost;
	int ret, echo;
	uint64_t generation;
};

static void on_lost(struct pcidipc_consumer *consumer, int error, void *arg)
{
	(void)consumer;
	pcidipc_post(&((struct again *)arg)->lost, error);
}

static void reconnect_task(void *arg)
{
	struct again *again = arg;
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = RIG_ECHO, .len = 11};

	CU_ASSERT_EQUAL(pcidipc_await(&again->lost), -ENOTCONN);
	again->ret = pcidipc_consumer_reconnect(c);
	again->generation = pcidipc_consumer_generation(c);
	again->echo = pcidipc_call(c, &sqe, NULL);
	pcidipc_loop_stop(again->loop, 0);
}

/* A task connects again and gets its pool back: the answers reach it although no watch is there
 * yet. */
static void test_reconnect_in_task(void)
{
	struct pcidipc_consumer_params params = {.interface = RIG_INTERFACE};
	struct again again = {.ret = -1};
	uint64_t generation;

	rig_start(&rig, NULL);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_open(rig.path, &params, &c), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(CHUNK, 0, &pool), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_attach_pool(c, pool, &index_of_pool), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(rig_loop_flags, &again.loop), 0);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_loop(c, again.loop, on_lost, &again), 0);
	CU_ASSERT_EQUAL(pcidipc_spawn(again.loop, reconnect_task, &again), 0);
	generation = pcidipc_consumer_generation(c);
	rig_restart(&rig);
	pcidipc_loop_run(again.loop);
	CU_ASSERT_EQUAL(again.ret, 0);
	CU_ASSERT_EQUAL(again.echo, 11);
	CU_ASSERT_NOT_EQUAL(again.generation, generation);
	rig_expect(&rig, "O0A0");
	pcidipc_consumer_close(c);
	pcidipc_loop_destroy(again.loop);
	pcidipc_pool_destroy(pool);
	rig_kill(&rig);
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

/* The producer is killed while it attaches a pool, and its socket goes. */
static void lose_producer_while_asking(void)
{
	pid_t killer;

	rig.knobs->gated = 2;
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(CHUNK, 0, &pool), 0);
	fflush(stdout);
	killer = fork();
	if (!killer) {
		rig_expect(&rig, "A0");
		unlink(rig.path);
		kill(rig.pid, SIGKILL);
		_exit(0);
	}
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, pool, &index_of_pool), -ENOTCONN);
	waitpid(killer, NULL, 0);
	pcidipc_pool_destroy(pool);
}

/* No producer comes after it: what it had answered is still there, and connecting again fails. */
static void test_reconnect_fails(void)
{
	struct pcidipc_cqe cqe = {0};

	open_by_path();
	for (int i = 0; i < 8; i++)
		put(c, (char)i, RIG_ECHO, (uint32_t)i, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "R.R.R.R.R.R.R.R.");
	lose_producer_while_asking();
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 9), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c), -ENOENT);
	for (int i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.res, i);
	}
	CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_consumer_reap(c), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 1), -ENOENT);
	CU_ASSERT_PTR_NULL(pcidipc_get_sqe(c));
	pcidipc_consumer_close(c);
	rig_kill(&rig);
}

/* ---- the hot path ---- */

#define CHILD_CANNOT 77
#define ROUNDS 20000u

static uint64_t allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t bytes);
void *malloc(size_t bytes)
{
	allocations++;
	return __libc_malloc(bytes);
}
#endif

static struct pcidipc_request *later[64];
static unsigned nlater;

static int hot_request(struct pcidipc_request *rq)
{
	if (rq->sqe.opcode == IORING_OP_URING_CMD)
		pcidipc_loop_stop(pcidipc_session_loop(rq->session), 0);
	if (rq->sqe.opcode == IORING_OP_URING_CMD || rq->sqe.user_data % 3)
		return (int)rq->sqe.len;
	later[nlater++] = rq;
	return PCIDIPC_PENDING;
}

/* From the loop, as an interrupt's handler would. */
static void answer_later(void)
{
	while (nlater)
		pcidipc_complete(later[--nlater], 1);
}

static struct pcidipc_scheme hot = {
	.name = "hot",
	.interface = RIG_INTERFACE,
	.max_sq_entries = 64,
	.max_cq_entries = 64,
	.max_sessions = 1,
	.request = hot_request,
};

/* Kills the process at any system call but these. epoll is asked now and then, and some clocks are
 * system calls. */
static int forbid_system_calls(void)
{
#define ALLOW(number)                                        \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_clock_gettime),
		ALLOW(SYS_exit_group),
		ALLOW(rig_loop_flags & PCIDIPC_LOOP_EPOLL ? SYS_epoll_wait : SYS_exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

/* One turn of two sides that are both busy: some requests out, some answers in. */
static unsigned hot_turn(struct pcidipc_loop *loop, uint64_t *next)
{
	struct pcidipc_cqe cqe;
	unsigned n = 0;

	for (int i = 0; i < 16; i++) {
		struct io_uring_sqe *sqe = pcidipc_get_sqe(c);

		if (!sqe)
			break;
		io_uring_prep_read_fixed(sqe, 0, NULL, 512, 0, 0);
		sqe->user_data = (*next)++;
	}
	pcidipc_submit(c);
	pcidipc_loop_turn(loop, false);
	answer_later();
	pcidipc_loop_turn(loop, false);
	while (pcidipc_next_cqe(c, &cqe) == 1)
		n++;
	return n;
}

static void *serve_thread(void *loop)
{
	pcidipc_loop_run(loop);
	return NULL;
}

/* The consumer's set-up blocks, so for that long its producer has a thread of its own. */
static struct pcidipc_loop *hot_set_up(void)
{
	struct pcidipc_consumer_params params = {
		.interface = RIG_INTERFACE, .sq_entries = 64, .cq_entries = 64};
	struct io_uring_sqe stop = {.opcode = IORING_OP_URING_CMD, .cmd_op = RIG_QUIT};
	struct pcidipc_loop *loop;
	pthread_t thread;
	int ends[2];

	if (pcidipc_channel_pair(ends) || pcidipc_loop_create(rig_loop_flags, &loop) ||
	    pcidipc_session_create(loop, &hot, ends[0], 0, NULL) ||
	    pthread_create(&thread, NULL, serve_thread, loop) ||
	    pcidipc_consumer_adopt(ends[1], &params, &c) || pcidipc_call(c, &stop, NULL))
		_exit(1);
	pthread_join(thread, NULL);
	return loop;
}

static int hot_verdict(uint64_t got, uint64_t sent, uint64_t allocated,
		       const struct pcidipc_consumer_stats *before,
		       const struct pcidipc_consumer_stats *after)
{
	if (got != sent || sent < 16 * ROUNDS)
		return 2;
	if (allocated)
		return 3;
	return after->wakes == before->wakes && after->sleeps == before->sleeps ? 0 : 4;
}

static void hot_child(void)
{
	struct pcidipc_loop *loop = hot_set_up();
	struct pcidipc_consumer_stats before, after;
	uint64_t next = 1, got = 0, allocated;

	for (unsigned i = 0; i < 100; i++) /* everything is touched once */
		got += hot_turn(loop, &next);
	pcidipc_consumer_stats(c, &before);
	allocated = allocations;
	if (forbid_system_calls())
		_exit(CHILD_CANNOT);
	for (unsigned i = 0; i < ROUNDS; i++)
		got += hot_turn(loop, &next);
	pcidipc_consumer_stats(c, &after);
	/* Not _exit: the address sanitizer would make system calls of its own first. */
	syscall(SYS_exit_group,
		hot_verdict(got, next - 1, allocations - allocated, &before, &after));
}

static void test_hot_path(void)
{
	int status = -1;
	pid_t pid;

	NOT_UNDER_TSAN();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		alarm(60);
		hot_child();
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT) {
		printf("(skipped: no seccomp here) ");
		return;
	}
	CU_ASSERT_EQUAL(status, 0);
}

static CU_TestInfo tests[] = {
	{"answers in any order", test_any_order},
	{"waiting for more than the CQ holds", test_wait_beyond_cq},
	{"waiting beside operations", test_wait_beside_operations},
	{"values in CQEs", test_big_cqes},
	{"limits", test_limits},
	{"a pool that grows", test_growth},
	{"growth in a task", test_growth_in_task},
	{"growth, chains and drains", test_growth_order},
	{"growth that fails", test_growth_fails},
	{"ranges", test_ranges},
	{"a forwarded pool", test_forwarding},
	{"detach", test_detach},
	{"two detach at once", test_detach_two},
	{"a late detach", test_detach_late},
	{"the client goes", test_client_goes},
	{"a session ended by its handler", test_end_in_handler},
	{"and by a plain one", test_end_in_plain_handler},
	{"an end waits for the device", test_end_waits_for_device},
	{"giving up does, too", test_giving_up_waits_for_device},
	{"a task connects again", test_reconnect_in_task},
	{"no producer comes", test_reconnect_fails},
	{"completions that nobody takes", test_not_taken},
	{"events", test_events},
	{"no system call, no allocation", test_hot_path},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("scheme", tests);
}
