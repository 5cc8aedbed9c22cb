// SPDX-License-Identifier: MIT
/* When a disk's driver dies: is it the same disk, what of its cache, and what if nobody follows. */
#include <pcidipc/task.h>
#include <stdio.h>

#include "replaydisk.h"

/* ---- the cache ---- */

static void set_cache_at_risk(bool at_risk)
{
	if (at_risk)
		rd.shared->info.flags |= RINGABI_BLOCK_CACHE_AT_RISK;
	else
		rd.shared->info.flags &= ~RINGABI_BLOCK_CACHE_AT_RISK;
	restart_driver();
}

static void test_cache_lost(void)
{
	struct client c;

	set_cache_at_risk(true);
	open_client(&c);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, PAGE, 0, false), PAGE);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), -EIO);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, PAGE, 0, true), PAGE);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	/* In flight itself, behind a write. */
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, PAGE, 0, false), PAGE);
	client_queue(&c, sqe_of(IORING_OP_FSYNC), 1);
	submit_held(&c, 1);
	restart_driver();
	expect_result(&c, 1, -EIO);
	close_client(&c);
	set_cache_at_risk(false);
}

/* An FSYNC that is canceled before its turn has told nobody. */
static void test_loss_is_told(void)
{
	struct client c;

	set_cache_at_risk(true);
	open_client(&c);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, PAGE, 0, false), PAGE);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_blockdev_read(c.dev, c.index, 0, PAGE, 0), PAGE);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, RAMDISK_BYTES), IOSQE_CQE_SKIP_SUCCESS),
		     1);
	client_queue(&c, sqe_of(IORING_OP_FSYNC), 2);
	expect_result(&c, 1, -ENOSPC);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), -EIO);
	expect_silence(&c);
	close_client(&c);
	set_cache_at_risk(false);
}

/* A write that succeeded silently is lost like any other. */
static void test_silent_write_lost(void)
{
	struct client c;

	set_cache_at_risk(true);
	open_client(&c);
	client_queue(&c, linked(sqe_rw(&c, true, 0, PAGE, 0), IOSQE_CQE_SKIP_SUCCESS), 1);
	client_queue(&c, sqe_of(IORING_OP_NOP), 2);
	expect_result(&c, 2, 0);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), -EIO);
	expect_silence(&c);
	close_client(&c);
	set_cache_at_risk(false);
}

/* A write and an FSYNC in one submit, the one after the other: nothing is lost. */
static void write_and_flush(unsigned write_flags, unsigned flush_flags)
{
	struct client c;

	set_cache_at_risk(true);
	open_client(&c);
	client_queue(&c, flagged(sqe_rw(&c, true, 0, PAGE, 0), write_flags), 1);
	client_queue(&c, flagged(sqe_of(IORING_OP_FSYNC), flush_flags), 2);
	expect_result(&c, 1, PAGE);
	expect_result(&c, 2, 0);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	close_client(&c);
	set_cache_at_risk(false);
}

static void test_flush_in_chain(void)
{
	write_and_flush(IOSQE_IO_LINK, 0);
}

static void test_flush_drained(void)
{
	write_and_flush(0, IOSQE_IO_DRAIN);
}

/* ---- the disk ---- */

static void test_another_disk(void)
{
	struct client c;

	open_client(&c);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 1);
	submit_held(&c, 1);
	kill_driver();
	snprintf(rd.shared->info.serial, sizeof(rd.shared->info.serial), "RAM-2");
	start_driver(RAMDISK_MIXED);
	CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENODEV);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c.consumer), -ENODEV);
	close_client(&c);
	snprintf(rd.shared->info.serial, sizeof(rd.shared->info.serial), "RAM-1");
	restart_driver();
}

static void name_disk(const char *serial, const char *model)
{
	kill_driver();
	snprintf(rd.shared->info.serial, sizeof(rd.shared->info.serial), "%s", serial);
	snprintf(rd.shared->info.model, sizeof(rd.shared->info.model), "%s", model);
	start_driver(RAMDISK_MIXED);
}

/* It is the same one only where something says so. */
static void test_who_is_who(void)
{
	static const struct {
		const char *serial, *model, *next_serial, *next_model;
		int res;
	} cases[] = {
		{"RAM-1", "Memory", "RAM-1", "Memory", PAGE},
		{"RAM-1", "Memory", "RAM-1", "Stick", -ENODEV},
		{"", "Stick A", "", "Stick B", -ENODEV},
		{"", "Stick", "", "Stick", -ENODEV},
	};
	struct client c;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		name_disk(cases[i].serial, cases[i].model);
		open_client(&c);
		client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 1);
		submit_held(&c, 1);
		name_disk(cases[i].next_serial, cases[i].next_model);
		CU_ASSERT_EQUAL(client_reap(&c, NULL), cases[i].res);
		CU_ASSERT_STRING_EQUAL(pcidipc_blockdev_info(c.dev)->model, cases[i].model);
		close_client(&c);
	}
	name_disk("RAM-1", "Memory");
}

/* Another disk's driver is left alone at once, and what it serves does not become ours by that. */
static void test_another_disk_stays_another(void)
{
	struct client c;

	open_client(&c);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 1);
	submit_held(&c, 1);
	name_disk("RAM-2", "Memory");
	CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENODEV);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->closes, rd.shared->opens), 0);
	CU_ASSERT_EQUAL(rd.shared->attaches, rd.shared->detaches);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_reconnect(c.consumer), 0);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 2);
	submit_held(&c, 1);
	restart_driver();
	CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENODEV);
	close_client(&c);
	name_disk("RAM-1", "Memory");
}

/* ---- nobody follows ---- */

static void test_no_successor(void)
{
	struct client c;

	open_client(&c);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 1);
	submit_held(&c, 1);
	take_service(true);
	kill_driver();
	CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENOTCONN);
	take_service(false);
	start_driver(RAMDISK_MIXED);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, PAGE, 0, false), PAGE);
	restart_driver(); /* and on from there */
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, PAGE, 0, false), PAGE);
	close_client(&c);
}

/* The end of a connection that has gone on before is told as any other. */
static void test_no_second_successor(void)
{
	struct client c;

	open_client(&c);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 1);
	submit_held(&c, 1);
	restart_driver();
	CU_ASSERT_EQUAL(client_reap(&c, NULL), PAGE);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 2);
	submit_held(&c, 1);
	take_service(true);
	kill_driver();
	CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENOTCONN);
	take_service(false);
	start_driver(RAMDISK_MIXED);
	close_client(&c);
}

/* A new driver, to which the program writes something else: what it had not submitted to the old
 * one stays undone. */
static void expect_not_made_again(struct client *c)
{
	take_service(false);
	start_driver(RAMDISK_MIXED);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c->consumer), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c->dev, c->index, PAGE, PAGE, 0, true), PAGE);
	CU_ASSERT_EQUAL(rd.shared->data[0], 0x22);
	restart_driver();
	expect_silence(c);
	CU_ASSERT_EQUAL(rd.shared->data[0], 0x22);
}

static void test_never_submitted(void)
{
	struct pcidipc_loop *loop;
	struct pcidipc_cqe cqe;
	struct client c;

	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	open_client(&c);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_loop(c.consumer, loop, NULL, NULL), 0);
	pcidipc_loop_turn(loop, false);
	memset(c.base, 0x11, PAGE);
	memset(c.base + PAGE, 0x22, PAGE);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 1);
	take_service(true);
	kill_driver();
	while (!pcidipc_consumer_error(c.consumer))
		pcidipc_loop_turn(loop, true);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(c.consumer, &cqe), -ENOTCONN);
	expect_not_made_again(&c);
	close_client(&c);
	pcidipc_loop_destroy(loop);
}

static void test_removed(void)
{
	struct client c;

	open_client(&c);
	client_queue(&c, sqe_rw(&c, true, 0, PAGE, 0), 1);
	submit_held(&c, 1);
	take_service(true);
	CU_ASSERT_EQUAL(ramdisk_tell(&rd, RAMDISK_REMOVE), 0);
	expect_result(&c, 1, -ENODEV);
	CU_ASSERT_EQUAL(client_reap(&c, NULL), -ENODEV);
	take_service(false);
	close_client(&c);
	restart_driver();
}

/* A pool that is attached while nobody is there, and one that is detached. */
static void test_pools(void)
{
	struct pcidipc_pool *pool;
	struct client c;
	uint16_t index;

	open_client(&c);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(1 << 21, 0, &pool), 0);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c.consumer, pool, &index), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, index, 0, PAGE, 0, false), PAGE);
	restart_driver();
	CU_ASSERT_EQUAL(pcidipc_consumer_detach_pool(c.consumer, index), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, index, 0, PAGE, 0, false), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c.consumer, pool, &index), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, index, 0, PAGE, 0, false), PAGE);
	close_client(&c);
	pcidipc_pool_destroy(pool);
}

static void test_too_late(void)
{
	struct client c;

	open_client(&c);
	CU_ASSERT_EQUAL(pcidipc_blockdev_replay(c.dev), -EBUSY);
	close_client(&c);
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
	client_queue(&c, sqe_rw(&c, false, 0, PAGE, 0), 1);
	CU_ASSERT_EQUAL(pcidipc_blockdev_replay(c.dev), -EBUSY);
	expect_result(&c, 1, PAGE);
	CU_ASSERT_EQUAL(pcidipc_blockdev_replay(c.dev), 0);
	close_client(&c);
}

static CU_TestInfo tests[] = {
	{"a cache that is lost", test_cache_lost},
	{"that is told, not lost too", test_loss_is_told},
	{"a silent write is lost", test_silent_write_lost},
	{"a flush in the write's chain", test_flush_in_chain},
	{"a flush that waited for the write", test_flush_drained},
	{"another disk", test_another_disk},
	{"the same disk, and others", test_who_is_who},
	{"another disk stays another", test_another_disk_stays_another},
	{"no successor", test_no_successor},
	{"no second successor", test_no_second_successor},
	{"what was never submitted", test_never_submitted},
	{"removed", test_removed},
	{"pools", test_pools},
	{"too late", test_too_late},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return disk_main("test_replay_disk", tests, NULL, NULL);
}
