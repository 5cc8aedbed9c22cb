/* SPDX-License-Identifier: MIT */
/* Bringing the controller up and down (NVMe base specification 3.5), and its admin queue. */
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <string.h>
#include <sys/epoll.h>

#include "nvmed.h"

#define REG_CAP 0x00
#define REG_CC 0x14
#define REG_CSTS 0x1c
#define REG_AQA 0x24
#define REG_ASQ 0x28
#define REG_ACQ 0x30
#define CC_ENABLE (1u | 6u << 16 | 4u << 20) /* 64-byte SQEs, 16-byte CQEs, 4 KiB pages */
#define CC_SHUTDOWN (1u << 14)
#define CSTS_READY 1u
#define CSTS_FATAL 2u
#define CSTS_SHUTDOWN_MASK (3u << 2)
#define CSTS_SHUTDOWN_DONE (2u << 2)
#define STEP_NS 1000000u
#define SHUTDOWN_STEPS 5000

static int wait_status(struct controller *c, uint32_t mask, uint32_t value, unsigned steps)
{
	for (unsigned i = 0; i <= steps; i++) {
		uint32_t csts = pcidipc_read32(&c->bar, REG_CSTS);

		if (csts == UINT32_MAX)
			return -ENODEV;
		if ((csts & mask) == value)
			return 0;
		if (csts & CSTS_FATAL && mask == CSTS_READY && value)
			break;
		pcidipc_task_sleep(STEP_NS);
	}
	pcidipc_err("%s: CSTS stays %#x, waiting for %#x in %#x", c->address,
		    pcidipc_read32(&c->bar, REG_CSTS), value, mask);
	return -ETIMEDOUT;
}

/* CAP.TO is in units of 500 ms. */
static unsigned ready_steps(const struct controller *c)
{
	return (unsigned)(c->cap >> 24 & 0xff) * 500 + 500;
}

static int disable(struct controller *c)
{
	pcidipc_write32(&c->bar, REG_CC, 0);
	return wait_status(c, CSTS_READY, 0, ready_steps(c));
}

static void write_address(struct controller *c, uint64_t reg, uint64_t value)
{
	pcidipc_write32(&c->bar, reg, (uint32_t)value);
	pcidipc_write32(&c->bar, reg + 4, (uint32_t)(value >> 32));
}

static int enable(struct controller *c)
{
	int ret = nvme_queue_create(&c->admin, &c->dma, &c->bar, 0, ADMIN_ENTRIES, c->stride);

	if (ret)
		return ret;
	pcidipc_write32(&c->bar, REG_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	write_address(c, REG_ASQ, c->admin.sq_iova);
	write_address(c, REG_ACQ, c->admin.cq_iova);
	pcidipc_write32(&c->bar, REG_CC, CC_ENABLE);
	return wait_status(c, CSTS_READY, CSTS_READY, ready_steps(c));
}

/* ---- admin commands ---- */

struct waiter {
	struct pcidipc_completion done;
	uint32_t result;
};

static void admin_done(struct nvme_command *command, uint16_t status, uint32_t result)
{
	struct waiter *w = command->arg;

	w->result = result;
	pcidipc_post(&w->done, status);
}

static void admin_interrupt(struct pcidipc_watch *watch, unsigned events)
{
	struct controller *c = pcidipc_container_of(watch, struct controller, admin_irq);

	(void)events;
	pcidipc_vector_ack(watch->fd);
	nvme_queue_reap(&c->admin, ADMIN_ENTRIES);
}

int status_error(const struct controller *c, uint16_t status, const char *what)
{
	if (!status)
		return 0;
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: %s: %s (status %#x)", c->address, what,
				nvme_status_to_string(status & 0x7ff, false), status);
	switch (status & 0x7ff) {
	case NVME_SC_INVALID_OPCODE:
		return -EOPNOTSUPP;
	case NVME_SC_LBA_RANGE:
		return -ENOSPC;
	case NVME_SC_NS_WRITE_PROTECTED:
		return -EROFS;
	case NVME_SC_READ_ERROR:
		return -ENODATA;
	case NVME_SC_GUARD_CHECK:
	case NVME_SC_APPTAG_CHECK:
	case NVME_SC_REFTAG_CHECK:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

int admin_command(struct controller *c, const struct nvme_sqe *command, uint32_t *result)
{
	struct waiter w = {0};
	struct nvme_command *slot;
	struct nvme_sqe *sqe;
	uint16_t cid;

	while (!(sqe = nvme_queue_get(&c->admin, &slot)))
		pcidipc_task_sleep(STEP_NS);
	cid = sqe->cid;
	*sqe = *command;
	sqe->cid = cid;
	slot->done = admin_done;
	slot->arg = &w;
	nvme_queue_ring(&c->admin);
	pcidipc_await(&w.done);
	if (result)
		*result = w.result;
	return status_error(c, (uint16_t)w.done.res, "admin command");
}

int identify(struct controller *c, uint32_t cns, uint32_t nsid, void *to)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_identify,
			       .nsid = nsid,
			       .prp1 = pcidipc_dma_iova(&c->dma, c->scratch),
			       .cdw10 = cns};
	int ret;

	pcidipc_task_lock(&c->scratch_lock);
	ret = admin_command(c, &sqe, NULL);
	if (!ret)
		memcpy(to, pcidipc_buf_ptr(c->scratch), 4096);
	pcidipc_task_unlock(&c->scratch_lock);
	return ret;
}

/* Fixed-width, space-padded, from a device: printable or a question mark. */
static void copy_text(char *to, const char *from, size_t bytes)
{
	while (bytes && (from[bytes - 1] == ' ' || !from[bytes - 1]))
		bytes--;
	for (size_t i = 0; i < bytes; i++)
		to[i] = from[i] >= ' ' && from[i] < 127 ? from[i] : '?';
	to[bytes] = 0;
}

static uint32_t command_limit(uint8_t mdts)
{
	uint32_t most = PRP_LIST_ENTRIES * PRP_PAGE;

	if (!mdts || mdts > 9)
		return most;
	return PRP_PAGE << mdts < most ? PRP_PAGE << mdts : most;
}

static int identify_controller(struct controller *c, bool *doorbell_buffers)
{
	static struct nvme_id_ctrl id;
	int ret = identify(c, NVME_IDENTIFY_CNS_CTRL, 0, &id);

	if (ret)
		return ret;
	copy_text(c->serial, id.sn, sizeof(id.sn));
	copy_text(c->model, id.mn, sizeof(id.mn));
	copy_text(c->firmware, id.fr, sizeof(id.fr));
	c->max_bytes = command_limit(id.mdts);
	c->oncs = le16toh(id.oncs);
	c->volatile_cache = id.vwc & 1;
	*doorbell_buffers = le16toh(id.oacs) & 1 << 8;
	if ((id.sqes & 15) > 6 || (id.cqes & 15) > 4) {
		pcidipc_err(
			"%s: wants queue entries larger than 64 and 16 bytes (SQES %#x, CQES %#x)",
			c->address, id.sqes, id.cqes);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Shadow doorbells (5.9): two pages, one of tails and heads, one of what the controller wants to be
 * told. */
static int configure_doorbell_buffers(struct controller *c)
{
	struct pcidipc_buf *buf = pcidipc_pool_alloc(c->dma.pool, 8192, 4096);
	struct nvme_sqe sqe = {.opcode = nvme_admin_dbbuf};
	int ret;

	if (!buf)
		return -ENOMEM;
	memset(pcidipc_buf_ptr(buf), 0, 8192);
	sqe.prp1 = pcidipc_dma_iova(&c->dma, buf);
	sqe.prp2 = sqe.prp1 + 4096;
	ret = admin_command(c, &sqe, NULL);
	if (!ret) {
		c->shadow = pcidipc_buf_ptr(buf);
		c->event = c->shadow + 1024;
	}
	return ret;
}

static int ask_queues(struct controller *c)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_set_features,
			       .cdw10 = NVME_FEAT_FID_NUM_QUEUES,
			       .cdw11 = (MAX_PAIRS - 1) << 16 | (MAX_PAIRS - 1)};
	uint32_t granted = 0;
	int ret = admin_command(c, &sqe, &granted);
	uint32_t n = (granted & 0xffff) < granted >> 16 ? granted & 0xffff : granted >> 16;

	c->max_pairs = (uint16_t)(n + 1 < MAX_PAIRS ? n + 1 : MAX_PAIRS);
	return ret;
}

static int map_function(struct controller *c)
{
	int ret = pcidipc_pci_map(c->pci, 0, &c->bar);

	if (!ret && c->bar.bytes < 0x2000)
		ret = -ENXIO;
	if (!ret)
		ret = pcidipc_pci_enable(c->pci, true, true);
	if (!ret)
		ret = pcidipc_pci_alloc_vectors(c->pci, 1, 2, &c->vectors);
	if (!ret)
		ret = pcidipc_dma_create(c->pci, DMA_BYTES, &c->dma);
	if (ret)
		return ret;
	c->scratch = pcidipc_pool_alloc(c->dma.pool, 4096, 4096);
	return pcidipc_watch_add(c->loop, &c->admin_irq, c->vectors.fds[0], EPOLLIN,
				 admin_interrupt);
}

static int read_cap(struct controller *c)
{
	c->cap = pcidipc_read32(&c->bar, REG_CAP) | (uint64_t)pcidipc_read32(&c->bar, REG_CAP + 4)
							    << 32;
	c->stride = 4u << (c->cap >> 32 & 15);
	if (c->cap == UINT64_MAX)
		return -ENODEV;
	if (c->cap >> 48 & 15) {
		pcidipc_err("%s: its smallest page is larger than 4 KiB (CAP %#llx)", c->address,
			    (unsigned long long)c->cap);
		return -EOPNOTSUPP;
	}
	return 0;
}

int controller_start(struct controller *c)
{
	bool doorbell_buffers = false;
	int ret = map_function(c);

	if (!ret)
		ret = read_cap(c);
	if (!ret)
		ret = disable(c);
	if (!ret)
		ret = enable(c);
	if (!ret)
		ret = identify_controller(c, &doorbell_buffers);
	if (!ret && doorbell_buffers)
		configure_doorbell_buffers(c);
	return ret ? ret : ask_queues(c);
}

void controller_stop(struct controller *c)
{
	pcidipc_write32(&c->bar, REG_CC, CC_ENABLE | CC_SHUTDOWN);
	wait_status(c, CSTS_SHUTDOWN_MASK, CSTS_SHUTDOWN_DONE, SHUTDOWN_STEPS);
	disable(c);
}
