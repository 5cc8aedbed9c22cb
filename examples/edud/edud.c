/* SPDX-License-Identifier: MIT */
/* A driver, whole. QEMU's "edu" device computes factorials, copies memory by DMA, and interrupts
 * when it is done. pcid starts this program for it; its clients find it as calc/edu0. */
#include <pcidipc/driver.h>
#include "edu.h"

#define REG_ID 0x00
#define REG_FACTORIAL 0x08
#define REG_STATUS 0x20
#define STATUS_COMPUTING 0x1u
#define STATUS_INTERRUPT 0x80u /* when a factorial is done */
#define REG_CAUSE 0x24
#define CAUSE_FACTORIAL 0x1u
#define CAUSE_DMA 0x100u
#define REG_ACKNOWLEDGE 0x64
#define REG_DMA_FROM 0x80
#define REG_DMA_TO 0x88
#define REG_DMA_BYTES 0x90
#define REG_DMA_COMMAND 0x98
#define DMA_TO_DEVICE 0x5u /* go, and interrupt */
#define DMA_FROM_DEVICE 0x7u
#define DEVICE_BUFFER 0x40000u /* where the device's own memory lies for its DMA */

struct edu {
	struct pcidipc_driver driver;
	struct pcidipc_mmio regs;
	struct pcidipc_irq irq;
	struct pcidipc_scheme scheme;
	struct pcidipc_queue waiting;	 /* the first one is in the device */
	struct pcidipc_task_mutex dma;	 /* does one thing at a time */
	struct pcidipc_completion moved; /* by it */
};

/* A request that is PENDING, until the interrupt completes it. */
static void compute_first(struct edu *edu)
{
	if (edu->waiting.first)
		pcidipc_write32(&edu->regs, REG_FACTORIAL, (uint32_t)edu->waiting.first->sqe.addr);
}

static int factorial(struct edu *edu, struct pcidipc_request *rq)
{
	if (rq->sqe.addr > EDU_MOST_N)
		return pcidipc_refuse(rq, -ERANGE, "%llu!, at most %u!", rq->sqe.addr, EDU_MOST_N);
	pcidipc_queue_push(&edu->waiting, rq);
	if (edu->waiting.first == rq)
		compute_first(edu);
	return PCIDIPC_PENDING;
}

static void factorial_done(struct edu *edu)
{
	int result = (int)pcidipc_read32(&edu->regs, REG_FACTORIAL);
	struct pcidipc_request *rq = pcidipc_queue_pop(&edu->waiting);

	compute_first(edu);
	if (rq) /* an interrupt may come for nothing */
		pcidipc_complete(rq, result);
}

/* Before this pcid masks the vector, and unmasks it afterwards: what comes meanwhile is kept. */
static void interrupt(struct pcidipc_irq *irq)
{
	struct edu *edu = pcidipc_container_of(irq, struct edu, irq);
	uint32_t cause = pcidipc_read32(&edu->regs, REG_CAUSE);

	if (cause == ~0u) /* the device is gone */
		return;
	pcidipc_write32(&edu->regs, REG_ACKNOWLEDGE, cause);
	if (cause & CAUSE_FACTORIAL && !(pcidipc_read32(&edu->regs, REG_STATUS) & STATUS_COMPUTING))
		factorial_done(edu);
	if (cause & CAUSE_DMA)
		pcidipc_post(&edu->moved, 0);
}

/* A request that is a task's, which waits where it has to. */
static int move(struct edu *edu, uint64_t from, uint64_t to, uint32_t bytes, uint32_t command)
{
	edu->moved = (struct pcidipc_completion){0};
	pcidipc_write64(&edu->regs, REG_DMA_FROM, from);
	pcidipc_write64(&edu->regs, REG_DMA_TO, to);
	pcidipc_write64(&edu->regs, REG_DMA_BYTES, bytes);
	pcidipc_write64(&edu->regs, REG_DMA_COMMAND, command);
	if (!pcidipc_await_for(&edu->moved, 5000000000)) /* ns */
		return 0;
	return pcidipc_driver_give_up(&edu->driver, "its DMA does not end");
}

static int copy(struct pcidipc_request *rq)
{
	struct edu *edu = pcidipc_request_driver(rq);
	uint32_t n = rq->sqe.len;
	uint64_t at; /* of the client's buffer, for the device */
	int ret;

	if (n < 1 || n > EDU_MOST_BYTES)
		return pcidipc_refuse(rq, -ERANGE, "%u bytes, not 1 to %u", n, EDU_MOST_BYTES);
	ret = pcidipc_request_await_reach(rq, rq->sqe.buf_index, rq->sqe.addr, 2 * n, &at);
	if (ret)
		return ret;
	pcidipc_task_lock(&edu->dma);
	ret = move(edu, at, DEVICE_BUFFER, n, DMA_TO_DEVICE)
		      ?: move(edu, DEVICE_BUFFER, at + n, n, DMA_FROM_DEVICE);
	pcidipc_task_unlock(&edu->dma);
	return ret;
}

/* The service. rq->sqe is our copy, but what it says is the client's: check what you use. */
static int request(struct pcidipc_request *rq)
{
	switch (rq->sqe.opcode == IORING_OP_URING_CMD ? rq->sqe.cmd_op : 0) {
	case EDU_FACTORIAL:
		return factorial(pcidipc_request_driver(rq), rq);
	case EDU_COPY:
		return pcidipc_request_task(rq, copy);
	}
	return pcidipc_refuse(rq, -EOPNOTSUPP, "no such request");
}

/* The beginning, in a task. All that it takes pcid takes back when the process ends. */
static int start(struct pcidipc_driver *driver)
{
	struct edu *edu = pcidipc_container_of(driver, struct edu, driver);
	int ret = pcidipc_pci_map(driver->pci, 0, &edu->regs)
			  ?: pcidipc_pci_enable(driver->pci, true, false);

	if (ret || (pcidipc_read32(&edu->regs, REG_ID) & 0xff) != 0xed)
		return ret ?: -ENODEV;
	while (pcidipc_read32(&edu->regs, REG_STATUS) & STATUS_COMPUTING ||
	       pcidipc_read32(&edu->regs, REG_DMA_COMMAND) & 1)
		pcidipc_task_sleep(1000000); /* for a driver that died: edu has no reset */
	pcidipc_write32(&edu->regs, REG_ACKNOWLEDGE, ~0u);
	pcidipc_write32(&edu->regs, REG_STATUS, STATUS_INTERRUPT);
	return pcidipc_pci_enable(driver->pci, true, true) ?:
		pcidipc_irq_start(&edu->irq, driver->pci, interrupt) ?:
		pcidipc_pci_serve(driver->pci, "calc", "", &edu->scheme);
}

int main(int argc, char **argv)
{
	static struct edu edu = {
		.driver = {.name = "edud", .dma_bits = 28, .start = start},
		.scheme = {.interface = RINGABI_INTERFACE_PRIVATE,
			   .flags = PCIDIPC_SCHEME_DMA,
			   .request = request,
			   .driver = &edu},
	};

	return pcidipc_driver_main(&edu.driver, argc, argv);
}
