/* SPDX-License-Identifier: MIT */
/* Bringing the controller up and down (NVMe base specification 1.4, 7.6). */
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "nvmed.h"

#define REG_CAP 0x00
#define REG_CC 0x14
#define REG_CSTS 0x1c
#define REG_AQA 0x24
#define REG_ASQ 0x28
#define REG_ACQ 0x30
#define CC_ENABLE (1u | 6u << 16 | 4u << 20) /* 64-byte SQEs, 16-byte CQEs */
#define CC_SHUTDOWN (1u << 14)
#define CSTS_SHUTDOWN_MASK (3u << 2)
#define CSTS_SHUTDOWN_DONE (2u << 2)
#define STEP_NS 1000000u
#define SHUTDOWN_STEPS 5000
#define MOST_PAGE_SHIFT 4 /* 64 KiB */

uint32_t controller_status(struct controller *c)
{
	return pcidipc_read32(&c->bar, REG_CSTS);
}

static int wait_status(struct controller *c, uint32_t mask, uint32_t value, uint64_t steps)
{
	uint64_t end = pcidipc_loop_now(c->loop) + steps * STEP_NS;
	uint32_t csts = controller_status(c);

	while (csts != UINT32_MAX && (csts & mask) != value) {
		bool broken = csts & CSTS_FATAL && mask == CSTS_READY && value;

		if (broken || pcidipc_loop_now(c->loop) >= end) {
			pcidipc_err("%s: CSTS stays %#x, waiting for %#x in %#x", c->address, csts,
				    value, mask);
			return -ETIMEDOUT;
		}
		pcidipc_task_sleep(STEP_NS);
		csts = controller_status(c);
	}
	return csts == UINT32_MAX ? -ENODEV : 0;
}

/* CAP.TO is in units of 500 ms. */
static uint64_t ready_steps(const struct controller *c)
{
	return (c->cap >> 24 & 0xff) * 500 + 500;
}

/* CC.MPS, in units of 4 KiB << MPS. */
static uint32_t configuration(const struct controller *c)
{
	return CC_ENABLE | (uint32_t)(__builtin_ctz(c->page) - 12) << 7;
}

int controller_disable(struct controller *c)
{
	pcidipc_write32(&c->bar, REG_CC, 0);
	return wait_status(c, CSTS_READY, 0, ready_steps(c));
}

static void write_address(struct controller *c, uint64_t reg, uint64_t value)
{
	pcidipc_write32(&c->bar, reg, (uint32_t)value);
	pcidipc_write32(&c->bar, reg + 4, (uint32_t)(value >> 32));
}

static int make_ready(struct controller *c)
{
	int ret;

	nvme_queue_reset(&c->admin);
	pcidipc_write32(&c->bar, REG_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	write_address(c, REG_ASQ, c->admin.sq_iova);
	write_address(c, REG_ACQ, c->admin.cq_iova);
	pcidipc_write32(&c->bar, REG_CC, configuration(c));
	ret = wait_status(c, CSTS_READY, CSTS_READY, ready_steps(c));
	if (!ret)
		nvme_queue_start(&c->admin);
	return ret;
}

/* Shadow doorbells (1.4, 5.7): two pages, one of tails and heads, one of what the controller wants
 * to be told. */
static int configure_doorbell_buffers(struct controller *c)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_dbbuf};
	int ret;

	c->shadow = c->event = NULL;
	if (!c->shadow_pages)
		c->shadow_pages = pcidipc_pool_alloc(c->dma.pool, 2 * c->page, c->page);
	if (!c->shadow_pages)
		return -ENOMEM;
	memset(pcidipc_buf_ptr(c->shadow_pages), 0, 2 * c->page);
	sqe.prp1 = htole64(pcidipc_dma_iova(&c->dma, c->shadow_pages));
	sqe.prp2 = htole64(pcidipc_dma_iova(&c->dma, c->shadow_pages) + c->page);
	ret = admin_command(c, &sqe, NULL);
	if (!ret) {
		c->shadow = pcidipc_buf_ptr(c->shadow_pages);
		c->event = c->shadow + c->page / 4;
	}
	return ret;
}

/* Each has two doorbells in the BAR. */
static void limit_pairs(struct controller *c)
{
	uint64_t fit =
		(c->bar.bytes - 0x1000) / (2ull * c->stride) - 1; /* without the admin queue */

	if (c->max_pairs > fit)
		c->max_pairs = (uint16_t)fit;
}

static int ask_queues(struct controller *c)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_set_features,
			       .cdw10 = htole32(NVME_FEAT_FID_NUM_QUEUES),
			       .cdw11 = htole32((MAX_PAIRS - 1) << 16 | (MAX_PAIRS - 1))};
	uint32_t granted = 0, n;
	int ret = admin_command(c, &sqe, &granted);

	n = (granted & 0xffff) < granted >> 16 ? granted & 0xffff : granted >> 16;
	c->max_pairs = (uint16_t)(n + 1 < MAX_PAIRS ? n + 1 : MAX_PAIRS);
	limit_pairs(c);
	return ret;
}

int controller_enable(struct controller *c)
{
	int ret = make_ready(c);

	if (!ret && !c->started)
		ret = identify_controller(c);
	if (!ret && c->doorbell_buffers && configure_doorbell_buffers(c) == -ENODEV)
		ret = -ENODEV;
	return ret ? ret : ask_queues(c);
}

/* ---- the first time ---- */

/* Not the poller's: there are no pairs yet, and events come while all else is idle. */
static void admin_interrupt(struct pcidipc_watch *watch, unsigned events)
{
	struct controller *c = pcidipc_container_of(watch, struct controller, admin_irq);

	(void)events;
	if (pcidipc_vector_ack(watch->fd) < 0)
		pcidipc_watch_remove(watch);
	nvme_queue_reap(&c->admin, ADMIN_ENTRIES);
}

static int take_vectors(struct controller *c)
{
	int ret = pcidipc_pci_alloc_vectors(c->pci, 1, 2, &c->vectors);

	return ret ? ret
		   : pcidipc_watch_add(c->loop, &c->admin_irq, c->vectors.fds[0], EPOLLIN,
				       admin_interrupt);
}

int controller_renew_vectors(struct controller *c)
{
	int ret;

	pcidipc_watch_remove(&c->admin_irq);
	pcidipc_watch_remove(&c->io_irq);
	for (unsigned i = 0; i < c->vectors.count; i++)
		close(c->vectors.fds[i]);
	c->vectors.count = 0;
	c->io_masked = c->io_told = false;
	ret = take_vectors(c);
	return ret || !c->started ? ret : pairs_watch(c);
}

static int map_function(struct controller *c)
{
	int ret = pcidipc_pci_map(c->pci, 0, &c->bar);

	if (!ret && c->bar.bytes < 0x2000)
		ret = -ENXIO;
	c->mapped = c->bar.base;
	if (!ret)
		ret = pcidipc_pci_enable(c->pci, true, true);
	if (!ret)
		ret = pcidipc_dma_create(c->pci, DMA_BYTES, &c->dma);
	return ret;
}

/* What CAP says about sizes and offsets is used in arithmetic: it must be possible. */
static int read_cap(struct controller *c)
{
	unsigned shift;

	c->cap = pcidipc_read32(&c->bar, REG_CAP) | (uint64_t)pcidipc_read32(&c->bar, REG_CAP + 4)
							    << 32;
	if (c->cap == UINT64_MAX)
		return -ENODEV;
	c->stride = 4u << (c->cap >> 32 & 15);
	shift = c->cap >> 48 & 15;
	c->page = 4096u << shift;
	if (shift > MOST_PAGE_SHIFT || !(c->cap & 0xffff) || !(c->cap >> 37 & 1)) {
		pcidipc_err("%s: CAP %#llx: pages of %u bytes (at most %u), queues of %u entries "
			    "(at least 2), NVM command set %s: cannot be driven",
			    c->address, (unsigned long long)c->cap, c->page,
			    4096u << MOST_PAGE_SHIFT, (unsigned)(c->cap & 0xffff) + 1,
			    c->cap >> 37 & 1 ? "yes" : "no");
		return -EOPNOTSUPP;
	}
	if (c->bar.bytes < 0x1000 + 4ull * c->stride) {
		pcidipc_err(
			"%s: CAP %#llx: doorbells %u bytes apart do not fit a BAR of %llu bytes",
			c->address, (unsigned long long)c->cap, c->stride,
			(unsigned long long)c->bar.bytes);
		return -EOPNOTSUPP;
	}
	return 0;
}

static int prepare(struct controller *c)
{
	int ret = map_function(c);

	if (!ret)
		ret = read_cap(c);
	if (ret)
		return ret;
	c->scratch = pcidipc_pool_alloc(c->dma.pool, c->page, c->page);
	if (!c->scratch)
		return -ENOMEM;
	ret = admin_create(c);
	if (ret)
		return ret;
	nvme_queue_stop(&c->admin);
	return take_vectors(c);
}

int controller_start(struct controller *c)
{
	int ret = prepare(c);

	if (!ret)
		ret = controller_disable(c);
	if (!ret)
		ret = controller_enable(c);
	if (ret)
		return ret;
	c->started = true;
	return 0;
}

void controller_stop(struct controller *c)
{
	if (c->dead)
		return;
	pcidipc_write32(&c->bar, REG_CC, configuration(c) | CC_SHUTDOWN);
	wait_status(c, CSTS_SHUTDOWN_MASK, CSTS_SHUTDOWN_DONE, SHUTDOWN_STEPS);
	controller_disable(c);
}
