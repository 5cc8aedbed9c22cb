// SPDX-License-Identifier: GPL-2.0-or-later
/* The walk over the bus: what is there, behind which bridge, with which registers. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pciregs.h"
#include "qemu.h"

#define MAX_DEPTH 12u
#define SPARE_BUSES 2u /* behind an empty slot, for a bridge that is plugged in */
#define DEVFNS 256u

#define PLUMBING_VENDOR 0x1af4u
#define PLUMBING_DEVICE 0x1110u
#define PLUMBING_RID RID(0, 0x1f, 7)

/* ---- one function ---- */

/*
 * The requester id that the IOMMU sees: a bridge to conventional PCI answers for all behind it,
 * with its own id, or, if it comes from PCI Express, as device 0 of its secondary bus.
 */
static uint16_t find_alias(const struct qemu_function *qf)
{
	uint16_t alias = qf->rid;

	for (struct pcid_function *p = qf->f.parent; p; p = p->parent) {
		struct qemu_function *bridge = qemu_function_of(p);

		if (!bridge->express)
			alias = bridge->rid;
		else if (bridge->port_type == PCI_EXP_TYPE_PCI_BRIDGE)
			alias = RID(p->secondary, 0, 0);
	}
	return alias;
}

static void fill_identity(struct qemu_function *qf, const uint32_t *config)
{
	struct pcid_function *f = &qf->f;

	f->bus_number = RID_BUS(qf->rid);
	f->dev = RID_DEV(qf->rid);
	f->fn = RID_FN(qf->rid);
	snprintf(f->address, sizeof(f->address), "0000:%02x:%02x.%x", f->bus_number, f->dev, f->fn);
	f->vendor = (uint16_t)config[0];
	f->device = (uint16_t)(config[0] >> 16);
	f->revision = (uint8_t)config[2];
	f->class_code = config[2] >> 8;
	f->header_type = config[3] >> 16 & HEADER_TYPE_MASK;
	if (f->header_type == PCI_HEADER_TYPE_NORMAL) {
		f->subsystem_vendor = (uint16_t)config[PCI_SUBSYSTEM_VENDOR_ID / 4];
		f->subsystem_device = (uint16_t)(config[PCI_SUBSYSTEM_VENDOR_ID / 4] >> 16);
	}
	if (f->header_type == PCI_HEADER_TYPE_BRIDGE)
		qf->high_window = (config[PCI_PREF_MEMORY_BASE / 4] & PCI_PREF_RANGE_TYPE_MASK) ==
				  PCI_PREF_RANGE_TYPE_64;
	f->dma_bits = 64;
	qf->alias = find_alias(qf);
	f->group = qf->alias;
}

static int add_function(struct qemu_bus *qb, uint16_t rid, struct qemu_function *parent,
			bool *multifunction)
{
	struct qemu_function *qf = calloc(1, sizeof(*qf));
	uint32_t config[64];
	int ret;

	if (!qf)
		return -ENOMEM;
	ret = qtest_task_dwords(&qb->qtest, config_address(rid, 0), 4, 64, config);
	if (ret) {
		free(qf);
		return ret;
	}
	qf->rid = rid;
	qf->irq.f = &qf->f;
	qf->f.bus = &qb->bus;
	qf->f.parent = parent ? &parent->f : NULL;
	fill_identity(qf, config);
	pcidipc_list_append(&qb->nodes, &qf->node);
	qemu_size_bars(qb, qf);
	qemu_read_capabilities(qb, qf, config);
	if (rid == PLUMBING_RID && qf->f.vendor == PLUMBING_VENDOR &&
	    qf->f.device == PLUMBING_DEVICE) {
		qf->hidden = true;
		qb->plumbing = qf;
	}
	*multifunction = config[3] >> 16 & HEADER_MULTIFUNCTION;
	return 0;
}

/* ---- BARs ---- */

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static void read_bar(struct qemu_function *qf, struct pcid_bar *bar, uint32_t low, uint32_t high)
{
	uint64_t mask;

	bar->io = low & PCI_BASE_ADDRESS_SPACE_IO;
	if (bar->io) {
		mask = (low & ~3u) | 0xffffffffffff0000;
	} else {
		bar->is64 = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
		bar->prefetch = low & PCI_BASE_ADDRESS_MEM_PREFETCH;
		mask = (uint64_t)(bar->is64 ? high : UINT32_MAX) << 32 | (low & ~15u);
	}
	bar->bytes = -mask;
	if (is_power_of_two(bar->bytes))
		return;
	pcidipc_warn("%s: a BAR of 0x%llx bytes makes no sense and is ignored", qf->f.address,
		     (unsigned long long)bar->bytes);
	bar->bytes = 0;
}

void qemu_size_bars(struct qemu_bus *qb, struct qemu_function *qf)
{
	unsigned n = qf->f.header_type == PCI_HEADER_TYPE_NORMAL   ? 6
		     : qf->f.header_type == PCI_HEADER_TYPE_BRIDGE ? 2
								   : 0;
	uint32_t masks[7] = {0};

	for (unsigned i = 0; i < n; i++)
		config_write(qf, PCI_BASE_ADDRESS_0 + 4 * i, 4, UINT32_MAX);
	if (n &&
	    qtest_task_dwords(&qb->qtest, config_address(qf->rid, PCI_BASE_ADDRESS_0), 4, n, masks))
		return;
	for (unsigned i = 0; i < n; i++) {
		config_write(qf, PCI_BASE_ADDRESS_0 + 4 * i, 4, 0);
		if (!masks[i])
			continue;
		read_bar(qf, &qf->f.bars[i], masks[i], i + 1 < n ? masks[i + 1] : UINT32_MAX);
		if (qf->f.bars[i].is64 && i + 1 < n)
			config_write(qf, PCI_BASE_ADDRESS_0 + 4 * ++i, 4, 0);
	}
}

/* ---- buses ---- */

struct walk {
	struct qemu_bus *qb;
	unsigned last;	/* bus number in use */
	unsigned limit; /* highest that may be used */
};

static bool present(uint32_t id)
{
	return (id & 0xffff) != 0xffff && id;
}

static int add_device(struct walk *w, unsigned bus, unsigned dev, struct qemu_function *parent,
		      const uint32_t *ids)
{
	bool more = true;
	int ret = 0;

	for (unsigned fn = 0; fn < 8 && more && !ret; fn++) {
		bool multifunction;

		if (!present(ids[dev * 8 + fn])) {
			more = fn > 0;
			continue;
		}
		ret = add_function(w->qb, RID(bus, dev, fn), parent, &multifunction);
		if (!fn)
			more = multifunction;
	}
	return ret;
}

static int add_devices(struct walk *w, unsigned bus, struct qemu_function *parent)
{
	uint32_t *ids = calloc(DEVFNS, sizeof(*ids));
	int ret;

	if (!ids)
		return -ENOMEM;
	ret = qtest_task_dwords(&w->qb->qtest, config_address(RID(bus, 0, 0), 0), 4096, DEVFNS,
				ids);
	for (unsigned dev = 0; dev < 32 && !ret; dev++)
		ret = add_device(w, bus, dev, parent, ids);
	free(ids);
	return ret;
}

static int walk_bus(struct walk *w, unsigned bus, struct qemu_function *parent, unsigned depth);

static void write_numbers(struct qemu_function *bridge, unsigned subordinate)
{
	bridge->f.subordinate = (uint8_t)subordinate;
	config_write(bridge, PCI_PRIMARY_BUS, 4,
		     bridge->f.bus_number | (uint32_t)bridge->f.secondary << 8 | subordinate << 16);
}

static int walk_bridge(struct walk *w, struct qemu_function *bridge, unsigned depth)
{
	int ret;

	if (w->last >= w->limit || depth > MAX_DEPTH) {
		pcidipc_warn("%s: what is behind it is not looked at: %s", bridge->f.address,
			     depth > MAX_DEPTH ? "too many bridges in a row"
					       : "no bus numbers are left");
		return 0;
	}
	bridge->f.secondary = (uint8_t)++w->last;
	write_numbers(bridge, w->limit);
	ret = walk_bus(w, bridge->f.secondary, bridge, depth);
	if (bridge->hotplug)
		w->last = w->last + SPARE_BUSES < w->limit ? w->last + SPARE_BUSES : w->limit;
	write_numbers(bridge, w->last);
	return ret;
}

static int walk_bus(struct walk *w, unsigned bus, struct qemu_function *parent, unsigned depth)
{
	int ret = add_devices(w, bus, parent);

	pcidipc_list_for_each(qf, &w->qb->nodes, struct qemu_function, node) {
		if (ret)
			break;
		if (qf->f.bus_number == bus && qf->f.header_type == PCI_HEADER_TYPE_BRIDGE)
			ret = walk_bridge(w, qf, depth + 1);
	}
	return ret;
}

int qemu_enumerate(struct qemu_bus *qb)
{
	struct walk w = {.qb = qb, .limit = 255};
	int ret = walk_bus(&w, 0, NULL, 0);

	if (ret)
		return ret;
	qemu_assign(qb, NULL);
	return qb->dead ? -ENODEV : 0;
}

int qemu_enumerate_below(struct qemu_bus *qb, struct qemu_function *bridge)
{
	struct walk w = {.qb = qb, .last = bridge->f.secondary, .limit = bridge->f.subordinate};
	int ret = walk_bus(&w, bridge->f.secondary, bridge, 0);

	if (ret)
		return ret;
	qemu_assign(qb, bridge);
	return qb->dead ? -ENODEV : 0;
}

/* ---- lists ---- */

bool qemu_is_below(struct qemu_function *qf, struct qemu_function *bridge)
{
	for (struct pcid_function *p = qf->f.parent; p && bridge; p = p->parent)
		if (p == &bridge->f)
			return true;
	return !bridge;
}

static void show(struct qemu_bus *qb, struct qemu_function *qf)
{
	struct pcidipc_list *next = &qb->bus.functions;

	pcidipc_list_for_each(other, &qb->bus.functions, struct pcid_function, link)
		if (qemu_function_of(other)->rid > qf->rid) {
			next = &other->link;
			break;
		}
	pcidipc_list_append(next, &qf->f.link);
	qf->listed = true;
}

void qemu_list_functions(struct qemu_bus *qb, struct qemu_function *bridge, bool tell)
{
	pcidipc_list_for_each(qf, &qb->nodes, struct qemu_function, node) {
		if (qf->hidden || qf->listed || !qemu_is_below(qf, bridge))
			continue;
		show(qb, qf);
		if (tell)
			qemu_tell(qb, PCID_FUNCTION_ARRIVED, qf, NULL);
	}
}

void qemu_function_free(struct qemu_function *qf)
{
	pcidipc_list_remove(&qf->node);
	pcidipc_list_remove(&qf->f.link);
	free(qf);
}
