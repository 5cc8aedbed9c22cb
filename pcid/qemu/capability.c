// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Capability lists. A device's lists may loop or point anywhere: each place is visited once, what
 * lies outside of the lists' part of configuration space ends the walk.
 */
#include <pcidipc/log.h>
#include <string.h>

#include "pciregs.h"
#include "qemu.h"

#define FIRST_CAP 0x40u
#define FIRST_EXTENDED 0x100u

static struct pcid_cap *add_cap(struct qemu_function *qf, uint16_t id, unsigned offset,
				bool extended)
{
	struct pcid_function *f = &qf->f;
	struct pcid_cap *cap;

	if (f->ncaps == PCID_MAX_CAPS) {
		pcidipc_warn("%s: more than %d capabilities; those from 0x%x on are ignored",
			     f->address, PCID_MAX_CAPS, offset);
		return NULL;
	}
	cap = &f->caps[f->ncaps++];
	cap->id = id;
	cap->offset = (uint16_t)offset;
	cap->extended = extended;
	return cap;
}

static bool seen_before(struct qemu_function *qf, uint64_t *seen, unsigned offset)
{
	uint64_t *word = &seen[offset / 4 / 64], bit = 1ull << offset / 4 % 64;

	if (*word & bit) {
		pcidipc_warn("%s: its capability list loops at 0x%x", qf->f.address, offset);
		return true;
	}
	*word |= bit;
	return false;
}

/* ---- the ones that the bus uses itself ---- */

static uint32_t dword(const uint32_t *config, unsigned offset)
{
	return offset / 4 < 64 ? config[offset / 4] : 0;
}

static void read_msi(struct qemu_function *qf, const uint32_t *config, unsigned at)
{
	uint16_t flags = (uint16_t)(dword(config, at) >> 16);

	qf->f.msi = (struct pcid_msi){
		.cap = (uint16_t)at,
		.count = (uint16_t)(1u << (flags >> 1 & 7)),
		.is64 = flags & PCI_MSI_FLAGS_64BIT,
		.maskable = flags & PCI_MSI_FLAGS_MASKBIT,
	};
	if (qf->f.msi.count > 32)
		qf->f.msi.count = 32;
}

static void read_msix(struct qemu_function *qf, const uint32_t *config, unsigned at)
{
	uint32_t table = dword(config, at + PCI_MSIX_TABLE), pba = dword(config, at + PCI_MSIX_PBA);

	qf->f.msix = (struct pcid_msix){
		.cap = (uint16_t)at,
		.count = (uint16_t)((dword(config, at) >> 16 & PCI_MSIX_FLAGS_QSIZE) + 1),
		.bar = table & PCI_MSIX_TABLE_BIR,
		.offset = table & PCI_MSIX_TABLE_OFFSET,
		.pba_bar = pba & PCI_MSIX_PBA_BIR,
		.pba_offset = pba & PCI_MSIX_PBA_OFFSET,
	};
}

static void read_express(struct qemu_function *qf, const uint32_t *config, unsigned at)
{
	qf->express = (uint16_t)at;
	qf->port_type = dword(config, at) >> 20 & 0xf;
	qf->flr = dword(config, at + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR;
	qf->f.config_bytes = 4096;
	if (dword(config, at) >> 16 & PCI_EXP_FLAGS_SLOT)
		qf->hotplug = dword(config, at + PCI_EXP_SLTCAP) & PCI_EXP_SLTCAP_HPC;
}

static void read_one(struct qemu_function *qf, const uint32_t *config, struct pcid_cap *cap)
{
	switch (cap->id) {
	case PCI_CAP_ID_MSI:
		if (!qf->f.msi.cap)
			read_msi(qf, config, cap->offset);
		break;
	case PCI_CAP_ID_MSIX:
		if (!qf->f.msix.cap)
			read_msix(qf, config, cap->offset);
		break;
	case PCI_CAP_ID_EXP:
		if (!qf->express)
			read_express(qf, config, cap->offset);
		break;
	case PCI_CAP_ID_VNDR:
		cap->bytes = dword(config, cap->offset) >> 16 & 0xff;
		break;
	}
}

/* ---- the lists ---- */

static void read_standard(struct qemu_function *qf, const uint32_t *config)
{
	uint64_t seen[1] = {0};
	unsigned at = dword(config, PCI_CAPABILITY_LIST) & 0xfc;

	if (!(dword(config, PCI_COMMAND) >> 16 & PCI_STATUS_CAP_LIST))
		return;
	while (at) {
		struct pcid_cap *cap;

		if (at < FIRST_CAP) {
			pcidipc_warn("%s: its capability list points to 0x%x, below 0x%x",
				     qf->f.address, at, FIRST_CAP);
			return;
		}
		if (seen_before(qf, seen, at))
			return;
		cap = add_cap(qf, dword(config, at) & 0xff, at, false);
		if (!cap)
			return;
		read_one(qf, config, cap);
		at = dword(config, at) >> 8 & 0xfc;
	}
}

static void read_vendor_bytes(struct qemu_function *qf, struct pcid_cap *cap)
{
	uint32_t header;

	if (cap->id == PCI_EXT_CAP_ID_VNDR && cap->offset + 8u <= qf->f.config_bytes &&
	    !config_read(qf, cap->offset + PCI_VNDR_HEADER, 4, &header))
		cap->bytes = PCI_VNDR_HEADER_LEN(header);
}

static void read_extended(struct qemu_function *qf)
{
	uint64_t seen[16] = {0};
	unsigned at = FIRST_EXTENDED;
	uint32_t header;

	while (at >= FIRST_EXTENDED && !seen_before(qf, seen, at)) {
		struct pcid_cap *cap;

		if (config_read(qf, at, 4, &header) || !header || header == UINT32_MAX)
			return;
		cap = add_cap(qf, PCI_EXT_CAP_ID(header), at, true);
		if (!cap)
			return;
		read_vendor_bytes(qf, cap);
		at = PCI_EXT_CAP_NEXT(header) & 0xffc;
	}
	if (at && at < FIRST_EXTENDED)
		pcidipc_warn("%s: its extended capability list points to 0x%x, below 0x%x",
			     qf->f.address, at, FIRST_EXTENDED);
}

/* A structure that does not fit where it claims to lie is not used. */
static void check_msix(struct qemu_function *qf)
{
	struct pcid_msix *msix = &qf->f.msix;
	struct pcid_bar *bar = msix->bar < PCID_BARS ? &qf->f.bars[msix->bar] : NULL;

	if (!msix->cap)
		return;
	if (bar && !bar->io && msix->offset + 16ull * msix->count <= bar->bytes)
		return;
	pcidipc_warn(
		"%s: its MSI-X table (BAR %u, 0x%x) lies outside of its BARs; MSI-X is not used",
		qf->f.address, msix->bar, msix->offset);
	memset(msix, 0, sizeof(*msix));
}

void qemu_read_capabilities(struct qemu_bus *qb, struct qemu_function *qf, const uint32_t *config)
{
	(void)qb;
	qf->f.config_bytes = 256;
	read_standard(qf, config);
	if (qf->express)
		read_extended(qf);
	check_msix(qf);
}
