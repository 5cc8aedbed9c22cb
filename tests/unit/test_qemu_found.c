// SPDX-License-Identifier: GPL-2.0-or-later
/* What the QEMU bus finds: bridges, capabilities, BARs. */
#include <linux/pci_regs.h>
#include <signal.h>

#include "harness.h"
#include "qemudevices.h"

static unsigned depth(const struct pcid_function *f)
{
	unsigned n = 0;

	for (; f->parent; f = f->parent)
		n++;
	return n;
}

static void check_edu(struct pcid_function *f)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(claim_function(f), 0);
	CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_ID, 4), 0x010000ed);
	mmio_write(f, 0, EDU_LIVENESS, 4, 0x12345678);
	CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_LIVENESS, 4), (uint32_t)~0x12345678);
	ops()->release(f);
}

static void topology(void)
{
	struct pcid_function *nested = EDU(0), *express = EDU(1), *plain;

	CU_ASSERT(check_all_bars() > 12);
	CU_ASSERT_PTR_NOT_NULL_FATAL(nested);
	CU_ASSERT_PTR_NOT_NULL_FATAL(express);
	CU_ASSERT_EQUAL(depth(nested), 3);  /* root port, upstream port, downstream port */
	CU_ASSERT_EQUAL(depth(express), 3); /* root port, PCI Express to PCI, PCI to PCI */
	check_edu(nested);
	check_edu(express);
	/* A conventional bridge answers for what is behind it: one group. */
	plain = TESTDEV(0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(plain);
	CU_ASSERT_EQUAL(plain->group, express->group);
	CU_ASSERT_NOT_EQUAL(plain->group, nested->group);
	CU_ASSERT_EQUAL(claim_function(express), 0);
	CU_ASSERT_EQUAL(ops()->claim(plain), -EBUSY);
	CU_ASSERT_EQUAL(ops()->claim(express), -EBUSY);
	ops()->release(express);
	CU_ASSERT_EQUAL(ops()->claim(plain), 0);
	ops()->release(plain);
	CU_ASSERT_EQUAL(ops()->claim(nested->parent), -EOPNOTSUPP);
}

static void test_topology(void)
{
	with_bus(topology,
		 ARGS("-device", "pcie-root-port,id=r1,chassis=1,slot=1", "-device",
		      "x3130-upstream,id=up,bus=r1", "-device",
		      "xio3130-downstream,id=d1,bus=up,chassis=2,slot=1", "-device",
		      "xio3130-downstream,id=d2,bus=up,chassis=3,slot=2", "-device", "edu,bus=d1",
		      "-device", "qemu-xhci,bus=d2", "-device",
		      "pcie-root-port,id=r2,chassis=4,slot=2", "-device",
		      "pcie-pci-bridge,id=b1,bus=r2", "-device",
		      "pci-bridge,id=b2,bus=b1,addr=1,chassis_nr=5", "-device", "edu,bus=b2,addr=1",
		      "-device", "pci-testdev,bus=b2,addr=2", "-device", "e1000,bus=b2,addr=3"));
}

static const struct pcid_cap *find_cap(const struct pcid_function *f, unsigned id, bool extended)
{
	for (unsigned i = 0; i < f->ncaps; i++)
		if (f->caps[i].id == id && f->caps[i].extended == extended)
			return &f->caps[i];
	return NULL;
}

static void capabilities(void)
{
	struct pcid_function *a = find_function(0x1af4, 0x1044, 0),
			     *b = find_function(0x1af4, 0x1044, 1);
	struct pcid_function *e = find_function(0x8086, 0x10d3, 0);
	const struct pcid_cap *cap;

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	CU_ASSERT_EQUAL(a->dev, b->dev);
	CU_ASSERT_EQUAL(a->fn, 0);
	CU_ASSERT_EQUAL(b->fn, 3);		   /* with a gap before it */
	cap = find_cap(a, PCI_CAP_ID_VNDR, false); /* virtio's structures */
	CU_ASSERT_PTR_NOT_NULL_FATAL(cap);
	CU_ASSERT(cap->bytes >= 16);
	CU_ASSERT_EQUAL(config_of(a, cap->offset, 1), PCI_CAP_ID_VNDR);
	CU_ASSERT_EQUAL(config_of(a, cap->offset + 2u, 1), cap->bytes);
	CU_ASSERT(a->msix.cap && a->msix.count == 2);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_EQUAL(e->config_bytes, 4096);
	cap = find_cap(e, PCI_EXT_CAP_ID_ERR, true);
	CU_ASSERT_PTR_NOT_NULL_FATAL(cap);
	CU_ASSERT(cap->offset >= 0x100);
	CU_ASSERT_EQUAL(config_of(e, cap->offset, 2), PCI_EXT_CAP_ID_ERR);
	CU_ASSERT_PTR_NOT_NULL(find_cap(e, PCI_EXT_CAP_ID_DSN, true));
	CU_ASSERT(e->msi.cap && e->msi.is64 && !e->msi.maskable);
	CU_ASSERT(e->msix.cap && e->msix.count == 5);
	/* Interrupts that nobody asked for are off, and so are DMA and INTx. */
	CU_ASSERT_EQUAL(config_of(e, PCI_COMMAND, 2), PCI_COMMAND_INTX_DISABLE);
}

static void test_capabilities(void)
{
	with_bus(capabilities,
		 ARGS("-device",
		      "virtio-rng-pci,disable-legacy=on,addr=5.0,multifunction=on,vectors=2",
		      "-device", "virtio-rng-pci,disable-legacy=on,addr=5.3", "-device", "e1000e"));
}

static void check_testdev(struct pcid_function *f, unsigned bar)
{
	char name[8];

	mmio_write(f, bar, 0, 1, 0); /* choose a test of this BAR; its name follows the header */
	for (unsigned i = 0; i < sizeof(name); i++)
		name[i] = (char)mmio_read(f, bar, 16 + i, 1);
	CU_ASSERT_EQUAL(memcmp(name, bar ? "portio" : "mmio", bar ? 6 : 4), 0);
}

static void bars(void)
{
	struct pcid_function *t = TESTDEV(0), *big = find_function(0x1af4, 0x1110, 0);
	uint64_t offset;

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_PTR_NOT_NULL_FATAL(big);
	CU_ASSERT(!t->bars[0].io && !t->bars[0].is64 && t->bars[0].address < 1ull << 32);
	CU_ASSERT(t->bars[1].io && t->bars[1].address < 1u << 16);
	CU_ASSERT_EQUAL(claim_function(t), 0);
	check_testdev(t, 0);
	check_testdev(t, 1);
	CU_ASSERT_EQUAL(ops()->mmio_write(t, 1, 0, 8, 0), -EINVAL); /* ports have 32 bits */
	CU_ASSERT_EQUAL(ops()->region_fd(t, 0, &offset), -EOPNOTSUPP);
	ops()->release(t);
	CU_ASSERT(big->bars[2].is64 && big->bars[2].prefetch);
	CU_ASSERT_EQUAL(big->bars[2].bytes, GIB(8));
	CU_ASSERT_EQUAL(big->bars[3].bytes, 0);
	CU_ASSERT_EQUAL(claim_function(big), 0);
	mmio_write(big, 2, GIB(8) - 8, 8, 0x0123456789abcdefull);
	CU_ASSERT_EQUAL(mmio_read(big, 2, GIB(8) - 8, 8), 0x0123456789abcdefull);
	CU_ASSERT_EQUAL(mmio_read(big, 2, GIB(8) - 7, 1), 0xcd);
	ops()->release(big);
	check_all_bars();
}

static void test_bars(void)
{
	with_bus(bars, ARGS("-device", "pci-testdev", "-object",
			    "memory-backend-memfd,id=m,size=8G,share=on", "-device",
			    "pcie-root-port,id=r,chassis=1,slot=1", "-device",
			    "ivshmem-plain,memdev=m,bus=r"));
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"bridges in bridges, groups", test_topology},
		{"capabilities, functions of one device", test_capabilities},
		{"BARs: 32 and 64 bits, ports", test_bars},
		CU_TEST_INFO_NULL,
	};

	signal(SIGPIPE, SIG_IGN);
	return run_tests("qemu found", tests);
}
