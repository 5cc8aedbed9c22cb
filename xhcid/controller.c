/* SPDX-License-Identifier: MIT */
/* Bringing the controller up and down (xHCI 1.2, 4.2). */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "xhcid.h"

#define STEP_NS 1000000u
#define WAIT_TICKS 50
#define MOST_SCRATCHPADS 1024
#define MOST_PAGE_SHIFT 4 /* 64 KiB */

uint32_t controller_status(struct controller *c)
{
	return pcidipc_read32(&c->bar, c->op + OP_USBSTS);
}

static int wait_status(struct controller *c, uint32_t mask, uint32_t value)
{
	uint64_t end = pcidipc_loop_now(c->loop) + WAIT_TICKS * c->tick_ns;
	uint32_t status = controller_status(c);

	while (status != UINT32_MAX && (status & mask) != value) {
		if (pcidipc_loop_now(c->loop) >= end) {
			pcidipc_err("%s: USBSTS stays %#x, waiting for %#x in %#x", c->address,
				    status, value, mask);
			return -ETIMEDOUT;
		}
		pcidipc_task_sleep(STEP_NS);
		status = controller_status(c);
	}
	return status == UINT32_MAX ? -ENODEV : 0;
}

static int halt(struct controller *c)
{
	uint32_t command = pcidipc_read32(&c->bar, c->op + OP_USBCMD);

	if (command == UINT32_MAX)
		return -ENODEV;
	pcidipc_write32(&c->bar, c->op + OP_USBCMD, 0);
	return wait_status(c, USBSTS_HALTED, USBSTS_HALTED);
}

static int reset(struct controller *c)
{
	uint64_t end = pcidipc_loop_now(c->loop) + WAIT_TICKS * c->tick_ns;
	uint32_t command;

	pcidipc_write32(&c->bar, c->op + OP_USBCMD, USBCMD_RESET);
	do {
		pcidipc_task_sleep(STEP_NS); /* some must not be read at once */
		command = pcidipc_read32(&c->bar, c->op + OP_USBCMD);
		if (command == UINT32_MAX)
			return -ENODEV;
		if (command & USBCMD_RESET && pcidipc_loop_now(c->loop) >= end)
			return -ETIMEDOUT;
	} while (command & USBCMD_RESET);
	return wait_status(c, USBSTS_NOT_READY, 0);
}

/* ---- what the controller says of itself is used in arithmetic: it must be possible ---- */

static int refuse(struct controller *c, const char *what, uint64_t value)
{
	pcidipc_err("%s: %s %#llx: cannot be driven", c->address, what, (unsigned long long)value);
	return -EOPNOTSUPP;
}

static int read_offsets(struct controller *c)
{
	uint32_t length = pcidipc_read32(&c->bar, CAP_LENGTH);

	if (length == UINT32_MAX)
		return -ENODEV;
	c->op = length & 0xff;
	c->doorbells = pcidipc_read32(&c->bar, CAP_DBOFF) & ~3u;
	c->runtime = pcidipc_read32(&c->bar, CAP_RTSOFF) & ~31u;
	if (c->op < 0x20 || c->op % 4 ||
	    c->op + OP_PORTSC + (uint64_t)c->nports * PORT_BYTES > c->bar.bytes)
		return refuse(c, "CAPLENGTH", length);
	if (c->doorbells + 4ull * (c->nslots + 1u) > c->bar.bytes)
		return refuse(c, "DBOFF", c->doorbells);
	if (c->runtime + 0x40 > c->bar.bytes)
		return refuse(c, "RTSOFF", c->runtime);
	return 0;
}

static int read_parameters(struct controller *c)
{
	uint32_t hcs1 = pcidipc_read32(&c->bar, CAP_HCSPARAMS1);
	uint32_t hcs2 = pcidipc_read32(&c->bar, CAP_HCSPARAMS2);

	c->hcc = pcidipc_read32(&c->bar, CAP_HCCPARAMS1);
	if (hcs1 == UINT32_MAX)
		return -ENODEV;
	c->nslots = hcs1 & 0xff;
	c->nports = (uint8_t)(hcs1 >> 24);
	if (!c->nslots || !c->nports)
		return refuse(c, "HCSPARAMS1", hcs1);
	c->scratchpads = (hcs2 >> 21 & 31) << 5 | hcs2 >> 27;
	if (c->scratchpads > MOST_SCRATCHPADS)
		return refuse(c, "HCSPARAMS2", hcs2);
	c->event_segments_most = 1u << (hcs2 >> 4 & 15);
	c->context_bytes = c->hcc & HCC_CSZ ? 64 : 32;
	c->stream_bits = c->hcc >> 12 & 15;
	return read_offsets(c);
}

static int read_page_size(struct controller *c)
{
	uint32_t sizes = pcidipc_read32(&c->bar, c->op + OP_PAGESIZE) & 0xffff;

	if (!sizes || (unsigned)__builtin_ctz(sizes) > MOST_PAGE_SHIFT)
		return refuse(c, "PAGESIZE", sizes);
	c->page = 4096u << __builtin_ctz(sizes);
	return 0;
}

/* ---- memory ---- */

static struct pcidipc_buf *cleared(struct controller *c, size_t bytes, size_t align)
{
	struct pcidipc_buf *buf = pcidipc_pool_alloc(c->dma.pool, bytes, align);

	if (buf)
		memset(pcidipc_buf_ptr(buf), 0, bytes);
	return buf;
}

/* Scratchpad buffers (4.20): the controller's own memory, which we never touch. */
static int make_scratchpads(struct controller *c)
{
	uint64_t *array, *dcbaa = pcidipc_buf_ptr(c->dcbaa);

	if (!c->scratchpads)
		return 0;
	c->scratch_array = cleared(c, 8ull * c->scratchpads, c->page);
	c->scratch = cleared(c, (size_t)c->scratchpads * c->page, c->page);
	if (!c->scratch_array || !c->scratch)
		return -ENOMEM;
	array = pcidipc_buf_ptr(c->scratch_array);
	for (unsigned i = 0; i < c->scratchpads; i++)
		array[i] = htole64(pcidipc_dma_iova(&c->dma, c->scratch) + (uint64_t)i * c->page);
	dcbaa[0] = htole64(pcidipc_dma_iova(&c->dma, c->scratch_array));
	return 0;
}

static int make_memory(struct controller *c)
{
	int ret;

	c->dcbaa = cleared(c, 8 * (MAX_SLOTS + 1), 4096);
	if (!c->dcbaa)
		return -ENOMEM;
	ret = make_scratchpads(c);
	if (!ret)
		ret = commands_create(c);
	return ret ? ret : events_create(c);
}

/* ---- up ---- */

static bool is_qemu(const struct controller *c)
{
	const struct pcidipc_pci_info *info = pcidipc_pci_info(c->pci);

	return info->vendor == 0x1b36 && info->device == 0x000d;
}

static int map_function(struct controller *c)
{
	int ret = pcidipc_pci_map(c->pci, 0, &c->bar);

	if (!ret && c->bar.bytes < 0x1000)
		ret = -ENXIO;
	if (!ret)
		ret = pcidipc_pci_enable(c->pci, true, true);
	if (!ret)
		ret = read_parameters(c);
	if (!ret && !(c->hcc & HCC_AC64)) /* our memory and that of clients is to lie below */
		ret = pcidipc_pci_dma_bits(c->pci, 32);
	return ret ? ret : pcidipc_dma_create(c->pci, DMA_BYTES, &c->dma);
}

static void program(struct controller *c)
{
	pcidipc_write32(&c->bar, c->op + OP_CONFIG, c->nslots);
	controller_write64(c, c->op + OP_DCBAAP, pcidipc_dma_iova(&c->dma, c->dcbaa));
	controller_write64(c, c->op + OP_CRCR, c->commands.iova | CRCR_CYCLE);
	events_program(c);
}

/* Interrupts: MSI-X has to be on (events_start) before the interrupter is, or events are lost. */
static int run(struct controller *c)
{
	int ret = events_start(c);

	if (ret)
		return ret;
	pcidipc_write32(&c->bar, c->runtime + RT_IMAN, IMAN_ENABLE | IMAN_PENDING);
	pcidipc_write32(&c->bar, c->op + OP_USBCMD, USBCMD_RUN | USBCMD_INTE | USBCMD_HSEE);
	return wait_status(c, USBSTS_HALTED, 0);
}

int controller_start(struct controller *c)
{
	int ret = map_function(c);

	if (!ret)
		ret = capability_hand_off(c);
	if (!ret) /* before that nothing may be written */
		ret = wait_status(c, USBSTS_NOT_READY, 0);
	if (!ret)
		ret = halt(c);
	if (!ret)
		ret = reset(c);
	if (!ret)
		ret = read_page_size(c);
	if (!ret)
		ret = capability_protocols(c);
	if (!ret)
		ret = make_memory(c);
	if (ret)
		return ret;
	c->looks_ahead = is_qemu(c);
	program(c);
	ret = run(c);
	c->started = !ret;
	return ret;
}

/* ---- down ---- */

void controller_stop(struct controller *c)
{
	if (c->dead || !halt(c))
		devices_free_kept(c);
}

void controller_lost(struct controller *c, int code)
{
	if (c->dead)
		return;
	c->dead = true;
	pcidipc_err("%s: the controller is %s", c->address, code ? "given up" : "gone");
	pcidipc_pci_cut_off(c->pci);
	commands_fail(c);
	for (unsigned i = 1; i <= MAX_SLOTS; i++)
		if (c->slots[i])
			device_fail(c->slots[i]);
	for (unsigned i = 1; i <= MAX_SLOTS; i++) {
		struct device *dev = c->slots[i];

		if (!dev)
			continue;
		dev->tasks++; /* its port's task would free it meanwhile */
		interfaces_remove(dev);
		dev->tasks--;
	}
	pcidipc_loop_stop(c->loop, code);
}
