// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Claiming, letting go, and what lies between them: that a device which was stopped writes to
 * nobody's memory. Turning bus mastering off ends all DMA that begins later. What a device has
 * begun may have pinned its buffers in QEMU, where neither bus mastering nor the IOMMU is asked
 * again: a reset of the device waits for that, and where there is none, QEMU is made to finish all
 * block requests.
 */
#include <errno.h>
#include <pcidipc/log.h>

#include "pciregs.h"
#include "qemu.h"

/* What may be reset by a register of its own: it is 0 or has a bit that falls when it is done. */
#define CLASS_XHCI 0x0c0330u
#define XHCI_CAPLENGTH 0x00u
#define XHCI_USBCMD_HCRST 2u
#define XHCI_READS 100000u

static struct qemu_bus *bus_of(struct qemu_function *qf)
{
	return qemu_bus_of(qf->f.bus);
}

/* ---- ways to reset ---- */

static bool flr(struct qemu_function *qf)
{
	uint32_t control;

	if (!qf->flr || config_read(qf, qf->express + PCI_EXP_DEVCTL, 2, &control))
		return false;
	return !config_write(qf, qf->express + PCI_EXP_DEVCTL, 2, control | PCI_EXP_DEVCTL_BCR_FLR);
}

static bool is_alone(struct qemu_function *qf)
{
	pcidipc_list_for_each(other, &bus_of(qf)->nodes, struct qemu_function, node)
		if (other != qf && other->f.parent == qf->f.parent)
			return false;
	return true;
}

/* A secondary bus reset is for all that lies behind the bridge. */
static bool bridge_reset(struct qemu_function *qf)
{
	struct qemu_function *bridge = qf->f.parent ? qemu_function_of(qf->f.parent) : NULL;
	uint32_t control;

	if (!bridge || !is_alone(qf) || config_read(bridge, PCI_BRIDGE_CONTROL, 2, &control))
		return false;
	config_write(bridge, PCI_BRIDGE_CONTROL, 2, control | PCI_BRIDGE_CTL_BUS_RESET);
	return !config_write(bridge, PCI_BRIDGE_CONTROL, 2, control & ~PCI_BRIDGE_CTL_BUS_RESET);
}

/* xHCI 4.2: HCRST clears itself when all is done. It needs decoding, but no bus mastering. */
static bool xhci_reset(struct qemu_function *qf)
{
	struct qtest *q = &bus_of(qf)->qtest;
	uint64_t base = qf->f.bars[0].address, length, command = XHCI_USBCMD_HCRST;

	if (qf->f.class_code != CLASS_XHCI || !qf->f.bars[0].bytes)
		return false;
	config_write(qf, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MEMORY);
	if (qtest_task_read(q, QTEST_MEMORY, base + XHCI_CAPLENGTH, 1, &length))
		return false;
	qtest_task_write(q, QTEST_MEMORY, base + length, 4, XHCI_USBCMD_HCRST);
	for (unsigned i = 0; i < XHCI_READS && (command & XHCI_USBCMD_HCRST); i++)
		if (qtest_task_read(q, QTEST_MEMORY, base + length, 4, &command))
			return false;
	return !(command & XHCI_USBCMD_HCRST);
}

/* QEMU stops its machine only after every block request has ended. */
static void drain(struct qemu_bus *qb)
{
	char why[QMP_WHY_BYTES];
	int ret = qmp_run(&qb->qmp, why, "{\"execute\":\"stop\"}");

	ret = ret ? ret : qmp_run(&qb->qmp, why, "{\"execute\":\"cont\"}");
	if (ret == -EREMOTEIO)
		pcidipc_err("qemu: its block requests could not be awaited: %s", why);
}

/* ---- operations ---- */

static int turn_off(struct qemu_function *qf)
{
	qf->decode = qf->master = false;
	return config_command(qf);
}

/* Vectors first: their table needs decoding. */
static int stop_and_reset(struct qemu_function *qf)
{
	bool done;
	int ret = turn_off(qf);

	if (ret)
		return ret;
	qemu_irq_free(&qf->f);
	done = flr(qf) || bridge_reset(qf) || xhci_reset(qf);
	config_write_bars(qf);
	ret = turn_off(qf);
	if (!done)
		drain(bus_of(qf));
	ret = ret ? ret : qtest_task_sync(&bus_of(qf)->qtest);
	if (ret)
		return ret;
	return done ? 0 : -EOPNOTSUPP;
}

int qemu_reset(struct pcid_function *f)
{
	struct qemu_function *qf = qemu_function_of(f);

	if (qemu_bus_of(f->bus)->dead || f->gone)
		return -ENODEV;
	return qf->claimed ? stop_and_reset(qf) : -EINVAL;
}

int qemu_enable(struct pcid_function *f, bool decode, bool master)
{
	struct qemu_function *qf = qemu_function_of(f);
	int ret;

	if (qemu_bus_of(f->bus)->dead || f->gone)
		return -ENODEV;
	if (!qf->claimed)
		return -EINVAL;
	if (decode && !qf->decode) { /* no DMA before the masks are right again */
		qf->decode = true;
		ret = config_command(qf);
		if (ret)
			return ret;
		qemu_irq_decoding(qf);
	}
	qf->decode = decode;
	qf->master = master;
	ret = config_command(qf);
	return ret ? ret : qtest_task_sync(&bus_of(qf)->qtest);
}

/* Functions that the IOMMU cannot tell apart would reach each other's memory. */
static int check_claim(struct qemu_function *qf)
{
	if (bus_of(qf)->dead || qf->f.gone || qf->leaving || qf->released)
		return -ENODEV;
	if (qf->claimed)
		return -EBUSY;
	if (qf->f.header_type != PCI_HEADER_TYPE_NORMAL) {
		pcidipc_err("%s: it is a bridge, which pcid drives itself", qf->f.address);
		return -EOPNOTSUPP;
	}
	pcidipc_list_for_each(other, &qf->f.bus->functions, struct pcid_function, link) {
		if (other == &qf->f || other->group != qf->f.group ||
		    !qemu_function_of(other)->claimed)
			continue;
		pcidipc_err("%s: it shares its IOMMU domain with %s, which has a driver already",
			    qf->f.address, other->address);
		return -EBUSY;
	}
	return 0;
}

int qemu_claim(struct pcid_function *f)
{
	struct qemu_function *qf = qemu_function_of(f);
	int ret = check_claim(qf);

	if (ret)
		return ret;
	qf->claimed = true; /* before anything awaits */
	qf->fault_at = 0;
	ret = turn_off(qf);
	ret = ret ? ret : vtd_domain_get(bus_of(qf), qf->alias, &qf->domain);
	if (!ret)
		return 0;
	if (qf->domain)
		vtd_domain_put(bus_of(qf), qf->domain);
	qf->domain = NULL;
	qf->claimed = false;
	return ret;
}

void qemu_release(struct pcid_function *f)
{
	struct qemu_function *qf = qemu_function_of(f);

	if (qf->claimed) {
		if (qemu_reset(f))
			qemu_irq_free(f); /* it has no reset, or is gone */
		vtd_domain_put(bus_of(qf), qf->domain);
		qf->domain = NULL;
		qf->claimed = false;
	}
	qf->released = qf->leaving;
	qemu_slots_look(bus_of(qf));
}
