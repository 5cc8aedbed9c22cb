/* SPDX-License-Identifier: MIT */
/*
 * A subdriver for tests, started by pcid: it tries interrupts and DMA on simple devices, and says
 * on standard error what it saw, one line per fact: "ok FACT" or "not ok FACT". It stays until pcid
 * stops it.
 *
 * edu (1234:11e8, QEMU's docs/specs/edu.txt): MSI without mask bits, DMA; with an argument, the
 * physical address of memory that is another process's, DMA to and from there. e1000 (8086:100e):
 * INTx.
 */
#include <errno.h>
#include <pcidipc/loop.h>
#include <pcidipc/pci.h>
#include <pcidipc/pool.h>
#include <pcidipc/task.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define EDU_STATUS 0x24
#define EDU_RAISE 0x60
#define EDU_ACK 0x64
#define EDU_SRC 0x80
#define EDU_DST 0x88
#define EDU_COUNT 0x90
#define EDU_CMD 0x98
#define EDU_BUFFER 0x40000 /* the device's own memory */
#define BYTES                                                                                     \
	2048u /* its buffer is a page, and QEMU refuses, by aborting, a transfer that ends at its \
		 end */
#define EDU_START 1
#define EDU_FROM_DEVICE 2

#define E1000_ICR 0xc0 /* causes; reading clears them */
#define E1000_ICS 0xc8 /* set causes */
#define E1000_IMS 0xd0 /* let them through */
#define E1000_IMC 0xd8
#define E1000_CAUSE 0x04

#define SOON_NS 10000000000ull /* an interrupt that is to come */
#define NEVER_NS 200000000ull  /* one that is not to: a lie would show later, too */

static struct pcidipc_loop *loop;
static struct pcidipc_pci *pci;
static struct pcidipc_mmio bar;
static struct pcidipc_vectors vectors;
static uint64_t foreign; /* physical address of another process's memory; 0: none */

static void fact(bool holds, const char *what)
{
	fprintf(stderr, "%s %s\n", holds ? "ok" : "not ok", what);
}

static bool comes(uint64_t ns)
{
	return pcidipc_task_wait_fd(vectors.fds[0], EPOLLIN, ns) > 0 &&
	       pcidipc_vector_ack(vectors.fds[0]);
}

static bool set_up(uint32_t kind)
{
	int ret = pcidipc_pci_enable(pci, true, true);

	if (!ret)
		ret = pcidipc_pci_map(pci, 0, &bar);
	if (!ret)
		ret = pcidipc_pci_alloc_vectors(pci, 1, 1, &vectors);
	if (ret)
		fprintf(stderr, "not ok setting up: %s\n", strerror(-ret));
	if (ret)
		return false;
	fact(bar.base, "the registers are mapped");
	fact(vectors.kind == kind, "the kind of interrupt");
	return true;
}

/* ---- edu ---- */

static void edu_raise(uint32_t bits)
{
	pcidipc_write32(&bar, EDU_RAISE, bits);
	pcidipc_write32(&bar, EDU_ACK, bits);
	pcidipc_read32(&bar, EDU_STATUS); /* they have arrived */
}

static void edu_interrupts(void)
{
	edu_raise(1);
	fact(comes(SOON_NS), "MSI: it comes");
	pcidipc_pci_mask_sync(pci, 0, true);
	edu_raise(1);
	edu_raise(2);
	fact(!comes(NEVER_NS), "MSI: masked, it does not come");
	pcidipc_pci_mask_sync(pci, 0, false);
	fact(comes(SOON_NS), "MSI: it was kept, and comes on unmask");
	fact(!comes(NEVER_NS), "MSI: once");
}

static void edu_move(uint64_t source, uint64_t target, uint64_t bytes, uint32_t direction)
{
	pcidipc_write64(&bar, EDU_SRC, source);
	pcidipc_write64(&bar, EDU_DST, target);
	pcidipc_write64(&bar, EDU_COUNT, bytes);
	pcidipc_write64(&bar, EDU_CMD, EDU_START | direction);
	while (pcidipc_read32(&bar, EDU_CMD) & EDU_START)
		pcidipc_task_sleep(1000000);
}

/* The memory is full of one byte, which is nowhere else. */
static void edu_foreign(const struct pcidipc_dma *dma)
{
	unsigned char *at = pcidipc_pool_base(dma->pool);
	unsigned found = 0;

	edu_move(EDU_BUFFER, foreign, BYTES, EDU_FROM_DEVICE);
	edu_move(foreign, EDU_BUFFER, BYTES, 0);
	memset(at + 32768, 0x11, BYTES);
	edu_move(EDU_BUFFER, dma->iova + 32768, BYTES, EDU_FROM_DEVICE);
	for (unsigned i = 0; i < BYTES; i++)
		found += at[32768 + i] == 0xc3 || at[32768 + i] == 0x11;
	fact(!found, "DMA: nothing of foreign memory is read");
	edu_move(EDU_BUFFER, 0, BYTES, EDU_FROM_DEVICE);
	edu_move(EDU_BUFFER, dma->iova - BYTES, BYTES, EDU_FROM_DEVICE);
	edu_move(dma->iova, EDU_BUFFER, BYTES, 0); /* what the device holds is ours again */
}

static void edu_dma(void)
{
	struct pcidipc_dma dma;
	unsigned char *at;

	if (pcidipc_pci_dma_bits(pci, 28) || pcidipc_dma_create(pci, 2 << 20, &dma)) {
		fact(false, "DMA memory");
		return;
	}
	at = pcidipc_pool_base(dma.pool);
	fact(dma.iova + (2 << 20) <= 1u << 28, "DMA: within the device's 28 bits");
	memset(at, 0x5a, BYTES);
	edu_move(dma.iova, EDU_BUFFER, BYTES, 0);
	edu_move(EDU_BUFFER, dma.iova + 8192, BYTES, EDU_FROM_DEVICE);
	fact(!memcmp(at, at + 8192, BYTES), "DMA: there and back");
	if (foreign)
		edu_foreign(&dma);
	/* outside of what was mapped: nothing arrives, and pcid tells */
	edu_move(EDU_BUFFER, 0x8000000, BYTES, EDU_FROM_DEVICE);
	edu_move(EDU_BUFFER, dma.iova + (2 << 20), BYTES, EDU_FROM_DEVICE);
	edu_move(EDU_BUFFER, dma.iova + 16384, BYTES, EDU_FROM_DEVICE);
	fact(!memcmp(at, at + 16384, BYTES), "DMA: it works on after stray writes");
	pcidipc_dma_destroy(pci, &dma);
	edu_move(EDU_BUFFER, dma.iova, BYTES, EDU_FROM_DEVICE); /* unmapped: one more fault */
}

static void edu(void)
{
	if (!set_up(RINGABI_IRQ_MSI))
		return;
	edu_interrupts();
	edu_dma();
}

/* ---- e1000 ---- */

/* Level-triggered: as long as the cause is there, it fires again after each unmask. */
static void e1000(void)
{
	if (!set_up(RINGABI_IRQ_INTX))
		return;
	pcidipc_write32(&bar, E1000_IMC, ~0u);
	pcidipc_read32(&bar, E1000_ICR);
	pcidipc_write32(&bar, E1000_IMS, E1000_CAUSE);
	pcidipc_write32(&bar, E1000_ICS, E1000_CAUSE);
	fact(comes(SOON_NS), "INTx: it comes");
	fact(!comes(NEVER_NS), "INTx: masked as it fired");
	pcidipc_pci_mask_sync(pci, 0, true);
	pcidipc_pci_mask_sync(pci, 0, false);
	fact(comes(SOON_NS), "INTx: it is there still, and comes on unmask");
	pcidipc_pci_mask_sync(pci, 0, true);
	pcidipc_read32(&bar, E1000_ICR);
	pcidipc_pci_mask_sync(pci, 0, false);
	fact(!comes(NEVER_NS), "INTx: its cause is gone");
	pcidipc_pci_mask_sync(pci, 0, true);
	pcidipc_write32(&bar, E1000_ICS, E1000_CAUSE);
	pcidipc_read32(&bar, E1000_IMS);
	fact(!comes(NEVER_NS), "INTx: masked, it does not come");
	pcidipc_pci_mask_sync(pci, 0, false);
	fact(comes(SOON_NS), "INTx: it comes on unmask");
	pcidipc_write32(&bar, E1000_IMC, ~0u);
}

/* ---- start and end ---- */

static void run(void *arg)
{
	const struct pcidipc_pci_info *info = pcidipc_pci_info(pci);

	(void)arg;
	if (info->vendor == 0x1234)
		edu();
	else
		e1000();
	pcidipc_pci_enable(pci, false, false);
	fprintf(stderr, "all done\n");
}

static void told(uint32_t event, void *arg)
{
	(void)arg;
	if (event == RINGABI_EVENT_SHUTDOWN || event == RINGABI_EVENT_REMOVED)
		pcidipc_loop_stop(loop, 0);
}

int main(int argc, char **argv)
{
	int ret = pcidipc_loop_create(0, &loop);

	if (argc > 1)
		foreign = strtoull(argv[1], NULL, 0);

	if (!ret)
		ret = pcidipc_pci_open(loop, &pci);
	if (ret)
		return 1;
	pcidipc_pci_on_event(pci, told, NULL);
	ret = pcidipc_spawn(loop, run, NULL);
	return ret ? 1 : pcidipc_loop_run(loop);
}
