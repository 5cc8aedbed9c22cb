// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Slots of root ports and downstream ports (PCI Express 6.7). A port tells by an interrupt that its
 * slot's status has changed: something was plugged in, somebody pressed the button that asks for
 * removal (QMP's device_del does), or what was there is gone. Each slot looks after itself in a
 * task of its own.
 *
 * Removal goes in steps: functions are LEAVING until the core has released each of them; then the
 * slot's power is turned off, which makes QEMU take the device away; then they are GONE. The slot
 * is not looked at again until the core has forgotten them, because what comes next has the same
 * addresses.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "pciregs.h"
#include "qemu.h"

#define EVENTS                                                                                 \
	(PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC | PCI_EXP_SLTSTA_PDC | \
	 PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)
#define ENABLES (PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_HPIE)
#define POWER_ON (PCI_EXP_SLTCTL_PWR_ON | PCI_EXP_SLTCTL_PWR_IND_ON | PCI_EXP_SLTCTL_ATTN_IND_OFF)
#define POWER_OFF \
	(PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_ATTN_IND_OFF)

struct qemu_slot {
	struct pcidipc_list link; /* qemu_bus.slots */
	struct qemu_bus *qb;
	struct qemu_function *port; /* NULL: it was removed itself */
	struct pcidipc_watch watch;
	int fd;
	bool running, again, removing;
};

static void look(struct qemu_slot *slot);

static uint16_t control_register(const struct qemu_slot *slot)
{
	return slot->port->express + PCI_EXP_SLTCTL;
}

/* What happened since the last time, cleared before it is returned; and whether the slot is
 * occupied. */
static int take_status(struct qemu_slot *slot, uint32_t *events, bool *occupied)
{
	uint16_t at = slot->port->express + PCI_EXP_SLTSTA;
	uint32_t status;
	int ret;

	*events = 0;
	do {
		ret = config_read(slot->port, at, 2, &status);
		if (!ret && (status & EVENTS))
			ret = config_write(slot->port, at, 2, status & EVENTS);
		*events |= status & EVENTS;
	} while (!ret && (status & EVENTS));
	*occupied = status & PCI_EXP_SLTSTA_PDS;
	return ret;
}

/* ---- what is behind the port ---- */

static bool is_behind(const struct pcid_function *f, const struct qemu_slot *slot)
{
	return qemu_is_below(qemu_function_of((struct pcid_function *)f), slot->port);
}

static bool is_empty(struct qemu_slot *slot)
{
	pcidipc_list_for_each(qf, &slot->qb->nodes, struct qemu_function, node)
		if (is_behind(&qf->f, slot))
			return false;
	return true;
}

/* Does the core still hold functions that went from here? */
static bool is_remembered(struct qemu_slot *slot)
{
	pcidipc_list_for_each(f, &slot->qb->bus.functions, struct pcid_function, link)
		if (f->gone && qemu_function_of(f)->home == slot->port->rid)
			return true;
	return false;
}

static bool all_released(struct qemu_slot *slot)
{
	pcidipc_list_for_each(qf, &slot->qb->nodes, struct qemu_function, node)
		if (is_behind(&qf->f, slot) && qf->listed && !qf->released)
			return false;
	return true;
}

/* ---- arrival ---- */

static int arrive(struct qemu_slot *slot)
{
	int ret = config_write(slot->port, control_register(slot), 2, POWER_ON | ENABLES);

	ret = ret ? ret : qemu_enumerate_below(slot->qb, slot->port);
	if (ret) {
		if (ret != -ENODEV)
			pcidipc_err("%s: what was plugged in could not be looked at (error %d)",
				    slot->port->f.address, -ret);
		return ret;
	}
	if (slot->qb->stopping)
		return -ENODEV;
	qemu_list_functions(slot->qb, slot->port, true);
	qemu_slots_start(slot->qb, slot->port);
	return 0;
}

/* ---- removal ---- */

static void begin_removal(struct qemu_slot *slot)
{
	slot->removing = true;
	pcidipc_list_for_each(qf, &slot->qb->nodes, struct qemu_function, node)
		if (is_behind(&qf->f, slot))
			qf->leaving = true;
	pcidipc_list_for_each(qf, &slot->qb->nodes, struct qemu_function, node)
		if (is_behind(&qf->f, slot) && qf->listed)
			qemu_tell(slot->qb, PCID_FUNCTION_LEAVING, qf, NULL);
}

/* The last of those behind the port, so that bridges go after what is behind them. */
static struct qemu_function *last_behind(struct qemu_slot *slot)
{
	struct qemu_function *last = NULL;

	pcidipc_list_for_each(qf, &slot->qb->nodes, struct qemu_function, node)
		if (is_behind(&qf->f, slot))
			last = qf;
	return last;
}

static void tell_gone(struct qemu_slot *slot)
{
	struct qemu_function *qf;

	slot->removing = false;
	while ((qf = last_behind(slot))) {
		qemu_slot_stop(qf);
		pcidipc_list_remove(&qf->node);
		qf->f.gone = true;
		qf->f.parent = NULL; /* which may be forgotten first */
		qf->home = slot->port->rid;
		if (qf->listed)
			qemu_tell(slot->qb, PCID_FUNCTION_GONE, qf, NULL);
		else
			qemu_function_free(qf);
	}
}

static int end_removal(struct qemu_slot *slot)
{
	uint32_t events;
	bool occupied;
	int ret;

	if (!all_released(slot))
		return 0; /* qemu_release looks again */
	ret = config_write(slot->port, control_register(slot), 2, POWER_OFF | ENABLES);
	ret = ret ? ret : take_status(slot, &events, &occupied);
	if (!ret)
		tell_gone(slot);
	return ret;
}

/* ---- one look ---- */

static int look_once(struct qemu_slot *slot)
{
	uint32_t events;
	bool occupied;
	int ret = take_status(slot, &events, &occupied);

	if (ret)
		return ret;
	if (is_empty(slot))
		return occupied && !is_remembered(slot) ? arrive(slot) : 0;
	if (!occupied)
		tell_gone(slot);
	else if (!slot->removing && (events & PCI_EXP_SLTSTA_ABP))
		begin_removal(slot);
	return occupied && slot->removing ? end_removal(slot) : 0;
}

static void slot_free(struct qemu_slot *slot)
{
	pcidipc_list_remove(&slot->link);
	free(slot);
}

static void look_task(void *arg)
{
	struct qemu_slot *slot = arg;
	struct qemu_bus *qb = slot->qb;

	pcidipc_task_lock(&qb->topology);
	while (slot->again && slot->port && !qb->dead && !qb->stopping) {
		slot->again = false;
		if (look_once(slot))
			break;
	}
	pcidipc_task_unlock(&qb->topology);
	slot->running = false;
	if (!slot->port)
		slot_free(slot);
	if (!--qb->slot_tasks)
		pcidipc_post(&qb->slots_idle, 0);
}

static void look(struct qemu_slot *slot)
{
	struct qemu_bus *qb = slot->qb;

	slot->again = true;
	if (slot->running || !slot->port || qb->dead || qb->stopping)
		return;
	if (pcidipc_spawn(qb->bus.loop, look_task, slot)) {
		pcidipc_err("%s: no memory to look after its slot", slot->port->f.address);
		return;
	}
	slot->running = true;
	qb->slot_tasks++;
}

static void interrupted(struct pcidipc_watch *watch, unsigned events)
{
	struct qemu_slot *slot = pcidipc_container_of(watch, struct qemu_slot, watch);
	uint64_t count;

	(void)events;
	if (read(watch->fd, &count, sizeof(count)) == sizeof(count))
		look(slot);
}

/* ---- life ---- */

/* The port is the requester of its interrupts, so it has a domain like everybody. */
static int open_interrupt(struct qemu_slot *slot)
{
	struct qemu_function *port = slot->port;
	struct pcid_irqs irqs = {0};
	int ret = vtd_domain_get(slot->qb, port->alias, &port->domain);

	ret = ret ? ret : qemu_irq_alloc(&port->f, 1, &irqs);
	if (ret)
		return ret;
	slot->fd = irqs.fds[0];
	return pcidipc_watch_add(slot->qb->bus.loop, &slot->watch, slot->fd, EPOLLIN, interrupted);
}

static void close_interrupt(struct qemu_slot *slot)
{
	pcidipc_watch_remove(&slot->watch);
	if (slot->fd >= 0)
		close(slot->fd);
	slot->fd = -1;
	qemu_irq_free(&slot->port->f);
	if (slot->port->domain)
		vtd_domain_put(slot->qb, slot->port->domain);
	slot->port->domain = NULL;
}

static void slot_start(struct qemu_bus *qb, struct qemu_function *port)
{
	struct qemu_slot *slot = calloc(1, sizeof(*slot));
	int ret = -ENOMEM;

	if (slot) {
		slot->qb = qb;
		slot->port = port;
		slot->fd = -1;
		pcidipc_list_append(&qb->slots, &slot->link);
		port->slot = slot;
		ret = open_interrupt(slot);
	}
	ret = ret ? ret
		  : config_write(port, control_register(slot), 2,
				 (is_empty(slot) ? POWER_OFF : POWER_ON) | ENABLES);
	if (!ret)
		look(slot); /* for what came before it was watched */
	else if (ret != -ENODEV)
		pcidipc_err("%s: its slot cannot be watched (error %d): no hot-plug there",
			    port->f.address, -ret);
}

void qemu_slots_start(struct qemu_bus *qb, struct qemu_function *bridge)
{
	pcidipc_list_for_each(qf, &qb->nodes, struct qemu_function, node)
		if (qf->hotplug && !qf->slot && !qf->f.gone && qemu_is_below(qf, bridge))
			slot_start(qb, qf);
}

void qemu_slot_stop(struct qemu_function *qf)
{
	struct qemu_slot *slot = qf->slot;

	if (!slot)
		return;
	close_interrupt(slot);
	qf->slot = NULL;
	slot->port = NULL;
	if (!slot->running)
		slot_free(slot);
}

void qemu_slots_look(struct qemu_bus *qb)
{
	pcidipc_list_for_each(slot, &qb->slots, struct qemu_slot, link)
		if (slot->removing || (slot->port && is_empty(slot)))
			look(slot);
}

void qemu_slots_fini(struct qemu_bus *qb)
{
	while (qb->slot_tasks) {
		pcidipc_await(&qb->slots_idle);
		qb->slots_idle = (struct pcidipc_completion){0};
	}
}

void qemu_slots_free(struct qemu_bus *qb)
{
	pcidipc_list_for_each_safe(slot, after, &qb->slots, struct qemu_slot, link) {
		pcidipc_watch_remove(&slot->watch);
		if (slot->fd >= 0)
			close(slot->fd);
		slot_free(slot);
	}
}
