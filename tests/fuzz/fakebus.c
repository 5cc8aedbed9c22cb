// SPDX-License-Identifier: GPL-2.0-or-later
#include "fakebus.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>

#include <ringabi/channel.h>

#define BAR0_BYTES 4096u
#define MSIX_VECTORS 5

static struct fakebus fb;
static unsigned char config[4096];

static int config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value)
{
	fuzz_expect(!(offset % width) && offset + width <= f->config_bytes, "config reads fit");
	pcidipc_task_yield();
	*value = 0;
	memcpy(value, config + offset, width);
	return 0;
}

static int config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value)
{
	fuzz_expect(!(offset % width) && offset + width <= f->config_bytes, "config writes fit");
	fuzz_expect(offset + width <= 0x04 || offset >= 0x06, "the command register is pcid's");
	fuzz_expect(offset + width <= 0x10 || offset >= 0x28, "base address registers are pcid's");
	fuzz_expect(offset + width <= 0x30 || offset >= 0x34, "the ROM's address is pcid's");
	for (unsigned i = 0; i < f->ncaps; i++)
		fuzz_expect(offset + width <= f->caps[i].offset || offset >= f->caps[i].offset + 2u,
			    "the capability list is pcid's");
	fuzz_expect(offset + width <= f->msix.cap || offset >= f->msix.cap + 12u,
		    "the MSI-X capability is pcid's");
	pcidipc_task_yield();
	memcpy(config + offset, &value, width);
	return 0;
}

static int enable(struct pcid_function *f, bool decode, bool master)
{
	(void)f;
	(void)decode;
	(void)master;
	return 0;
}

static int reset(struct pcid_function *f)
{
	(void)f;
	if (fb.no_reset)
		return -EOPNOTSUPP;
	pcidipc_task_yield();
	fb.vectors = 0;
	return 0;
}

static int region_fd(struct pcid_function *f, unsigned bar, uint64_t *offset)
{
	fuzz_expect(bar < PCID_BARS && f->bars[bar].bytes, "only regions that exist are mapped");
	*offset = 0;
	return fb.maps_regions ? fcntl(fuzz_fd(FUZZ_FD_NULL), F_DUPFD_CLOEXEC, 3) : -EOPNOTSUPP;
}

static void check_access(const struct pcid_function *f, unsigned bar, uint64_t offset,
			 unsigned width)
{
	fuzz_expect(bar < PCID_BARS && offset < f->bars[bar].bytes &&
			    width <= f->bars[bar].bytes - offset && !(offset % width),
		    "register accesses lie in their region");
	fuzz_expect(bar != f->msix.bar || offset + width <= f->msix.offset ||
			    offset >= f->msix.offset + 16u * MSIX_VECTORS,
		    "the MSI-X table is pcid's");
}

static int mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		      uint64_t value)
{
	check_access(f, bar, offset, width);
	fuzz_expect(width == 8 || !(value >> 8 * width), "values fit their width");
	return fb.busy ? -EAGAIN : 0;
}

static int mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		     struct pcid_read *read)
{
	check_access(f, bar, offset, width);
	if (fb.busy || fb.nreads == sizeof(fb.reads) / sizeof(*fb.reads))
		return -EAGAIN;
	fb.reads[fb.nreads++] = read;
	return 0;
}

void fakebus_answer(int error, uint64_t value)
{
	struct pcid_read *read = fb.reads[0];

	if (!fb.nreads)
		return;
	memmove(fb.reads, fb.reads + 1, --fb.nreads * sizeof(*fb.reads));
	read->done(read, error, value);
}

static int irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	fuzz_expect(!fb.vectors && most && most <= RINGABI_MSG_MAX_FDS,
		    "vectors are allocated once");
	pcidipc_task_yield();
	irqs->kind = RINGABI_IRQ_MSIX;
	irqs->count = most < f->msix.count ? most : f->msix.count;
	irqs->maskable = !fb.no_masks;
	for (unsigned i = 0; i < irqs->count; i++)
		irqs->fds[i] = eventfd(i == 1, EFD_NONBLOCK | EFD_CLOEXEC);
	fb.vectors = irqs->count;
	return 0;
}

static void irq_free(struct pcid_function *f)
{
	(void)f;
	fb.vectors = 0;
}

static int irq_mask(struct pcid_function *f, unsigned vector, bool masked)
{
	(void)f;
	(void)masked;
	fuzz_expect(vector < fb.vectors, "only vectors that exist are masked");
	return fb.busy ? -EAGAIN : 0;
}

static int pool_attach(struct pcid_pool *pool)
{
	pcidipc_task_yield();
	if (fb.full)
		return -ENOSPC;
	pool->iova = 1ull << 32;
	fb.pools++;
	return 0;
}

static int pool_map(struct pcid_pool *pool, uint64_t offset, uint64_t bytes)
{
	pcidipc_task_yield();
	fuzz_expect(bytes && !((offset | bytes) % RINGABI_POOL_PAGE) && offset <= pool->bytes &&
			    bytes <= pool->bytes - offset,
		    "mappings lie in their pool");
	return fb.full ? -ENOMEM : 0;
}

static void pool_detach(struct pcid_pool *pool)
{
	(void)pool;
	pcidipc_task_yield();
	fb.pools--;
}

static const struct pcid_bus_ops ops = {
	.name = "fake",
	.config_read = config_read,
	.config_write = config_write,
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
};

static void make(void)
{
	fb.bus.ops = &ops;
	fb.bus.loop = fuzz_loop();
	fb.function = (struct pcid_function){
		.bus = &fb.bus,
		.address = "0000:00:03.0",
		.vendor = 0x1b36,
		.device = 0x10,
		.config_bytes = 4096,
		.dma_bits = 64,
		.bars = {{.address = 0xfe000000, .bytes = BAR0_BYTES},
			 {.address = 0xc000, .bytes = 64, .io = true},
			 {0},
			 {0},
			 {.address = 1ull << 40,
			  .bytes = 1ull << 34,
			  .is64 = true,
			  .prefetch = true}},
		.caps = {{.id = 0x01, .offset = 0x40},
			 {.id = 0x11, .offset = 0x50},
			 {.id = 0x10, .offset = 0x60},
			 {.id = 0x09, .offset = 0xa0, .bytes = 16},
			 {.id = 0x0001, .offset = 0x100, .extended = true}},
		.ncaps = 5,
		.msix = {.cap = 0x50, .count = MSIX_VECTORS, .offset = 0x800, .pba_offset = 0xc00},
	};
}

struct fakebus *fakebus(void)
{
	if (!fb.bus.ops)
		make();
	return &fb;
}

void fakebus_settle(void)
{
	fuzz_expect(!fb.nreads && !fb.vectors && !fb.pools,
		    "what the bus lent out is given back to it");
	fb.busy = fb.no_masks = fb.maps_regions = fb.full = fb.no_reset = false;
}
