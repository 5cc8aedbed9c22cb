/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nothing has enumerated this bus before us: number the bridges, size the BARs, assign addresses,
 * open the windows. Memory windows are carved from one range below 4 GiB, in walking order, so a
 * bridge's window is what was given out while its bus was walked.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

#define Q35_PCIEXBAR 0x60
#define WINDOW_ALIGN (1u << 20)
#define IO_WINDOW_ALIGN 4096u

static uint64_t ecam(const struct pcid_function *f, unsigned offset)
{
	return ECAM_BASE +
	       ((uint64_t)f->bus_number << 20 | (uint64_t)f->dev << 15 | (uint64_t)f->fn << 12) +
	       offset;
}

static char width_letter(unsigned width)
{
	return width == 1 ? 'b' : width == 2 ? 'w' : 'l';
}

int config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value)
{
	uint64_t v = UINT64_MAX;
	int ret = qtest_wait(&machine_of(f)->qtest, &v, "read%c 0x%llx", width_letter(width),
			     (unsigned long long)ecam(f, offset));

	*value = (uint32_t)v;
	return ret;
}

int config_post(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value)
{
	return qtest_send(&machine_of(f)->qtest, NULL, "write%c 0x%llx 0x%x", width_letter(width),
			  (unsigned long long)ecam(f, offset), value);
}

int config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value)
{
	return qtest_wait(&machine_of(f)->qtest, NULL, "write%c 0x%llx 0x%x", width_letter(width),
			  (unsigned long long)ecam(f, offset), value);
}

/* All of configuration space in memory, by the old mechanism of ports 0xcf8 and 0xcfc. */
static int enable_ecam(struct machine *m)
{
	int ret = qtest_wait(&m->qtest, NULL, "outl 0xcf8 0x%x", 0x80000000u | Q35_PCIEXBAR);

	if (!ret)
		ret = qtest_wait(&m->qtest, NULL, "outl 0xcfc 0x%x", (uint32_t)ECAM_BASE | 1);
	return ret;
}

/* ---- BARs ---- */

static uint32_t read_back(struct pcid_function *f, unsigned reg)
{
	uint32_t value = 0;

	config_write(f, reg, 4, 0xffffffff);
	config_read(f, reg, 4, &value);
	return value;
}

static void size_bar(struct pcid_function *f, unsigned i)
{
	struct pcid_bar *bar = &f->bars[i];
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * i;
	uint32_t low = read_back(f, reg);
	uint64_t mask;

	bar->io = low & PCI_BASE_ADDRESS_SPACE_IO;
	if (bar->io) {
		mask = low & PCI_BASE_ADDRESS_IO_MASK;
		bar->bytes = mask ? (~mask & 0xffff) + 1 : 0;
		return;
	}
	bar->is64 = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64 &&
		    i + 1 < PCID_BARS;
	bar->prefetch = low & PCI_BASE_ADDRESS_MEM_PREFETCH;
	mask = low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
	if (bar->is64)
		mask |= (uint64_t)read_back(f, reg + 4) << 32;
	else if (mask)
		mask |= 0xffffffff00000000ull;
	bar->bytes = mask ? ~mask + 1 : 0;
}

static void place_bar(struct machine *m, struct pcid_function *f, unsigned i)
{
	struct pcid_bar *bar = &f->bars[i];
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * i;
	uint64_t at = bar->io ? m->next_io : m->next_mmio;
	uint64_t end = bar->io ? IO_END : MMIO_END;

	at = (at + bar->bytes - 1) & ~(bar->bytes - 1);
	if (at + bar->bytes > end || at + bar->bytes < at) {
		pcidipc_warn("%s: no room for BAR %u of %#llx bytes: left unassigned", f->address,
			     i, (unsigned long long)bar->bytes);
		config_write(f, reg, 4, 0);
		bar->bytes = 0;
		return;
	}
	bar->address = at;
	config_write(f, reg, 4, (uint32_t)at);
	if (bar->is64)
		config_write(f, reg + 4, 4, (uint32_t)(at >> 32));
	if (bar->io)
		m->next_io = (uint32_t)(at + bar->bytes);
	else
		m->next_mmio = at + bar->bytes;
}

static void assign_bars(struct machine *m, struct pcid_function *f)
{
	unsigned n = f->header_type == PCI_HEADER_TYPE_BRIDGE ? 2 : PCID_BARS;

	config_write(f, PCI_COMMAND, 2, 0);
	for (unsigned i = 0; i < n; i++) {
		size_bar(f, i);
		if (f->bars[i].bytes)
			place_bar(m, f, i);
		i += f->bars[i].is64;
	}
}

/* ---- functions ---- */

static void read_identity(struct pcid_function *f, uint32_t id)
{
	uint32_t value = 0;

	f->vendor = (uint16_t)id;
	f->device = (uint16_t)(id >> 16);
	config_read(f, PCI_CLASS_REVISION, 4, &value);
	f->class_code = value >> 8;
	f->revision = (uint8_t)value;
	config_read(f, PCI_HEADER_TYPE, 1, &value);
	f->header_type = value & 0x7f;
	if (f->header_type == PCI_HEADER_TYPE_NORMAL) {
		config_read(f, PCI_SUBSYSTEM_VENDOR_ID, 4, &value);
		f->subsystem_vendor = (uint16_t)value;
		f->subsystem_device = (uint16_t)(value >> 16);
	}
}

static struct pcid_function *new_function(struct machine *m, uint8_t bus, uint8_t dev, uint8_t fn,
					  struct pcid_function *parent)
{
	struct pcid_function *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->bus = &m->bus;
	f->bus_number = bus;
	f->dev = dev;
	f->fn = fn;
	f->parent = parent;
	f->config_bytes = 256;
	f->dma_bits = 64;
	f->group = (uint32_t)bus << 8 | (uint32_t)dev << 3 | fn;
	snprintf(f->address, sizeof(f->address), "0000:%02x:%02x.%u", bus, dev, fn);
	f->bus_priv = calloc(1, sizeof(struct qemu_function));
	if (f->bus_priv)
		return f;
	free(f);
	return NULL;
}

static int walk_bus(struct machine *m, uint8_t bus, struct pcid_function *parent);

/* Functions below a conventional bridge send its requester id: they share a domain. */
static void inherit_group(struct pcid_function *f)
{
	const struct pcid_function *p = f->parent;
	bool express = false;

	for (unsigned i = 0; p && i < p->ncaps; i++)
		express |= p->caps[i].id == PCI_CAP_ID_EXP && !p->caps[i].extended;
	if (p && !express)
		f->group = p->group;
}

static void open_windows(struct pcid_function *f, uint64_t mmio, uint64_t mmio_end, uint32_t io,
			 uint32_t io_end)
{
	uint32_t memory = mmio == mmio_end ? 0x0000fff0
					   : (uint32_t)(mmio >> 16 & 0xfff0) |
						     (uint32_t)((mmio_end - 1) & 0xfff00000);
	uint32_t ports = io == io_end ? 0x00f0 : (io >> 8 & 0xf0) | ((io_end - 1) & 0xf000);

	config_write(f, PCI_MEMORY_BASE, 4, memory);
	config_write(f, PCI_IO_BASE, 2, ports);
	config_write(f, PCI_PREF_MEMORY_BASE, 4,
		     0x0000fff0); /* closed: everything uses the other */
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static int walk_bridge(struct machine *m, struct pcid_function *f)
{
	uint64_t mmio;
	uint32_t io;
	int ret;

	if (m->next_bus >= ECAM_BUSES) {
		pcidipc_warn("%s: more than %u buses: what is below this bridge is left out",
			     f->address, ECAM_BUSES);
		return 0;
	}
	f->secondary = m->next_bus++;
	config_write(f, PCI_PRIMARY_BUS, 4,
		     f->bus_number | (uint32_t)f->secondary << 8 | 0xff0000u);
	m->next_mmio = (m->next_mmio + WINDOW_ALIGN - 1) & ~(uint64_t)(WINDOW_ALIGN - 1);
	m->next_io = (m->next_io + IO_WINDOW_ALIGN - 1) & ~(IO_WINDOW_ALIGN - 1);
	mmio = m->next_mmio;
	io = m->next_io;
	ret = walk_bus(m, f->secondary, f);
	f->subordinate = (uint8_t)(m->next_bus - 1);
	config_write(f, PCI_SUBORDINATE_BUS, 1, f->subordinate);
	m->next_mmio = (m->next_mmio + WINDOW_ALIGN - 1) & ~(uint64_t)(WINDOW_ALIGN - 1);
	m->next_io = (m->next_io + IO_WINDOW_ALIGN - 1) & ~(IO_WINDOW_ALIGN - 1);
	open_windows(f, mmio, m->next_mmio, io, m->next_io);
	return ret;
}

/* Our own doorbell is no function for drivers: it is where their interrupts go. */
static bool is_plumbing(const struct pcid_function *f)
{
	return f->bus_number == 0 && f->dev == 0x1f && f->fn == 7;
}

static void keep(struct machine *m, struct pcid_function *f)
{
	struct pcidipc_list *head = &m->bus.functions;

	f->link.next = head;
	f->link.prev = head->prev;
	head->prev->next = &f->link;
	head->prev = &f->link;
}

static int take_function(struct machine *m, struct pcid_function *f, uint32_t id)
{
	int ret;

	read_identity(f, id);
	ret = read_capabilities(f);
	inherit_group(f);
	assign_bars(m, f);
	if (is_plumbing(f)) {
		m->doorbell = f->bars[0].address + 12;
		config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		free(f->bus_priv);
		free(f);
		return ret;
	}
	keep(m, f);
	if (f->header_type == PCI_HEADER_TYPE_BRIDGE)
		ret = walk_bridge(m, f);
	return ret;
}

static int walk_slot(struct machine *m, uint8_t bus, uint8_t dev, struct pcid_function *parent)
{
	bool multi = true;
	int ret = 0;

	for (uint8_t fn = 0; fn < (multi ? 8 : 1) && !ret; fn++) {
		struct pcid_function *f = new_function(m, bus, dev, fn, parent);
		uint32_t id, type = 0;

		if (!f)
			return -ENOMEM;
		ret = config_read(f, PCI_VENDOR_ID, 4, &id);
		if (ret || id == 0xffffffff || !(uint16_t)id) {
			free(f->bus_priv);
			free(f);
			if (!fn)
				break;
			continue;
		}
		if (!fn) {
			config_read(f, PCI_HEADER_TYPE, 1, &type);
			multi = type & 0x80;
		}
		ret = take_function(m, f, id);
	}
	return ret;
}

static int walk_bus(struct machine *m, uint8_t bus, struct pcid_function *parent)
{
	int ret = 0;

	for (uint8_t dev = 0; dev < 32 && !ret; dev++)
		ret = walk_slot(m, bus, dev, parent);
	return ret;
}

int enumerate(struct machine *m)
{
	int ret = enable_ecam(m);

	m->next_bus = 1;
	m->next_mmio = MMIO_BASE;
	m->next_io = IO_BASE;
	return ret ? ret : walk_bus(m, 0, NULL);
}
