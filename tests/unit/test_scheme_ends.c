/* SPDX-License-Identifier: MIT */
/* A session's end, by either side, and what a client does then. */
#include "rigsession.h"

#include <pcidipc/task.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK RINGABI_POOL_CHUNK

static struct pcidipc_pool *pool;
static uint16_t index_of_pool;

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

static CU_TestInfo tests[] = {
	{"a session ended by its handler", test_end_in_handler},
	{"and by a plain one", test_end_in_plain_handler},
	{"an end waits for the device", test_end_waits_for_device},
	{"giving up does, too", test_giving_up_waits_for_device},
	{"a task connects again", test_reconnect_in_task},
	{"no producer comes", test_reconnect_fails},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("scheme, ends", tests);
}
