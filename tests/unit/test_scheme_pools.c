/* SPDX-License-Identifier: MIT */
/* A client's pool at a service: it grows while requests name it, is forwarded, and goes. */
#include "rigsession.h"

#define CHUNK RINGABI_POOL_CHUNK

static struct pcidipc_pool *pool;
static uint16_t index_of_pool;

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

static CU_TestInfo tests[] = {
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
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("scheme, pools", tests);
}
