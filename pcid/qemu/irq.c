// SPDX-License-Identifier: GPL-2.0-or-later
/* MSI-X and MSI, pointed at the doorbell. */
#include <errno.h>
#include <ringabi/channel.h>
#include <string.h>
#include <unistd.h>

#include "pciregs.h"
#include "qemu.h"

#define MSG_VECTORS (sizeof(((struct pcid_irqs *)0)->fds) / sizeof(int))
#define DOORBELL (VTD_DOORBELL_IOVA + DOORBELL_OFFSET)

static struct qemu_bus *bus_of(struct qemu_function *qf)
{
	return qemu_bus_of(qf->f.bus);
}

static bool decodes(const struct qemu_function *qf)
{
	return qf->decode || qf->f.header_type == PCI_HEADER_TYPE_BRIDGE;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static void close_fds(struct pcid_irqs *irqs)
{
	for (unsigned i = 0; i < irqs->count; i++)
		close(irqs->fds[i]);
}

/* ---- MSI-X ---- */

static uint64_t entry_of(const struct qemu_function *qf, unsigned vector)
{
	const struct pcid_msix *msix = &qf->f.msix;

	return qf->f.bars[msix->bar].address + msix->offset + vector * PCI_MSIX_ENTRY_SIZE;
}

static int write_entry(struct qemu_function *qf, unsigned vector, unsigned field, uint32_t value)
{
	return qtest_task_write(&bus_of(qf)->qtest, QTEST_MEMORY, entry_of(qf, vector) + field, 4,
				value);
}

static bool is_masked(const struct qemu_function *qf, unsigned vector)
{
	return qf->irq.masked >> vector & 1;
}

/* The table answers only while the function decodes. */
static int open_table(struct qemu_function *qf)
{
	if (decodes(qf))
		return 0;
	return config_write(qf, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MEMORY);
}

static int close_table(struct qemu_function *qf)
{
	return decodes(qf) ? 0 : config_command(qf);
}

static int fill_entry(struct qemu_function *qf, unsigned vector, unsigned peer)
{
	int ret = write_entry(qf, vector, PCI_MSIX_ENTRY_LOWER_ADDR, (uint32_t)DOORBELL);

	ret = ret ? ret
		  : write_entry(qf, vector, PCI_MSIX_ENTRY_UPPER_ADDR, (uint32_t)(DOORBELL >> 32));
	ret = ret ? ret : write_entry(qf, vector, PCI_MSIX_ENTRY_DATA, peer << 16 | vector);
	return ret ? ret : write_entry(qf, vector, PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
}

static int fill_table(struct qemu_function *qf, unsigned count, unsigned peer)
{
	int ret = open_table(qf);

	for (unsigned i = 0; i < count && !ret; i++)
		ret = fill_entry(qf, i, peer);
	ret = ret ? ret : close_table(qf);
	return ret ? ret
		   : config_write(qf, qf->f.msix.cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static int alloc_msix(struct qemu_function *qf, unsigned most, struct pcid_irqs *irqs)
{
	unsigned peer, count = least(qf->f.msix.count, least(most, MSG_VECTORS));
	int ret = ivshmem_peer_open(bus_of(qf), count, irqs->fds, &peer);

	if (ret)
		return ret;
	irqs->kind = RINGABI_IRQ_MSIX;
	irqs->count = count;
	irqs->maskable = true;
	ret = fill_table(qf, count, peer);
	if (ret) {
		close_fds(irqs);
		ivshmem_peer_close(bus_of(qf), peer);
		return ret;
	}
	qf->irq.peer = peer;
	return 0;
}

/* Entries that point to a peer which is somebody else's by then must not fire. */
static void free_msix(struct qemu_function *qf)
{
	config_write(qf, qf->f.msix.cap + PCI_MSIX_FLAGS, 2, 0);
	if (!qf->f.gone && !open_table(qf)) {
		for (unsigned i = 0; i < qf->irq.count; i++)
			write_entry(qf, i, PCI_MSIX_ENTRY_VECTOR_CTRL, PCI_MSIX_ENTRY_CTRL_MASKBIT);
		close_table(qf);
	}
	qtest_task_sync(&bus_of(qf)->qtest);
	ivshmem_peer_close(bus_of(qf), qf->irq.peer);
}

/* ---- MSI ---- */

static unsigned log2_down(unsigned n)
{
	return 31 - (unsigned)__builtin_clz(n);
}

static unsigned mask_register(const struct pcid_function *f)
{
	return f->msi.cap + (f->msi.is64 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);
}

/* The device replaces the low bits of the data by the vector: `first` is aligned for that. */
static int fill_msi(struct qemu_function *qf, unsigned log, unsigned first)
{
	const struct pcid_msi *msi = &qf->f.msi;
	int ret = config_write(qf, msi->cap + PCI_MSI_ADDRESS_LO, 4, (uint32_t)DOORBELL);

	if (!ret && msi->is64)
		ret = config_write(qf, msi->cap + PCI_MSI_ADDRESS_HI, 4,
				   (uint32_t)(DOORBELL >> 32));
	ret = ret ? ret
		  : config_write(qf, msi->cap + (msi->is64 ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), 2,
				 first);
	if (!ret && msi->maskable)
		ret = config_write(qf, mask_register(&qf->f), 4, 0);
	return ret ? ret
		   : config_write(qf, msi->cap + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE | log << 4);
}

static int alloc_msi(struct qemu_function *qf, unsigned most, struct pcid_irqs *irqs)
{
	unsigned log = log2_down(least(qf->f.msi.count, least(most, MSG_VECTORS)));
	unsigned first;
	int ret = ivshmem_msi_open(bus_of(qf), 1u << log, irqs->fds, &first);

	if (ret)
		return ret;
	irqs->kind = RINGABI_IRQ_MSI;
	irqs->count = 1u << log;
	irqs->maskable = qf->f.msi.maskable;
	ret = fill_msi(qf, log, first);
	if (ret) {
		close_fds(irqs);
		ivshmem_msi_close(bus_of(qf), first, irqs->count);
		return ret;
	}
	qf->irq.first = first;
	return 0;
}

static void free_msi(struct qemu_function *qf)
{
	config_write(qf, qf->f.msi.cap + PCI_MSI_FLAGS, 2, 0);
	qtest_task_sync(&bus_of(qf)->qtest);
	ivshmem_msi_close(bus_of(qf), qf->irq.first, qf->irq.count);
}

/* ---- operations ---- */

int qemu_irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	struct qemu_function *qf = qemu_function_of(f);
	int ret = -EOPNOTSUPP;

	if (bus_of(qf)->dead || f->gone)
		return -ENODEV;
	if (!most || !qf->domain)
		return -EINVAL;
	if (qf->irq.kind)
		return -EALREADY;
	if (f->msix.cap && f->bars[f->msix.bar].bytes)
		ret = alloc_msix(qf, most, irqs);
	else if (f->msi.cap)
		ret = alloc_msi(qf, most, irqs);
	if (ret)
		return ret;
	qf->irq.kind = irqs->kind;
	qf->irq.count = irqs->count;
	qf->irq.masked = 0;
	return 0;
}

void qemu_irq_free(struct pcid_function *f)
{
	struct qemu_function *qf = qemu_function_of(f);

	if (qf->irq.kind == RINGABI_IRQ_MSIX)
		free_msix(qf);
	else if (qf->irq.kind == RINGABI_IRQ_MSI)
		free_msi(qf);
	qf->irq.kind = qf->irq.count = 0;
	qf->irq.masked = 0;
}

static int post_mask(struct qemu_function *qf, unsigned vector, uint64_t masked)
{
	if (qf->irq.kind == RINGABI_IRQ_MSI)
		return config_post(qf, mask_register(&qf->f), 4, (uint32_t)masked);
	if (!decodes(qf))
		return 0; /* written when it decodes again */
	return qtest_write(&bus_of(qf)->qtest, QTEST_MEMORY,
			   entry_of(qf, vector) + PCI_MSIX_ENTRY_VECTOR_CTRL, 4,
			   masked >> vector & 1, QTEST_MASKS);
}

int qemu_irq_mask(struct pcid_function *f, unsigned vector, bool masked)
{
	struct qemu_function *qf = qemu_function_of(f);
	uint64_t bits = qf->irq.masked & ~(1ull << vector % 64);
	int ret;

	if (bus_of(qf)->dead || f->gone)
		return -ENODEV;
	if (vector >= qf->irq.count)
		return -EINVAL;
	if (qf->irq.kind == RINGABI_IRQ_MSI && !f->msi.maskable)
		return -EOPNOTSUPP;
	bits |= (uint64_t)masked << vector;
	ret = post_mask(qf, vector, bits);
	if (!ret)
		qf->irq.masked = bits;
	return ret;
}

void qemu_irq_decoding(struct qemu_function *qf)
{
	if (qf->irq.kind != RINGABI_IRQ_MSIX || !decodes(qf))
		return;
	for (unsigned i = 0; i < qf->irq.count; i++)
		write_entry(qf, i, PCI_MSIX_ENTRY_VECTOR_CTRL, is_masked(qf, i));
}
