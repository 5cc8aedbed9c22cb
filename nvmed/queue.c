/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

#define DOORBELLS 0x1000

int nvme_queue_create(struct nvme_queue *q, const struct pcidipc_dma *dma,
		      const struct pcidipc_mmio *bar, uint16_t id, uint16_t entries,
		      unsigned stride)
{
	size_t sq_bytes = ((size_t)entries * SQE_BYTES + 4095) & ~4095ul;
	size_t cq_bytes = ((size_t)entries * CQE_BYTES + 4095) & ~4095ul;
	char *base;

	memset(q, 0, sizeof(*q));
	q->memory =
		pcidipc_pool_alloc(dma->pool, sq_bytes + cq_bytes + (size_t)entries * 4096, 4096);
	q->commands = calloc(entries, sizeof(*q->commands));
	if (!q->memory || !q->commands) {
		nvme_queue_destroy(q);
		return -ENOMEM;
	}
	base = pcidipc_buf_ptr(q->memory);
	memset(base, 0, sq_bytes + cq_bytes);
	q->sq = (void *)base;
	q->cq = (void *)(base + sq_bytes);
	q->prp_lists = (void *)(base + sq_bytes + cq_bytes);
	q->sq_iova = pcidipc_dma_iova(dma, q->memory);
	q->cq_iova = q->sq_iova + sq_bytes;
	q->prp_iova = q->cq_iova + cq_bytes;
	q->bar = bar;
	q->id = id;
	q->entries = entries;
	q->phase = 1;
	q->sq_doorbell.offset = DOORBELLS + 2ull * id * stride;
	q->cq_doorbell.offset = DOORBELLS + (2ull * id + 1) * stride;
	/* One slot stays free: a full ring would look empty. */
	for (uint16_t i = 0; i + 1 < entries; i++)
		q->commands[i].next_free = i + 2 < entries ? (uint16_t)(i + 1) : NVME_NO_COMMAND;
	return 0;
}

void nvme_queue_destroy(struct nvme_queue *q)
{
	if (q->memory)
		pcidipc_buf_free(q->memory);
	free(q->commands);
	q->memory = NULL;
	q->commands = NULL;
}

struct nvme_sqe *nvme_queue_get(struct nvme_queue *q, struct nvme_command **command)
{
	uint16_t cid = q->first_free;
	struct nvme_sqe *sqe;

	if (cid == NVME_NO_COMMAND)
		return NULL;
	*command = &q->commands[cid];
	q->first_free = (*command)->next_free;
	(*command)->busy = true;
	q->in_flight++;
	sqe = &q->sq[q->sq_tail];
	q->sq_tail = q->sq_tail + 1 == q->entries ? 0 : (uint16_t)(q->sq_tail + 1);
	memset(sqe, 0, sizeof(*sqe));
	sqe->cid = cid;
	return sqe;
}

static void put_command(struct nvme_queue *q, struct nvme_command *c)
{
	c->busy = false;
	c->next_free = q->first_free;
	q->first_free = nvme_command_id(q, c);
	q->in_flight--;
}

void nvme_queue_unget(struct nvme_queue *q, struct nvme_command *c)
{
	q->sq_tail = q->sq_tail ? (uint16_t)(q->sq_tail - 1) : (uint16_t)(q->entries - 1);
	put_command(q, c);
}

/* Has the index moved past the one that the controller wants to hear of? (5.9.1, as for virtio's
 * event index) */
static bool passes(uint32_t event, uint32_t now, uint32_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static void ring(struct nvme_queue *q, struct nvme_doorbell *d, uint32_t value)
{
	uint32_t before = d->written;

	if (value == before)
		return;
	d->written = value;
	if (d->shadow) {
		__atomic_store_n(d->shadow, value, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!passes(*d->event, value, before))
			return;
	}
	pcidipc_write32(q->bar, d->offset, value);
}

void nvme_queue_ring(struct nvme_queue *q)
{
	ring(q, &q->sq_doorbell, q->sq_tail);
}

bool nvme_queue_ready(const struct nvme_queue *q)
{
	return (__atomic_load_n(&q->cq[q->cq_head].status, __ATOMIC_ACQUIRE) & 1) == q->phase;
}

static void complete(struct nvme_queue *q, const struct nvme_cqe *cqe)
{
	struct nvme_command *c;

	if (cqe->cid >= q->entries || !q->commands[cqe->cid].busy) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"nvme: queue %u: a completion for command %u, which is not in "
			"flight: ignored",
			q->id, cqe->cid);
		return;
	}
	c = &q->commands[cqe->cid];
	put_command(q, c);
	c->done(c, cqe->status >> 1, cqe->result);
}

unsigned nvme_queue_reap(struct nvme_queue *q, unsigned budget)
{
	unsigned n = 0;

	while (n < budget && nvme_queue_ready(q)) {
		volatile struct nvme_cqe *slot = &q->cq[q->cq_head];
		struct nvme_cqe cqe = {
			.result = slot->result, .cid = slot->cid, .status = slot->status};

		if (++q->cq_head == q->entries) {
			q->cq_head = 0;
			q->phase ^= 1;
		}
		complete(q, &cqe);
		n++;
	}
	if (n)
		ring(q, &q->cq_doorbell, q->cq_head);
	return n;
}
