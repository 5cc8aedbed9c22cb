// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Addresses for BARs and bridge windows: what lies behind a bridge is measured, largest alignment
 * first, and then placed the same way from the root down. What does not fit is left out, with a
 * message.
 */
#include <pcidipc/log.h>
#include <stdlib.h>

#include "pciregs.h"
#include "qemu.h"

#define IO_GRANULE KIB(4)
#define MEM_GRANULE MIB(1)

/* Room behind an empty slot for what may be plugged in. */
#define SPARE_IO KIB(4)
#define SPARE_IO_SLOTS 8u /* so many slots get I/O ports: there are only 15 granules in all */
#define SPARE_MEM MIB(4)
#define SPARE_HIGH GIB(16)

struct item {
	struct qemu_function *qf;
	int bar; /* -1: the window of kind `kind` */
	uint64_t bytes, align;
};

struct items {
	struct item *v;
	unsigned n;
};

static uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) / align * align;
}

/* ---- what lies directly behind a bridge ---- */

static bool high_reachable(const struct qemu_function *qf)
{
	for (struct pcid_function *p = qf->f.parent; p; p = p->parent)
		if (!qemu_function_of(p)->high_window)
			return false;
	return true;
}

static enum qemu_window_kind kind_of(const struct qemu_function *qf, const struct pcid_bar *bar)
{
	if (bar->io)
		return WINDOW_IO;
	if (!bar->is64 || !high_reachable(qf))
		return WINDOW_MEM;
	/* On the root bus there is no window to fit into, so a large BAR need not be prefetchable.
	 */
	if (bar->prefetch || (!qf->f.parent && bar->bytes >= MIB(64)))
		return WINDOW_HIGH;
	return WINDOW_MEM;
}

static void add_item(struct items *items, struct qemu_function *qf, int bar, uint64_t bytes,
		     uint64_t align)
{
	items->v[items->n++] = (struct item){qf, bar, bytes, align};
}

static void add_bars(struct items *items, struct qemu_function *qf, enum qemu_window_kind kind)
{
	for (int i = 0; i < PCID_BARS; i++) {
		struct pcid_bar *bar = &qf->f.bars[i];

		if (bar->bytes && kind_of(qf, bar) == kind)
			add_item(items, qf, i, bar->bytes, bar->bytes);
	}
}

/* Largest alignment first; ties in the order of the bus, so that each start gives the same
 * addresses. */
static int compare(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->align != y->align)
		return x->align < y->align ? 1 : -1;
	if (x->qf->rid != y->qf->rid)
		return x->qf->rid < y->qf->rid ? -1 : 1;
	return x->bar - y->bar;
}

static void measure(struct qemu_bus *qb, struct qemu_function *bridge, enum qemu_window_kind kind);

/* NULL in items->v: no memory. */
static void collect(struct qemu_bus *qb, struct qemu_function *bridge, enum qemu_window_kind kind,
		    struct items *items)
{
	struct pcid_function *parent = bridge ? &bridge->f : NULL;
	unsigned most = 0;

	pcidipc_list_for_each(qf, &qb->nodes, struct qemu_function, node)
		most += qf->f.parent == parent ? PCID_BARS + 1 : 0;
	items->n = 0;
	items->v = calloc(most + 1, sizeof(*items->v));
	if (!items->v)
		return;
	pcidipc_list_for_each(qf, &qb->nodes, struct qemu_function, node) {
		if (qf->f.parent != parent || qf->f.gone)
			continue;
		add_bars(items, qf, kind);
		if (qf->f.header_type != PCI_HEADER_TYPE_BRIDGE)
			continue;
		measure(qb, qf, kind);
		if (qf->windows[kind].bytes)
			add_item(items, qf, -1, qf->windows[kind].bytes, qf->windows[kind].align);
	}
	qsort(items->v, items->n, sizeof(*items->v), compare);
}

/* ---- measuring ---- */

static unsigned slots_before(struct qemu_bus *qb, const struct qemu_function *bridge)
{
	unsigned n = 0;

	pcidipc_list_for_each(qf, &qb->nodes, struct qemu_function, node)
		n += qf->hotplug && qf->rid < bridge->rid;
	return n;
}

static uint64_t spare(struct qemu_bus *qb, const struct qemu_function *bridge,
		      enum qemu_window_kind kind)
{
	if (!bridge->hotplug)
		return 0;
	if (kind == WINDOW_HIGH)
		return bridge->high_window ? SPARE_HIGH : 0;
	if (kind == WINDOW_MEM)
		return SPARE_MEM;
	return slots_before(qb, bridge) < SPARE_IO_SLOTS ? SPARE_IO : 0;
}

static void measure(struct qemu_bus *qb, struct qemu_function *bridge, enum qemu_window_kind kind)
{
	struct qemu_window *window = &bridge->windows[kind];
	uint64_t granule = kind == WINDOW_IO ? IO_GRANULE : MEM_GRANULE;
	uint64_t room = spare(qb, bridge, kind), at = 0;
	struct items items;

	collect(qb, bridge, kind, &items);
	window->align = granule;
	for (unsigned i = 0; i < items.n; i++) {
		if (items.v[i].align > window->align)
			window->align = items.v[i].align;
		at = align_up(at, items.v[i].align) + items.v[i].bytes;
	}
	free(items.v);
	if (room > at) {
		at = room;
		window->align = room > window->align ? room : window->align;
	}
	window->bytes = align_up(at, granule);
}

/* ---- placing ---- */

static void place(struct qemu_bus *qb, struct qemu_function *bridge, enum qemu_window_kind kind,
		  uint64_t base, uint64_t end);

static void leave_out(struct item *item, enum qemu_window_kind kind)
{
	static const char *const kinds[] = {"I/O ports", "memory below 4 GiB",
					    "memory above 4 GiB"};
	struct qemu_function *qf = item->qf;

	if (item->bar < 0) {
		qf->windows[kind].bytes = 0;
		return;
	}
	pcidipc_warn("%s: no room for BAR %d, %llu bytes of %s; it cannot be used", qf->f.address,
		     item->bar, (unsigned long long)item->bytes, kinds[kind]);
	qf->f.bars[item->bar].bytes = 0;
}

static void place_item(struct qemu_bus *qb, struct item *item, enum qemu_window_kind kind,
		       uint64_t *at, uint64_t end)
{
	uint64_t address = align_up(*at, item->align);
	bool fits = address <= end && item->bytes <= end - address;

	if (!fits)
		leave_out(item, kind);
	else
		*at = address + item->bytes;
	if (item->bar < 0) {
		item->qf->windows[kind].base = address;
		place(qb, item->qf, kind, fits ? address : 0, fits ? *at : 0);
	} else if (fits) {
		item->qf->f.bars[item->bar].address = address;
	}
}

static void place(struct qemu_bus *qb, struct qemu_function *bridge, enum qemu_window_kind kind,
		  uint64_t base, uint64_t end)
{
	struct items items;

	collect(qb, bridge, kind, &items);
	for (unsigned i = 0; i < items.n; i++)
		place_item(qb, &items.v[i], kind, &base, end);
	free(items.v);
}

static void write_all(struct qemu_bus *qb, struct qemu_function *bridge)
{
	pcidipc_list_for_each(qf, &qb->nodes, struct qemu_function, node) {
		if (!qemu_is_below(qf, bridge))
			continue;
		config_write_bars(qf);
		if (qf->f.header_type == PCI_HEADER_TYPE_BRIDGE)
			config_write_windows(qf);
		config_command(qf);
	}
}

void qemu_assign(struct qemu_bus *qb, struct qemu_function *bridge)
{
	static const struct qemu_window root[] = {
		[WINDOW_IO] = {.base = IO_BASE, .bytes = IO_END - IO_BASE},
		[WINDOW_MEM] = {.base = MEM_BASE, .bytes = MEM_END - MEM_BASE},
		[WINDOW_HIGH] = {.base = HIGH_BASE, .bytes = HIGH_END - HIGH_BASE},
	};

	for (int kind = 0; kind < WINDOW_KINDS; kind++) {
		const struct qemu_window *w = bridge ? &bridge->windows[kind] : &root[kind];

		place(qb, bridge, kind, w->base, w->base + w->bytes);
	}
	write_all(qb, bridge);
}
