// SPDX-License-Identifier: GPL-2.0-or-later
/* DMA on the QEMU bus: what is reached, what faults, and what a reset or growth does to what is
 * under way. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"
#include "qemudevices.h"

static void edu_dma(void)
{
	struct pcid_function *f = EDU(0);
	struct memory m;

	CU_ASSERT_EQUAL(f->dma_bits, 64); /* no register tells */
	CU_ASSERT_EQUAL(claim_function(f), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(64), MIB(64)), 0);
	CU_ASSERT(m.pool.iova && m.pool.iova + MIB(64) <= 1u << 28);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(64)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(64)), 0); /* twice is no error */
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(64) + 4096), -EINVAL);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 4095, 4096), -EINVAL);
	for (unsigned i = 0; i < 4096; i++)
		m.bytes[MIB(63) + i] = (unsigned char)(i * 7);
	edu_copy(f, m.pool.iova + MIB(63), EDU_BYTES, false);
	edu_copy(f, m.pool.iova + 4096, EDU_BYTES, true);
	CU_ASSERT_EQUAL(memcmp(m.bytes + 4096, m.bytes + MIB(63), EDU_BYTES), 0);
	memory_detach(&m);
	ops()->release(f);
}

static void test_edu_dma(void)
{
	with_bus(edu_dma, ARGS("-device", "edu"));
}

/* An address that a pool had comes again as late as possible, and it does come again: a driver may
 * have any number of pools in its life, one after the other. */
static void iova_reuse(void)
{
	struct pcid_function *f = EDU(0);
	unsigned again = 0;
	uint64_t last = 0;
	struct memory m, other;

	CU_ASSERT_EQUAL(claim_function(f), 0);
	CU_ASSERT_EQUAL(memory_attach(&other, f, MIB(64), MIB(64)), 0);
	for (unsigned i = 0; i < 12; i++) { /* edu's 28 bits hold less than four at a time */
		CU_ASSERT_EQUAL_FATAL(memory_attach(&m, f, MIB(64), MIB(64)), 0);
		CU_ASSERT(m.pool.iova != last);
		CU_ASSERT(m.pool.iova >= other.pool.iova + MIB(64) ||
			  m.pool.iova + MIB(64) <= other.pool.iova);
		again += m.pool.iova < last;
		last = m.pool.iova;
		memory_detach(&m);
	}
	CU_ASSERT(again > 0);
	memory_detach(&other);
	ops()->release(f);
}

static void test_iova_reuse(void)
{
	with_bus(iova_reuse, ARGS("-device", "edu"));
}

/* edu has no reset. What a driver that died had begun ends where the next driver has nothing. */
static void iova_next_driver(void)
{
	struct pcid_function *f = EDU(0);
	uint64_t first[3];
	struct memory m;

	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL_FATAL(claim_function(f), 0);
		CU_ASSERT_EQUAL_FATAL(memory_attach(&m, f, MIB(2), MIB(2)), 0);
		first[i] = m.pool.iova;
		memory_detach(&m);
		ops()->release(f);
	}
	CU_ASSERT_EQUAL(first[1], first[0] + MIB(2));
	CU_ASSERT_EQUAL(first[2], first[1] + MIB(2));
}

static void test_iova_next_driver(void)
{
	with_bus(iova_next_driver, ARGS("-device", "edu"));
}

/* Beyond what is mapped of its own pool; nothing is written, there or in the neighbour's memory. */
static void fault_unmapped(void)
{
	struct pcid_function *f = EDU(0), *other = EDU(1);
	struct memory m, neighbour;

	CU_ASSERT_EQUAL(claim_function(f), 0);
	CU_ASSERT_EQUAL(claim_function(other), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(4), MIB(4)), 0);
	CU_ASSERT_EQUAL(memory_attach(&neighbour, other, MIB(4), MIB(4)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&neighbour.pool, 0, MIB(4)), 0);
	CU_ASSERT_EQUAL(m.pool.iova, neighbour.pool.iova); /* each in a domain of its own */
	memset(m.bytes, 0x55, MIB(4));
	memset(neighbour.bytes, 0x55, MIB(4));
	edu_copy(f, m.pool.iova + MIB(3), EDU_BYTES, true);
	expect_fault(f, m.pool.iova + MIB(3), true);
	CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(4), 0x55), 0);
	CU_ASSERT_EQUAL(not_equal(neighbour.bytes, MIB(4), 0x55), 0);
	memory_detach(&m);
	memory_detach(&neighbour);
	ops()->release(f);
	ops()->release(other);
}

static void test_fault_unmapped(void)
{
	with_bus(fault_unmapped, ARGS("-device", "edu", "-device", "edu"));
}

/* After a detach its addresses reach nothing, although the pool's memory is still there. */
static void fault_detached(void)
{
	struct pcid_function *f = EDU(0);
	struct memory m;

	CU_ASSERT_EQUAL(claim_function(f), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
	edu_copy(f, m.pool.iova, EDU_BYTES,
		 false); /* its zeroes; and the address is in the IOTLB */
	memset(m.bytes, 0x55, MIB(2));
	ops()->pool_detach(&m.pool);
	edu_copy(f, m.pool.iova, EDU_BYTES, true);
	expect_fault(f, m.pool.iova, true);
	CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(2), 0x55), 0);
	memory_free(&m);
	ops()->release(f);
}

static void test_fault_detached(void)
{
	with_bus(fault_detached, ARGS("-device", "edu"));
}

static void two_domains(void)
{
	struct pcid_function *f[2] = {EDU(0), EDU(1)};
	struct memory m[2];

	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(claim_function(f[i]), 0);
		CU_ASSERT_EQUAL(memory_attach(&m[i], f[i], MIB(2), MIB(2)), 0);
		CU_ASSERT_EQUAL(ops()->pool_map(&m[i].pool, 0, MIB(2)), 0);
		memset(m[i].bytes, 0xa0 + (int)i, 4096);
	}
	CU_ASSERT_EQUAL(m[0].pool.iova, m[1].pool.iova);
	for (unsigned i = 0; i < 2; i++)
		edu_start(f[i], m[i].pool.iova, EDU_BYTES, false);
	edu_await(f[0]);
	edu_await(f[1]);
	for (unsigned i = 0; i < 2; i++)
		edu_copy(f[i], m[i].pool.iova + 4096, EDU_BYTES, true);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(not_equal(m[i].bytes + 4096, EDU_BYTES, (unsigned char)(0xa0 + i)),
				0);
		memory_detach(&m[i]);
		ops()->release(f[i]);
	}
}

static void test_two_domains(void)
{
	with_bus(two_domains, ARGS("-device", "edu", "-device", "edu"));
}

/* The largest pool there may be, reached at both ends, and growing while a transfer runs. */
static void huge_pool(void)
{
	struct nvme n;
	struct memory big;
	uint64_t far = POOL_MOST - MIB(32);
	char data[16];

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL(memory_attach(&big, n.f, POOL_MOST, 4096), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&big.pool, far, MIB(32)), 0);
	nvme_identify(&n, big.pool.iova + far);
	for (unsigned i = 0; i < 64; i++)
		CU_ASSERT_EQUAL(ops()->pool_map(&big.pool, MIB(32) * i, MIB(32)), 0);
	CU_ASSERT_EQUAL(nvme_status(&n), 0);
	CU_ASSERT_EQUAL(pread(big.pool.fd, data, sizeof(data), (off_t)far + 4), sizeof(data));
	CU_ASSERT_EQUAL(memcmp(data, "serial-1", 8), 0);
	nvme_identify(&n, big.pool.iova + MIB(32) * 63);
	CU_ASSERT_EQUAL(nvme_status(&n), 0);
	CU_ASSERT_EQUAL(pread(big.pool.fd, data, sizeof(data), (off_t)MIB(32) * 63 + 4),
			sizeof(data));
	CU_ASSERT_EQUAL(memcmp(data, "serial-1", 8), 0);
	memory_detach(&big);
	CU_ASSERT_EQUAL(memory_attach(&big, n.f, POOL_MOST + MIB(2), 4096), -ENOSPC);
	memory_free(&big);
	CU_ASSERT_EQUAL(memory_attach(&big, n.f, MIB(1), 4096), -EINVAL);
	memory_free(&big);
	nvme_close(&n);
}

static void test_huge_pool(void)
{
	with_bus(huge_pool, ARGS("-drive", "driver=null-co,if=none,id=d,size=64M", "-device",
				 "nvme,drive=d,serial=serial-1"));
}

static bool throttle(unsigned bps)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "\"execute\":\"block_set_io_throttle\",\"arguments\":{\"device\":\"d\",\"bps\":%u,"
		 "\"bps_rd\":0,\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,\"iops_wr\":0}",
		 bps);
	return people_do(command);
}

#define PENDING_READS 4u
#define PENDING_BYTES (PENDING_READS * NVME_READ_BYTES)

/* Reads into m, of which at least the last is held back. */
static void begin_pending(struct nvme *n, struct memory *m)
{
	nvme_open(n, NVME(0));
	CU_ASSERT_EQUAL_FATAL(memory_attach(m, n->f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m->pool, 0, MIB(2)), 0);
	memset(m->bytes, 0x55, MIB(2));
	CU_ASSERT_FATAL(throttle(1));
	nvme_read_pages(n, m->pool.iova, PENDING_READS);
	for (unsigned i = 0; i < 100; i++)
		mmio_read(n->f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(
		not_equal(m->bytes + PENDING_BYTES - NVME_READ_BYTES, NVME_READ_BYTES, 0x55), 0);
}

/* What the next test relies on: let go, it does write. */
static void pending_goes_on(void)
{
	struct memory m;
	struct nvme n;

	begin_pending(&n, &m);
	CU_ASSERT(throttle(0));
	for (unsigned i = 0; i < MANY_READS && m.bytes[PENDING_BYTES - 1]; i++)
		mmio_read(n.f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(not_equal(m.bytes, PENDING_BYTES, 0), 0);
	CU_ASSERT_EQUAL(not_equal(m.bytes + PENDING_BYTES, MIB(2) - PENDING_BYTES, 0x55), 0);
	memory_detach(&m);
	nvme_close(&n);
}

/* The memory is its owner's again when the reset has returned, detached and not. */
static void pending_and_reset(void)
{
	for (unsigned detach = 0; detach < 2; detach++) {
		struct memory m;
		struct nvme n;

		begin_pending(&n, &m);
		CU_ASSERT_EQUAL(ops()->reset(n.f), 0);
		memset(m.bytes, 0x77, MIB(2));
		if (detach)
			ops()->pool_detach(&m.pool);
		CU_ASSERT(throttle(0));
		for (unsigned i = 0; i < 100; i++)
			qtest_task_sync(&qemu()->qtest);
		CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(2), 0x77), 0);
		if (!detach)
			ops()->pool_detach(&m.pool);
		memory_free(&m);
		nvme_close(&n);
	}
}

/* The pool grows while reads into its first chunk are held back; they end in the right place. */
static void growth_while_pending(void)
{
	struct memory m;
	struct nvme n;

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL_FATAL(memory_attach(&m, n.f, MIB(256), MIB(64)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(32)), 0);
	memset(m.bytes, 0x55, MIB(64));
	CU_ASSERT_FATAL(throttle(1));
	nvme_read_pages(&n, m.pool.iova + MIB(32) - PENDING_BYTES, PENDING_READS);
	for (unsigned i = 1; i < 8; i++)
		CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, MIB(32) * i, MIB(32)), 0);
	CU_ASSERT(throttle(0));
	for (unsigned i = 0; i < MANY_READS && m.bytes[MIB(32) - 1]; i++)
		mmio_read(n.f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(not_equal(m.bytes + MIB(32) - PENDING_BYTES, PENDING_BYTES, 0), 0);
	CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(32) - PENDING_BYTES, 0x55), 0);
	CU_ASSERT_EQUAL(not_equal(m.bytes + MIB(32), MIB(32), 0x55), 0);
	memory_detach(&m);
	nvme_close(&n);
}

#define FROZEN_DISK                                                                      \
	ARGS("-drive", "driver=null-co,if=none,id=d,size=64M,read-zeroes=on", "-device", \
	     "nvme,drive=d,serial=serial-1")

static void test_pending(void)
{
	with_bus(pending_goes_on, FROZEN_DISK);
	with_bus(pending_and_reset, FROZEN_DISK);
}

static void test_growth_while_pending(void)
{
	with_bus(growth_while_pending, FROZEN_DISK);
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"DMA within 28 bits", test_edu_dma},
		{"addresses come again, late", test_iova_reuse},
		{"the next driver has other addresses", test_iova_next_driver},
		{"a fault reaches nothing", test_fault_unmapped},
		{"a detached pool is out of reach", test_fault_detached},
		{"two domains", test_two_domains},
		{"a huge pool grows", test_huge_pool},
		{"a reset with a transfer pending", test_pending},
		{"growth with a transfer pending", test_growth_while_pending},
		CU_TEST_INFO_NULL,
	};

	signal(SIGPIPE, SIG_IGN);
	return run_tests("qemu dma", tests);
}
