/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MSI-X and MSI, pointed at the doorbell. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <ringabi/channel.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "machine.h"

#define MSIX_ENTRY 16
#define MSIX_CTRL 12

static struct qemu_function *priv(struct pcid_function *f)
{
	return f->bus_priv;
}

static uint64_t msix_entry(const struct pcid_function *f, unsigned vector)
{
	return f->bars[f->msix.bar].address + f->msix.offset + vector * MSIX_ENTRY;
}

static int make_eventfds(struct machine *m, uint16_t peer, struct pcid_irqs *irqs)
{
	for (unsigned i = 0; i < irqs->count; i++) {
		int ret;

		irqs->fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (irqs->fds[i] < 0) {
			ret = -errno;
		} else {
			ret = ivshmem_add_vector(m, peer, irqs->fds[i]);
			i += !!ret;
		}
		if (ret) {
			while (i--)
				close(irqs->fds[i]);
			return ret;
		}
	}
	return 0;
}

static void program_msix(struct pcid_function *f, unsigned vector, uint16_t peer)
{
	struct machine *m = machine_of(f);
	unsigned long long at = msix_entry(f, vector);

	qtest_wait(&m->qtest, NULL, "writel 0x%llx 0x%x", at, (uint32_t)m->doorbell);
	qtest_wait(&m->qtest, NULL, "writel 0x%llx 0x%x", at + 4, (uint32_t)(m->doorbell >> 32));
	qtest_wait(&m->qtest, NULL, "writel 0x%llx 0x%x", at + 8, (uint32_t)peer << 16 | vector);
	qtest_wait(&m->qtest, NULL, "writel 0x%llx 0x%x", at + MSIX_CTRL, 0u);
}

static int alloc_msix(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	struct machine *m = machine_of(f);
	uint32_t command;
	int ret;

	irqs->kind = RINGABI_IRQ_MSIX;
	irqs->count = f->msix.count < most ? f->msix.count : most;
	irqs->maskable = true;
	if (!f->bars[f->msix.bar].bytes)
		return -ENXIO;
	ret = make_eventfds(m, m->next_peer, irqs);
	if (ret)
		return ret;
	priv(f)->peer = m->next_peer++;
	config_read(f, PCI_COMMAND, 2, &command);
	config_write(f, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < irqs->count; i++)
		program_msix(f, i, priv(f)->peer);
	config_write(f, PCI_COMMAND, 2, command);
	return config_write(f, f->msix.cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static unsigned log2_down(unsigned n)
{
	return 31 - (unsigned)__builtin_clz(n);
}

static unsigned msi_mask_register(const struct pcid_function *f)
{
	return f->msi.cap + (f->msi.is64 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);
}

/* The device puts the vector into the low bits of the data: ranges are aligned to their size. */
static int alloc_msi(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	struct machine *m = machine_of(f);
	unsigned log = log2_down(f->msi.count < most ? f->msi.count : most);
	unsigned first = (m->msi_used + (1u << log) - 1) & ~((1u << log) - 1);
	int ret;

	irqs->kind = RINGABI_IRQ_MSI;
	irqs->count = 1u << log;
	irqs->maskable = f->msi.maskable;
	if (first + irqs->count > 256)
		return -ENOSPC;
	while (m->msi_used < first) { /* fill the gap: vectors are numbered by arrival */
		int fd = eventfd(0, EFD_CLOEXEC);

		ret = fd < 0 ? -errno : ivshmem_add_vector(m, MSI_PEER, fd);
		if (fd >= 0)
			close(fd);
		if (ret)
			return ret;
		m->msi_used++;
	}
	ret = make_eventfds(m, MSI_PEER, irqs);
	if (ret)
		return ret;
	m->msi_used = (uint16_t)(first + irqs->count);
	priv(f)->first_vector = (uint16_t)first;
	priv(f)->msi_mask = 0;
	config_write(f, f->msi.cap + PCI_MSI_ADDRESS_LO, 4, (uint32_t)m->doorbell);
	if (f->msi.is64)
		config_write(f, f->msi.cap + PCI_MSI_ADDRESS_HI, 4, (uint32_t)(m->doorbell >> 32));
	config_write(f, f->msi.cap + (f->msi.is64 ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), 2, first);
	if (f->msi.maskable)
		config_write(f, msi_mask_register(f), 4, 0);
	return config_write(f, f->msi.cap + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE | log << 4);
}

int irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	int ret = -EOPNOTSUPP;

	if (f->msix.cap)
		ret = alloc_msix(f, most, irqs);
	else if (f->msi.cap)
		ret = alloc_msi(f, most, irqs);
	if (!ret) {
		priv(f)->irq_kind = irqs->kind;
		priv(f)->irq_count = irqs->count;
	}
	return ret;
}

void irq_free(struct pcid_function *f)
{
	if (f->msix.cap)
		config_write(f, f->msix.cap + PCI_MSIX_FLAGS, 2, 0);
	if (f->msi.cap)
		config_write(f, f->msi.cap + PCI_MSI_FLAGS, 2, 0);
	priv(f)->irq_kind = priv(f)->irq_count = 0;
}

int irq_mask(struct pcid_function *f, unsigned vector, bool masked)
{
	struct qemu_function *p = priv(f);

	if (p->irq_kind == RINGABI_IRQ_MSIX)
		return qtest_send(&machine_of(f)->qtest, NULL, "writel 0x%llx %u",
				  (unsigned long long)(msix_entry(f, vector) + MSIX_CTRL),
				  (unsigned)masked);
	if (masked)
		p->msi_mask |= 1u << vector;
	else
		p->msi_mask &= ~(1u << vector);
	return config_post(f, msi_mask_register(f), 4, p->msi_mask);
}
