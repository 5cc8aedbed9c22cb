/* SPDX-License-Identifier: MIT */
/*
 * A driver, whole: QEMU's "edu" device (docs/specs/edu in QEMU's sources), which computes
 * factorials, copies memory by DMA, and has one MSI vector without a mask bit. pcid starts it; it
 * serves calc/edu0. docs/driver-guide.md goes through it.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <string.h>
#include <sys/epoll.h>

#include "edu.h"

#define REG_ID 0x00
#define REG_FACTORIAL 0x08
#define REG_STATUS 0x20 /* bit 7: interrupt when a factorial is done */
#define REG_IRQ_STATUS 0x24
#define REG_IRQ_ACK 0x64
#define REG_DMA_FROM 0x80
#define REG_DMA_TO 0x88
#define REG_DMA_BYTES 0x90
#define REG_DMA_COMMAND 0x98
#define DMA_START 1u
#define DMA_FROM_DEVICE 2u
#define DMA_INTERRUPT 4u
#define DEVICE_BUFFER 0x40000u
#define IRQ_NS 1000000000ull

struct edu {
	struct pcidipc_loop *loop;
	struct pcidipc_pci *pci;
	struct pcidipc_mmio regs;
	struct pcidipc_vectors vectors;
	struct pcidipc_scheme scheme;
	struct pcidipc_service service;
	struct pcidipc_request *first, **end; /* requests that wait for the device */
	struct pcidipc_completion more;	      /* one has come */
};

/* As NAPI does: masked while we work, so that one that comes meanwhile is kept for the unmask. */
static int await_irq(struct edu *edu)
{
	int ret = pcidipc_task_wait_fd(edu->vectors.fds[0], EPOLLIN, IRQ_NS);

	if (ret < 0)
		return ret;
	pcidipc_pci_mask(edu->pci, 0);
	pcidipc_vector_ack(edu->vectors.fds[0]);
	pcidipc_write32(&edu->regs, REG_IRQ_ACK, pcidipc_read32(&edu->regs, REG_IRQ_STATUS));
	pcidipc_pci_unmask(edu->pci, 0);
	return 0;
}

static int copy(struct edu *edu, uint64_t from, uint64_t to, uint32_t bytes, uint32_t direction)
{
	pcidipc_write64(&edu->regs, REG_DMA_FROM, from);
	pcidipc_write64(&edu->regs, REG_DMA_TO, to);
	pcidipc_write64(&edu->regs, REG_DMA_BYTES, bytes);
	pcidipc_write64(&edu->regs, REG_DMA_COMMAND, DMA_START | DMA_INTERRUPT | direction);
	return await_irq(edu);
}

/* Through the device and back: does it reach our memory, and we its interrupts? */
static int check_dma(struct edu *edu)
{
	static const char text[] = "there and back again";
	struct pcidipc_dma dma;
	struct pcidipc_buf *to, *from;
	int ret = pcidipc_dma_create(edu->pci, 1 << 20, &dma);

	if (ret)
		return ret;
	to = pcidipc_pool_alloc(dma.pool, sizeof(text), 0);
	from = pcidipc_pool_alloc(dma.pool, sizeof(text), 0);
	memcpy(pcidipc_buf_ptr(to), text, sizeof(text));
	ret = copy(edu, pcidipc_dma_iova(&dma, to), DEVICE_BUFFER, sizeof(text), 0);
	if (!ret)
		ret = copy(edu, DEVICE_BUFFER, pcidipc_dma_iova(&dma, from), sizeof(text),
			   DMA_FROM_DEVICE);
	if (!ret && memcmp(pcidipc_buf_ptr(from), text, sizeof(text)))
		ret = -EIO;
	pcidipc_dma_destroy(edu->pci, &dma);
	return ret;
}

/* ---- the service ---- */

/* Must not block: the device's answer comes later. */
static int request(struct pcidipc_request *rq)
{
	struct edu *edu = pcidipc_session_scheme(rq->session)->driver;

	if (rq->sqe.opcode != IORING_OP_URING_CMD || rq->sqe.cmd_op != EDU_FACTORIAL)
		return -EOPNOTSUPP;
	if (rq->sqe.addr > 12)
		return -ERANGE; /* 13! has more than 32 bits */
	rq->next = NULL;
	*edu->end = rq;
	edu->end = &rq->next;
	pcidipc_post(&edu->more, 0);
	return PCIDIPC_PENDING;
}

static int factorial(struct edu *edu, uint32_t n)
{
	int ret;

	pcidipc_write32(&edu->regs, REG_STATUS, 0x80);
	pcidipc_write32(&edu->regs, REG_FACTORIAL, n);
	ret = await_irq(edu);
	return ret ? ret : (int)pcidipc_read32(&edu->regs, REG_FACTORIAL);
}

static void serve(struct edu *edu)
{
	for (;;) {
		struct pcidipc_request *rq = edu->first;

		if (!rq) {
			pcidipc_await(&edu->more);
			edu->more = (struct pcidipc_completion){0};
			continue;
		}
		edu->first = rq->next;
		if (!edu->first)
			edu->end = &edu->first;
		pcidipc_complete(rq, factorial(edu, (uint32_t)rq->sqe.addr));
	}
}

static int publish(struct edu *edu)
{
	struct pcidipc_listener *listener;
	int ret = pcidipc_pci_publish(edu->pci, "calc", "", &edu->service);

	edu->end = &edu->first;
	edu->scheme = (struct pcidipc_scheme){
		.name = edu->service.name,
		.interface = RINGABI_INTERFACE_PRIVATE,
		.max_sq_entries = 64,
		.max_cq_entries = 128,
		.max_sessions = 16,
		.driver = edu,
		.request = request,
	};
	return ret ? ret
		   : pcidipc_listen(edu->loop, &edu->scheme, edu->service.listen_fd, 0, &listener);
}

/* ---- bringing it up, in a task: what waits, awaits ---- */

static int bring_up(struct edu *edu)
{
	int ret = pcidipc_pci_map(edu->pci, 0, &edu->regs);

	if (!ret)
		ret = pcidipc_pci_enable(edu->pci, true, true);
	if (!ret && (pcidipc_read32(&edu->regs, REG_ID) & 0xff) != 0xed)
		ret = -ENODEV;
	if (!ret)
		ret = pcidipc_pci_alloc_vectors(edu->pci, 1, 1, &edu->vectors);
	if (!ret)
		ret = check_dma(edu);
	return ret ? ret : publish(edu);
}

static void live(void *arg)
{
	struct edu *edu = arg;
	int ret = bring_up(edu);

	if (!ret)
		serve(edu);
	pcidipc_err("%s: %s", pcidipc_pci_info(edu->pci)->address, strerror(-ret));
	pcidipc_loop_stop(edu->loop, 1);
}

/* pcid resets the function when we are gone, so there is nothing to undo. */
static void on_event(uint32_t event, void *arg)
{
	if (event == RINGABI_EVENT_SHUTDOWN || event == RINGABI_EVENT_REMOVED)
		pcidipc_loop_stop(((struct edu *)arg)->loop, 0);
}

int main(void)
{
	static struct edu edu;
	int ret;

	pcidipc_log_init("edu", PCIDIPC_NOTICE);
	ret = pcidipc_loop_create(0, &edu.loop);
	if (!ret)
		ret = pcidipc_pci_open(edu.loop, &edu.pci);
	if (!ret)
		ret = pcidipc_spawn(edu.loop, live, &edu);
	if (ret) {
		pcidipc_err("%s", strerror(-ret));
		return 1;
	}
	pcidipc_pci_on_event(edu.pci, on_event, &edu);
	return pcidipc_loop_run(edu.loop);
}
