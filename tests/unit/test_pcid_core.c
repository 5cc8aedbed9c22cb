// SPDX-License-Identifier: MIT
/* The PCI interface as pcid's core serves it, through the real library on both sides, over a fake
 * bus. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core_rig.h"

#define MIB (1u << 20)
#define CONFIG                                                                                     \
	"driver \"test\" { class = 1 command = \"/bin/false\" service = \"nvme\" dma_quota_mib = " \
	"64 "                                                                                      \
	"max_children = 2 }\n"
#define WITH_CHILDREN                                                                        \
	CONFIG "driver \"stick\" { below = \"usb\" class = 8 command = \"/no/such/driver\" " \
	       "restart_limit = 0 }\n"

static struct core_rig rig;
static struct pcidipc_loop *loop; /* the driver's */
static struct pcidipc_pci *pci;

static void begin_with(const char *config)
{
	core_rig_start(&rig, config);
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_adopt(loop, core_rig_join(&rig), &pci), 0);
}

static void begin(void)
{
	begin_with(CONFIG);
}

static void finish(void)
{
	pcidipc_pci_close(pci);
	core_rig_leave(&rig);
	core_rig_stop(&rig);
	pcidipc_loop_destroy(loop);
}

static struct io_uring_sqe sqe_of(uint32_t cmd_op, uint64_t addr, uint32_t index, uint32_t width,
				  uint64_t value)
{
	struct ringabi_pci_arg arg = {.index = index, .width = width, .value = value};
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};

	sqe.cmd_op = cmd_op;
	sqe.addr = addr;
	memcpy((char *)&sqe + offsetof(struct io_uring_sqe, cmd), &arg, sizeof(arg));
	return sqe;
}

static struct pcidipc_cqe cqe;

static int request(uint32_t cmd_op, uint64_t addr, uint32_t index, uint32_t width, uint64_t value)
{
	struct io_uring_sqe sqe = sqe_of(cmd_op, addr, index, width, value);

	return pcidipc_call(pcidipc_pci_consumer(pci), &sqe, &cqe);
}

/* ---- facts ---- */

static void test_info(void)
{
	const struct pcidipc_pci_info *info;
	unsigned bytes = 1;

	begin();
	info = pcidipc_pci_info(pci);
	CU_ASSERT_EQUAL(info->vendor, 0x1b36);
	CU_ASSERT_EQUAL(info->device, 0x0010);
	CU_ASSERT_EQUAL(info->subsystem_vendor, 0x1af4);
	CU_ASSERT_EQUAL(info->subsystem_device, 0x1100);
	CU_ASSERT_EQUAL(info->class_code, 0x010802);
	CU_ASSERT_EQUAL(info->revision, 2);
	CU_ASSERT_STRING_EQUAL(info->address, "0000:00:03.0");

	CU_ASSERT_EQUAL(request(RINGABI_PCI_REGION_INFO, 0, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[0], FAKE_REGS);
	CU_ASSERT_EQUAL(cqe.big[1], RINGABI_PCI_REGION_64BIT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_REGION_INFO, 0, 1, 0, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[0], 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_REGION_INFO, 0, 2, 0, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[1], RINGABI_PCI_REGION_IO);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_REGION_INFO, 0, 6, 0, 0), -EINVAL);

	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x11, false, 0, NULL), 0x40);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x11, false, 1, NULL), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x01, true, 0, NULL), 0x100);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 0x09, false, 0, &bytes), 0xc0);
	CU_ASSERT_EQUAL(bytes, 0x10);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_FIND_CAP, 0, 0, 0x11, 2), -EINVAL);
	finish();
}

static void test_malformed(void)
{
	struct io_uring_sqe sqe;

	begin();
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CMD(0), 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CMD(16), 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CMD(255), 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(request(RINGABI_CMD_OP(RINGABI_INTERFACE_BLOCK, 1), 0, 0, 0, 0),
			-EOPNOTSUPP);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_INFO | 1u << 31, 0, 0, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_INFO, 0, 1, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_INFO, 8, 0, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_RESET, 0, 0, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_ENABLE, 0, 0, 0, 4), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_UNPUBLISH, 0, 0, 0, 0), -ENOENT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CHILD_GONE, 0, 0, 0, 0), -ENOENT);
	sqe = sqe_of(RINGABI_PCI_INFO, 0, 0, 0, 0);
	sqe.fd = 3;
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), -EINVAL);
	sqe = sqe_of(RINGABI_PCI_INFO, 0, 0, 0, 0);
	sqe.len = 1;
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), -EINVAL);
	sqe = (struct io_uring_sqe){.opcode = IORING_OP_READ_FIXED};
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), -EOPNOTSUPP);
	finish();
}

static void test_config_space(void)
{
	uint32_t value = 0;

	begin();
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0x104, 4, &value), 0);
	CU_ASSERT_EQUAL(value, 0x06070405 ^ 0x00000000);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 3, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 3);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 1, 2, &value), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 4, 8, &value), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 4, 0, &value), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 4096, 4, &value), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CONFIG_READ, 1ull << 32, 0, 4, 0), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0xd0, 2, 0xbeef), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0xd0, 4, &value), 0);
	CU_ASSERT_EQUAL(value, 0xd3d2beef);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CONFIG_WRITE, 0xd0, 0, 1, 0x100), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0x04, 2, 7), -EPERM);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0x10, 4, 0), -EPERM);
	rig.fake->f.config_bytes = 256;
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0x100, 4, &value), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0x100, 4, 0), -ENXIO);
	finish();
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
	fake_bus_destroy(fake);
	pcidipc_loop_destroy(l);
}

/* ---- registers ---- */

static void test_mmio(void)
{
	struct pcidipc_mmio mmio;

	begin();
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
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0x2a, 0, 2, 0), 0);
	CU_ASSERT_EQUAL(cqe.big[0], 0x5566);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0x2a, 0, 4, 0), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0x28, 0, 3, 0), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0x28, 0, 4, 1), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_WRITE, 0x28, 0, 1, 0x100), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0, 1, 4, 0), -ENXIO);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0, 6, 4, 0), -ENXIO);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0, UINT32_MAX, 4, 0), -ENXIO);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, 0, 2, 8, 0), -EINVAL);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, FAKE_REGS, 0, 4, 0), -EFAULT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, FAKE_REGS - 4, 0, 4, 0), 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, UINT64_MAX - 7, 0, 8, 0), -EFAULT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_WRITE, FAKE_MSIX_TABLE, 0, 4, 0), -EFAULT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_TABLE + 0x7c, 0, 4, 0), -EFAULT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_TABLE + 0x80, 0, 4, 0), 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_TABLE - 4, 0, 4, 0), 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_PBA, 0, 8, 0), -EFAULT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_MMIO_READ, FAKE_MSIX_PBA + 8, 0, 8, 0), 0);
	finish();
}

static void set_full(struct core_rig *r, void *arg)
{
	(void)arg;
	r->fake->full = true;
}

static void set_drained(struct core_rig *r, void *arg)
{
	(void)arg;
	fake_bus_drain(r->fake);
}

static void parked_count(struct core_rig *r, void *arg)
{
	unsigned n = 0;

	for (struct pcidipc_request *rq = r->driver->parked.first; rq; rq = rq->next)
		n++;
	*(unsigned *)arg = n;
}

static void push(uint64_t user_data, const struct io_uring_sqe *from)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(pcidipc_pci_consumer(pci));

	CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
	*sqe = *from;
	sqe->user_data = user_data;
}

/* A bus that takes no more: everything waits in order, and nothing is lost. */
static void test_back_pressure(void)
{
	struct pcidipc_consumer *c;
	struct pcidipc_vectors vectors;
	struct io_uring_sqe sqe;
	unsigned parked = 0;

	begin();
	c = pcidipc_pci_consumer(pci);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 4, &vectors), 0);
	core_rig_call(&rig, set_full, NULL);
	for (unsigned i = 0; i < 50; i++) {
		sqe = sqe_of(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, i + 1);
		push(i, &sqe);
	}
	sqe = sqe_of(RINGABI_PCI_MMIO_READ, 0x100, 0, 4, 0);
	push(50, &sqe);
	sqe = sqe_of(RINGABI_PCI_IRQ_MASK, 0, 1, 0, 0);
	push(51, &sqe);
	sqe = sqe_of(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0);
	push(52, &sqe);
	CU_ASSERT_EQUAL(pcidipc_submit(c), 0);
	while (parked < 53)
		core_rig_call(&rig, parked_count, &parked);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_INFO, 0, 0, 0, 0), 0); /* what is not posted goes on */
	core_rig_call(&rig, set_drained, NULL);
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
	finish();
}

/* The driver dies while its writes wait. */
static void test_parked_at_the_end(void)
{
	struct io_uring_sqe sqe = sqe_of(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1);
	unsigned parked = 0;

	begin();
	core_rig_call(&rig, set_full, NULL);
	for (unsigned i = 0; i < 20; i++)
		push(i, &sqe);
	CU_ASSERT_EQUAL(pcidipc_submit(pcidipc_pci_consumer(pci)), 0);
	while (parked < 20)
		core_rig_call(&rig, parked_count, &parked);
	finish();
}

/* A canceled request that waits is completed at once. */
static void test_cancel_parked(void)
{
	struct io_uring_sqe sqe = sqe_of(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1);
	struct io_uring_sqe cancel = {.opcode = IORING_OP_ASYNC_CANCEL, .addr = 7};
	unsigned parked = 0;

	begin();
	core_rig_call(&rig, set_full, NULL);
	push(7, &sqe);
	push(8, &sqe);
	CU_ASSERT_EQUAL(pcidipc_submit(pcidipc_pci_consumer(pci)), 0);
	while (parked < 2)
		core_rig_call(&rig, parked_count, &parked);
	CU_ASSERT_EQUAL(pcidipc_call(pcidipc_pci_consumer(pci), &cancel, NULL), 0);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(pcidipc_pci_consumer(pci), 1), 0);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(pcidipc_pci_consumer(pci), &cqe), 1);
	CU_ASSERT_EQUAL(cqe.user_data, 7);
	CU_ASSERT_EQUAL(cqe.res, -ECANCELED);
	core_rig_call(&rig, set_drained, NULL);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(pcidipc_pci_consumer(pci), 1), 0);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(pcidipc_pci_consumer(pci), &cqe), 1);
	CU_ASSERT_EQUAL(cqe.user_data, 8);
	finish();
}

/* ---- interrupts ---- */

static struct pcidipc_vectors vectors;

static void fire(struct core_rig *r, void *arg)
{
	fake_bus_fire(r->fake, *(unsigned *)arg);
}

static void raise_vector(unsigned i)
{
	core_rig_call(&rig, fire, &i);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* It is there, or comes: at the latest when pcid has relayed it. */
static bool arrives(unsigned i)
{
	return readable(vectors.fds[i], 10000) && pcidipc_vector_ack(vectors.fds[i]) == 1;
}

/*
 * It is not there and will not come. A relayed one has been seen by pcid when a later interrupt of
 * another vector has come through; with the bus's own mask there is nobody in between.
 */
static bool stays_away(unsigned i)
{
	unsigned other = i ? 0 : 1;

	raise_vector(other);
	return arrives(other) && !readable(vectors.fds[i], 0);
}

static void begin_vectors(bool maskable)
{
	begin();
	rig.fake->maskable = maskable;
	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_alloc_vectors(pci, 2, 3, &vectors), 0);
	CU_ASSERT_EQUAL(vectors.count, 3);
	CU_ASSERT_EQUAL(vectors.kind, maskable ? RINGABI_IRQ_MSIX : RINGABI_IRQ_MSI);
}

static void finish_vectors(void)
{
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	finish();
}

static void test_alloc_errors(void)
{
	begin();
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 0, 1, &vectors), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 3, 2, &vectors), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 65, &vectors), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 5, 8, &vectors), -ENOSPC);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 0, true), -ERANGE);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 4, 8, &vectors), 0);
	CU_ASSERT_EQUAL(vectors.count, 4);
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 1, &vectors), -EALREADY);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 4, true), -ERANGE);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, UINT32_MAX, true), -ERANGE);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 3, true), 0);
	finish();
}

static void masks(bool maskable)
{
	begin_vectors(maskable);
	raise_vector(2);
	CU_ASSERT_TRUE(arrives(2));
	/* Kept while masked, delivered once on unmask. */
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, true), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, true), 0);
	raise_vector(2);
	raise_vector(2);
	CU_ASSERT_TRUE(stays_away(2));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, false), 0);
	CU_ASSERT_TRUE(arrives(2));
	CU_ASSERT_TRUE(stays_away(2));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, false), 0);
	CU_ASSERT_TRUE(stays_away(2));
	/* Nothing came: nothing is delivered. */
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, true), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, false), 0);
	CU_ASSERT_TRUE(stays_away(2));
	finish_vectors();
}

static void test_masks_of_the_bus(void)
{
	masks(true);
}

static void test_masks_by_relay(void)
{
	masks(false);
}

static void wait_pending(struct core_rig *r, void *arg)
{
	*(bool *)arg = r->driver->irq.vector[1].pending;
}

static void function_masks(bool maskable)
{
	bool pending = false;

	begin_vectors(maskable);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
	raise_vector(1);
	while (!maskable && !pending)
		core_rig_call(&rig, wait_pending, &pending);
	CU_ASSERT_FALSE(readable(vectors.fds[1], 0));
	/* The vector's own mask and the function's are independent of each other. */
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 1, false), 0);
	CU_ASSERT_FALSE(readable(vectors.fds[1], 0));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 1, true), 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_IRQ_UNMASK_ALL, 0, 0, 0, 0), 0);
	CU_ASSERT_TRUE(stays_away(1));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 1, false), 0);
	CU_ASSERT_TRUE(arrives(1));
	/* Masked twice, unmasked once: delivered. */
	CU_ASSERT_EQUAL(request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
	raise_vector(0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_IRQ_UNMASK_ALL, 0, 0, 0, 0), 0);
	CU_ASSERT_TRUE(arrives(0));
	finish_vectors();
}

static void test_function_mask_of_the_bus(void)
{
	function_masks(true);
}

static void test_function_mask_by_relay(void)
{
	function_masks(false);
}

/* Interrupts at random against masks at random: after an interrupt there is always one to be seen,
 * sooner or later. */
static void storm(bool maskable)
{
	unsigned seed = 42;

	begin_vectors(maskable);
	for (unsigned round = 0; round < 2000; round++) {
		unsigned v = (unsigned)rand_r(&seed) % 3;
		unsigned when = (unsigned)rand_r(&seed) % 3;

		if (rand_r(&seed) % 2)
			pcidipc_pci_mask(pci, v);
		else
			pcidipc_pci_mask_all(pci);
		if (when == 0)
			raise_vector(v);
		if (rand_r(&seed) % 2)
			pcidipc_pci_unmask_all(pci);
		if (when == 1)
			raise_vector(v);
		pcidipc_pci_unmask(pci, v);
		pcidipc_pci_unmask_all(pci);
		if (when == 2)
			raise_vector(v);
		CU_ASSERT_TRUE_FATAL(arrives(v));
	}
	finish_vectors();
}

static void test_storm_of_the_bus(void)
{
	storm(true);
}

static void test_storm_by_relay(void)
{
	storm(false);
}

/* ---- interrupts and masks at random, against a model ---- */

#define MODEL_VECTORS 3u
#define MODEL_ROUNDS 600u
#define MODEL_BURST 12u

struct model {
	bool maskable, masked[MODEL_VECTORS], function_masked;
	bool pending[MODEL_VECTORS];
	unsigned due[MODEL_VECTORS]; /* deliveries that the driver has not read */
	uint64_t fired[MODEL_VECTORS];
	unsigned seed;
};

static unsigned pick(struct model *m, unsigned n)
{
	return (unsigned)rand_r(&m->seed) % n;
}

static bool model_masked(const struct model *m, unsigned v)
{
	return m->masked[v] || m->function_masked;
}

static void model_settle(struct model *m)
{
	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		if (m->pending[v] && !model_masked(m, v)) {
			m->pending[v] = false;
			m->due[v]++;
		}
}

static void model_mask(struct model *m, uint32_t op, unsigned v)
{
	if (op == RINGABI_PCI_IRQ_MASK || op == RINGABI_PCI_IRQ_UNMASK)
		m->masked[v] = op == RINGABI_PCI_IRQ_MASK;
	else
		m->function_masked = op == RINGABI_PCI_IRQ_MASK_ALL;
	model_settle(m);
}

static const uint32_t mask_ops[] = {
	RINGABI_PCI_IRQ_MASK,
	RINGABI_PCI_IRQ_UNMASK,
	RINGABI_PCI_IRQ_MASK_ALL,
	RINGABI_PCI_IRQ_UNMASK_ALL,
};

static struct io_uring_sqe random_mask(struct model *m)
{
	uint32_t op = mask_ops[pick(m, 4)];
	bool one = op == RINGABI_PCI_IRQ_MASK || op == RINGABI_PCI_IRQ_UNMASK;

	return sqe_of(op, 0, one ? pick(m, MODEL_VECTORS) : 0, 0, 0);
}

static unsigned index_of(const struct io_uring_sqe *sqe)
{
	struct ringabi_pci_arg arg;

	memcpy(&arg, (const char *)sqe + offsetof(struct io_uring_sqe, cmd), sizeof(arg));
	return arg.index;
}

static void count_interrupts(struct core_rig *r, void *arg)
{
	uint64_t *counts = arg;

	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		counts[v] = r->driver->irq.vector[v].interrupts;
}

/* A relayed interrupt counts when pcid has seen it. */
static void model_fire(struct model *m, unsigned v)
{
	uint64_t counts[MODEL_VECTORS] = {0};

	raise_vector(v);
	m->fired[v]++;
	while (!m->maskable && counts[v] < m->fired[v])
		core_rig_call(&rig, count_interrupts, counts);
	m->pending[v] = true;
	model_settle(m);
}

/* How often the driver is woken: the eventfd's count, or a relay's packets. */
static unsigned deliveries(unsigned v)
{
	uint64_t count;
	unsigned n = 0;

	while (read(vectors.fds[v], &count, sizeof(count)) == sizeof(count))
		n += (unsigned)count;
	return n;
}

static void model_compare(struct model *m)
{
	for (unsigned v = 0; v < MODEL_VECTORS; v++) {
		CU_ASSERT_EQUAL_FATAL(deliveries(v), m->due[v]);
		m->due[v] = 0;
	}
}

/* One step with a bus that takes everything: all that is to be seen is known exactly. */
static void model_step(struct model *m)
{
	struct io_uring_sqe sqe;

	if (pick(m, 2)) {
		model_fire(m, pick(m, MODEL_VECTORS));
	} else {
		sqe = random_mask(m);
		CU_ASSERT_EQUAL_FATAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), 0);
		model_mask(m, sqe.cmd_op, index_of(&sqe));
	}
	model_compare(m);
}

static void set_full_after(struct core_rig *r, void *arg)
{
	r->fake->full = true;
	r->fake->room = *(unsigned *)arg;
}

static void let_through(struct core_rig *r, void *arg)
{
	r->fake->room = *(unsigned *)arg;
	r->fake->bus.writable(&r->fake->bus);
}

static void cancel_some(struct model *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe sqe = {.opcode = IORING_OP_ASYNC_CANCEL, .addr = 1 + i};

		if (pick(m, 3) == 0) /* -ENOENT: it is done, -EALREADY: it is on its way */
			pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL);
	}
}

static void read_kept(struct core_rig *r, void *arg)
{
	bool *kept = arg;

	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		kept[v] = r->fake->pending[v] || r->driver->irq.vector[v].pending;
}

/*
 * When vector v's interrupt met the masks on their way is not known; but it, and what was kept
 * before, is either kept behind a mask or was delivered, each at most once.
 */
static void burst_compare(struct model *m, const bool *before, unsigned v)
{
	uint64_t counts[MODEL_VECTORS] = {0};
	bool kept[MODEL_VECTORS];

	while (!m->maskable && counts[v] < m->fired[v])
		core_rig_call(&rig, count_interrupts, counts);
	core_rig_call(&rig, read_kept, kept);
	for (unsigned i = 0; i < MODEL_VECTORS; i++) {
		unsigned woken = deliveries(i), came = before[i] + (i == v);

		CU_ASSERT_TRUE_FATAL(woken + kept[i] <= came);
		CU_ASSERT_TRUE_FATAL(!came || woken + kept[i] >= 1);
		CU_ASSERT_FALSE_FATAL(kept[i] && !model_masked(m, i));
		m->pending[i] = kept[i];
		m->due[i] = 0;
	}
}

/*
 * A burst of masks while the bus takes a few at a time, some of them canceled, with an interrupt
 * among them. What was canceled has left no trace, and the interrupt is delivered or kept.
 */
static void model_burst(struct model *m)
{
	struct pcidipc_consumer *c = pcidipc_pci_consumer(pci);
	struct io_uring_sqe sqes[MODEL_BURST];
	unsigned n = 1 + pick(m, MODEL_BURST - 1), room = pick(m, 4), v = pick(m, MODEL_VECTORS);
	unsigned parked = 0;
	bool before[MODEL_VECTORS];

	memcpy(before, m->pending, sizeof(before));
	core_rig_call(&rig, set_full_after, &room);
	sqes[0] = sqe_of(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1); /* relays wait for it, too */
	for (unsigned i = 0; i < n; i++) {
		if (i)
			sqes[i] = random_mask(m);
		push(1 + i, &sqes[i]);
	}
	CU_ASSERT_EQUAL_FATAL(pcidipc_submit(c), 0);
	CU_ASSERT_EQUAL_FATAL(request(RINGABI_PCI_INFO, 0, 0, 0, 0), 0); /* pcid has them all */
	raise_vector(v);
	m->fired[v]++;
	room = pick(m, 4);
	core_rig_call(&rig, let_through, &room);
	cancel_some(m, n);
	core_rig_call(&rig, set_drained, NULL);
	CU_ASSERT_EQUAL_FATAL(pcidipc_submit_and_wait(c, n), 0);
	for (unsigned i = 0; i < n; i++) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_TRUE_FATAL(cqe.res == 0 || cqe.res == -ECANCELED);
		CU_ASSERT_TRUE_FATAL(cqe.user_data >= 1 && cqe.user_data <= n);
		if (!cqe.res && cqe.user_data > 1)
			model_mask(m, sqes[cqe.user_data - 1].cmd_op,
				   index_of(&sqes[cqe.user_data - 1]));
	}
	core_rig_call(&rig, parked_count, &parked);
	CU_ASSERT_EQUAL_FATAL(parked, 0);
	for (unsigned i = 0; i < MODEL_VECTORS && m->maskable; i++)
		CU_ASSERT_EQUAL_FATAL(rig.fake->masked[i], model_masked(m, i));
	burst_compare(m, before, v);
}

/* A reset, or a driver's successor: new vectors, open, and nothing is left of the old ones. */
static void model_again(struct model *m)
{
	if (pick(m, 2)) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_pci_reset(pci), 0);
	} else {
		pcidipc_pci_close(pci);
		core_rig_leave(&rig);
		CU_ASSERT_EQUAL_FATAL(pcidipc_pci_adopt(loop, core_rig_join(&rig), &pci), 0);
	}
	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		close(vectors.fds[v]);
	*m = (struct model){.maskable = m->maskable, .seed = m->seed};
	if (pick(m, 2)) { /* masked before there is a vector */
		CU_ASSERT_EQUAL_FATAL(request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
		m->function_masked = true;
	}
	CU_ASSERT_EQUAL_FATAL(
		pcidipc_pci_alloc_vectors(pci, MODEL_VECTORS, MODEL_VECTORS, &vectors), 0);
}

static void model_run(bool maskable, unsigned seed)
{
	struct model m = {.maskable = maskable, .seed = seed};

	begin_vectors(maskable);
	for (unsigned round = 0; round < MODEL_ROUNDS; round++) {
		unsigned what = pick(&m, 100);

		if (what < 3)
			model_again(&m);
		else if (what < 20)
			model_burst(&m);
		else
			model_step(&m);
		alarm(60);
	}
	finish_vectors();
}

static void test_model_of_the_bus(void)
{
	for (unsigned seed = 1; seed <= 4; seed++)
		model_run(true, seed);
}

static void test_model_by_relay(void)
{
	for (unsigned seed = 1; seed <= 4; seed++)
		model_run(false, seed);
}

static void relayed_all(struct core_rig *r, void *arg)
{
	*(uint64_t *)arg = r->driver->irq.vector[0].interrupts;
}

/* A driver that does not read its interrupts keeps pcid from nothing, and finds some when it does.
 */
static void test_unread_relay(void)
{
	uint64_t seen = 0;

	begin_vectors(false);
	for (unsigned i = 0; i < 5000; i++)
		raise_vector(0);
	while (seen < 5000)
		core_rig_call(&rig, relayed_all, &seen);
	CU_ASSERT_TRUE(arrives(0));
	raise_vector(1);
	CU_ASSERT_TRUE(arrives(1));
	close(vectors.fds[0]); /* nor does one that closed its end */
	raise_vector(0);
	raise_vector(1);
	CU_ASSERT_TRUE(arrives(1));
	vectors.fds[0] = dup(vectors.fds[1]);
	finish_vectors();
}

static void test_reset(void)
{
	begin_vectors(true);
	CU_ASSERT_EQUAL(pcidipc_pci_enable(pci, true, true), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 0, true), -ERANGE);
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 3, &vectors), 0);
	raise_vector(2);
	CU_ASSERT_TRUE(arrives(2));
	rig.fake->reset_error = -EOPNOTSUPP;
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), -EOPNOTSUPP);
	raise_vector(2);
	CU_ASSERT_TRUE(arrives(2));
	CU_ASSERT_STRING_EQUAL(rig.fake->log, "ERR");
	finish_vectors();
}

static void hold_reset(struct core_rig *r, void *arg)
{
	r->fake->hold_reset = *(bool *)arg;
}

/* While the function is reset it has no vectors that could be masked: masks wait, in order. */
static void test_masks_during_reset(void)
{
	struct io_uring_sqe reset = sqe_of(RINGABI_PCI_RESET, 0, 0, 0, 0);
	struct io_uring_sqe mask = sqe_of(RINGABI_PCI_IRQ_MASK, 0, 1, 0, 0);
	struct pcidipc_consumer *c;
	unsigned parked = 0;
	bool hold = true;

	begin_vectors(true);
	c = pcidipc_pci_consumer(pci);
	core_rig_call(&rig, hold_reset, &hold);
	push(1, &reset);
	CU_ASSERT_EQUAL(pcidipc_submit(c), 0);
	while (!strchr(rig.fake->log, 'R'))
		core_rig_call(&rig, parked_count, &parked);
	push(2, &mask);
	CU_ASSERT_EQUAL(pcidipc_submit(c), 0);
	while (!parked)
		core_rig_call(&rig, parked_count, &parked);
	core_rig_call(&rig, set_drained, NULL); /* another driver's writes went: not yet */
	core_rig_call(&rig, parked_count, &parked);
	CU_ASSERT_EQUAL(parked, 1);
	hold = false;
	core_rig_call(&rig, hold_reset, &hold);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 2), 0);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.res, cqe.user_data == 1 ? 0 : -ERANGE);
	}
	CU_ASSERT_EQUAL(rig.fake->mask_calls, 0);
	finish_vectors();
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

static void test_pools(void)
{
	struct pcidipc_pool *pool;
	uint64_t iova = 0;
	uint16_t index;

	begin();
	CU_ASSERT_EQUAL(pcidipc_pool_create(256 * MIB, 0, &pool), 0);
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool_fd(pcidipc_pci_consumer(pci),
							pcidipc_pool_fd(pool), 256 * MIB, &index,
							&iova),
			0);
	CU_ASSERT_EQUAL(iova, 1ull << 32);
	CU_ASSERT_EQUAL(map(index, 0, 4096), 0);
	CU_ASSERT_EQUAL(map(index, 4096, 32 * MIB - 4096), 0);
	CU_ASSERT_EQUAL(rig.fake->maps, 1); /* one chunk */
	CU_ASSERT_EQUAL(map(index, 32 * MIB, 32 * MIB), 0);
	CU_ASSERT_EQUAL(rig.fake->maps, 2);
	CU_ASSERT_EQUAL(map(index, 100 * MIB, 4096), -EDQUOT); /* 64 MiB are mapped */
	CU_ASSERT_EQUAL(map(index, 33 * MIB, 4096), 0);	       /* which is there already */
	CU_ASSERT_EQUAL(map(index, 1, 4096), -EINVAL);
	CU_ASSERT_EQUAL(map(index, 0, 64 * MIB), -EINVAL);
	CU_ASSERT_EQUAL(map(index, 256 * MIB, 4096), -EFAULT);
	CU_ASSERT_EQUAL(map((uint16_t)(index + 1), 0, 4096), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_consumer_detach_pool(pcidipc_pci_consumer(pci), index), 0);
	CU_ASSERT_EQUAL(rig.driver->mapped_bytes, 0);
	CU_ASSERT_STRING_EQUAL(rig.fake->log, "ammd"); /* no reset: the driver lives */
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(pcidipc_pci_consumer(pci), pool, &index), 0);
	CU_ASSERT_EQUAL(map(index, 100 * MIB, 4096), 0);
	pcidipc_pool_destroy(pool);
	finish();
}

static void gone(struct core_rig *r, void *arg)
{
	*(bool *)arg = pcid_list_empty(&r->driver->pools) && !r->driver->session;
}

/* A driver that goes with pools attached: its function is reset before they are unmapped. */
static void test_pools_at_the_end(void)
{
	struct pcidipc_dma dma;
	bool done = false;

	begin();
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

/* ---- services ---- */

static bool is_socket(const char *name, unsigned mode)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", rig.dir, name);
	return !lstat(path, &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == mode;
}

static void test_publish(void)
{
	struct pcidipc_service one, two, three;

	begin();
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &one), 0);
	CU_ASSERT_STRING_EQUAL(one.name, "disk/nvme0n1");
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1", 0660));
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1.admin", 0600));
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &two), -EEXIST);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n2", &two), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "char", "", &three), 0);
	CU_ASSERT_STRING_EQUAL(three.name, "char/nvme0");
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "../x", "", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "", "n1", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "N1", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "/", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_unpublish(pci, &one), 0);
	CU_ASSERT_FALSE(is_socket("disk/nvme0n1", 0660));
	CU_ASSERT_EQUAL(request(RINGABI_PCI_UNPUBLISH, 0, one.id, 0, 0), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &one), 0);
	close(one.listen_fd);
	close(one.admin_fd);
	close(two.listen_fd);
	close(two.admin_fd);
	close(three.listen_fd);
	close(three.admin_fd);
	finish();
}

static void publish_many(struct core_rig *r, void *arg)
{
	char suffix[16];
	struct pcid_service *service;
	int ret = 0;

	for (unsigned i = 0; i <= PCID_MAX_SERVICES && !ret; i++) {
		snprintf(suffix, sizeof(suffix), "n%u", i);
		ret = pcid_service_publish(r->driver, "disk", suffix, &service);
	}
	*(int *)arg = ret;
}

static void test_publish_limit(void)
{
	int ret = 0;

	begin();
	core_rig_call(&rig, publish_many, &ret);
	CU_ASSERT_EQUAL(ret, -EDQUOT);
	CU_ASSERT_EQUAL(rig.driver->nservices, PCID_MAX_SERVICES);
	finish();
}

static void sweep(struct core_rig *r, void *arg)
{
	(void)arg;
	pcid_rundir_sweep(&r->pcid);
}

static void stale_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

/* Sockets that nobody serves go; those in use stay, and so does what is no socket of pcid's. */
static void test_sweep(void)
{
	struct pcidipc_service service;
	char stale[128], file[128];

	begin();
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &service), 0);
	snprintf(stale, sizeof(stale), "%s/disk/nvme9n1", rig.dir);
	snprintf(file, sizeof(file), "%s/disk/notes", rig.dir);
	stale_socket(stale);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	core_rig_call(&rig, sweep, NULL);
	CU_ASSERT_NOT_EQUAL(access(stale, F_OK), 0);
	CU_ASSERT_EQUAL(access(file, F_OK), 0);
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1", 0660));
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1.admin", 0600));
	unlink(file);
	close(service.listen_fd);
	close(service.admin_fd);
	finish();
}

/* ---- children ---- */

static int announce(uint32_t number, const char *path, uint8_t class_code, uint32_t interface)
{
	struct ringabi_announce m = {
		.msg = {.type = RINGABI_MSG_ANNOUNCE, .size = sizeof(m)},
		.child = number,
		.interface = interface,
		.vendor = 0x46f4,
		.product = 1,
		.class_code = class_code,
		.name = "stick",
	};
	struct pcidipc_packet reply;

	snprintf(m.path, sizeof(m.path), "%s", path);
	return pcidipc_consumer_ask(pcidipc_pci_consumer(pci), &m.msg, NULL, 0, &reply);
}

static void test_children(void)
{
	begin_with(WITH_CHILDREN);
	CU_ASSERT_EQUAL(announce(1, "1-1:1.0", 3, RINGABI_INTERFACE_USB), -ENOENT);
	CU_ASSERT_EQUAL(announce(1, "1-2:1.0", 3, RINGABI_INTERFACE_USB), -EEXIST);
	CU_ASSERT_EQUAL(announce(2, "1-1:1.0", 3, RINGABI_INTERFACE_USB), -EEXIST);
	CU_ASSERT_EQUAL(announce(2, "1/2", 3, RINGABI_INTERFACE_USB), -EINVAL);
	CU_ASSERT_EQUAL(announce(2, "", 3, RINGABI_INTERFACE_USB), -EINVAL);
	CU_ASSERT_EQUAL(announce(2, "1-2:1.0", 3, RINGABI_INTERFACE_BLOCK), -EINVAL);
	CU_ASSERT_EQUAL(announce(2, "1-2:1.0", 8, RINGABI_INTERFACE_USB), 0);
	CU_ASSERT_EQUAL(announce(3, "1-3:1.0", 8, RINGABI_INTERFACE_USB), -EDQUOT);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CHILD_GONE, 0, 1, 0, 0), 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CHILD_GONE, 0, 2, 0, 0), 0);
	CU_ASSERT_EQUAL(request(RINGABI_PCI_CHILD_GONE, 0, 2, 0, 0), -ENOENT);
	finish();
}

static void test_unknown_message(void)
{
	struct ringabi_hello m = {.msg = {.type = RINGABI_MSG_HELLO, .size = sizeof(m)}};
	struct pcidipc_packet reply;

	begin(); /* a second hello breaks the rules: the session ends, pcid does not */
	CU_ASSERT_NOT_EQUAL(
		pcidipc_consumer_ask(pcidipc_pci_consumer(pci), &m.msg, NULL, 0, &reply), 0);
	finish();
}

/* ---- all of it ---- */

static CU_TestInfo tests[] = {
	{"who the function is", test_info},
	{"malformed requests", test_malformed},
	{"configuration space", test_config_space},
	{"what may be written there", test_config_filter},
	{"registers", test_mmio},
	{"a bus that is full", test_back_pressure},
	{"a driver that goes while its writes wait", test_parked_at_the_end},
	{"canceling what waits", test_cancel_parked},
	{"allocating vectors", test_alloc_errors},
	{"masks, by the bus", test_masks_of_the_bus},
	{"masks, by relay", test_masks_by_relay},
	{"the function's mask, by the bus", test_function_mask_of_the_bus},
	{"the function's mask, by relay", test_function_mask_by_relay},
	{"interrupts against masks, by the bus", test_storm_of_the_bus},
	{"interrupts against masks, by relay", test_storm_by_relay},
	{"masks against a model, by the bus", test_model_of_the_bus},
	{"masks against a model, by relay", test_model_by_relay},
	{"a relay that nobody reads", test_unread_relay},
	{"reset", test_reset},
	{"masks during a reset", test_masks_during_reset},
	{"pools and their quota", test_pools},
	{"reset before unmapping", test_pools_at_the_end},
	{"services", test_publish},
	{"too many services", test_publish_limit},
	{"sweeping", test_sweep},
	{"children", test_children},
	{"a message out of place", test_unknown_message},
	CU_TEST_INFO_NULL,
};

static void restart_clock(void)
{
	alarm(60); /* whoever waits in vain ends the program */
}

int main(void)
{
	CU_SuiteInfo suites[] = {
		{"pcid's core", NULL, NULL, restart_clock, NULL, tests},
		CU_SUITE_INFO_NULL,
	};
	unsigned failures;

	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_DEBUG : 0);
	signal(SIGPIPE, SIG_IGN);
	if (CU_initialize_registry() || CU_register_suites(suites))
		return 2;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
