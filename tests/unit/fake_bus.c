/* SPDX-License-Identifier: MIT */
#include "fake_bus.h"

#include <errno.h>
#include <pcidipc/list.h>
#include <ringabi/channel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct fake_bus *fake_of(struct pcid_function *f)
{
	return pcidipc_container_of(f->bus, struct fake_bus, bus);
}

static void note(struct fake_bus *fake, char what)
{
	size_t n = strlen(fake->log);

	if (n + 1 < sizeof(fake->log))
		fake->log[n] = what;
}

static int fake_start(struct pcid_bus *bus)
{
	(void)bus;
	return 0;
}

static void fake_stop(struct pcid_bus *bus)
{
	(void)bus;
}

static int config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value)
{
	*value = 0;
	memcpy(value, fake_of(f)->config + offset, width);
	pcidipc_task_yield();
	return 0;
}

static int config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value)
{
	memcpy(fake_of(f)->config + offset, &value, width);
	pcidipc_task_yield();
	return 0;
}

static int claim(struct pcid_function *f)
{
	note(fake_of(f), 'c');
	return 0;
}

static void free_vectors(struct fake_bus *fake)
{
	for (unsigned i = 0; i < fake->nvec; i++)
		close(fake->efd[i]);
	fake->nvec = 0;
	memset(fake->masked, 0, sizeof(fake->masked));
	memset(fake->pending, 0, sizeof(fake->pending));
}

static void release(struct pcid_function *f)
{
	note(fake_of(f), 'r');
	free_vectors(fake_of(f));
}

static int enable(struct pcid_function *f, bool decode, bool master)
{
	note(fake_of(f), master ? 'E' : decode ? 'D' : 'e');
	return 0;
}

static int reset(struct pcid_function *f)
{
	struct fake_bus *fake = fake_of(f);

	note(fake, 'R');
	while (fake->hold_reset)
		pcidipc_task_yield();
	free_vectors(fake);
	if (fake->reset_error)
		return fake->reset_error;
	memset(fake->regs, 0, sizeof(fake->regs));
	return 0;
}

static int region_fd(struct pcid_function *f, unsigned bar, uint64_t *offset)
{
	(void)f;
	(void)bar;
	(void)offset;
	return -EOPNOTSUPP;
}

/* Take one posted request? */
static bool takes(struct fake_bus *fake)
{
	if (!fake->full)
		return true;
	if (!fake->room)
		return false;
	fake->room--;
	return true;
}

static int mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		      uint64_t value)
{
	struct fake_bus *fake = fake_of(f);

	(void)bar;
	if (!takes(fake))
		return -EAGAIN;
	memcpy(fake->regs + offset, &value, width);
	return 0;
}

struct read_later {
	struct pcidipc_deferred deferred;
	struct pcid_read *read;
	uint64_t value;
};

static void read_done(struct pcidipc_deferred *deferred)
{
	struct read_later *later = pcidipc_container_of(deferred, struct read_later, deferred);

	later->read->done(later->read, 0, later->value);
	free(later);
}

static int mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		     struct pcid_read *read)
{
	struct fake_bus *fake = fake_of(f);
	struct read_later *later;

	(void)bar;
	if (!takes(fake))
		return -EAGAIN;
	later = calloc(1, sizeof(*later));
	later->read = read;
	memcpy(&later->value, fake->regs + offset, width);
	pcidipc_defer(f->bus->loop, &later->deferred, read_done);
	return 0;
}

static int irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	struct fake_bus *fake = fake_of(f);

	irqs->kind = fake->maskable ? RINGABI_IRQ_MSIX : RINGABI_IRQ_MSI;
	irqs->count = most < fake->offered ? most : fake->offered;
	irqs->maskable = fake->maskable;
	for (unsigned i = 0; i < irqs->count; i++) {
		fake->efd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		irqs->fds[i] = dup(fake->efd[i]);
	}
	fake->nvec = irqs->count;
	return 0;
}

static void irq_free(struct pcid_function *f)
{
	note(fake_of(f), 'f');
	free_vectors(fake_of(f));
}

static void raise_irq(struct fake_bus *fake, unsigned i)
{
	uint64_t one = 1;

	if (write(fake->efd[i], &one, sizeof(one)) != sizeof(one))
		abort();
}

static int irq_mask(struct pcid_function *f, unsigned vector, bool masked)
{
	struct fake_bus *fake = fake_of(f);

	if (!takes(fake))
		return -EAGAIN;
	fake->mask_calls++;
	fake->masked[vector] = masked;
	if (!masked && fake->pending[vector]) {
		fake->pending[vector] = false;
		raise_irq(fake, vector);
	}
	return 0;
}

void fake_bus_fire(struct fake_bus *fake, unsigned i)
{
	if (i >= fake->nvec)
		return;
	if (fake->masked[i])
		fake->pending[i] = true;
	else
		raise_irq(fake, i);
}

void fake_bus_drain(struct fake_bus *fake)
{
	fake->full = false;
	fake->bus.writable(&fake->bus);
}

static int pool_attach(struct pcid_pool *pool)
{
	struct fake_bus *fake = fake_of(pool->function);

	pool->iova = fake->next_iova;
	fake->next_iova += pool->bytes;
	fake->attached++;
	note(fake, 'a');
	return 0;
}

static int pool_map(struct pcid_pool *pool, uint64_t offset, uint64_t bytes)
{
	(void)offset;
	(void)bytes;
	fake_of(pool->function)->maps++;
	note(fake_of(pool->function), 'm');
	pcidipc_task_yield();
	return 0;
}

static void pool_detach(struct pcid_pool *pool)
{
	fake_of(pool->function)->attached--;
	note(fake_of(pool->function), 'd');
}

static void forget(struct pcid_function *f)
{
	note(fake_of(f), 'F');
	pcidipc_list_remove(&f->link);
}

static const struct pcid_bus_ops fake_ops = {
	.name = "fake",
	.start = fake_start,
	.stop = fake_stop,
	.config_read = config_read,
	.config_write = config_write,
	.claim = claim,
	.release = release,
	.enable = enable,
	.reset = reset,
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

/* An NVMe controller, roughly: BAR 0 with registers and the MSI-X table, some capabilities. */
static void fill_function(struct pcid_function *f)
{
	static const struct pcid_cap caps[] = {
		{0x11, 0x40, 0, false},	   {0x10, 0x80, 0, false}, {0x01, 0x60, 0, false},
		{0x09, 0xc0, 0x10, false}, {0x05, 0x50, 0, false}, {0x01, 0x100, 0, true},
		{0x0f, 0x180, 0, true},
	};

	f->dev = 3;
	snprintf(f->address, sizeof(f->address), "0000:00:03.0");
	f->vendor = 0x1b36;
	f->device = 0x0010;
	f->subsystem_vendor = 0x1af4;
	f->subsystem_device = 0x1100;
	f->class_code = 0x010802;
	f->revision = 2;
	f->config_bytes = 4096;
	f->dma_bits = 64;
	f->bars[0] = (struct pcid_bar){.address = 0xfe000000, .bytes = FAKE_REGS, .is64 = true};
	f->bars[2] = (struct pcid_bar){.address = 0xc000, .bytes = 32, .io = true};
	memcpy(f->caps, caps, sizeof(caps));
	f->ncaps = sizeof(caps) / sizeof(*caps);
	f->msix = (struct pcid_msix){0x40, 8, 0, FAKE_MSIX_TABLE, 0, FAKE_MSIX_PBA};
	f->msi = (struct pcid_msi){0x50, 1, true, false};
}

struct fake_bus *fake_bus_create(struct pcidipc_loop *loop)
{
	struct fake_bus *fake = calloc(1, sizeof(*fake));

	fake->bus.ops = &fake_ops;
	fake->bus.loop = loop;
	fake->f.bus = &fake->bus;
	fake->offered = 4;
	fake->maskable = true;
	fake->next_iova = 1ull << 32;
	for (unsigned i = 0; i < sizeof(fake->config); i++)
		fake->config[i] = (uint8_t)(i ^ i >> 8);
	pcidipc_list_init(&fake->bus.functions);
	fill_function(&fake->f);
	pcidipc_list_append(&fake->bus.functions, &fake->f.link);
	return fake;
}

void fake_bus_destroy(struct fake_bus *fake)
{
	free_vectors(fake);
	free(fake);
}
