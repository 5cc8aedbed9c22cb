/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QEMU bus as pcid's core sees it. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"

void memory_event(struct qmp *q, const char *name, struct json_object *data);

static struct qemu_function *priv(struct pcid_function *f)
{
	return f->bus_priv;
}

static void qtest_writable(struct qtest *q)
{
	struct machine *m = pcidipc_container_of(q, struct machine, qtest);

	if (m->bus.writable)
		m->bus.writable(&m->bus);
}

static int start(struct pcid_bus *bus)
{
	struct machine *m = pcidipc_container_of(bus, struct machine, bus);
	int ret;

	m->qtest.writable = qtest_writable;
	m->qmp.event = memory_event;
	m->qmp.owner = m;
	ret = machine_launch(m);
	if (!ret)
		ret = enumerate(m);
	if (!ret)
		ret = vtd_start(&m->vtd, &m->qtest, m->ram, m->ram_bytes);
	return ret;
}

static void stop(struct pcid_bus *bus)
{
	machine_kill(pcidipc_container_of(bus, struct machine, bus));
}

/* ---- claiming ---- */

static int claim(struct pcid_function *f)
{
	struct machine *m = machine_of(f);
	struct qemu_function *p = priv(f);
	uint64_t page = m->doorbell & ~4095ull;
	int ret;

	for (struct pcidipc_list *l = m->bus.functions.next; l != &m->bus.functions; l = l->next) {
		struct pcid_function *other = pcidipc_container_of(l, struct pcid_function, link);

		if (other != f && other->group == f->group && priv(other)->claimed) {
			pcidipc_err("%s: shares its IOMMU domain with %s, which is driven already",
				    f->address, other->address);
			return -EBUSY;
		}
	}
	config_write(f, PCI_COMMAND, 2, 0);
	ret = vtd_bind(&m->vtd, &p->domain, (uint16_t)f->group);
	if (!ret)
		ret = vtd_map(&m->vtd, &p->domain, page, page, 4096);
	p->next_iova = IOVA_BASE;
	p->claimed = !ret;
	return ret;
}

static void release(struct pcid_function *f)
{
	struct qemu_function *p = priv(f);

	if (!p->claimed)
		return;
	function_reset(f);
	vtd_unbind(&machine_of(f)->vtd, &p->domain);
	p->claimed = false;
}

static int enable(struct pcid_function *f, bool decode, bool master)
{
	return config_write(f, PCI_COMMAND, 2,
			    (decode ? PCI_COMMAND_IO | PCI_COMMAND_MEMORY : 0) |
				    (master ? PCI_COMMAND_MASTER : 0));
}

static int region_fd(struct pcid_function *f, unsigned bar, uint64_t *offset)
{
	(void)f;
	(void)bar;
	(void)offset;
	return -EOPNOTSUPP;
}

/* ---- registers ---- */

static char letter(unsigned width)
{
	return width == 1 ? 'b' : width == 2 ? 'w' : width == 4 ? 'l' : 'q';
}

static int mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		      uint64_t value)
{
	return qtest_send(&machine_of(f)->qtest, NULL, "%s%c 0x%llx 0x%llx",
			  f->bars[bar].io ? "out" : "write", letter(width),
			  (unsigned long long)(f->bars[bar].address + offset),
			  (unsigned long long)value);
}

static int mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		     struct pcid_read *read)
{
	return qtest_send(&machine_of(f)->qtest, read, "%s%c 0x%llx",
			  f->bars[bar].io ? "in" : "read", letter(width),
			  (unsigned long long)(f->bars[bar].address + offset));
}

static void forget(struct pcid_function *f)
{
	f->link.prev->next = f->link.next;
	f->link.next->prev = f->link.prev;
	free(f->bus_priv);
	free(f);
}

static const struct pcid_bus_ops qemu_ops = {
	.name = "qemu",
	.start = start,
	.stop = stop,
	.config_read = config_read,
	.config_write = config_write,
	.claim = claim,
	.release = release,
	.enable = enable,
	.reset = function_reset,
	.region_fd = region_fd,
	.mmio_write = mmio_write,
	.mmio_read = mmio_read,
	.irq_alloc = irq_alloc,
	.irq_free = irq_free,
	.irq_mask = irq_mask,
	.pool_attach = pool_attach,
	.pool_map = pool_map,
	.pool_detach = pool_detach,
	.forget = forget,
};

static char **copy_args(const char *const *args)
{
	size_t n = 0;
	char **copy;

	while (args && args[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++)
		copy[i] = strdup(args[i]);
	return copy;
}

int pcid_qemu_bus_create(struct pcidipc_loop *loop, const struct pcid_qemu_options *options,
			 struct pcid_bus **bus)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->bus.ops = &qemu_ops;
	m->bus.loop = loop;
	m->bus.functions.next = m->bus.functions.prev = &m->bus.functions;
	m->pools.next = m->pools.prev = &m->pools;
	m->options = *options;
	m->next_peer = FIRST_PEER;
	m->args = copy_args(options->args);
	if (!m->args || snprintf(m->run_dir, sizeof(m->run_dir), "%s", options->run_dir) >=
				(int)sizeof(m->run_dir)) {
		pcidipc_err("qemu: the directory %s is too long a name for sockets",
			    options->run_dir);
		free(m->args);
		free(m);
		return -ENAMETOOLONG;
	}
	snprintf(m->qmp_path, sizeof(m->qmp_path), "%s/qmp.sock", m->run_dir);
	*bus = &m->bus;
	return 0;
}

void pcid_bus_destroy(struct pcid_bus *bus)
{
	struct machine *m = pcidipc_container_of(bus, struct machine, bus);

	while (bus->functions.next != &bus->functions)
		forget(pcidipc_container_of(bus->functions.next, struct pcid_function, link));
	for (size_t i = 0; m->args[i]; i++)
		free(m->args[i]);
	free(m->args);
	if (m->ram)
		munmap(m->ram, m->ram_bytes);
	if (m->ram_fd > 0)
		close(m->ram_fd);
	unlink(m->qmp_path);
	free(m);
}

const char *pcid_qemu_bus_qmp(struct pcid_bus *bus)
{
	return pcidipc_container_of(bus, struct machine, bus)->qmp_path;
}
