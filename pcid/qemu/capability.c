/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Capability lists. A device may lie: pointers are bounded and every offset is visited once. */
#include <linux/pci_regs.h>
#include <pcidipc/log.h>

#include "machine.h"

static bool add(struct pcid_function *f, uint16_t id, uint16_t offset, uint16_t bytes,
		bool extended)
{
	for (unsigned i = 0; i < f->ncaps; i++)
		if (f->caps[i].offset == offset) {
			pcidipc_warn("%s: its capability list loops at %#x", f->address, offset);
			return false;
		}
	if (f->ncaps == PCID_MAX_CAPS) {
		pcidipc_warn("%s: more than %u capabilities; the rest is ignored", f->address,
			     PCID_MAX_CAPS);
		return false;
	}
	f->caps[f->ncaps++] = (struct pcid_cap){id, offset, bytes, extended};
	return true;
}

static void read_msix(struct pcid_function *f, uint16_t cap)
{
	uint32_t control, table, pba;

	config_read(f, cap + PCI_MSIX_FLAGS, 2, &control);
	config_read(f, cap + PCI_MSIX_TABLE, 4, &table);
	config_read(f, cap + PCI_MSIX_PBA, 4, &pba);
	f->msix = (struct pcid_msix){.cap = cap,
				     .count = (uint16_t)((control & PCI_MSIX_FLAGS_QSIZE) + 1),
				     .bar = table & PCI_MSIX_TABLE_BIR,
				     .offset = table & ~7u,
				     .pba_bar = pba & PCI_MSIX_PBA_BIR,
				     .pba_offset = pba & ~7u};
}

static void read_msi(struct pcid_function *f, uint16_t cap)
{
	uint32_t control;

	config_read(f, cap + PCI_MSI_FLAGS, 2, &control);
	f->msi = (struct pcid_msi){.cap = cap,
				   .count = (uint16_t)(1u << (control >> 1 & 7)),
				   .is64 = control & PCI_MSI_FLAGS_64BIT,
				   .maskable = control & PCI_MSI_FLAGS_MASKBIT};
}

static void standard(struct pcid_function *f)
{
	uint32_t status = 0, at = 0, header, length = 0;

	config_read(f, PCI_STATUS, 2, &status);
	if (!(status & PCI_STATUS_CAP_LIST))
		return;
	config_read(f, PCI_CAPABILITY_LIST, 1, &at);
	while ((at &= 0xfc) >= 0x40) {
		config_read(f, at, 4, &header);
		length = (header & 0xff) == PCI_CAP_ID_VNDR ? header >> 16 & 0xff : 0;
		if (!add(f, header & 0xff, (uint16_t)at, (uint16_t)length, false))
			return;
		if ((header & 0xff) == PCI_CAP_ID_MSIX)
			read_msix(f, (uint16_t)at);
		if ((header & 0xff) == PCI_CAP_ID_MSI)
			read_msi(f, (uint16_t)at);
		if ((header & 0xff) == PCI_CAP_ID_EXP)
			f->config_bytes = 4096;
		at = header >> 8;
	}
}

static void extended(struct pcid_function *f)
{
	uint32_t at = 256, header, vendor = 0;

	while (at >= 256 && at < 4096) {
		config_read(f, at, 4, &header);
		if (!header || header == 0xffffffff)
			return;
		if (PCI_EXT_CAP_ID(header) == PCI_EXT_CAP_ID_VNDR)
			config_read(f, at + 4, 4, &vendor);
		if (!add(f, (uint16_t)PCI_EXT_CAP_ID(header), (uint16_t)at,
			 (uint16_t)(vendor >> 20), true))
			return;
		vendor = 0;
		at = PCI_EXT_CAP_NEXT(header);
	}
}

int read_capabilities(struct pcid_function *f)
{
	standard(f);
	if (f->config_bytes == 4096)
		extended(f);
	return 0;
}
