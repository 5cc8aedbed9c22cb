// SPDX-License-Identifier: MIT
/* A client of a disk goes on when its driver dies: with what was in flight, in order, once. */
#include <pcidipc/task.h>
#include <stdio.h>

#include "replaydisk.h"

/* ---- requests ---- */

static void test_reads_and_writes(void)
{
	struct pcidipc_consumer_stats stats;
	struct client c;
	uint32_t seed = 1;

	open_client(&c);
	fill_random(&seed, rd.shared->data, 4 * PAGE);
	fill_random(&seed, c.base + (1 << 20), 4 * PAGE);
	for (unsigned i = 0; i < 4; i++) {
		client_queue(&c, sqe_rw(&c, false, i * PAGE, PAGE, i * PAGE), i);
		client_queue(&c, sqe_rw(&c, true, (1 << 20) + i * PAGE, PAGE, (1 << 20) + i * PAGE),
			     100 + i);
	}
	submit_held(&c, 8);
	restart_driver();
	for (unsigned i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(client_reap(&c, NULL), PAGE);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c.consumer), 0);
	CU_ASSERT(!memcmp(c.base, rd.shared->data, 4 * PAGE));
	CU_ASSERT(!memcmp(c.base + (1 << 20), rd.shared->data + (1 << 20), 4 * PAGE));
	pcidipc_consumer_stats(c.consumer, &stats);
	CU_ASSERT_EQUAL(stats.replays, 1);
	CU_ASSERT_EQUAL(stats.replayed, 8);
	expect_silence(&c);
	close_client(&c);
}

/* What has completed is not done again, also where its CQE has not been looked at. */
static void test_once(void)
{
	struct client c;
	uint32_t submits;

	open_client(&c);
	for (unsigned i = 0; i < 4; i++)
		client_queue(&c, sqe_rw(&c, false, 0, PAGE, 0), i);
	submits = rd.shared->submits;
	CU_ASSERT_EQUAL(pcidipc_submit(c.consumer), 0);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->submits, submits + 4), 0);
	CU_ASSERT_EQUAL(ramdisk_tell(&rd, RAMDISK_RELEASE), 0); /* its loop has turned */
	client_queue(&c, sqe_rw(&c, false, 0, PAGE, 0), 4);
	submit_held(&c, 1);
	restart_driver();
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(client_reap(&c, NULL), PAGE);
	CU_ASSERT_EQUAL(rd.shared->submits, submits + 6);
	close_client(&c);
}

static void killed_holding(unsigned kills, int res)
{
	struct client c;

	open_client(&c);
	for (unsigned i = 0; i < 64; i++)
		client_queue(&c, sqe_rw(&c, i % 2, i * PAGE, PAGE, i * PAGE), i);
	submit_held(&c, 64);
	for (unsigned i = 1; i < kills; i++) {
		kill_driver();
		start_driver(RAMDISK_HOLD);
		await_held(&c, 64);
	}
	restart_driver();
	for (unsigned i = 0; i < 64; i++)
		CU_ASSERT_EQUAL(client_reap(&c, NULL), res);
	expect_silence(&c);
	close_client(&c);
}

static void test_killed_again(void)
{
	killed_holding(3, PAGE);
}

/* One of them may be what kills it. */
static void test_killed_too_often(void)
{
	killed_holding(4, -EIO);
}

/* A command is not repeated: what it did is not known. */
static void test_commands(void)
{
	struct client c;

	open_client(&c);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), 0), 1);
	client_queue(&c, linked(sqe_command(&c, RINGABI_BLOCK_HEALTH, 8192, 128), 0), 2);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, PAGE), 3);
	submit_held(&c, 1);
	restart_driver();
	expect_result(&c, 1, PAGE);
	expect_result(&c, 2, -EIO);
	expect_result(&c, 3, -ECANCELED);
	expect_silence(&c);
	close_client(&c);
}

static void test_cancel(void)
{
	struct io_uring_sqe cancel = sqe_of(IORING_OP_ASYNC_CANCEL);
	struct client c;
	uint64_t first = 0, second = 0;

	open_client(&c);
	rd.shared->hurry = 1;
	client_queue(&c, sqe_rw(&c, false, 0, PAGE, 0), 0x1234);
	submit_held(&c, 1);
	kill_driver();
	start_driver(RAMDISK_HOLD);
	await_held(&c, 1);
	cancel.addr = 0x1234;
	client_queue(&c, cancel, 7);
	CU_ASSERT(client_reap(&c, &first) <= 0);
	CU_ASSERT(client_reap(&c, &second) <= 0);
	CU_ASSERT_EQUAL(first ^ second, 0x1234 ^ 7);
	rd.shared->hurry = 0;
	rd.shared->mode = RAMDISK_MIXED;
	expect_silence(&c);
	close_client(&c);
}

/* ---- chains ---- */

static void test_chain(void)
{
	struct client c;
	uint32_t held;

	open_client(&c);
	memset(c.base, 0x11, PAGE);
	memset(c.base + PAGE, 0x22, PAGE);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), 0), 1);
	client_queue(&c, linked(sqe_rw(&c, true, PAGE, PAGE, 0), 0), 2);
	client_queue(&c, sqe_of(IORING_OP_FSYNC), 3);
	submit_held(&c, 1);
	held = rd.shared->held;
	CU_ASSERT_EQUAL(ramdisk_tell(&rd, RAMDISK_RELEASE), 0); /* the first one is done */
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 1), 0);
	restart_driver();
	expect_result(&c, 1, PAGE);
	expect_result(&c, 2, PAGE);
	expect_result(&c, 3, 0);
	CU_ASSERT_EQUAL(rd.shared->data[0], 0x22);
	expect_silence(&c);
	close_client(&c);
}

static void test_silent_members(void)
{
	struct client c;

	open_client(&c);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), IOSQE_CQE_SKIP_SUCCESS), 1);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, PAGE), IOSQE_CQE_SKIP_SUCCESS), 2);
	client_queue(&c, sqe_of(IORING_OP_FSYNC), 3);
	submit_held(&c, 1);
	restart_driver();
	expect_result(&c, 3, 0);
	expect_silence(&c);
	/* Where one fails that was to be silent, so do those behind it. */
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, RAMDISK_BYTES), IOSQE_CQE_SKIP_SUCCESS),
		     4);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), 0), 5);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 6);
	expect_result(&c, 4, -ENOSPC);
	expect_silence(&c);
	/* Where one fails that was not, all of them say so. */
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, RAMDISK_BYTES), 0), 7);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), IOSQE_CQE_SKIP_SUCCESS), 8);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 9);
	expect_result(&c, 7, -ENOSPC);
	expect_result(&c, 8, -ECANCELED);
	expect_result(&c, 9, -ECANCELED);
	/* And where it is not repeated. */
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), IOSQE_CQE_SKIP_SUCCESS), 10);
	client_queue(
		&c,
		linked(sqe_command(&c, RINGABI_BLOCK_HEALTH, 8192, 128), IOSQE_CQE_SKIP_SUCCESS),
		11);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), IOSQE_CQE_SKIP_SUCCESS), 12);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 13);
	submit_held(&c, 1);
	restart_driver();
	expect_result(&c, 11, -EIO);
	expect_result(&c, 12, -ECANCELED);
	expect_result(&c, 13, -ECANCELED);
	expect_silence(&c);
	close_client(&c);
}

/* Its loss could not be told from its success. */
static void test_silence_refused(void)
{
	struct io_uring_sqe silent;
	struct client c;

	open_client(&c);
	silent = sqe_rw(&c, true, 0, PAGE, 0);
	silent.flags = IOSQE_CQE_SKIP_SUCCESS;
	client_queue(&c, silent, 1);
	expect_result(&c, 1, -EINVAL);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), 0), 2);
	client_queue(&c, silent, 3);
	expect_result(&c, 2, PAGE);
	expect_result(&c, 3, -EINVAL);
	close_client(&c);
}

#define MEMBERS 50u

static void queue_silent_chain(struct client *c)
{
	for (unsigned i = 0; i + 1 < MEMBERS; i++)
		client_queue(c, linked(sqe_rw(c, true, 0, PAGE, 0), IOSQE_CQE_SKIP_SUCCESS), i);
	client_queue(c, sqe_rw(c, true, 0, PAGE, 0), MEMBERS);
}

/* The entries of silent members count until their chain has ended: more is not handed out. */
static void test_many_silent_members(void)
{
	unsigned chains = 0;
	struct client c;

	open_client(&c);
	for (unsigned i = 0; i < 80; i++) {
		while (pcidipc_sq_space(c.consumer) < MEMBERS) {
			CU_ASSERT_EQUAL_FATAL(pcidipc_submit(c.consumer), 0);
			if (chains) {
				CU_ASSERT_EQUAL(client_reap(&c, NULL), PAGE);
				chains--;
			}
		}
		queue_silent_chain(&c);
		chains++;
	}
	for (; chains; chains--)
		CU_ASSERT_EQUAL(client_reap(&c, NULL), PAGE);
	expect_silence(&c);
	close_client(&c);
}

/* A chain that lets nobody overtake it does so still when its first members are done. */
static void test_drain_survives_its_head(void)
{
	struct client c;
	uint32_t held;

	open_client(&c);
	memset(rd.shared->data, 0x11, 2 * PAGE);
	memset(c.base, 0x22, 2 * PAGE);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), IOSQE_IO_DRAIN), 1);
	client_queue(&c, sqe_rw(&c, true, PAGE, PAGE, PAGE), 2);
	client_queue(&c, sqe_rw(&c, false, 2 * PAGE, PAGE, PAGE), 3);
	submit_held(&c, 1);
	held = rd.shared->held;
	CU_ASSERT_EQUAL(ramdisk_tell(&rd, RAMDISK_RELEASE), 0);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 1), 0);
	expect_result(&c, 1, PAGE);
	kill_driver();
	start_driver(RAMDISK_HOLD);
	await_held(&c, 1);
	rd.shared->mode = RAMDISK_MIXED;
	CU_ASSERT_EQUAL(ramdisk_tell(&rd, RAMDISK_RELEASE), 0); /* the newest first */
	expect_result(&c, 2, PAGE);
	expect_result(&c, 3, PAGE);
	CU_ASSERT_EQUAL(c.base[2 * PAGE], 0x22);
	expect_silence(&c);
	close_client(&c);
}

/* By a hard link what is behind a canceled request runs, and is not forgotten with it. */
static void test_cancel_hard_linked(void)
{
	struct io_uring_sqe cancel = sqe_of(IORING_OP_ASYNC_CANCEL);
	int res[8] = {0};
	struct client c;

	open_client(&c);
	rd.shared->hurry = 1;
	client_queue(
		&c,
		flagged(sqe_rw(&c, true, 0, PAGE, 0), IOSQE_IO_HARDLINK | IOSQE_CQE_SKIP_SUCCESS),
		1);
	client_queue(&c, sqe_rw(&c, true, PAGE, PAGE, PAGE), 2);
	submit_held(&c, 1);
	rd.shared->mode = RAMDISK_MIXED;
	cancel.addr = 1;
	client_queue(&c, cancel, 7);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t which = 0;
		int got = client_reap(&c, &which);

		res[which % 8] = got;
	}
	CU_ASSERT_EQUAL(res[1], -ECANCELED);
	CU_ASSERT_EQUAL(res[2], PAGE);
	CU_ASSERT_EQUAL(res[0], 0); /* nothing else */
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c.consumer), 0);
	rd.shared->hurry = 0;
	expect_silence(&c);
	close_client(&c);
}

/* ---- a loop and its tasks ---- */

static struct {
	struct pcidipc_loop *loop;
	struct client c;
	unsigned running, failed, steps;
	int lost, res;
} looped;

#define ENOUGH_POLLS 600 /* in vain: the library has looked at its channel */

static void note_lost(struct pcidipc_consumer *consumer, int error, void *arg)
{
	(void)consumer;
	(void)arg;
	looped.lost = error;
}

static void io_task(void *arg)
{
	uint32_t number = (uint32_t)(uintptr_t)arg, seed = number + 1;
	uint64_t from = number * 8192, to = from + PAGE, off = number * PAGE;

	while (looped.steps < 4000) {
		fill_random(&seed, looped.c.base + from, PAGE);
		looped.failed += pcidipc_blockdev_write(looped.c.dev, looped.c.index, from, PAGE,
							off, false) != PAGE;
		looped.failed +=
			pcidipc_blockdev_read(looped.c.dev, looped.c.index, to, PAGE, off) != PAGE;
		looped.failed += memcmp(looped.c.base + from, looped.c.base + to, PAGE) != 0;
		looped.failed += pcidipc_blockdev_flush(looped.c.dev) != 0;
		looped.steps++;
	}
	looped.running--;
}

static void test_tasks(void)
{
	struct pcidipc_consumer_stats stats;

	memset(&looped, 0, sizeof(looped));
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &looped.loop), 0);
	open_client(&looped.c);
	CU_ASSERT_EQUAL(
		pcidipc_consumer_attach_loop(looped.c.consumer, looped.loop, note_lost, NULL), 0);
	for (uintptr_t i = 0; i < 16; i++) {
		looped.running++;
		CU_ASSERT_EQUAL(pcidipc_spawn(looped.loop, io_task, (void *)i), 0);
	}
	rd.fork_has_tasks = true;
	for (unsigned next = 400; looped.running; next += 400) {
		while (looped.running && looped.steps < next)
			pcidipc_loop_turn(looped.loop, true);
		restart_driver();
	}
	rd.fork_has_tasks = false;
	CU_ASSERT_EQUAL(looped.failed, 0);
	CU_ASSERT_EQUAL(looped.lost, 0);
	pcidipc_consumer_stats(looped.c.consumer, &stats);
	CU_ASSERT(stats.replays >= 9);
	close_client(&looped.c);
	pcidipc_loop_destroy(looped.loop);
}

static void note_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	(void)op;
	looped.res = cqe->res;
	looped.running--;
}

static void queue_op(struct client *c, struct io_uring_sqe sqe, struct pcidipc_op *op)
{
	struct io_uring_sqe *slot = pcidipc_get_sqe(c->consumer);

	CU_ASSERT_PTR_NOT_NULL_FATAL(slot);
	*slot = sqe;
	op->done = note_done;
	CU_ASSERT_EQUAL_FATAL(pcidipc_sqe_set_op(c->consumer, slot, op), 0);
	looped.running++;
}

/* A loop that comes while there is no producer waits for the successor. */
static void test_loop_between(void)
{
	struct client *c = &looped.c;
	struct pcidipc_op op;
	struct pcidipc_cqe cqe;

	memset(&looped, 0, sizeof(looped));
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &looped.loop), 0);
	open_client(c);
	queue_op(c, sqe_rw(c, true, 0, PAGE, 0), &op);
	submit_held(c, 1);
	kill_driver();
	for (unsigned i = 0; i < ENOUGH_POLLS; i++)
		CU_ASSERT_EQUAL(pcidipc_next_cqe(c->consumer, &cqe), 0);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_loop(c->consumer, looped.loop, note_lost, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pcidipc_loop_turn(looped.loop, false);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c->consumer), 0);
	start_driver(RAMDISK_MIXED);
	while (looped.running)
		pcidipc_loop_turn(looped.loop, true);
	CU_ASSERT_EQUAL(looped.res, PAGE);
	CU_ASSERT_EQUAL(looped.lost, 0);
	close_client(c);
	pcidipc_loop_destroy(looped.loop);
}

/* ---- at random, against a model ---- */

#define SLOTS 48u
#define SLOT_BYTES 8192u

static struct {
	uint32_t seed;
	unsigned char
		what[SLOTS]; /* that the slot's last write wrote; each slot is in flight once */
	bool busy[SLOTS], reading[SLOTS], linked;
	unsigned in_flight, done, wrong;
} model;

static void begin_one(struct client *c, unsigned slot)
{
	uint64_t addr = (uint64_t)slot * SLOT_BYTES, off = addr;
	struct io_uring_sqe sqe;

	model.reading[slot] = next_random(&model.seed) % 2;
	if (model.reading[slot]) {
		memset(c->base + addr, 0xee, SLOT_BYTES);
	} else {
		model.what[slot] = (unsigned char)next_random(&model.seed);
		memset(c->base + addr, model.what[slot], SLOT_BYTES);
	}
	sqe = sqe_rw(c, !model.reading[slot], addr, SLOT_BYTES, off);
	if (next_random(&model.seed) % 16 == 0 && !model.linked) /* a chain's head */
		sqe.flags |= IOSQE_IO_DRAIN;
	model.linked = next_random(&model.seed) % 4 == 0;
	if (model.linked)
		sqe.flags |= IOSQE_IO_LINK;
	client_queue(c, sqe, slot);
	model.busy[slot] = true;
	model.in_flight++;
}

static void begin_some(struct client *c)
{
	unsigned n = next_random(&model.seed) % 8, begun = 0;

	for (unsigned slot = 0; slot < SLOTS && begun < n; slot++)
		if (!model.busy[slot]) {
			begin_one(c, slot);
			begun++;
		}
	if (next_random(&model.seed) % 2)
		CU_ASSERT_EQUAL(pcidipc_submit(c->consumer), 0);
}

static void end_one(struct client *c, const struct pcidipc_cqe *cqe)
{
	unsigned slot = (unsigned)cqe->user_data;
	const unsigned char *bytes = c->base + (uint64_t)slot * SLOT_BYTES;

	CU_ASSERT_FATAL(cqe->user_data < SLOTS && model.busy[slot]);
	model.busy[slot] = false;
	model.in_flight--;
	model.done++;
	model.wrong += cqe->res != (int)SLOT_BYTES;
	for (unsigned i = 0; i < SLOT_BYTES; i++)
		model.wrong += bytes[i] != model.what[slot];
}

static void end_some(struct client *c)
{
	struct pcidipc_cqe cqe;
	int ret;

	while ((ret = pcidipc_next_cqe(c->consumer, &cqe)) > 0)
		end_one(c, &cqe);
	CU_ASSERT_EQUAL_FATAL(ret, 0);
}

static void test_random(void)
{
	struct pcidipc_consumer_stats stats;
	struct client c;

	memset(&model, 0, sizeof(model));
	model.seed = 20201;
	memset(rd.shared->data, 0, RAMDISK_BYTES);
	open_client(&c);
	for (unsigned kill = 0; kill < 40; kill++) {
		unsigned until = model.done + next_random(&model.seed) % 200;

		while (model.done < until) {
			begin_some(&c);
			end_some(&c);
		}
		begin_some(&c);
		restart_driver();
	}
	while (model.in_flight) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_submit_and_wait(c.consumer, 1), 0);
		end_some(&c);
	}
	CU_ASSERT_EQUAL(model.wrong, 0);
	for (unsigned i = 0; i < SLOTS; i++)
		CU_ASSERT_EQUAL(rd.shared->data[i * SLOT_BYTES], model.what[i]);
	pcidipc_consumer_stats(c.consumer, &stats);
	CU_ASSERT(stats.replays > 20);
	CU_ASSERT(stats.replayed > 20);
	close_client(&c);
}

static CU_TestInfo tests[] = {
	{"reads and writes", test_reads_and_writes},
	{"what is done is done once", test_once},
	{"killed again and again", test_killed_again},
	{"killed too often", test_killed_too_often},
	{"commands", test_commands},
	{"cancel", test_cancel},
	{"a chain goes on where it was", test_chain},
	{"silent members", test_silent_members},
	{"silence refused", test_silence_refused},
	{"many silent members", test_many_silent_members},
	{"a drain whose head is done", test_drain_survives_its_head},
	{"a hard link is canceled", test_cancel_hard_linked},
	{"tasks", test_tasks},
	{"a loop between two drivers", test_loop_between},
	{"at random", test_random},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return disk_main("test_replay", tests, NULL, NULL);
}
