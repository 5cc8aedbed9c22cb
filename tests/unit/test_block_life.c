// SPDX-License-Identifier: MIT
/* Clients and drivers of a disk that come, go and die; pools that grow; tasks. */
#include <pcidipc/task.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disksuite.h"

#define BLOCK 512u
#define CHUNK ((uint64_t)RINGABI_POOL_CHUNK)

/* Until no session of earlier tests is left. */
static void settle(void)
{
	CU_ASSERT_EQUAL_FATAL(ramdisk_wait(&rd, &rd.shared->closes, rd.shared->opens), 0);
}

static int exit_status(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- several clients ---- */

/* Writes and reads back its own part of the disk, several requests at a time. */
static int busy_client(unsigned number)
{
	const uint64_t part = RAMDISK_BYTES / 8, from = number * part;
	uint32_t seed = number + 100;
	struct client c;

	if (client_open(&c, "ram0", 0))
		return 1;
	for (int round = 0; round < 200; round++) {
		uint32_t bytes = (1 + next_random(&seed) % 32) * BLOCK;
		uint64_t off = from + next_random(&seed) % ((part - 4 * bytes) / BLOCK) * BLOCK;

		fill_random(&seed, c.base, 4 * bytes);
		for (unsigned i = 0; i < 4; i++)
			client_queue(&c, sqe_rw(&c, true, i * bytes, bytes, off + i * bytes), i);
		for (unsigned i = 0; i < 4; i++)
			if (client_reap(&c, NULL) != (int)bytes)
				return 2;
		if (pcidipc_blockdev_read(c.dev, c.index, 1 << 20, 4 * bytes, off) !=
		    4 * (int)bytes)
			return 3;
		if (memcmp(c.base, c.base + (1 << 20), 4 * bytes) != 0)
			return 4;
	}
	client_close(&c);
	return 0;
}

static pid_t fork_client(int (*run)(unsigned number), unsigned number)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		close_inherited(NULL, 0);
		exit(run(number));
	}
	return pid;
}

static void test_several(void)
{
	pid_t clients[4];

	for (unsigned i = 0; i < 4; i++)
		clients[i] = fork_client(busy_client, i);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(exit_status(clients[i]), 0);
	settle();
	CU_ASSERT_EQUAL(rd.shared->detaches, rd.shared->attaches);
	promises_kept();
}

static void test_too_many(void)
{
	struct client clients[RAMDISK_MAX_SESSIONS], one_more;

	settle();
	for (unsigned i = 0; i < RAMDISK_MAX_SESSIONS; i++)
		CU_ASSERT_EQUAL_FATAL(client_open(&clients[i], "ram0", 0), 0);
	CU_ASSERT_EQUAL(client_open(&one_more, "ram0", 0), -EMFILE);
	for (unsigned i = 0; i < RAMDISK_MAX_SESSIONS; i++)
		client_close(&clients[i]);
	settle();
	CU_ASSERT_EQUAL_FATAL(client_open(&one_more, "ram0", 0), 0);
	client_close(&one_more);
}

/* ---- pools ---- */

/* A large sparse pool beside the client's own. */
static int attach_large(struct client *c, struct pcidipc_pool **pool, uint16_t *index)
{
	int ret = pcidipc_pool_create(64ull << 30, 0, pool);

	return ret ? ret : pcidipc_consumer_attach_pool(c->consumer, *pool, index);
}

static void test_growth(void)
{
	struct pcidipc_pool *pool;
	uint16_t index;
	uint32_t maps;
	struct client c;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	CU_ASSERT_EQUAL_FATAL(attach_large(&c, &pool, &index), 0);
	maps = rd.shared->maps;
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, index, 0, BLOCK, 0, false), BLOCK);
	CU_ASSERT_EQUAL(rd.shared->maps, maps + 1);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, index, CHUNK - BLOCK, BLOCK, 0, false),
			BLOCK);
	CU_ASSERT_EQUAL(rd.shared->maps, maps + 1);
	/* One buffer across two chunks, of which one is new; then far up; then the very end. */
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, index, CHUNK - BLOCK, 2 * BLOCK, 0, false),
			2 * BLOCK);
	CU_ASSERT_EQUAL(rd.shared->maps, maps + 2);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, index, 1000 * CHUNK + 4, BLOCK, 0, false),
			BLOCK);
	CU_ASSERT_EQUAL(
		pcidipc_blockdev_write(c.dev, index, (64ull << 30) - BLOCK, BLOCK, 0, false),
		BLOCK);
	CU_ASSERT_EQUAL(
		pcidipc_blockdev_write(c.dev, index, (64ull << 30) - BLOCK + 4, BLOCK, 0, false),
		-EFAULT);
	CU_ASSERT_EQUAL(rd.shared->maps, maps + 4);
	client_close(&c);
	pcidipc_pool_destroy(pool);
	promises_kept();
}

/* Each piece in a chunk of its own: the request is parked again and again, and starts once. */
static void test_growth_by_vector(void)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_WRITEV, .len = 20, .addr = 65536};
	struct pcidipc_pool *pool;
	struct iovec *iov;
	uint32_t submits = rd.shared->submits;
	uint16_t index;
	struct client c;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	CU_ASSERT_EQUAL_FATAL(attach_large(&c, &pool, &index), 0);
	iov = (void *)((char *)pcidipc_pool_base(pool) + sqe.addr);
	for (unsigned i = 0; i < 20; i++)
		iov[i] = piece((i + 2) * CHUNK - BLOCK, BLOCK);
	sqe.buf_index = index;
	CU_ASSERT_EQUAL(client_call(&c, sqe), 20 * BLOCK);
	CU_ASSERT_EQUAL(rd.shared->last.nsegments, 20);
	CU_ASSERT_EQUAL(rd.shared->submits, submits + 1);
	client_close(&c);
	pcidipc_pool_destroy(pool);
	promises_kept();
}

/* The request that needs too much fails, and nobody else. */
static void test_quota(void)
{
	struct pcidipc_pool *pool;
	uint16_t index;
	struct client c, other;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	CU_ASSERT_EQUAL_FATAL(client_open(&other, "ram0", 0), 0);
	CU_ASSERT_EQUAL_FATAL(attach_large(&c, &pool, &index), 0);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 0, BLOCK, 0)), BLOCK);
	CU_ASSERT_EQUAL(client_call(&other, sqe_rw(&other, false, 0, BLOCK, 0)), BLOCK);
	rd.shared->max_maps = rd.shared->maps + 1;
	CU_ASSERT_EQUAL(pcidipc_blockdev_read(c.dev, index, 0, BLOCK, 0), BLOCK);
	CU_ASSERT_EQUAL(pcidipc_blockdev_read(c.dev, index, CHUNK, BLOCK, 0), -EDQUOT);
	CU_ASSERT_EQUAL(pcidipc_blockdev_read(c.dev, index, CHUNK - BLOCK, 2 * BLOCK, 0), -EDQUOT);
	CU_ASSERT_EQUAL(pcidipc_blockdev_read(c.dev, index, 0, BLOCK, 0), BLOCK);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 0, BLOCK, 0)), BLOCK);
	CU_ASSERT_EQUAL(client_call(&other, sqe_rw(&other, false, 0, BLOCK, 0)), BLOCK);
	rd.shared->max_maps = UINT32_MAX;
	CU_ASSERT_EQUAL(pcidipc_blockdev_read(c.dev, index, CHUNK, BLOCK, 0), BLOCK);
	client_close(&other);
	client_close(&c);
	pcidipc_pool_destroy(pool);
	promises_kept();
}

/* Detaching waits for what is in flight. */
static void test_detach_in_flight(void)
{
	uint32_t held = rd.shared->held, detaches;
	struct io_uring_sqe detach;
	uint64_t who;
	struct client c;

	settle();
	detaches = rd.shared->detaches;
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	rd.shared->mode = RAMDISK_HOLD;
	client_queue(&c, sqe_rw(&c, false, 0, BLOCK, 0), 1);
	detach = sqe_command(&c, RINGABI_CMD_POOL_DETACH, 0, 0);
	client_queue(&c, detach, 2);
	client_queue(&c, sqe_rw(&c, false, 0, BLOCK, 0), 3);
	pcidipc_submit(c.consumer);
	CU_ASSERT_EQUAL(client_reap(&c, &who), -ENXIO);
	CU_ASSERT_EQUAL(who, 3);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 1), 0);
	CU_ASSERT_EQUAL(rd.shared->detaches, detaches);
	ramdisk_tell(&rd, RAMDISK_RELEASE);
	CU_ASSERT_EQUAL(client_reap(&c, &who), BLOCK);
	CU_ASSERT_EQUAL(who, 1);
	CU_ASSERT_EQUAL(client_reap(&c, &who), 0);
	CU_ASSERT_EQUAL(who, 2);
	CU_ASSERT_EQUAL(rd.shared->detaches, detaches + 1);
	rd.shared->mode = RAMDISK_MIXED;
	client_close(&c);
	promises_kept();
}

/* ---- a client dies ---- */

static int victim(unsigned requests)
{
	struct client c;

	if (client_open(&c, "ram0", 0))
		return 1;
	for (unsigned i = 0; i < requests; i++)
		client_queue(&c, sqe_rw(&c, i % 2, i * 4096, 4096, i * 4096), i);
	pcidipc_submit(c.consumer);
	pause();
	return 2;
}

static void test_client_killed(void)
{
	uint32_t held, closes, detaches, cancels;
	struct client other;
	pid_t pid;

	settle();
	CU_ASSERT_EQUAL_FATAL(client_open(&other, "ram0", 0), 0);
	held = rd.shared->held;
	closes = rd.shared->closes;
	detaches = rd.shared->detaches;
	cancels = rd.shared->cancels;
	rd.shared->mode = RAMDISK_HOLD;
	pid = fork_client(victim, 16);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 16), 0);
	rd.shared->mode = RAMDISK_MIXED;
	kill(pid, SIGKILL);
	CU_ASSERT_EQUAL(exit_status(pid), 1000 + SIGKILL);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->cancels, cancels + 16), 0);
	/* The device still has its buffers: they stay, and nobody else notices. */
	CU_ASSERT_EQUAL(client_call(&other, sqe_rw(&other, true, 0, BLOCK, 0)), BLOCK);
	CU_ASSERT_EQUAL(rd.shared->closes, closes);
	CU_ASSERT_EQUAL(rd.shared->detaches, detaches);
	ramdisk_tell(&rd, RAMDISK_RELEASE);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->closes, closes + 1), 0);
	CU_ASSERT_EQUAL(rd.shared->detaches, detaches + 2); /* its own pool and the library's */
	CU_ASSERT_EQUAL(client_call(&other, sqe_rw(&other, true, 0, BLOCK, 0)), BLOCK);
	client_close(&other);
	promises_kept();
}

/* Where the driver can hurry, the end comes without a release. */
static void test_client_killed_hurried(void)
{
	uint32_t held = rd.shared->held, closes;
	pid_t pid;

	settle();
	closes = rd.shared->closes;
	rd.shared->mode = RAMDISK_HOLD;
	rd.shared->hurry = true;
	pid = fork_client(victim, 5);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 5), 0);
	kill(pid, SIGKILL);
	exit_status(pid);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->closes, closes + 1), 0);
	rd.shared->mode = RAMDISK_MIXED;
	rd.shared->hurry = false;
	promises_kept();
}

/* It dies while its pool is being taken back, and while a pool command is pending that no driver
 * knows. */
static int detaching_victim(unsigned requests)
{
	struct io_uring_sqe detach;
	struct client c;

	if (client_open(&c, "ram0", 0))
		return 1;
	for (unsigned i = 0; i < requests; i++)
		client_queue(&c, sqe_rw(&c, false, i * 4096, 4096, i * 4096), i);
	detach = sqe_command(&c, RINGABI_CMD_POOL_DETACH, 0, 0);
	client_queue(&c, detach, 100);
	pcidipc_submit(c.consumer);
	pause();
	return 2;
}

static void test_client_killed_detaching(void)
{
	uint32_t held = rd.shared->held, closes, cancels;
	pid_t pid;

	settle();
	closes = rd.shared->closes;
	cancels = rd.shared->cancels;
	rd.shared->mode = RAMDISK_HOLD;
	pid = fork_client(detaching_victim, 3);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 3), 0);
	kill(pid, SIGKILL);
	exit_status(pid);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->cancels, cancels + 3), 0);
	ramdisk_tell(&rd, RAMDISK_RELEASE);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->closes, closes + 1), 0);
	CU_ASSERT_EQUAL(rd.shared->cancels, cancels + 3);
	CU_ASSERT_EQUAL(rd.shared->detaches, rd.shared->attaches);
	rd.shared->mode = RAMDISK_MIXED;
	promises_kept();
}

/* ---- the driver dies ---- */

static void test_driver_killed(void)
{
	uint32_t held = rd.shared->held;
	uint64_t generation;
	struct client c;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	generation = pcidipc_consumer_generation(c.consumer);
	rd.shared->mode = RAMDISK_HOLD;
	for (unsigned i = 0; i < 4; i++)
		client_queue(&c, sqe_rw(&c, false, i * 4096, 4096, 0), i);
	pcidipc_submit(c.consumer);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 4), 0);
	rd.shared->mode = RAMDISK_MIXED;
	restart_driver();
	CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c.consumer), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_NOT_EQUAL(pcidipc_consumer_generation(c.consumer), generation);
	CU_ASSERT_EQUAL(pcidipc_blockdev_refresh(c.dev), 0);
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, i % 2, 0, 4096, 0)), 4096);
	client_close(&c);
	promises_kept();
}

/* A client that only polls sees it too. */
static void test_driver_killed_while_polling(void)
{
	uint32_t held = rd.shared->held;
	struct pcidipc_cqe cqe;
	struct client c;
	int ret;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	rd.shared->mode = RAMDISK_HOLD;
	client_queue(&c, sqe_rw(&c, false, 0, 4096, 0), 1);
	pcidipc_submit(c.consumer);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 1), 0);
	rd.shared->mode = RAMDISK_MIXED;
	restart_driver();
	while (!(ret = pcidipc_next_cqe(c.consumer, &cqe)))
		;
	CU_ASSERT_EQUAL(ret, -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 0, 4096, 0)), 4096);
	client_close(&c);
}

/* What was complete before it died counts. */
static void test_driver_killed_after_answer(void)
{
	struct pcidipc_cqe cqe;
	struct client c;
	uint32_t submits;
	int got = 0;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	submits = rd.shared->submits;
	for (unsigned i = 0; i < 8; i++)
		client_queue(&c, sqe_rw(&c, false, i * 4096, 4096, 0), i);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c.consumer, 8), 0);
	CU_ASSERT_EQUAL(rd.shared->submits, submits + 8);
	restart_driver();
	while (pcidipc_next_cqe(c.consumer, &cqe) == 1) {
		CU_ASSERT_EQUAL(cqe.res, 4096);
		got++;
	}
	CU_ASSERT_EQUAL(got, 8);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), -ENOTCONN);
	client_close(&c);
}

/* ---- the disk goes ---- */

static void test_removed(void)
{
	uint32_t held = rd.shared->held;
	struct client c;

	settle();
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	rd.shared->mode = RAMDISK_HOLD;
	for (unsigned i = 0; i < 4; i++)
		client_queue(&c, sqe_rw(&c, false, i * 4096, 4096, 0), i);
	pcidipc_submit(c.consumer);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 4), 0);
	rd.shared->mode = RAMDISK_MIXED;
	ramdisk_tell(&rd, RAMDISK_REMOVE);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENODEV);
	settle();
	CU_ASSERT_EQUAL(ramdisk_stop(&rd), 0);
	CU_ASSERT_EQUAL_FATAL(ramdisk_start(&rd, disk_loop), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), -ENODEV);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	client_close(&c);
	promises_kept();
}

/* ---- with a loop and tasks ---- */

#define TASKS 12

static struct looped {
	struct client c;
	struct pcidipc_loop *loop;
	unsigned running, failed;
	uint32_t event;
	int lost;
} looped;

static void note_event(struct pcidipc_consumer *consumer, uint32_t event, void *arg)
{
	(void)consumer;
	(void)arg;
	looped.event = event;
}

static void note_lost(struct pcidipc_consumer *consumer, int error, void *arg)
{
	(void)consumer;
	(void)arg;
	looped.lost = error;
}

static void begin_looped(void)
{
	memset(&looped, 0, sizeof(looped));
	CU_ASSERT_EQUAL_FATAL(
		pcidipc_loop_create(strcmp(disk_loop, "epoll") ? 0 : PCIDIPC_LOOP_EPOLL,
				    &looped.loop),
		0);
	CU_ASSERT_STRING_EQUAL(pcidipc_loop_backend(looped.loop), ramdisk_backend(disk_loop));
	CU_ASSERT_EQUAL_FATAL(client_open(&looped.c, "ram0", 0), 0);
	CU_ASSERT_EQUAL_FATAL(
		pcidipc_consumer_attach_loop(looped.c.consumer, looped.loop, note_lost, NULL), 0);
	pcidipc_consumer_on_event(looped.c.consumer, note_event, NULL);
}

static void end_looped(void)
{
	client_close(&looped.c);
	pcidipc_loop_destroy(looped.loop);
}

static void task_step(uint32_t *seed, uint64_t addr, uint64_t off)
{
	struct client *c = &looped.c;

	fill_random(seed, c->base + addr, 4096);
	looped.failed += pcidipc_blockdev_write(c->dev, c->index, addr, 4096, off, false) != 4096;
	looped.failed += pcidipc_blockdev_read(c->dev, c->index, addr + 4096, 4096, off) != 4096;
	looped.failed += memcmp(c->base + addr, c->base + addr + 4096, 4096) != 0;
}

static void io_task(void *arg)
{
	uint32_t number = (uint32_t)(uintptr_t)arg, seed = number;
	struct ringabi_block_health health;

	for (unsigned i = 0; i < 50; i++)
		task_step(&seed, number * 16384, (number * 64 + i) * 4096);
	looped.failed +=
		pcidipc_blockdev_health(looped.c.dev, &health) || health.temperature != 300;
	looped.failed += pcidipc_blockdev_refresh(looped.c.dev) != 0;
	if (!--looped.running)
		pcidipc_loop_stop(looped.loop, 0);
}

static void test_tasks(void)
{
	begin_looped();
	for (uintptr_t i = 0; i < TASKS; i++) {
		looped.running++;
		CU_ASSERT_EQUAL(pcidipc_spawn(looped.loop, io_task, (void *)i), 0);
	}
	pcidipc_loop_run(looped.loop);
	CU_ASSERT_EQUAL(looped.failed, 0);
	end_looped();
	promises_kept();
}

static void test_events(void)
{
	begin_looped();
	CU_ASSERT_EQUAL(ramdisk_tell(&rd, RAMDISK_INSERT), 0);
	while (!looped.event)
		pcidipc_loop_turn(looped.loop, true);
	CU_ASSERT_EQUAL(looped.event, RINGABI_EVENT_CHANGED);
	end_looped();
}

static void lost_task(void *arg)
{
	int *res = arg;

	*res = pcidipc_blockdev_read(looped.c.dev, looped.c.index, 0, BLOCK, 0);
	looped.running--;
}

/* A task that awaits a request gets the error, and the connection is lost once. */
static void test_driver_killed_under_task(void)
{
	uint32_t held = rd.shared->held;
	int res[4];

	begin_looped();
	rd.shared->mode = RAMDISK_HOLD;
	for (unsigned i = 0; i < 4; i++) {
		looped.running++;
		pcidipc_spawn(looped.loop, lost_task, &res[i]);
	}
	while (rd.shared->held != held + 4)
		pcidipc_loop_turn(looped.loop, false);
	rd.shared->mode = RAMDISK_MIXED;
	rd.fork_has_tasks = true;
	restart_driver();
	rd.fork_has_tasks = false;
	while (looped.running || !looped.lost)
		pcidipc_loop_turn(looped.loop, true);
	CU_ASSERT_EQUAL(looped.lost, -ENOTCONN);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(res[i], -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(looped.c.consumer), 0);
	looped.running = 1;
	pcidipc_spawn(looped.loop, lost_task, &res[0]);
	while (looped.running)
		pcidipc_loop_turn(looped.loop, true);
	CU_ASSERT_EQUAL(res[0], BLOCK);
	end_looped();
}

/* ---- */

static CU_TestInfo tests[] = {
	{"several clients", test_several},
	{"too many clients", test_too_many},
	{"a pool grows", test_growth},
	{"a pool grows under a vector", test_growth_by_vector},
	{"quota", test_quota},
	{"detach in flight", test_detach_in_flight},
	{"client killed", test_client_killed},
	{"client killed, driver hurries", test_client_killed_hurried},
	{"client killed while detaching", test_client_killed_detaching},
	{"driver killed", test_driver_killed},
	{"driver killed while polling", test_driver_killed_while_polling},
	{"driver killed after its answer", test_driver_killed_after_answer},
	{"disk removed", test_removed},
	{"tasks", test_tasks},
	{"events", test_events},
	{"driver killed under tasks", test_driver_killed_under_task},
	{"several clients again", test_several},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return disk_main("test_block_life", tests, NULL, NULL);
}
