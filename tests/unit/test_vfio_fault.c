// SPDX-License-Identifier: MIT
/* Which lines of the kernel's log tell of DMA that the IOMMU refused, and which only look so. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "pcid/vfio/vfio.h"
#include "suites.h"

#define INTEL                                                                                     \
	"DMAR: [DMA Write NO_PASID] Request device [00:05.0] fault addr 0x8000000 [fault reason " \
	"0x05] PTE Write access is not set"
#define AMD                                                                         \
	"vfio-pci 0001:c1:02.3: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d " \
	"address=0x12300 "                                                          \
	"flags=0x0020]"

static struct vfio_fault fault;
static char record[1024]; /* which the reason lies in */

static bool parse(const char *before, const char *text)
{
	fault = (struct vfio_fault){.segment = ~0u};
	snprintf(record, sizeof(record), "%s%s\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:05.0\n",
		 before, text);
	return vfio_fault_parse(record, &fault);
}

static void expect(unsigned segment, unsigned bus, unsigned dev, unsigned fn,
		   unsigned long long iova, bool write)
{
	CU_ASSERT_EQUAL(fault.segment, segment);
	CU_ASSERT_EQUAL(fault.bus, bus);
	CU_ASSERT_EQUAL(fault.dev, dev);
	CU_ASSERT_EQUAL(fault.fn, fn);
	CU_ASSERT_EQUAL(fault.iova, iova);
	CU_ASSERT_EQUAL(fault.write, write);
}

static void test_intel(void)
{
	CU_ASSERT_TRUE(parse("3,1042,9917305,-;", INTEL));
	expect(0, 0, 5, 0, 0x8000000, true);
	CU_ASSERT_STRING_EQUAL(fault.reason, "PTE Write access is not set");
	/* some tell a PASID, and numbers otherwise */
	CU_ASSERT_TRUE(parse("3,1,2,-;", "DMAR: [DMA Read] Request device [3a:1f.7] PASID ffffffff "
					 "fault addr fedc000 [fault reason 06] PTE Read access is "
					 "not set"));
	expect(0, 0x3a, 0x1f, 7, 0xfedc000, false);
	CU_ASSERT_STRING_EQUAL(fault.reason, "PTE Read access is not set");
	CU_ASSERT_TRUE(parse("3,1,2,-;", "DMAR: [DMA Read NO_PASID] Request device [0002:3a:1f.7] "
					 "fault addr 0x1000"));
	expect(2, 0x3a, 0x1f, 7, 0x1000, false);
	CU_ASSERT_PTR_NULL(fault.reason);
}

static void test_amd(void)
{
	CU_ASSERT_TRUE(parse("3,1042,9917305,-,caller=T1;", AMD));
	expect(1, 0xc1, 2, 3, 0x12300, true);
	CU_ASSERT_TRUE(parse("3,1,2,-;", "pci 0000:00:02.0: AMD-Vi: Event logged [IO_PAGE_FAULT "
					 "domain=0x0001 address=0xfff000 flags=0x0000]"));
	expect(0, 0, 2, 0, 0xfff000, false);
}

/* What a USB stick calls itself the kernel logs too; and root can write to the log. */
static void test_forged(void)
{
	CU_ASSERT_FALSE(parse("6,1,2,-;", "usb 1-1: Product: " INTEL));
	CU_ASSERT_FALSE(parse("6,1,2,-;", "usb 1-1: Product: " AMD));
	CU_ASSERT_FALSE(parse("6,1,2,-;", "usb 1-1: Product: x 0000:00:02.0: AMD-Vi: Event logged "
					  "[IO_PAGE_FAULT domain=0 address=0x1 flags=0x20]"));
	CU_ASSERT_FALSE(parse("11,1,2,-;", INTEL));
	CU_ASSERT_FALSE(parse("11,1,2,-;", AMD));
}

static void test_others(void)
{
	static const char *const lines[] = {
		"",
		"DMAR: IOMMU enabled",
		"DMAR: [DMA Write NO_PASID] Request device [",
		"DMAR: [DMA Write NO_PASID] Request device [00:05.0] fault addr ",
		"DMAR: [DMA Write NO_PASID] Request device [nonsense] fault addr 0x1000",
		"DMAR: [DMA Write NO_PASID] fault addr 0x1000 Request device [00:05.0]",
		"AMD-Vi: Event logged [IO_PAGE_FAULT ",
		"vfio-pci 0000:00:02.0: AMD-Vi: Event logged [IO_PAGE_FAULT address=0x1]",
		"vfio-pci nonsense: AMD-Vi: Event logged [IO_PAGE_FAULT address=0x1 flags=0x20]",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		CU_ASSERT_FALSE(parse("3,1,2,-;", lines[i]));
	CU_ASSERT_FALSE(parse("", INTEL));
	/* the device is named in the dictionary behind the message only */
	CU_ASSERT_FALSE(parse("3,1,2,-;", "DMAR: [DMA Write NO_PASID]\n Request device [00:05.0] "
					  "fault addr 0x1000"));
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"Intel's", test_intel},
		{"AMD's", test_amd},
		{"what others say", test_forged},
		{"anything else", test_others},
		CU_TEST_INFO_NULL,
	};

	return run_tests("faults", tests);
}
