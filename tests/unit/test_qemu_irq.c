// SPDX-License-Identifier: GPL-2.0-or-later
/* Interrupts of the QEMU bus: MSI with and without mask bits, MSI-X. */
#include <linux/pci_regs.h>
#include <signal.h>

#include "harness.h"
#include "qemudevices.h"

static void edu_msi(void)
{
	struct pcid_function *f = EDU(0);
	struct pcid_irqs irqs = {0};

	CU_ASSERT_EQUAL(claim_function(f), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(f, 8, &irqs), 0);
	CU_ASSERT_EQUAL(irqs.kind, RINGABI_IRQ_MSI);
	CU_ASSERT_EQUAL(irqs.count, 1);
	CU_ASSERT_FALSE(irqs.maskable);
	CU_ASSERT_EQUAL(ops()->irq_mask(f, 0, true), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(ops()->irq_mask(f, 1, true), -EINVAL);
	for (unsigned i = 0; i < 20; i++) {
		mmio_write(f, 0, EDU_RAISE, 4, 1);
		CU_ASSERT(await_irq(irqs.fds[0]));
		mmio_write(f, 0, EDU_ACK, 4, 1);
	}
	/* Once freed it stays silent. */
	ops()->irq_free(f);
	mmio_write(f, 0, EDU_RAISE, 4, 1);
	mmio_read(f, 0, EDU_ID, 4);
	CU_ASSERT_FALSE(is_readable(irqs.fds[0]));
	close_irqs(&irqs);
	ops()->release(f);
}

static void test_edu_msi(void)
{
	with_bus(edu_msi, ARGS("-device", "edu"));
}

/* Functions with MSI share one peer: what comes and goes must not take others' interrupts. */
static void msi_neighbours(void)
{
	struct pcid_function *a = EDU(0), *b = EDU(1);
	struct pcid_irqs mine = {0}, theirs = {0};

	CU_ASSERT_EQUAL(claim_function(a), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(a, 1, &mine), 0);
	for (unsigned i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(claim_function(b), 0);
		CU_ASSERT_EQUAL(ops()->irq_alloc(b, 1, &theirs), 0);
		CU_ASSERT_FALSE(is_readable(mine.fds[0]));
		mmio_write(a, 0, EDU_RAISE, 4, 1);
		CU_ASSERT(await_irq(mine.fds[0]));
		mmio_read(b, 0, EDU_ID, 4);
		CU_ASSERT_FALSE(is_readable(theirs.fds[0]));
		mmio_write(b, 0, EDU_RAISE, 4, 1);
		CU_ASSERT(await_irq(theirs.fds[0]));
		CU_ASSERT_FALSE(is_readable(mine.fds[0]));
		close_irqs(&theirs);
		ops()->release(b);
	}
	close_irqs(&mine);
	ops()->release(a);
}

static void test_msi_neighbours(void)
{
	with_bus(msi_neighbours, ARGS("-device", "edu", "-device", "edu"));
}

static void msix_mask(void)
{
	struct nvme n;

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL(n.irqs.kind, RINGABI_IRQ_MSIX);
	CU_ASSERT(n.irqs.maskable);
	for (unsigned i = 0; i < 40; i++) {
		memset(n.m.bytes + NVME_DATA, 0, 4096);
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, true), 0);
		nvme_identify(&n, n.m.pool.iova + NVME_DATA);
		CU_ASSERT_EQUAL(nvme_status(&n), 0);
		CU_ASSERT_EQUAL(memcmp(n.m.bytes + NVME_DATA + 4, "serial-1", 8), 0);
		CU_ASSERT_FALSE(is_readable(n.irqs.fds[0]));
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, false), 0);
		CU_ASSERT(await_irq(n.irqs.fds[0]));
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, true), 0);
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, false), 0);
		mmio_read(n.f, 0, NVME_CSTS, 4);
		CU_ASSERT_FALSE(is_readable(n.irqs.fds[0])); /* once */
	}
	nvme_close(&n);
}

static void test_msix_mask(void)
{
	with_bus(msix_mask, ARGS("-drive", "driver=null-co,if=none,id=d,read-zeroes=on,size=64M",
				 "-device", "nvme,drive=d,serial=serial-1"));
}

/* Masks survive that the function stops decoding, where the table is, and may be set meanwhile. */
static void masks_and_decoding(void)
{
	struct nvme n;

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL(ops()->enable(n.f, false, false), 0);
	CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, true), 0);
	CU_ASSERT_EQUAL(ops()->enable(n.f, true, true), 0);
	nvme_identify(&n, n.m.pool.iova + NVME_DATA);
	CU_ASSERT_EQUAL(nvme_status(&n), 0);
	CU_ASSERT_FALSE(is_readable(n.irqs.fds[0]));
	CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, false), 0);
	CU_ASSERT(await_irq(n.irqs.fds[0]));
	nvme_close(&n);
}

static void test_masks_and_decoding(void)
{
	with_bus(masks_and_decoding, ARGS("-drive", "driver=null-co,if=none,id=d,size=64M",
					  "-device", "nvme,drive=d,serial=serial-1"));
}

static void many_vectors(void)
{
	struct pcid_function *f = find_function(0x1b36, 0x000d, 0);
	struct pcid_irqs irqs = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(claim_function(f), 0);
		CU_ASSERT_EQUAL(ops()->irq_alloc(f, 64, &irqs), 0);
		CU_ASSERT_EQUAL(irqs.count, 16);
		CU_ASSERT_EQUAL(ops()->irq_alloc(f, 64, &irqs), -EALREADY);
		for (unsigned v = 0; v < irqs.count; v++)
			CU_ASSERT_EQUAL(ops()->irq_mask(f, v, v % 2), 0);
		CU_ASSERT_EQUAL(ops()->irq_mask(f, irqs.count, true), -EINVAL);
		for (unsigned v = 0; v < irqs.count; v++)
			CU_ASSERT_EQUAL(mmio_read(f, 0, f->msix.offset + 16 * v + 12, 4), v % 2);
		CU_ASSERT_EQUAL(ops()->reset(f), 0); /* by its own register */
		close_irqs(&irqs);
		CU_ASSERT_EQUAL(config_of(f, PCI_COMMAND, 2), PCI_COMMAND_INTX_DISABLE);
		CU_ASSERT_EQUAL(
			config_of(f, f->msix.cap + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE, 0);
		check_all_bars();
		ops()->release(f);
	}
}

static void test_many_vectors(void)
{
	with_bus(many_vectors, ARGS("-device", "qemu-xhci"));
}

/* An ioh3420 tells by MSI with mask bits: masked, the news stays pending, and comes with the
 * unmask. */
static void msi_with_mask_bits(void)
{
	struct pcid_function *port = find_function(0x8086, 0x3420, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(port);
	CU_ASSERT(port->msi.cap && port->msi.maskable && !port->msix.cap);
	while (qemu()->slot_tasks) /* the look that each slot begins with */
		config_of(port, 0, 4);
	CU_ASSERT_EQUAL(ops()->irq_mask(port, 0, true), 0);
	config_of(port, 0, 4); /* it is posted; people_do blocks the loop */
	CU_ASSERT(people_do(ADD("edu", "e", "r", "")));
	for (unsigned i = 0; i < 100; i++)
		config_of(port, 0, 4);
	CU_ASSERT_EQUAL(bus_rig.nseen, 0);
	CU_ASSERT_EQUAL(config_of(port, port->msi.cap + PCI_MSI_PENDING_32, 4), 1);
	CU_ASSERT_EQUAL(ops()->irq_mask(port, 0, false), 0);
	expect_arrival(0x1234, 0x11e8);
}

static void test_msi_with_mask_bits(void)
{
	with_bus(msi_with_mask_bits, ARGS("-device", "ioh3420,id=r,chassis=1,slot=1"));
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"MSI without mask bits", test_edu_msi},
		{"MSI: neighbours", test_msi_neighbours},
		{"MSI with mask bits", test_msi_with_mask_bits},
		{"MSI-X: masked, pending, once", test_msix_mask},
		{"MSI-X: masks and decoding", test_masks_and_decoding},
		{"MSI-X: many vectors, reset", test_many_vectors},
		CU_TEST_INFO_NULL,
	};

	signal(SIGPIPE, SIG_IGN);
	return run_tests("qemu irq", tests);
}
