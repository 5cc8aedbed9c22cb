/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Resetting one function: by FLR where it has it, by power state, or by its bridge. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <pcidipc/log.h>

#include "machine.h"

#define SETTLE_NS 1000000u

static unsigned find(const struct pcid_function *f, unsigned id)
{
	for (unsigned i = 0; i < f->ncaps; i++)
		if (!f->caps[i].extended && f->caps[i].id == id)
			return f->caps[i].offset;
	return 0;
}

static bool flr(struct pcid_function *f)
{
	unsigned cap = find(f, PCI_CAP_ID_EXP);
	uint32_t devcap = 0, control = 0;

	if (!cap)
		return false;
	config_read(f, cap + PCI_EXP_DEVCAP, 4, &devcap);
	if (!(devcap & PCI_EXP_DEVCAP_FLR))
		return false;
	config_read(f, cap + PCI_EXP_DEVCTL, 2, &control);
	config_write(f, cap + PCI_EXP_DEVCTL, 2, control | PCI_EXP_DEVCTL_BCR_FLR);
	return true;
}

static bool power_cycle(struct pcid_function *f)
{
	unsigned cap = find(f, PCI_CAP_ID_PM);
	uint32_t control = 0;

	if (!cap)
		return false;
	config_read(f, cap + PCI_PM_CTRL, 2, &control);
	if (control & PCI_PM_CTRL_NO_SOFT_RESET)
		return false;
	config_write(f, cap + PCI_PM_CTRL, 2, (control & ~PCI_PM_CTRL_STATE_MASK) | 3);
	config_write(f, cap + PCI_PM_CTRL, 2, control & ~PCI_PM_CTRL_STATE_MASK);
	return true;
}

static bool bridge_reset(struct pcid_function *f)
{
	struct machine *m = machine_of(f);
	uint32_t control = 0;

	if (!f->parent)
		return false;
	for (struct pcidipc_list *l = m->bus.functions.next; l != &m->bus.functions; l = l->next) {
		struct pcid_function *other = pcidipc_container_of(l, struct pcid_function, link);

		if (other != f && other->parent == f->parent)
			return false;
	}
	config_read(f->parent, PCI_BRIDGE_CONTROL, 2, &control);
	config_write(f->parent, PCI_BRIDGE_CONTROL, 2, control | PCI_BRIDGE_CTL_BUS_RESET);
	config_write(f->parent, PCI_BRIDGE_CONTROL, 2, control);
	return true;
}

static void restore_bars(struct pcid_function *f)
{
	for (unsigned i = 0; i < PCID_BARS; i++) {
		if (!f->bars[i].bytes)
			continue;
		config_write(f, PCI_BASE_ADDRESS_0 + 4 * i, 4, (uint32_t)f->bars[i].address);
		if (f->bars[i].is64)
			config_write(f, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4,
				     (uint32_t)(f->bars[i].address >> 32));
	}
}

int function_reset(struct pcid_function *f)
{
	bool done;

	config_write(f, PCI_COMMAND, 2, 0);
	irq_free(f);
	done = flr(f) || power_cycle(f) || bridge_reset(f);
	pcidipc_task_sleep(SETTLE_NS);
	restore_bars(f);
	config_write(f, PCI_COMMAND, 2, 0);
	return done ? 0 : -EOPNOTSUPP;
}
