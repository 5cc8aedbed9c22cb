// SPDX-License-Identifier: MIT
/* The block interface: reads and writes, of one buffer and of many, and every way to get them
 * wrong. */
#include <linux/fs.h>
#include <liburing.h>

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

/* ---- data ---- */

static void test_read_write(void)
{
	read_and_write(&c);
}

static void test_stable(void)
{
	struct io_uring_sqe sqe = sqe_rw(&c, false, 0, BLOCK, 0);

	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, BLOCK, 0, true), BLOCK);
	CU_ASSERT_TRUE(rd.shared->last.fua);
	sqe.rw_flags = RWF_DSYNC;
	CU_ASSERT_EQUAL(client_call(&c, sqe), BLOCK);
	CU_ASSERT_TRUE(rd.shared->last.fua);
}

static void test_edges(void)
{
	uint64_t end_of_disk = RAMDISK_BYTES, last_block = CLIENT_POOL - BLOCK;

	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, last_block, BLOCK, end_of_disk - BLOCK)),
			BLOCK);
	CU_ASSERT_EQUAL(rd.shared->last.lba, RAMDISK_BYTES / BLOCK - 1);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, RAMDISK_MAX_BYTES, 0)),
			RAMDISK_MAX_BYTES);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, RAMDISK_MAX_BYTES + BLOCK, 0)),
			-EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 0, UINT32_MAX & ~(BLOCK - 1), 0)),
			-EINVAL);
}

/* ---- what is wrong with one buffer ---- */

static void test_alignment(void)
{
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, BLOCK, 1)), -EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, BLOCK, BLOCK / 2)), -EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, BLOCK - 1, 0)), -EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, BLOCK + 4, 0)), -EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, 0, 0)), -EINVAL);
	for (unsigned addr = 1; addr < 4; addr++)
		CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, addr, BLOCK, 0)), -EINVAL);
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 4, BLOCK, 0)), BLOCK);
}

static void test_disk_range(void)
{
	static const uint64_t beyond[] = {RAMDISK_BYTES, RAMDISK_BYTES + BLOCK, 1ull << 40,
					  1ull << 63, UINT64_MAX - BLOCK + 1};

	for (unsigned i = 0; i < sizeof(beyond) / sizeof(*beyond); i++) {
		CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, 0, BLOCK, beyond[i])), -ENOSPC);
		CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, BLOCK, beyond[i])), -ENOSPC);
	}
	CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, true, 0, 2 * BLOCK, RAMDISK_BYTES - BLOCK)),
			-ENOSPC);
}

static void test_pool_range(void)
{
	static const uint64_t outside[] = {CLIENT_POOL,	   CLIENT_POOL - BLOCK + 4,
					   1ull << 44,	   1ull << 63,
					   UINT64_MAX - 3, UINT64_MAX - BLOCK + 1};
	struct io_uring_sqe sqe = sqe_rw(&c, false, 0, BLOCK, 0);

	for (unsigned i = 0; i < sizeof(outside) / sizeof(*outside); i++)
		CU_ASSERT_EQUAL(client_call(&c, sqe_rw(&c, false, outside[i], BLOCK, 0)), -EFAULT);
	for (unsigned index = 2; index <= UINT16_MAX; index = 2 * index + 1) {
		sqe.buf_index = (uint16_t)index;
		CU_ASSERT_EQUAL(client_call(&c, sqe), -ENXIO);
	}
}

static void test_flags(void)
{
	struct io_uring_sqe sqe = sqe_rw(&c, false, 0, BLOCK, 0);

	for (unsigned bit = 0; bit < 32; bit++) {
		sqe.rw_flags = (int)(1u << bit);
		CU_ASSERT_EQUAL(client_call(&c, sqe),
				1u << bit == RWF_DSYNC ? (int)BLOCK : -EINVAL);
	}
	sqe.rw_flags = 0;
	sqe.fd = 1;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.fd = 0;
	sqe.ioprio = 1;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.ioprio = 0;
	sqe.personality = 1;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.personality = 0;
	sqe.flags = IOSQE_FIXED_FILE;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.flags = IOSQE_BUFFER_SELECT;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.flags = 0x80;
	CU_ASSERT_EQUAL(client_call(&c, sqe), -EINVAL);
	sqe.flags = 0;
	CU_ASSERT_EQUAL(client_call(&c, sqe), BLOCK);
}

static bool served(unsigned opcode)
{
	return opcode == IORING_OP_NOP || opcode == IORING_OP_READ_FIXED ||
	       opcode == IORING_OP_WRITE_FIXED || opcode == IORING_OP_READV ||
	       opcode == IORING_OP_WRITEV || opcode == IORING_OP_FSYNC ||
	       opcode == IORING_OP_FALLOCATE || opcode == IORING_OP_URING_CMD ||
	       opcode == IORING_OP_ASYNC_CANCEL;
}

static void test_opcodes(void)
{
	uint32_t submits = rd.shared->submits;

	for (unsigned opcode = 0; opcode < 256; opcode++)
		if (!served(opcode))
			CU_ASSERT_EQUAL(client_call(&c, sqe_of((uint8_t)opcode)), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(client_call(&c, sqe_of(IORING_OP_NOP)), 0);
	CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, 0, 0, 0)), -EOPNOTSUPP);
	for (unsigned number = 5; number < 256; number++)
		CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, RINGABI_BLOCK_CMD(number), 0, 256)),
				-EOPNOTSUPP);
	CU_ASSERT_EQUAL(
		client_call(&c, sqe_command(&c, RINGABI_CMD_OP(RINGABI_INTERFACE_PCI, 1u), 0, 256)),
		-EOPNOTSUPP);
	CU_ASSERT_EQUAL(client_call(&c, sqe_command(&c, UINT32_MAX, 0, 256)), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(rd.shared->submits, submits);
}

/* ---- vectors ---- */

static bool same(const struct iovec *iov, uint32_t n, const unsigned char *disk)
{
	for (uint32_t i = 0; i < n; i++) {
		if (memcmp(c.base + (uintptr_t)iov[i].iov_base, disk, iov[i].iov_len) != 0)
			return false;
		disk += iov[i].iov_len;
	}
	return true;
}

/* Pieces of one to four blocks, apart, in random order; the vector itself lies above them. */
static int random_vector(uint32_t *seed, struct iovec *iov, uint32_t n)
{
	uint64_t stride = 8 * BLOCK;
	int total = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t slot = (i * 37 + 11) % 128;

		iov[i] = piece(slot * stride + next_random(seed) % 64 * 4,
			       (1 + next_random(seed) % 4) * BLOCK);
		total += (int)iov[i].iov_len;
	}
	return total;
}

static void test_vectors(void)
{
	struct iovec iov[RINGABI_BLOCK_MAX_IOV];
	const uint64_t at = 8 << 20;
	uint32_t seed = 2;

	for (uint32_t n = 1; n <= RINGABI_BLOCK_MAX_IOV; n += n < 8 ? 1 : 20) {
		uint64_t off = next_random(&seed) % 1024 * BLOCK;
		int total = random_vector(&seed, iov, n);

		fill_random(&seed, c.base, 1 << 20);
		CU_ASSERT_EQUAL(client_vector(&c, true, at + n * 8, iov, n, off), total);
		CU_ASSERT_EQUAL(rd.shared->last.nsegments, n);
		CU_ASSERT_TRUE(same(iov, n, rd.shared->data + off));
		memset(c.base, 0, 1 << 20);
		CU_ASSERT_EQUAL(client_vector(&c, false, at, iov, n, off), total);
		CU_ASSERT_TRUE(same(iov, n, rd.shared->data + off));
	}
	promises_kept();
}

static void test_vector_merging(void)
{
	struct iovec iov[] = {piece(0, BLOCK), piece(BLOCK, 2 * BLOCK), piece(3 * BLOCK, BLOCK),
			      piece(8 * BLOCK, BLOCK), piece(0, BLOCK)};

	CU_ASSERT_EQUAL(client_vector(&c, true, 65536, iov, 5, 0), 6 * BLOCK);
	CU_ASSERT_EQUAL(rd.shared->last.nsegments, 3);
	CU_ASSERT_EQUAL(client_vector(&c, true, 65536, iov, 3, 0), 4 * BLOCK);
	CU_ASSERT_EQUAL(rd.shared->last.nsegments, 1);
}

static void test_vector_counts(void)
{
	CU_ASSERT_EQUAL(client_vector(&c, false, 0, NULL, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_vector(&c, false, 0, NULL, RINGABI_BLOCK_MAX_IOV + 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_vector(&c, false, 0, NULL, UINT32_MAX, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_vector(&c, false, 0, NULL, 1u << 28, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_vector(&c, false, CLIENT_POOL - 16 * 128 + 16, NULL, 128, 0),
			-EFAULT);
	CU_ASSERT_EQUAL(client_vector(&c, false, UINT64_MAX - 15, NULL, 1, 0), -EFAULT);
}

static void check_second(uint64_t addr, uint64_t bytes, int error)
{
	struct iovec iov[] = {piece(0, BLOCK), piece(addr, bytes)};

	CU_ASSERT_EQUAL(client_vector(&c, true, 65536, iov, 2, 0), error);
	CU_ASSERT_EQUAL(client_vector(&c, false, 65536, iov, 2, 0), error);
}

static void test_vector_lengths(void)
{
	uint32_t submits = rd.shared->submits;

	check_second(BLOCK, 0, -EINVAL);
	check_second(BLOCK, BLOCK - 1, -EINVAL);
	check_second(BLOCK, BLOCK / 2, -EINVAL);
	check_second(BLOCK, RAMDISK_MAX_BYTES, -EINVAL);
	check_second(BLOCK, UINT64_MAX - BLOCK + 1, -EINVAL); /* the sum is 0 */
	check_second(BLOCK, 1ull << 63, -EINVAL);
	check_second(BLOCK, (1ull << 32) + BLOCK, -EINVAL);
	check_second(2, BLOCK, -EINVAL);
	check_second(CLIENT_POOL, BLOCK, -EFAULT);
	check_second(CLIENT_POOL - BLOCK + 4, BLOCK, -EFAULT);
	check_second(UINT64_MAX - 3, BLOCK, -EFAULT);
	check_second(UINT64_MAX - BLOCK + 1, BLOCK, -EFAULT);
	CU_ASSERT_EQUAL(rd.shared->submits, submits);
}

static void test_vector_disk_range(void)
{
	struct iovec iov[] = {piece(0, BLOCK), piece(4 * BLOCK, BLOCK)};

	CU_ASSERT_EQUAL(client_vector(&c, true, 65536, iov, 2, RAMDISK_BYTES - BLOCK), -ENOSPC);
	CU_ASSERT_EQUAL(client_vector(&c, true, 65536, iov, 2, RAMDISK_BYTES - 2 * BLOCK),
			2 * BLOCK);
	CU_ASSERT_EQUAL(client_vector(&c, true, 65536, iov, 2, 1), -EINVAL);
}

/* Nothing that came before has hurt. */
static void test_still_works(void)
{
	test_read_write();
	test_vectors();
}

static CU_TestInfo tests[] = {
	{"read and write at any place", test_read_write},
	{"stable writes", test_stable},
	{"the last block, the largest request", test_edges},
	{"alignment", test_alignment},
	{"beyond the disk", test_disk_range},
	{"outside the pool", test_pool_range},
	{"unknown flags", test_flags},
	{"unknown opcodes", test_opcodes},
	{"vectors", test_vectors},
	{"vectors are merged", test_vector_merging},
	{"wrong numbers of iovecs", test_vector_counts},
	{"wrong iovecs", test_vector_lengths},
	{"vectors beyond the disk", test_vector_disk_range},
	{"still works", test_still_works},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return disk_main("test_block", tests, open_disk, close_disk);
}
