// SPDX-License-Identifier: MIT
/*
 * Data integrity: what a client reads and writes at every alignment and size is what the image file
 * holds. Alignment: every 4-byte offset in a page (the disk's dma_align) at two blocks, eleven
 * classes of them at 1 to 24 blocks and at 4 KiB to 8 MiB. Size: every one up to the device's
 * largest transfer and a block more, and round numbers of MiB beyond. Random ones of everything,
 * several at once, are in test_random.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "rig.h"

#define DISK_BYTES (32u << 20)
#define POOL_BYTES (64u << 20)
#define MDTS (512u << 10)
#define GUARD 64u
#define GUARD_BYTE 0xa5
#define PAGE 4096u

static struct rig rig;
static unsigned char *shadow_a, *shadow_b, *shadow;
static struct client c;
static uint32_t block, random_state = 7;
static const char *image;

static const uint32_t offsets[] = {0, 4, 8, 60, 64, 512, 516, 2048, 3584, 4088, 4092};
#define OFFSETS (sizeof(offsets) / sizeof(*offsets))

/* ---- one transfer, with its surroundings watched ---- */

static uint64_t random_off(uint32_t bytes)
{
	return (uint64_t)block * (next_random(&random_state) % ((DISK_BYTES - bytes) / block + 1));
}

static void set_guards(uint64_t addr, uint32_t bytes)
{
	if (addr)
		memset(c.base + addr - GUARD, GUARD_BYTE, GUARD);
	memset(c.base + addr + bytes, GUARD_BYTE, GUARD);
}

static bool guards_hold(uint64_t addr, uint32_t bytes)
{
	for (uint32_t i = 0; i < GUARD; i++)
		if ((addr && c.base[addr - GUARD + i] != GUARD_BYTE) ||
		    c.base[addr + bytes + i] != GUARD_BYTE)
			return false;
	return true;
}

static bool reads_right(uint64_t addr, uint32_t bytes, uint64_t off)
{
	memset(c.base + addr, 0, bytes);
	set_guards(addr, bytes);
	return client_read(&c, addr, bytes, off) == (int)bytes &&
	       !memcmp(c.base + addr, shadow + off, bytes) && guards_hold(addr, bytes);
}

static bool writes(uint64_t addr, uint32_t bytes, uint64_t off)
{
	fill_random(&random_state, c.base + addr, bytes);
	memcpy(shadow + off, c.base + addr, bytes);
	return client_write(&c, addr, bytes, off) == (int)bytes;
}

static void image_is_right(void)
{
	CU_ASSERT_EQUAL(rig_compare(&rig, image, shadow, DISK_BYTES), 0);
}

/* ---- the tests ---- */

static void test_geometry(void)
{
	CU_ASSERT_EQUAL(c.info->bytes, DISK_BYTES);
	CU_ASSERT_EQUAL(c.info->block_bytes, block);
	CU_ASSERT_TRUE(c.info->dma_align && c.info->dma_align <= 4);
	CU_ASSERT_STRING_EQUAL(c.info->transport, "nvme");
	CU_ASSERT_TRUE(strstr(c.info->serial, "serial1") != NULL);
	CU_ASSERT_EQUAL(c.info->name_space, block == 512 ? 1 : 2);
}

/* 1 to 24 blocks at every class of offset in a page. */
static void test_read_small(void)
{
	unsigned wrong = 0;

	for (uint32_t n = 1; n <= 24; n++)
		for (unsigned i = 0; i < OFFSETS; i++)
			wrong += !reads_right(PAGE + offsets[i], n * block, random_off(n * block));
	CU_ASSERT_EQUAL(wrong, 0);
}

/* Every 4-byte offset in a page. */
static void test_read_every_offset(void)
{
	unsigned wrong = 0;

	for (uint32_t at = 0; at < PAGE; at += 4)
		wrong += !reads_right(PAGE + at, 2 * block, random_off(2 * block));
	CU_ASSERT_EQUAL(wrong, 0);
}

static void test_write_small(void)
{
	unsigned wrong = 0;

	for (uint32_t n = 1; n <= 24; n++)
		for (unsigned i = 0; i < OFFSETS; i++)
			wrong += !writes(PAGE + offsets[i], n * block, random_off(n * block));
	CU_ASSERT_EQUAL(wrong, 0);
	image_is_right();
}

static void test_write_every_offset(void)
{
	unsigned wrong = 0;

	for (uint32_t at = 0; at < PAGE; at += 4)
		wrong += !writes(PAGE + at, 2 * block, random_off(2 * block));
	CU_ASSERT_EQUAL(wrong, 0);
	image_is_right();
}

static const uint32_t large[] = {
	PAGE,	  2 * PAGE, MDTS - PAGE,       MDTS,	 MDTS + PAGE, 2 * MDTS - PAGE,
	2 * MDTS, 3u << 20, (3u << 20) + PAGE, 5u << 20, 8u << 20,
};
#define LARGE (sizeof(large) / sizeof(*large))

/* Up to the device's largest transfer, and beyond: the driver splits. */
static void test_large(void)
{
	unsigned wrong = 0;

	CU_ASSERT_TRUE(c.info->max_bytes >= 8u << 20);
	for (unsigned n = 0; n < LARGE; n++)
		for (unsigned i = 0; i < OFFSETS; i++) {
			wrong += !writes(PAGE + offsets[i], large[n], random_off(large[n]));
			wrong += !reads_right((16u << 20) + offsets[OFFSETS - 1 - i], large[n],
					      random_off(large[n]));
		}
	for (uint32_t bytes = MDTS - block; bytes <= MDTS + block; bytes += block) {
		wrong += !writes(PAGE + 4092, bytes, random_off(bytes));
		wrong += !reads_right(PAGE + 4, bytes, random_off(bytes));
	}
	CU_ASSERT_EQUAL(wrong, 0);
	image_is_right();
}

/*
 * Every size from one block to a block beyond the device's largest transfer, each at an alignment
 * of its own; every fourth is written, the others read.
 */
static void test_every_size(void)
{
	unsigned wrong = 0;

	for (uint32_t bytes = block; bytes <= MDTS + block; bytes += block) {
		uint64_t addr = PAGE + 4 * (next_random(&random_state) % (PAGE / 4));

		if (bytes / block % 4)
			wrong += !reads_right(addr, bytes, random_off(bytes));
		else
			wrong += !writes(addr, bytes, random_off(bytes));
	}
	CU_ASSERT_EQUAL(wrong, 0);
	image_is_right();
}

/* The first and last block, and the whole disk, from the first byte of the pool. */
static void test_edges(void)
{
	CU_ASSERT_TRUE(writes(0, block, 0));
	CU_ASSERT_TRUE(writes(0, block, DISK_BYTES - block));
	CU_ASSERT_TRUE(reads_right(0, block, 0));
	CU_ASSERT_TRUE(reads_right(POOL_BYTES - block - GUARD, block, DISK_BYTES - block));
	if (c.info->max_bytes >= DISK_BYTES)
		CU_ASSERT_TRUE(reads_right(0, DISK_BYTES, 0));
	image_is_right();
}

/* ---- vectors ---- */

/* `n` pieces of 1 to 9 blocks each, anywhere in the pool but not over one another. Returns their
 * bytes. */
static uint32_t make_vector(struct iovec *iov, unsigned n)
{
	uint32_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t bytes = block * (1 + next_random(&random_state) % 9);
		uint32_t at = offsets[next_random(&random_state) % OFFSETS];

		iov[i].iov_base = (void *)(uintptr_t)((1u << 20) + i * (64u << 10) + at);
		iov[i].iov_len = bytes;
		total += bytes;
	}
	return total;
}

static int call_vector(bool write, unsigned n, uint64_t off)
{
	struct io_uring_sqe sqe;

	/* The vector itself lies at the start of the pool. */
	memset(&sqe, 0, sizeof(sqe));
	if (write)
		io_uring_prep_writev(&sqe, 0, NULL, n, off);
	else
		io_uring_prep_readv(&sqe, 0, NULL, n, off);
	sqe.addr = 64;
	sqe.buf_index = c.index;
	return client_call(&c, &sqe);
}

static bool vector_works(bool write, unsigned n)
{
	struct iovec *iov = (void *)(c.base + 64);
	uint32_t total = make_vector(iov, n);
	uint64_t off = random_off(total), at = off;
	bool right = true;

	for (unsigned i = 0; i < n && write; at += iov[i++].iov_len) {
		fill_random(&random_state, c.base + (uintptr_t)iov[i].iov_base, iov[i].iov_len);
		memcpy(shadow + at, c.base + (uintptr_t)iov[i].iov_base, iov[i].iov_len);
	}
	right = call_vector(write, n, off) == (int)total;
	for (unsigned i = 0; i < n && !write; at += iov[i++].iov_len)
		right &= !memcmp(c.base + (uintptr_t)iov[i].iov_base, shadow + at, iov[i].iov_len);
	return right;
}

static void test_vectors(void)
{
	unsigned wrong = 0;

	for (unsigned n = 1; n <= 12; n++) {
		wrong += !vector_works(false, n);
		wrong += !vector_works(true, n);
	}
	wrong += !vector_works(true, RINGABI_BLOCK_MAX_IOV);
	wrong += !vector_works(false, RINGABI_BLOCK_MAX_IOV);
	CU_ASSERT_EQUAL(wrong, 0);
	image_is_right();
}

static void test_bad_vectors(void)
{
	struct iovec *iov = (void *)(c.base + 64);

	make_vector(iov, 4);
	CU_ASSERT_EQUAL(call_vector(false, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(call_vector(false, RINGABI_BLOCK_MAX_IOV + 1, 0), -EINVAL);
	iov[2].iov_len = block / 2;
	CU_ASSERT_EQUAL(call_vector(false, 4, 0), -EINVAL);
	iov[2].iov_len = block;
	iov[2].iov_base = (void *)(uintptr_t)(POOL_BYTES - block / 2);
	CU_ASSERT_EQUAL(call_vector(false, 4, 0), -EFAULT);
	iov[2].iov_base = (void *)(uintptr_t)UINT64_MAX;
	CU_ASSERT_TRUE(call_vector(false, 4, 0) < 0);
	iov[2].iov_len = SIZE_MAX & ~(size_t)(block - 1);
	CU_ASSERT_TRUE(call_vector(true, 4, 0) < 0);
	image_is_right();
}

/* ---- flush, force unit access, zeroes, discard ---- */

static void test_stable(void)
{
	uint64_t off = random_off(4 * block);

	fill_random(&random_state, c.base, 4 * block);
	memcpy(shadow + off, c.base, 4 * block);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, 4 * block, off, true),
			(int)(4 * block));
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	CU_ASSERT_TRUE(reads_right(PAGE, 4 * block, off));
	image_is_right();
}

static void zero(uint64_t off, uint64_t bytes, bool deallocate)
{
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, off, bytes, deallocate), 0);
	memset(shadow + off, 0, bytes);
}

static void test_zeroes(void)
{
	CU_ASSERT_TRUE(c.info->flags & RINGABI_BLOCK_ZEROES_WORK);
	zero(block, block, false);
	zero(5 * block, 3 * block, true);
	zero(1u << 20, 3u << 20, false);
	zero(5u << 20, 4u << 20, true);
	zero(DISK_BYTES - block, block, false);
	CU_ASSERT_TRUE(reads_right(PAGE + 4, 8u << 20, 1u << 20));
	image_is_right();
}

/* What was discarded may hold anything, so it is written anew; its neighbours must be as they were.
 */
static void test_discard(void)
{
	CU_ASSERT_TRUE(c.info->flags & RINGABI_BLOCK_DISCARD_WORKS);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, 2u << 20, 3u << 20), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, 8u << 20, block), 0);
	CU_ASSERT_TRUE(writes(PAGE, 3u << 20, 2u << 20));
	CU_ASSERT_TRUE(writes(PAGE, block, 8u << 20));
	image_is_right();
}

/* ---- chains and depth ---- */

/* Write, flush and read back as one chain: the read must see what the write left. */
static void test_chain(void)
{
	uint64_t off = random_off(8 * block), seen = 0;
	struct io_uring_sqe *sqe;

	fill_random(&random_state, c.base, 8 * block);
	memcpy(shadow + off, c.base, 8 * block);
	sqe = pcidipc_get_sqe(c.consumer);
	io_uring_prep_write_fixed(sqe, 0, NULL, 8 * block, off, c.index);
	sqe->user_data = 1;
	sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	sqe = pcidipc_get_sqe(c.consumer);
	io_uring_prep_fsync(sqe, 0, 0);
	sqe->user_data = 2;
	sqe->flags |= IOSQE_IO_LINK;
	sqe = pcidipc_get_sqe(c.consumer);
	io_uring_prep_read_fixed(sqe, 0, (void *)(uintptr_t)(1u << 20), 8 * block, off, c.index);
	sqe->user_data = 3;
	CU_ASSERT_EQUAL(client_reap(&c, &seen), 0);
	CU_ASSERT_EQUAL(seen, 2);
	CU_ASSERT_EQUAL(client_reap(&c, &seen), (int)(8 * block));
	CU_ASSERT_EQUAL(seen, 3);
	CU_ASSERT_EQUAL(memcmp(c.base + (1u << 20), shadow + off, 8 * block), 0);
}

static void test_depth(void)
{
	struct work work = {.first = 16u << 20,
			    .bytes = 16u << 20,
			    .depth = 32,
			    .largest = 128u << 10,
			    .rounds = 1500,
			    .stride = (1u << 20) + 4,
			    .seed = 3};

	CU_ASSERT_EQUAL(work_on(&c, &work), 0);
	/* Put back what the file must hold; this also reads the rest of it once. */
	for (uint32_t at = 16u << 20; at < DISK_BYTES; at += 4u << 20)
		CU_ASSERT_TRUE(writes(PAGE, 4u << 20, at));
	image_is_right();
}

/* ---- errors ---- */

static void test_errors(void)
{
	struct io_uring_sqe sqe;

	CU_ASSERT_EQUAL(client_read(&c, 0, block, DISK_BYTES), -ENOSPC);
	CU_ASSERT_EQUAL(client_write(&c, 0, 2 * block, DISK_BYTES - block), -ENOSPC);
	CU_ASSERT_EQUAL(client_read(&c, 0, block, UINT64_MAX & ~(uint64_t)(block - 1)), -ENOSPC);
	CU_ASSERT_EQUAL(client_read(&c, 0, block, block / 2), -EINVAL);
	CU_ASSERT_EQUAL(client_read(&c, 0, block / 2, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_read(&c, 0, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_read(&c, 1, block, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_read(&c, POOL_BYTES - block + 4, block, 0), -EFAULT);
	CU_ASSERT_EQUAL(client_write(&c, UINT64_MAX & ~7ull, block, 0), -EFAULT);
	CU_ASSERT_EQUAL(pcidipc_blockdev_read(c.dev, 9, 0, block, 0), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, DISK_BYTES, block, false), -ENOSPC);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, 0, UINT64_MAX & ~(uint64_t)(block - 1)),
			-ENOSPC);
	memset(&sqe, 0, sizeof(sqe));
	io_uring_prep_read_fixed(&sqe, 7, NULL, block, 0, c.index);
	CU_ASSERT_EQUAL(client_call(&c, &sqe), -EINVAL); /* fd is 0 */
	image_is_right();
}

static void test_read_only(void)
{
	struct client r;

	CU_ASSERT_EQUAL_FATAL(
		client_open(&r, block == 512 ? "nvme0n1" : "nvme0n2", RINGABI_OPEN_READ_ONLY, PAGE),
		0);
	CU_ASSERT_EQUAL(client_read(&r, 0, block, 0), (int)block);
	CU_ASSERT_EQUAL(client_write(&r, 0, block, 0), -EROFS);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(r.dev, 0, block, true), -EROFS);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(r.dev, 0, block), -EROFS);
	client_close(&r);
	image_is_right();
}

static void test_exclusive(void)
{
	const char *name = block == 512 ? "nvme0n1" : "nvme0n2";
	struct client other;

	CU_ASSERT_EQUAL(client_open(&other, name, RINGABI_OPEN_EXCLUSIVE, PAGE), -EBUSY);
	client_close(&c);
	/* The driver lets go of a closed connection a moment later. */
	CU_ASSERT_TRUE(RIG_UNTIL(client_open(&other, name, RINGABI_OPEN_EXCLUSIVE, PAGE) == 0));
	CU_ASSERT_EQUAL(client_open(&c, name, 0, POOL_BYTES), -EBUSY);
	CU_ASSERT_EQUAL(client_read(&other, 0, block, 0), (int)block);
	client_close(&other);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(client_open(&c, name, 0, POOL_BYTES) == 0));
	CU_ASSERT_TRUE(reads_right(PAGE, block, 0));
}

static void test_health(void)
{
	struct ringabi_block_health health = {0};

	CU_ASSERT_EQUAL(pcidipc_blockdev_health(c.dev, &health), 0);
	CU_ASSERT_TRUE(health.temperature > 200 && health.temperature < 500);
	CU_ASSERT_TRUE(health.reads > 0 && health.writes > 0 && health.bytes_read > 0);
}

/* ---- the program ---- */

static int begin(const char *name, uint32_t block_bytes, unsigned char *of_disk)
{
	block = block_bytes;
	image = block == 512 ? "a" : "b";
	shadow = of_disk;
	return client_open(&c, name, 0, POOL_BYTES);
}

static int begin_512(void)
{
	return begin("nvme0n1", 512, shadow_a);
}

static int begin_4096(void)
{
	return begin("nvme0n2", 4096, shadow_b);
}

static int end(void)
{
	client_close(&c);
	return 0;
}

static CU_TestInfo tests[] = {
	{"identity and geometry", test_geometry},
	{"reads of 1 to 24 blocks at every class of offset", test_read_small},
	{"reads at every 4-byte offset in a page", test_read_every_offset},
	{"writes of 1 to 24 blocks at every class of offset", test_write_small},
	{"writes at every 4-byte offset in a page", test_write_every_offset},
	{"transfers around MDTS and up to 8 MiB", test_large},
	{"every size up to MDTS and a block more", test_every_size},
	{"first block, last block, whole disk", test_edges},
	{"READV and WRITEV", test_vectors},
	{"wrong vectors", test_bad_vectors},
	{"force unit access and flush", test_stable},
	{"write zeroes", test_zeroes},
	{"discard", test_discard},
	{"a chain: write, flush, read", test_chain},
	{"random requests at depth 32", test_depth},
	{"wrong requests", test_errors},
	{"a read-only open", test_read_only},
	{"an exclusive open", test_exclusive},
	{"health", test_health},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"data, blocks of 512", begin_512, end, NULL, NULL, tests},
	{"data, blocks of 4096", begin_4096, end, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	int started = rig_two_namespaces(&rig, 600, DISK_BYTES, &shadow_a, &shadow_b);
	int ret = rig_main(&rig, started, suites);

	free(shadow_a);
	free(shadow_b);
	return ret;
}
