// SPDX-License-Identifier: MIT
/* The block interface beside reads and writes: what a disk is, its other requests, who may do what,
 * and in which order. */
#include <linux/falloc.h>
#include <liburing.h>
#include <pcidipc/log.h>

#include "disksuite.h"

#define BLOCK 512u

static struct client c;

static int open_disk(void)
{
	return client_open(&c, "ram0", 0);
}

static void close_disk(void)
{
	client_close(&c);
}

/* ---- identity ---- */

static void test_info(void)
{
	const struct ringabi_block_info *info = pcidipc_blockdev_info(c.dev);

	CU_ASSERT_STRING_EQUAL(rd.shared->backend, ramdisk_backend(rd.shared->loop));
	CU_ASSERT_EQUAL(info->bytes, RAMDISK_BYTES);
	CU_ASSERT_EQUAL(info->block_bytes, BLOCK);
	CU_ASSERT_EQUAL(info->max_bytes, RAMDISK_MAX_BYTES);
	CU_ASSERT_STRING_EQUAL(info->model, "Memory");
	CU_ASSERT_EQUAL(info->flags, rd.shared->info.flags);
	CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, RINGABI_BLOCK_INFO, 64, 255)), -EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, RINGABI_BLOCK_INFO, 64, 257)), 256);
	CU_ASSERT_EQUAL(memcmp(c.base + 64, info, 256), 0);
	CU_ASSERT_EQUAL(
		client_call(&c, sqe_command(&c, RINGABI_BLOCK_INFO, CLIENT_POOL - 255, 256)),
		-EFAULT);
	CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, RINGABI_BLOCK_INFO, UINT64_MAX - 100, 256)),
			-EFAULT);
}

static void test_health(void)
{
	struct ringabi_block_health health;

	CU_ASSERT_EQUAL(pcidipc_blockdev_health(c.dev, &health), 0);
	CU_ASSERT_EQUAL(health.temperature, 300);
	CU_ASSERT_EQUAL(health.spare, 99);
	CU_ASSERT_EQUAL(health.writes, 12);
	CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, RINGABI_BLOCK_HEALTH, 0, 127)), -EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, RINGABI_BLOCK_HEALTH, CLIENT_POOL, 128)),
			-EFAULT);
}

static void test_names(void)
{
	const char *good[] = {"ram0", "disk/ram0", rd.path};
	struct pcidipc_blockdev *dev;
	char longest[300];

	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_blockdev_open(good[i], 0, 0, &dev), 0);
		pcidipc_blockdev_close(dev);
	}
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	CU_ASSERT_EQUAL(pcidipc_blockdev_open(longest, 0, 0, &dev), -ENAMETOOLONG);
	CU_ASSERT_EQUAL(pcidipc_blockdev_open("ram1", 0, 0, &dev), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_blockdev_open("ram0", 1u << 30, 0, &dev), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_open("ram0", 0, 3, &dev), -EINVAL);
}

/* ---- the others ---- */

static void test_flush(void)
{
	struct io_uring_sqe sqe = sqe_of(IORING_OP_FSYNC);

	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	CU_ASSERT_EQUAL(rd.shared->last.kind, PCIDIPC_BLOCK_FLUSH);
	sqe.fsync_flags = IORING_FSYNC_DATASYNC;
	CU_ASSERT_EQUAL(client_call(&c, sqe), 0);
	sqe.fsync_flags = 2;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.fsync_flags = 0;
	sqe.off = BLOCK;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
}

static void test_zero(void)
{
	memset(rd.shared->data, 0xff, 16 * BLOCK);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, BLOCK, 2 * BLOCK, false), 0);
	CU_ASSERT_EQUAL(rd.shared->last.kind, PCIDIPC_BLOCK_ZERO);
	CU_ASSERT_FALSE(rd.shared->last.unmap);
	CU_ASSERT_EQUAL(rd.shared->data[BLOCK - 1], 0xff);
	CU_ASSERT_EQUAL(rd.shared->data[BLOCK], 0);
	CU_ASSERT_EQUAL(rd.shared->data[3 * BLOCK - 1], 0);
	CU_ASSERT_EQUAL(rd.shared->data[3 * BLOCK], 0xff);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, 0, RAMDISK_BYTES, true), 0);
	CU_ASSERT_TRUE(rd.shared->last.unmap);
	CU_ASSERT_EQUAL(rd.shared->last.blocks, RAMDISK_BYTES / BLOCK);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, 1, BLOCK, true), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, 0, BLOCK - 1, true), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, 0, 0, true), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, BLOCK, RAMDISK_BYTES, true), -ENOSPC);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, BLOCK, UINT64_MAX - BLOCK + 1, true), -ENOSPC);
}

static void test_zero_modes(void)
{
	struct io_uring_sqe sqe = sqe_of(IORING_OP_FALLOCATE);

	sqe.addr = BLOCK;
	for (unsigned mode = 0; mode < 256; mode++) {
		bool known = mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE) ||
			     mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);

		sqe.len = mode;
		CU_ASSERT_EQUAL(client_call(&c, sqe), known ? 0 : -EOPNOTSUPP);
	}
	sqe.len = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	sqe.fd = 3;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.fd = 0;
	sqe.rw_flags = 1;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
}

static void test_discard(void)
{
	struct io_uring_sqe sqe;

	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, 4 * BLOCK, 4 * BLOCK), 0);
	CU_ASSERT_EQUAL(rd.shared->last.kind, PCIDIPC_BLOCK_DISCARD);
	CU_ASSERT_EQUAL(rd.shared->last.lba, 4);
	CU_ASSERT_EQUAL(rd.shared->last.blocks, 4);
	CU_ASSERT_EQUAL(rd.shared->data[4 * BLOCK], 0xdd);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, UINT64_MAX - BLOCK + 1, BLOCK), -ENOSPC);
	pcidipc_prep_discard(&sqe, 0, BLOCK);
	sqe.fd = 1;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
}

/* ---- pass-through ---- */

static struct ringabi_block_passthrough *command_at(struct client *client, uint64_t addr)
{
	struct ringabi_block_passthrough *p = (void *)(client->base + addr);

	memset(p, 0, sizeof(*p));
	p->kind = RINGABI_BLOCK_PT_NVME_ADMIN;
	p->command[0] = 6;
	p->data = 8192;
	p->data_bytes = 4096;
	return p;
}

static void check_passthrough_errors(struct client *admin)
{
	struct ringabi_block_passthrough *p = command_at(admin, 0);

	p->kind = 0;
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, admin->index, 0), -EINVAL);
	command_at(admin, 0)->flags = 1;
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, admin->index, 0), -EINVAL);
	command_at(admin, 0)->to_device = 2;
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, admin->index, 0), -EINVAL);
	command_at(admin, 0)->data_bytes = UINT32_MAX;
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, admin->index, 0), -EINVAL);
	command_at(admin, 0)->data = CLIENT_POOL - 4092;
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, admin->index, 0), -EFAULT);
	command_at(admin, 0)->data = 1;
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, admin->index, 0), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, admin->index, CLIENT_POOL - 127),
			-EFAULT);
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin->dev, 9, 0), -ENXIO);
	CU_ASSERT_EQUAL(client_call(admin, sqe_command(admin, RINGABI_BLOCK_PASSTHROUGH, 0, 127)),
			-EINVAL);
}

static void test_passthrough(void)
{
	struct ringabi_block_passthrough *p;
	struct client admin;

	command_at(&c, 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(c.dev, c.index, 0), -EPERM);
	CU_ASSERT_EQUAL_FATAL(client_open(&admin, rd.admin_path, 0), 0);
	CU_ASSERT_TRUE(pcidipc_blockdev_info(admin.dev)->flags & RINGABI_BLOCK_ADMIN);
	p = command_at(&admin, 0);
	for (int i = 0; i < 2; i++) { /* answered at once, and later */
		CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin.dev, admin.index, 0), 0);
		CU_ASSERT_EQUAL(p->status, 7);
		CU_ASSERT_EQUAL(p->result, 0x1122334455667788);
		CU_ASSERT_EQUAL(admin.base[8192], 0xa5);
		CU_ASSERT_EQUAL(admin.base[8192 + 4095], 0xa5);
		CU_ASSERT_EQUAL(admin.base[8192 + 4096], 0);
	}
	p = command_at(&admin, 0);
	p->command[0] = 0x80; /* not on the driver's list; its status comes back all the same */
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(admin.dev, admin.index, 0), -EACCES);
	CU_ASSERT_EQUAL(p->status, 7);
	check_passthrough_errors(&admin);
	client_close(&admin);
}

/* ---- who may ---- */

static void test_read_only(void)
{
	struct iovec iov = piece(4096, BLOCK);
	struct client ro;

	CU_ASSERT_EQUAL_FATAL(client_open(&ro, "ram0", RINGABI_OPEN_READ_ONLY), 0);
	CU_ASSERT_TRUE(pcidipc_blockdev_info(ro.dev)->flags & RINGABI_BLOCK_READ_ONLY);
	CU_ASSERT_EQUAL(client_call(&ro, sqe_rw(&ro, false, 0, BLOCK, 0)), BLOCK);
	CU_ASSERT_EQUAL(client_call(&ro, sqe_rw(&ro, true, 0, BLOCK, 0)), -EROFS);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(ro.dev, 0, BLOCK, false), -EROFS);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(ro.dev, 0, BLOCK), -EROFS);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(ro.dev), 0);
	CU_ASSERT_EQUAL(client_vector(&ro, true, 0, &iov, 1, 0), -EROFS);
	client_close(&ro);
	CU_ASSERT_EQUAL_FATAL(client_open(&ro, rd.admin_path, RINGABI_OPEN_READ_ONLY), 0);
	command_at(&ro, 0)->to_device = 1;
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(ro.dev, ro.index, 0), -EROFS);
	client_close(&ro);
}

static void test_exclusive(void)
{
	struct client one, other;

	CU_ASSERT_EQUAL(client_open(&one, "ram0", RINGABI_OPEN_EXCLUSIVE),
			-EBUSY); /* `c` has it open */
	client_close(&c);
	CU_ASSERT_EQUAL_FATAL(client_open(&one, "ram0", RINGABI_OPEN_EXCLUSIVE), 0);
	CU_ASSERT_EQUAL(client_open(&other, "ram0", 0), -EBUSY);
	CU_ASSERT_EQUAL(client_open(&other, "ram0", RINGABI_OPEN_READ_ONLY), -EBUSY);
	CU_ASSERT_EQUAL(client_open(&other, rd.admin_path, RINGABI_OPEN_EXCLUSIVE), -EBUSY);
	CU_ASSERT_EQUAL(client_call(&one, sqe_rw(&one, true, 0, BLOCK, 0)), BLOCK);
	client_close(&one);
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "ram0", 0), 0);
}

/* ---- the medium comes and goes ---- */

static void test_medium(void)
{
	struct iovec iov = piece(4096, BLOCK);

	CU_ASSERT_EQUAL_FATAL(ramdisk_tell(&rd, RAMDISK_EJECT), 0);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 0, BLOCK, 0)), -ENOMEDIUM);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, BLOCK, 0)), -ENOMEDIUM);
	CU_ASSERT_EQUAL(client_vector(&c, false, 0, &iov, 1, 0), -ENOMEDIUM);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, 0, BLOCK, false), -ENOMEDIUM);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, 0, BLOCK), -ENOMEDIUM);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), -ENOMEDIUM);
	CU_ASSERT_EQUAL(pcidipc_blockdev_refresh(c.dev), 0);
	CU_ASSERT_TRUE(pcidipc_blockdev_info(c.dev)->flags & RINGABI_BLOCK_NO_MEDIUM);
	CU_ASSERT_EQUAL(pcidipc_blockdev_info(c.dev)->bytes, 0);
	CU_ASSERT_EQUAL_FATAL(ramdisk_tell(&rd, RAMDISK_INSERT), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_refresh(c.dev), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_info(c.dev)->bytes, RAMDISK_BYTES);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 0, BLOCK, 0)), BLOCK);
}

/* ---- in order ---- */

static void test_link(void)
{
	struct io_uring_sqe write = sqe_rw(&c, true, 0, BLOCK, 0),
			    read = sqe_rw(&c, false, 4096, BLOCK, 0);
	uint64_t who;

	write.flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	for (int i = 0; i < 20; i++) {
		memset(c.base, i + 1, BLOCK);
		memset(c.base + 4096, 0, BLOCK);
		client_queue(&c, write, 1);
		client_queue(&c, read, 2);
		CU_ASSERT_EQUAL(client_reap(&c, &who), BLOCK);
		CU_ASSERT_EQUAL(who, 2);
		CU_ASSERT_EQUAL(memcmp(c.base, c.base + 4096, BLOCK), 0);
	}
	write.off = 1;
	write.flags = IOSQE_IO_LINK;
	client_queue(&c, write, 1);
	client_queue(&c, read, 2);
	CU_ASSERT_EQUAL(client_reap(&c, &who), -EINVAL);
	CU_ASSERT_EQUAL(who, 1);
	CU_ASSERT_EQUAL(client_reap(&c, &who), -ECANCELED);
	CU_ASSERT_EQUAL(who, 2);
}

static void test_cancel(void)
{
	struct io_uring_sqe cancel = sqe_of(IORING_OP_ASYNC_CANCEL);
	uint32_t held = rd.shared->held;
	uint64_t first, second;
	int res[2];

	rd.shared->mode = RAMDISK_HOLD;
	rd.shared->hurry = true;
	client_queue(&c, sqe_rw(&c, false, 0, BLOCK, 0), 7);
	pcidipc_submit(c.consumer);
	CU_ASSERT_EQUAL(ramdisk_wait(&rd, &rd.shared->held, held + 1), 0);
	cancel.addr = 7;
	client_queue(&c, cancel, 8);
	res[0] = client_reap(&c, &first);
	res[1] = client_reap(&c, &second);
	CU_ASSERT_EQUAL(first + second, 15);
	CU_ASSERT_EQUAL(res[first == 7 ? 0 : 1], -ECANCELED);
	CU_ASSERT_EQUAL(res[first == 7 ? 1 : 0], 0);
	rd.shared->mode = RAMDISK_MIXED;
	rd.shared->hurry = false;
	cancel.addr = 12345;
	CU_ASSERT_EQUAL(client_call(&c, cancel), -ENOENT);
}

/* Both queues are full of what nobody has reaped; a call gets through, and nothing is lost. */
static void test_full_queues(void)
{
	const uint32_t both = 64 + 128; /* of the SQ and the CQ */
	uint32_t sent = 0, got = 0;
	struct pcidipc_cqe cqe;

	while (sent < both) {
		while (sent < both && pcidipc_sq_space(c.consumer))
			client_queue(&c, sqe_of(IORING_OP_NOP), ++sent);
		pcidipc_submit(c.consumer);
	}
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	while (got < sent && !pcidipc_submit_and_wait(c.consumer, 1))
		while (pcidipc_next_cqe(c.consumer, &cqe) == 1)
			CU_ASSERT_EQUAL(cqe.user_data, ++got);
	CU_ASSERT_EQUAL(got, sent);
}

/* Who leaves user_data alone gets 0, and not what the library had in that slot for itself. */
static void test_no_user_data(void)
{
	struct io_uring_sqe *sqe;
	uint64_t user_data = 1;

	for (unsigned i = 0; i < 64; i++)
		CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	sqe = pcidipc_get_sqe(c.consumer);
	CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
	io_uring_prep_nop(sqe);
	CU_ASSERT_EQUAL(client_reap(&c, &user_data), 0);
	CU_ASSERT_EQUAL(user_data, 0);
}

/* A driver whose disk cannot be is told so before it serves. */
static void test_impossible_disks(void)
{
	struct pcidipc_disk disk = {.name = "impossible", .max_sessions = 1};

	pcidipc_log_init("test_block_commands",
			 0); /* nobody shall wonder about messages that must come */
	disk.info = rd.shared->info;
	disk.info.dma_align = 0;
	CU_ASSERT_EQUAL(pcidipc_disk_serve(NULL, &disk, -1, -1), -EINVAL);
	disk.info.dma_align = 4;
	disk.info.block_bytes = 520;
	CU_ASSERT_EQUAL(pcidipc_disk_serve(NULL, &disk, -1, -1), -EINVAL);
	disk.info.block_bytes = 512;
	disk.info.max_bytes = (1u << 30) + 1;
	CU_ASSERT_EQUAL(pcidipc_disk_serve(NULL, &disk, -1, -1), -EINVAL);
	pcidipc_log_init("test_block_commands", PCIDIPC_ERROR);
}

/* Nothing that came before has hurt. */
static void test_still_works(void)
{
	read_and_write(&c);
}

static CU_TestInfo tests[] = {
	{"info", test_info},
	{"health", test_health},
	{"names", test_names},
	{"flush", test_flush},
	{"zero", test_zero},
	{"modes of fallocate", test_zero_modes},
	{"discard", test_discard},
	{"pass-through", test_passthrough},
	{"read-only", test_read_only},
	{"exclusive", test_exclusive},
	{"medium out and in", test_medium},
	{"chains", test_link},
	{"cancel", test_cancel},
	{"full queues", test_full_queues},
	{"no user_data", test_no_user_data},
	{"impossible disks", test_impossible_disks},
	{"still works", test_still_works},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return disk_main("test_block_commands", tests, open_disk, close_disk);
}
