// SPDX-License-Identifier: MIT
/* The PCI interface as pcid's core serves it, through the real library on both sides, over a fake
 * bus: facts, configuration space, registers, pools. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "core_driver.h"
#include "suites.h"

#define MIB (1u << 20)

/* ---- facts ---- */

static void test_info(void)
{
	const struct pcidipc_pci_info *info;
	unsigned bytes = 1;

	core_begin();
	info = pcidipc_pci_info(pci);
	CU_ASSERT_EQUAL(info->vendor, 0x1b36);
	CU_ASSERT_EQUAL(info->device, 0x0010);
	CU_ASSERT_EQUAL(info->subsystem_vendor, 0x1af4);
	CU_ASSERT_EQUAL(info->subsystem_device, 0x1100);
	CU_ASSERT_EQUAL(info->class_code, 0x010802);
	CU_ASSERT_EQUAL(info->revision, 2);
	CU_ASSERT_STRING_EQUAL(info->address, "0000:00:03.0");

	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_REGION_INFO, 0, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[0], FAKE_REGS);
	CU_ASSERT_EQUAL(cqe.big[1], RINGABI_PCI_REGION_64BIT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_REGION_INFO, 0, 1, 0, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[0], 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_REGION_INFO, 0, 2, 0, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[1], RINGABI_PCI_REGION_IO);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_REGION_INFO, 0, 6, 0, 0), -EINVAL);

	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x11, false, 0, NULL), 0x40);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x11, false, 1, NULL), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x01, true, 0, NULL), 0x100);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x09, false, 0, &bytes), 0xc0);
	CU_ASSERT_EQUAL(bytes, 0x10);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_FIND_CAP, 0, 0, 0x11, 2), -EINVAL);
	core_finish();
}

static void test_malformed(void)
{
	struct io_uring_sqe sqe;

	core_begin();
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CMD(0), 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CMD(18), 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CMD(255), 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(core_request(RINGABI_CMD_OP(RINGABI_INTERFACE_BLOCK, 1), 0, 0, 0, 0),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_INFO | 1u << 31, 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_INFO, 0, 1, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_INFO, 8, 0, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_RESET, 0, 0, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_ENABLE, 0, 0, 0, 4), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_UNPUBLISH, 0, 0, 0, 0), -ENOENT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CHILD_GONE, 0, 0, 0, 0), -ENOENT);
	sqe = core_sqe(RINGABI_PCI_INFO, 0, 0, 0, 0);
	sqe.fd = 3;
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), -EINVAL);
	sqe = core_sqe(RINGABI_PCI_INFO, 0, 0, 0, 0);
	sqe.len = 1;
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), -EINVAL);
	sqe = (struct io_uring_sqe){.opcode = IORING_OP_READ_FIXED};
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), -EOPNOTSUPP);
	core_finish();
}

/* On pcid's thread: that a ring orders the two threads ThreadSanitizer cannot see. */
static void set_config_bytes(struct core_rig *r, void *arg)
{
	r->fake->f.config_bytes = *(unsigned *)arg;
}

static void count_maps(struct core_rig *r, void *arg)
{
	*(unsigned *)arg = r->fake->maps;
}

static unsigned maps(void)
{
	unsigned n = 0;

	core_rig_call(&rig, count_maps, &n);
	return n;
}

static void test_config_space(void)
{
	uint32_t value = 0;

	core_begin();
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0x104, 4, &value), 0);
	CU_ASSERT_EQUAL(value, 0x06070405 ^ 0x00000000);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 3, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 3);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 1, 2, &value), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 4, 8, &value), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 4, 0, &value), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 4096, 4, &value), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CONFIG_READ, 1ull << 32, 0, 4, 0), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0xd0, 2, 0xbeef), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0xd0, 4, &value), 0);
	CU_ASSERT_EQUAL(value, 0xd3d2beef);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CONFIG_WRITE, 0xd0, 0, 1, 0x100), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0x04, 2, 7), -EPERM);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0x10, 4, 0), -EPERM);
	core_rig_call(&rig, set_config_bytes, &(unsigned){256});
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0x100, 4, &value), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0x100, 4, 0), -ENXIO);
	core_finish();
}

static void test_config_filter(void)
{
	static const struct {
		unsigned offset, width;
		uint32_t value;
		int result;
	} cases[] = {
		{0x00, 4, 0, -EPERM},	   {0x04, 2, 0, -EPERM},
		{0x04, 4, 0, -EPERM},	   {0x06, 2, 0xffff, 0},
		{0x0c, 1, 0x10, 0},	   {0x0c, 4, 0, -EPERM},
		{0x0f, 1, 0x40, -EPERM},   {0x30, 4, 1, -EPERM},
		{0x3c, 1, 5, 0},	   {0x3c, 2, 5, -EPERM},
		{0x40, 4, 0, -EPERM},	   {0x42, 2, 0x8000, -EPERM},
		{0x48, 4, 0, -EPERM},	   {0x4c, 4, 0, 0},
		{0x50, 2, 0, -EPERM},	   {0x5c, 2, 0, -EPERM},
		{0x5e, 2, 0, 0},	   {0x60, 4, 0, -EPERM},
		{0x64, 2, 3, -EPERM},	   {0x68, 4, 0, 0},
		{0x80, 2, 0, -EPERM},	   {0x88, 2, 0x7fff, 0},
		{0x88, 2, 0x8000, -EPERM}, {0x89, 1, 0x80, -EPERM},
		{0x88, 4, 0x8000, -EPERM}, {0x8a, 2, 0xffff, 0},
		{0x90, 2, 0x10, -EPERM},   {0x90, 2, 0x40, 0},
		{0xc0, 1, 0, -EPERM},	   {0xc4, 4, 1, 0},
		{0x100, 4, 0, -EPERM},	   {0x104, 4, 1, 0},
		{0x180, 4, 0, -EPERM},	   {0x184, 4, 0x80000000, -EPERM},
		{0xffc, 4, 0, -EPERM},	   {0xfff, 2, 0, -ENXIO},
	};
	struct pcidipc_loop *l;
	struct fake_bus *fake;

	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &l), 0);
	fake = fake_bus_create(l);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int ret = pcid_config_writable(&fake->f, cases[i].offset, cases[i].width,
					       cases[i].value);

		if (ret != cases[i].result)
			printf("\noffset %#x width %u: %d\n", cases[i].offset, cases[i].width, ret);
		CU_ASSERT_EQUAL(ret, cases[i].result);
	}
	fake->f.header_type = 1;
	CU_ASSERT_EQUAL(pcid_config_writable(&fake->f, 0x3c, 1, 5), -EPERM);
	CU_ASSERT_EQUAL(pcid_config_writable(&fake->f, 0x3e, 2, 0x40), -EPERM);
	fake->f.header_type = 0;
	fake->f.ncaps = PCID_MAX_CAPS; /* what came after the last one we do not know */
	CU_ASSERT_EQUAL(pcid_config_writable(&fake->f, 0xc4, 4, 1), -EPERM);
	CU_ASSERT_EQUAL(pcid_config_writable(&fake->f, 0x3c, 1, 5), 0);
	fake_bus_destroy(fake);
	pcidipc_loop_destroy(l);
}

/* ---- registers ---- */

static void test_mmio(void)
{
	struct pcidipc_mmio mmio;

	core_begin();
	CU_ASSERT_EQUAL(pcidipc_pci_map(pci, 0, &mmio), 0);
	CU_ASSERT_PTR_NULL(mmio.base);
	CU_ASSERT_EQUAL(mmio.bytes, FAKE_REGS);
	CU_ASSERT_EQUAL(pcidipc_pci_map(pci, 1, &mmio), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_pci_map(pci, 6, &mmio), -EINVAL);
	pcidipc_pci_map(pci, 0, &mmio);
	pcidipc_write32(&mmio, 0x14, 0xcafe0001);
	CU_ASSERT_EQUAL(pcidipc_read32(&mmio, 0x14), 0xcafe0001);
	pcidipc_write64(&mmio, 0x28, 0x1122334455667788);
	CU_ASSERT_EQUAL(pcidipc_read64(&mmio, 0x28), 0x1122334455667788);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0x2a, 0, 2, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[0], 0x5566);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0x2a, 0, 4, 0), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0x28, 0, 3, 0), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0x28, 0, 4, 1), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_WRITE, 0x28, 0, 1, 0x100), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0, 1, 4, 0), -ENXIO);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0, 6, 4, 0), -ENXIO);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0, UINT32_MAX, 4, 0), -ENXIO);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, 0, 2, 8, 0), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, FAKE_REGS, 0, 4, 0), -EFAULT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, FAKE_REGS - 4, 0, 4, 0), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, UINT64_MAX - 7, 0, 8, 0), -EFAULT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_WRITE, FAKE_MSIX_TABLE, 0, 4, 0), -EFAULT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_TABLE + 0x7c, 0, 4, 0),
			-EFAULT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_TABLE + 0x80, 0, 4, 0), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_TABLE - 4, 0, 4, 0), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_PBA, 0, 8, 0), -EFAULT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_PBA + 8, 0, 8, 0), 0);
	core_finish();
}

/* A bus that takes no more: everything waits in order, and nothing is lost. */
static void test_back_pressure(void)
{
	struct pcidipc_consumer *c;
	struct pcidipc_vectors vectors;
	struct io_uring_sqe sqe;
	unsigned parked = 0;

	core_begin();
	c = pcidipc_pci_consumer(pci);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 4, &vectors), 0);
	core_rig_call(&rig, core_set_full, NULL);
	for (unsigned i = 0; i < 50; i++) {
		sqe = core_sqe(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, i + 1);
		core_push(i, &sqe);
	}
	sqe = core_sqe(RINGABI_PCI_MMIO_READ, 0x100, 0, 4, 0);
	core_push(50, &sqe);
	sqe = core_sqe(RINGABI_PCI_IRQ_MASK, 0, 1, 0, 0);
	core_push(51, &sqe);
	sqe = core_sqe(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0);
	core_push(52, &sqe);
	CU_ASSERT_EQUAL(pcidipc_submit(c), 0);
	while (parked < 53)
		core_rig_call(&rig, core_parked_count, &parked);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_INFO, 0, 0, 0, 0),
			0); /* what is not posted goes on */
	core_rig_call(&rig, core_set_drained, NULL);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 53), 0);
	for (unsigned i = 0; i < 53; i++) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.res, 0);
		if (cqe.user_data == 50)
			CU_ASSERT_EQUAL(cqe.big[0], 50);
	}
	CU_ASSERT_TRUE(rig.fake->masked[0] && rig.fake->masked[1] && rig.fake->masked[3]);
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	core_finish();
}

/* The driver dies while its writes wait. */
static void test_parked_at_the_end(void)
{
	struct io_uring_sqe sqe = core_sqe(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1);
	unsigned parked = 0;

	core_begin();
	core_rig_call(&rig, core_set_full, NULL);
	for (unsigned i = 0; i < 20; i++)
		core_push(i, &sqe);
	CU_ASSERT_EQUAL(pcidipc_submit(pcidipc_pci_consumer(pci)), 0);
	while (parked < 20)
		core_rig_call(&rig, core_parked_count, &parked);
	core_finish();
}

/* A canceled request that waits is completed at once. */
static void test_cancel_parked(void)
{
	struct io_uring_sqe sqe = core_sqe(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1);
	struct io_uring_sqe cancel = {.opcode = IORING_OP_ASYNC_CANCEL, .addr = 7};
	unsigned parked = 0;

	core_begin();
	core_rig_call(&rig, core_set_full, NULL);
	core_push(7, &sqe);
	core_push(8, &sqe);
	CU_ASSERT_EQUAL(pcidipc_submit(pcidipc_pci_consumer(pci)), 0);
	while (parked < 2)
		core_rig_call(&rig, core_parked_count, &parked);
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &cancel, NULL), 0);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(pcidipc_pci_consumer(pci), 1), 0);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(pcidipc_pci_consumer(pci), &cqe), 1);
	CU_ASSERT_EQUAL(cqe.user_data, 7);
	CU_ASSERT_EQUAL(cqe.res, -ECANCELED);
	core_rig_call(&rig, core_set_drained, NULL);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(pcidipc_pci_consumer(pci), 1), 0);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(pcidipc_pci_consumer(pci), &cqe), 1);
	CU_ASSERT_EQUAL(cqe.user_data, 8);
	core_finish();
}

/* ---- pools ---- */

static int map(uint16_t index, uint64_t offset, uint32_t bytes)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = RINGABI_CMD_POOL_MAP,
				   .addr = offset,
				   .len = bytes,
				   .buf_index = index};

	return pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL);
}

static void dma_bits(struct core_rig *r, void *arg)
{
	const struct pcid_driver child = {.parent = r->driver};
	const struct pcid_driver empty = {0}, orphan = {.parent = (struct pcid_driver *)&empty};

	*(unsigned *)arg = r->driver->function->dma_bits;
	CU_ASSERT_EQUAL(pcid_dma_bits(r->driver), 0);
	CU_ASSERT_EQUAL(pcid_dma_bits(&child), r->driver->function->dma_bits);
	CU_ASSERT_EQUAL(pcid_dma_bits(&orphan), 0);
}

/* What the function's device can address is its driver's to say, and until it has a pool. */
static void test_dma_bits(void)
{
	struct pcidipc_dma dma;
	unsigned bits;

	core_begin();
	CU_ASSERT_EQUAL(pcidipc_pci_dma_bits(pci, 23), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_dma_bits(pci, 65), -EINVAL);
	core_rig_call(&rig, dma_bits, &bits);
	CU_ASSERT_EQUAL(bits, 64);
	CU_ASSERT_EQUAL(pcidipc_pci_dma_bits(pci, 28), 0);
	core_rig_call(&rig, dma_bits, &bits);
	CU_ASSERT_EQUAL(bits, 28);
	CU_ASSERT_EQUAL(pcidipc_dma_create(pci, 4 * MIB, &dma), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_dma_bits(pci, 32), -EBUSY);
	pcidipc_dma_destroy(pci, &dma);
	CU_ASSERT_EQUAL(pcidipc_pci_dma_bits(pci, 64), 0);
	core_finish();
}

static void test_pools(void)
{
	struct pcidipc_pool *pool;
	uint64_t iova = 0;
	uint16_t index;

	core_begin();
	CU_ASSERT_EQUAL(pcidipc_pool_create(256 * MIB, 0, &pool), 0);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool_fd(pcidipc_pci_consumer(pci),
							pcidipc_pool_fd(pool), 256 * MIB, &index,
							&iova),
			0);
	CU_ASSERT_EQUAL(iova, 1ull << 32);
	CU_ASSERT_EQUAL(map(index, 0, 4096), 0);
	CU_ASSERT_EQUAL(map(index, 4096, 32 * MIB - 4096), 0);
	CU_ASSERT_EQUAL(maps(), 1); /* one chunk */
	CU_ASSERT_EQUAL(map(index, 32 * MIB, 32 * MIB), 0);
	CU_ASSERT_EQUAL(maps(), 2);
	CU_ASSERT_EQUAL(map(index, 100 * MIB, 4096), -EDQUOT); /* 64 MiB are mapped */
	CU_ASSERT_EQUAL(map(index, 33 * MIB, 4096), 0);	       /* which is there already */
	CU_ASSERT_EQUAL(map(index, 1, 4096), -EINVAL);
	CU_ASSERT_EQUAL(map(index, 0, 64 * MIB), -EINVAL);
	CU_ASSERT_EQUAL(map(index, 256 * MIB, 4096), -EFAULT);
	CU_ASSERT_EQUAL(map((uint16_t)(index + 1), 0, 4096), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_consumer_detach_pool(pcidipc_pci_consumer(pci), index), 0);
	CU_ASSERT_EQUAL(maps(), 2); /* and orders what follows */
	CU_ASSERT_EQUAL(rig.driver->mapped_bytes, 0);
	CU_ASSERT_STRING_EQUAL(rig.fake->log, "ammd"); /* no reset: the driver lives */
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(pcidipc_pci_consumer(pci), pool, &index), 0);
	CU_ASSERT_EQUAL(map(index, 100 * MIB, 4096), 0);
	pcidipc_pool_destroy(pool);
	core_finish();
}

static void gone(struct core_rig *r, void *arg)
{
	*(bool *)arg = pcidipc_list_empty(&r->driver->pools) && !r->driver->session;
}

/* A driver that goes with pools attached: its function is reset before they are unmapped. */
static void test_pools_at_the_end(void)
{
	struct pcidipc_dma dma;
	bool done = false;

	core_begin();
	CU_ASSERT_EQUAL(pcidipc_dma_create(pci, 4 * MIB, &dma), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_enable(pci, true, true), 0);
	pcidipc_pci_close(pci);
	while (!done)
		core_rig_call(&rig, gone, &done);
	CU_ASSERT_STRING_EQUAL(rig.fake->log, "amERd");
	pcidipc_pool_destroy(dma.pool);
	core_rig_leave(&rig);
	core_rig_stop(&rig);
	pcidipc_loop_destroy(loop);
}

/* ---- messages ---- */

static void test_unknown_message(void)
{
	struct ringabi_hello m = {.msg = {.type = RINGABI_MSG_HELLO, .size = sizeof(m)}};
	struct pcidipc_packet reply;

	core_begin(); /* a second hello breaks the rules: the session ends, pcid does not */
	CU_ASSERT_NOT_EQUAL(
		pcidipc_consumer_ask(pcidipc_pci_consumer(pci), &m.msg, NULL, 0, &reply), 0);
	core_finish();
}

static CU_TestInfo tests[] = {
	{"who the function is", test_info},
	{"malformed requests", test_malformed},
	{"configuration space", test_config_space},
	{"what may be written there", test_config_filter},
	{"registers", test_mmio},
	{"a bus that is full", test_back_pressure},
	{"a driver that goes while its writes wait", test_parked_at_the_end},
	{"canceling what waits", test_cancel_parked},
	{"bits of DMA addresses", test_dma_bits},
	{"pools and their quota", test_pools},
	{"reset before unmapping", test_pools_at_the_end},
	{"a message out of place", test_unknown_message},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_DEBUG : 0);
	signal(SIGPIPE, SIG_IGN);
	return run_tests("pcid's core", tests);
}
