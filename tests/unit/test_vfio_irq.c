// SPDX-License-Identifier: MIT
/*
 * Masking MSI in configuration space: QEMU has no device with mask bits but bridges, which VFIO
 * does not hand out. So the device is a file: what VFIO would write to configuration space is
 * there, and VFIO's ioctl is played by this test, which keeps the eventfds and signals them as the
 * device would. And an MSI-X table that is gone.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pcidipc/task.h>
#include <ringabi/channel.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pcid/vfio/vfio.h"
#include "suites.h"

#define CAP 0x50
#define CONFIG_OFFSET 0x70000 /* in VFIO's device fd */
#define BAR_OFFSET 0x100000   /* there, too */
#define BAR_BYTES 0x2000
#define TABLE 0x1000 /* in the BAR */

static struct pcidipc_loop *loop;
static struct vfio_bus bus;
static struct pcid_function function;
static struct vfio_function priv;
static struct pcid_irqs irqs;

/* ---- the device ---- */

static struct {
	unsigned has; /* vectors that the kernel can give it */
	unsigned index, count;
	int fds[VFIO_VECTORS];
	uint32_t pending; /* a bit per vector that came while it was masked */
} device;

static int set_irqs(const struct vfio_irq_set *set)
{
	if (set->count > device.has)
		return (int)device.has;
	device.index = set->index;
	device.count = set->count;
	memcpy(device.fds, set->data, set->count * sizeof(int));
	return 0;
}

/* In the library function's place. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fd == priv.device && request == VFIO_DEVICE_SET_IRQS)
		return set_irqs(arg);
	errno = ENOTTY;
	return -1;
}

static uint32_t mask_register(void)
{
	uint32_t value = 0xdeadbeef;
	unsigned at = CAP + (function.msi.is64 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);

	CU_ASSERT_EQUAL(pread(priv.device, &value, 4, CONFIG_OFFSET + at), 4);
	return value;
}

static void signal_vector(unsigned vector)
{
	CU_ASSERT_EQUAL(eventfd_write(device.fds[vector], 1), 0);
}

static void cause(unsigned vector)
{
	if (mask_register() >> vector & 1)
		device.pending |= 1u << vector;
	else
		signal_vector(vector);
}

/* What is pending comes as soon as its mask is off. */
static void look_at_masks(void)
{
	uint32_t due = device.pending & ~mask_register();

	for (unsigned i = 0; i < device.count; i++)
		if (due >> i & 1)
			signal_vector(i);
	device.pending &= ~due;
}

/* ---- the driver's side ---- */

static void mask(unsigned vector, bool masked)
{
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, vector, masked), 0);
	look_at_masks();
}

static bool came(unsigned vector)
{
	eventfd_t count;

	return !eventfd_read(irqs.fds[vector], &count);
}

static void set_up(bool is64, unsigned count, unsigned kernel_has)
{
	memset(&device, 0, sizeof(device));
	memset(&function, 0, sizeof(function));
	memset(&priv, 0, sizeof(priv));
	device.has = kernel_has;
	function.bus = &bus.bus;
	function.bus_priv = &priv;
	function.config_bytes = 256;
	function.msi = (struct pcid_msi){
		.cap = CAP, .count = (uint16_t)count, .is64 = is64, .maskable = true};
	priv.f = &function;
	priv.config_offset = CONFIG_OFFSET;
	priv.device = memfd_create("device", MFD_CLOEXEC);
	CU_ASSERT_TRUE_FATAL(priv.device >= 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(priv.device, CONFIG_OFFSET + 256), 0);
}

static void tear_down(void)
{
	vfio_irq_free(&function);
	for (unsigned i = 0; i < irqs.count; i++)
		close(irqs.fds[i]);
	vfio_worker_stop(&priv.worker);
	close(priv.device);
}

static void in_a_task(void (*run)(void *arg))
{
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	bus.bus.loop = loop;
	CU_ASSERT_EQUAL_FATAL(vfio_done_init(&bus.done, loop), 0);
	CU_ASSERT_EQUAL(pcidipc_spawn(loop, run, NULL), 0);
	CU_ASSERT_EQUAL(pcidipc_loop_run(loop), 0);
	vfio_done_fini(&bus.done);
	pcidipc_loop_destroy(loop);
}

/* ---- the tests ---- */

static void masked_and_kept(bool is64)
{
	set_up(is64, 8, 32);
	CU_ASSERT_EQUAL_FATAL(vfio_irq_alloc(&function, 8, &irqs), 0);
	CU_ASSERT_EQUAL(irqs.kind, RINGABI_IRQ_MSI);
	CU_ASSERT_EQUAL(irqs.count, 8);
	CU_ASSERT_TRUE(irqs.maskable); /* so that nothing is relayed */
	CU_ASSERT_EQUAL(device.index, VFIO_PCI_MSI_IRQ_INDEX);
	cause(3);
	CU_ASSERT_TRUE(came(3));
	mask(3, true);
	mask(5, true);
	CU_ASSERT_EQUAL(mask_register(), 1u << 3 | 1u << 5);
	cause(3);
	cause(4);
	CU_ASSERT_FALSE(came(3));
	CU_ASSERT_TRUE(came(4));
	mask(3, false);
	CU_ASSERT_EQUAL(mask_register(), 1u << 5);
	CU_ASSERT_TRUE(came(3));
	CU_ASSERT_FALSE(came(3));
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, 8, true), -ERANGE);
	tear_down();
	CU_ASSERT_EQUAL(device.count, 0);
}

static void run_mask_64(void *arg)
{
	(void)arg;
	masked_and_kept(true);
	pcidipc_loop_stop(loop, 0);
}

static void run_mask_32(void *arg)
{
	(void)arg;
	masked_and_kept(false);
	pcidipc_loop_stop(loop, 0);
}

/* MSI comes in powers of two, and the kernel may have fewer than the function. */
static void run_counts(void *arg)
{
	(void)arg;
	set_up(true, 32, 32);
	CU_ASSERT_EQUAL_FATAL(vfio_irq_alloc(&function, 11, &irqs), 0);
	CU_ASSERT_EQUAL(irqs.count, 8);
	tear_down();
	set_up(true, 16, 1);
	CU_ASSERT_EQUAL_FATAL(vfio_irq_alloc(&function, 16, &irqs), 0);
	CU_ASSERT_EQUAL(irqs.count, 1);
	CU_ASSERT_EQUAL(device.count, 1);
	tear_down();
	pcidipc_loop_stop(loop, 0);
}

/* A mask that is set while the function is being reset is written by nobody until that is over. */
static void run_busy(void *arg)
{
	(void)arg;
	set_up(true, 2, 2);
	CU_ASSERT_EQUAL_FATAL(vfio_irq_alloc(&function, 2, &irqs), 0);
	priv.busy = true;
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, 1, true), 0);
	CU_ASSERT_EQUAL(mask_register(), 0);
	priv.busy = false;
	mask(0, true);
	CU_ASSERT_EQUAL(mask_register(), 3);
	function.gone = true;
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, 0, false), -ENODEV);
	tear_down();
	pcidipc_loop_stop(loop, 0);
}

/* ---- a table that does not answer any more ---- */

static uint32_t control_of(unsigned vector)
{
	uint32_t value = 0xdeadbeef;

	CU_ASSERT_EQUAL(pread(priv.device, &value, 4, BAR_OFFSET + TABLE + 16 * vector + 12), 4);
	return value;
}

static void set_up_table(void)
{
	set_up(true, 1, 8);
	function.msix = (struct pcid_msix){.cap = CAP + 0x20, .count = 4, .offset = TABLE};
	priv.region[0] =
		(struct vfio_region){.offset = BAR_OFFSET, .bytes = BAR_BYTES, .mappable = true};
	priv.decode = true;
	CU_ASSERT_EQUAL_FATAL(ftruncate(priv.device, BAR_OFFSET + BAR_BYTES), 0);
	CU_ASSERT_EQUAL_FATAL(vfio_irq_alloc(&function, 4, &irqs), 0);
	CU_ASSERT_EQUAL(irqs.kind, RINGABI_IRQ_MSIX);
}

/*
 * A device that was pulled out, or whose decoding was turned off, answers with SIGBUS, and so does
 * a file behind its end. Whoever masks is told; when it answers again it has the masks.
 */
static void run_table_gone(void *arg)
{
	(void)arg;
	set_up_table();
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, 1, true), 0);
	CU_ASSERT_EQUAL(control_of(1), PCI_MSIX_ENTRY_CTRL_MASKBIT);
	CU_ASSERT_EQUAL(control_of(2), 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(priv.device, BAR_OFFSET), 0);
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, 2, true), -ENODEV);
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, 1, false), 0); /* it is known by now */
	CU_ASSERT_EQUAL_FATAL(ftruncate(priv.device, BAR_OFFSET + BAR_BYTES), 0);
	vfio_irq_decoding(&function);
	CU_ASSERT_EQUAL(control_of(1), 0);
	CU_ASSERT_EQUAL(control_of(2), PCI_MSIX_ENTRY_CTRL_MASKBIT);
	CU_ASSERT_EQUAL(vfio_irq_mask(&function, 1, true), 0);
	CU_ASSERT_EQUAL(control_of(1), PCI_MSIX_ENTRY_CTRL_MASKBIT);
	tear_down();
	pcidipc_loop_stop(loop, 0);
}

static void test_table_gone(void)
{
	in_a_task(run_table_gone);
}

static void test_mask_64(void)
{
	in_a_task(run_mask_64);
}

static void test_mask_32(void)
{
	in_a_task(run_mask_32);
}

static void test_counts(void)
{
	in_a_task(run_counts);
}

static void test_busy(void)
{
	in_a_task(run_busy);
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"mask 64", test_mask_64},
		{"mask 32", test_mask_32},
		{"counts", test_counts},
		{"busy", test_busy},
		{"a table that is gone", test_table_gone},
		CU_TEST_INFO_NULL,
	};

	return run_tests("VFIO: MSI with mask bits, a lost MSI-X table", tests);
}
