// SPDX-License-Identifier: GPL-2.0-or-later
/* Configuration space through PCIEXBAR, and the registers that the bus itself keeps. */
#include <errno.h>

#include "pciregs.h"
#include "qemu.h"

uint64_t config_address(uint16_t rid, unsigned offset)
{
	return ECAM_BASE + ((uint64_t)rid << 12) + offset;
}

static struct qtest *qtest_of(struct qemu_function *qf)
{
	return &qemu_bus_of(qf->f.bus)->qtest;
}

/* What is gone may have a successor with the same address. */
int config_post(struct qemu_function *qf, unsigned offset, unsigned width, uint32_t value)
{
	if (qf->f.gone)
		return -ENODEV;
	return qtest_write(qtest_of(qf), QTEST_MEMORY, config_address(qf->rid, offset), width,
			   value, QTEST_MASKS);
}

int config_read(struct qemu_function *qf, unsigned offset, unsigned width, uint32_t *value)
{
	uint64_t wide = UINT64_MAX;
	int ret = qf->f.gone ? -ENODEV : 0;

	if (!ret)
		ret = qtest_task_read(qtest_of(qf), QTEST_MEMORY, config_address(qf->rid, offset),
				      width, &wide);

	*value = (uint32_t)wide;
	return ret;
}

int config_write(struct qemu_function *qf, unsigned offset, unsigned width, uint32_t value)
{
	if (qf->f.gone)
		return -ENODEV;
	return qtest_task_write(qtest_of(qf), QTEST_MEMORY, config_address(qf->rid, offset), width,
				value);
}

/* A bridge always forwards: its functions' own registers decide. */
int config_command(struct qemu_function *qf)
{
	uint32_t command = PCI_COMMAND_INTX_DISABLE;

	if (qf->decode || qf->f.header_type == PCI_HEADER_TYPE_BRIDGE)
		command |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
	if (qf->master || qf->f.header_type == PCI_HEADER_TYPE_BRIDGE)
		command |= PCI_COMMAND_MASTER;
	return config_write(qf, PCI_COMMAND, 2, command);
}

void config_write_bars(struct qemu_function *qf)
{
	for (unsigned i = 0; i < PCID_BARS; i++) {
		const struct pcid_bar *bar = &qf->f.bars[i];

		if (!bar->bytes)
			continue;
		config_write(qf, PCI_BASE_ADDRESS_0 + 4 * i, 4, (uint32_t)bar->address);
		if (bar->is64)
			config_write(qf, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4,
				     (uint32_t)(bar->address >> 32));
	}
}

/* A window is closed when its base is above its limit. */
static void bounds(const struct qemu_window *window, uint64_t *base, uint64_t *limit)
{
	*base = window->bytes ? window->base : 0xfff00000;
	*limit = window->bytes ? window->base + window->bytes - 1 : 0;
}

void config_write_windows(struct qemu_function *qf)
{
	uint64_t base, limit;

	bounds(&qf->windows[WINDOW_IO], &base, &limit);
	config_write(qf, PCI_IO_BASE, 1, base >> 8 & 0xf0);
	config_write(qf, PCI_IO_LIMIT, 1, limit >> 8 & 0xf0);
	config_write(qf, PCI_IO_BASE_UPPER16, 4, 0);
	bounds(&qf->windows[WINDOW_MEM], &base, &limit);
	config_write(qf, PCI_MEMORY_BASE, 4, (base >> 16 & 0xfff0) | (limit & 0xfff00000));
	bounds(&qf->windows[WINDOW_HIGH], &base, &limit);
	config_write(qf, PCI_PREF_MEMORY_BASE, 4, (base >> 16 & 0xfff0) | (limit & 0xfff00000));
	config_write(qf, PCI_PREF_BASE_UPPER32, 4, (uint32_t)(base >> 32));
	config_write(qf, PCI_PREF_LIMIT_UPPER32, 4, (uint32_t)(limit >> 32));
	config_write(qf, PCI_PRIMARY_BUS, 4,
		     (uint32_t)RID_BUS(qf->rid) | (uint32_t)qf->f.secondary << 8 |
			     (uint32_t)qf->f.subordinate << 16);
}
