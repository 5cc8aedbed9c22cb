/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

#define DOORBELLS 0x1000
#define SLOT_BITS 12

static size_t round_up(size_t bytes, size_t page)
{
	return (bytes + page - 1) & ~(page - 1);
}

static void place(struct nvme_queue *q, size_t sq_bytes, size_t cq_bytes)
{
	const struct nvme_queue_params *p = &q->params;
	char *base = pcidipc_buf_ptr(q->memory);

	q->sq = (void *)base;
	q->cq = (void *)(base + sq_bytes);
	q->lists = base + sq_bytes + cq_bytes;
	q->sq_iova = pcidipc_dma_iova(p->dma, q->memory);
	q->cq_iova = q->sq_iova + sq_bytes;
	q->lists_iova = q->cq_iova + cq_bytes;
	q->sq_doorbell.offset = DOORBELLS + 2ull * p->id * p->stride;
	q->cq_doorbell.offset = DOORBELLS + (2ull * p->id + 1) * p->stride;
}

int nvme_queue_create(struct nvme_queue *q, const struct nvme_queue_params *params)
{
	size_t sq_bytes = round_up((size_t)params->entries * SQE_BYTES, params->page);
	size_t cq_bytes = round_up((size_t)params->entries * CQE_BYTES, params->page);
	size_t lists = (size_t)params->entries * params->list_bytes;

	memset(q, 0, sizeof(*q));
	q->params = *params;
	q->memory =
		pcidipc_pool_alloc(params->dma->pool, sq_bytes + cq_bytes + lists, params->page);
	q->commands = calloc(params->entries, sizeof(*q->commands));
	if (!q->memory || !q->commands) {
		nvme_queue_destroy(q);
		return -ENOMEM;
	}
	place(q, sq_bytes, cq_bytes);
	nvme_queue_reset(q);
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

void nvme_queue_reset(struct nvme_queue *q)
{
	uint16_t entries = q->params.entries;

	memset(q->sq, 0, (size_t)entries * SQE_BYTES);
	memset((void *)q->cq, 0, (size_t)entries * CQE_BYTES);
	q->sq_tail = q->cq_head = q->taken = 0;
	q->phase = 1;
	q->sq_doorbell.written = q->cq_doorbell.written = 0;
	q->first_free = 0;
	/* One slot stays free: a full ring would look empty. */
	for (uint16_t i = 0; i + 1 < entries; i++)
		q->commands[i].next_free = i + 2 < entries ? (uint16_t)(i + 1) : NVME_NO_COMMAND;
}

void nvme_queue_stop(struct nvme_queue *q)
{
	q->stopped = true;
}

void nvme_queue_start(struct nvme_queue *q)
{
	q->stopped = false;
	for (uint16_t i = 0; i + 1 < q->params.entries; i++)
		q->commands[i].started = *q->params.clock;
	nvme_queue_ring(q);
}

/* ---- commands ---- */

uint16_t nvme_command_id(const struct nvme_queue *q, const struct nvme_command *c)
{
	return (uint16_t)(nvme_command_slot(q, c) | c->generation << SLOT_BITS);
}

struct prp_list nvme_command_list(const struct nvme_queue *q, const struct nvme_command *c)
{
	size_t at = (size_t)nvme_command_slot(q, c) * q->params.list_bytes;

	return (struct prp_list){.entries = (void *)(q->lists + at),
				 .iova = q->lists_iova + at,
				 .bytes = q->params.list_bytes};
}

struct nvme_sqe *nvme_queue_get(struct nvme_queue *q, struct nvme_command **command)
{
	uint16_t slot = q->first_free;
	struct nvme_command *c;
	struct nvme_sqe *sqe;

	if (slot == NVME_NO_COMMAND)
		return NULL;
	c = &q->commands[slot];
	q->first_free = c->next_free;
	c->busy = true;
	c->aborted = false;
	c->started = *q->params.clock;
	c->limit = q->params.limit;
	c->generation = (c->generation + 1) & 15;
	q->in_flight++;
	sqe = &q->sq[q->sq_tail];
	q->sq_tail = q->sq_tail + 1 == q->params.entries ? 0 : (uint16_t)(q->sq_tail + 1);
	memset(sqe, 0, sizeof(*sqe));
	sqe->cid = htole16(nvme_command_id(q, c));
	*command = c;
	return sqe;
}

static void put_command(struct nvme_queue *q, struct nvme_command *c)
{
	c->busy = false;
	c->next_free = q->first_free;
	q->first_free = nvme_command_slot(q, c);
	q->in_flight--;
}

void nvme_queue_unget(struct nvme_queue *q, struct nvme_command *c)
{
	q->sq_tail = (uint16_t)((q->sq_tail ? q->sq_tail : q->params.entries) - 1);
	put_command(q, c);
}

bool nvme_command_over(const struct nvme_queue *q, const struct nvme_command *c, uint32_t ticks)
{
	uint32_t limit = ticks && ticks < c->limit ? ticks : c->limit;

	return c->busy && c->limit && *q->params.clock - c->started > limit;
}

void nvme_queue_fail(struct nvme_queue *q, uint16_t status)
{
	for (uint16_t i = 0; i + 1 < q->params.entries; i++) {
		struct nvme_command *c = &q->commands[i];
		bool over = nvme_command_over(q, c, 0) || c->aborted;

		if (!c->busy)
			continue;
		put_command(q, c);
		c->done(c, over && status == STATUS_RESET ? STATUS_TIMEOUT : status, 0);
	}
}

/* ---- doorbells ---- */

/* 16-bit arithmetic, as for virtio's event index: right for queues of every size, although their
 * indices wrap at it, because a wrapped index only looks one round of 65536 further on. */
bool nvme_doorbell_passes(uint32_t event, uint32_t now, uint32_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/*
 * With shadow doorbells (NVMe 1.4, 5.7 and B.5): the value must be visible before we look at the
 * event index, as the controller first writes that and then looks at the value once more. Without
 * the full fence both may see the old one, and the controller sleeps on our command.
 */
static void ring(struct nvme_queue *q, struct nvme_doorbell *d, uint32_t value)
{
	uint32_t before = d->written;

	if (value == before || q->stopped)
		return;
	d->written = value;
	if (d->shadow) {
		__atomic_store_n(d->shadow, htole32(value), __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!nvme_doorbell_passes(le32toh(*d->event), value, before))
			return;
	}
	pcidipc_write32(q->params.bar, d->offset, value);
}

void nvme_queue_ring(struct nvme_queue *q)
{
	ring(q, &q->sq_doorbell, q->sq_tail);
}

/* ---- completions ---- */

bool nvme_queue_ready(const struct nvme_queue *q)
{
	return (le16toh(__atomic_load_n(&q->cq[q->cq_head].status, __ATOMIC_ACQUIRE)) & 1) ==
	       q->phase;
}

static void complete(struct nvme_queue *q, uint16_t cid, uint16_t status, uint32_t result)
{
	uint16_t slot = cid & ((1u << SLOT_BITS) - 1);
	struct nvme_command *c = slot < q->params.entries ? &q->commands[slot] : NULL;

	if (!c || !c->busy || nvme_command_id(q, c) != cid) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"nvme: queue %u: a completion for command %#x, which is "
					"not in flight: ignored",
					q->params.id, cid);
		return;
	}
	put_command(q, c);
	c->done(c, status >> 1, result);
}

void nvme_queue_tell(struct nvme_queue *q)
{
	q->taken = 0;
	ring(q, &q->cq_doorbell, q->cq_head);
}

/*
 * The controller needs the head only when it would run out of places. A lazy queue tells it when a
 * quarter has been taken, and no later, or a whole round would look like nothing: a CQ that is full
 * has then been told of, or gives us more to take. Where there are shadow doorbells the controller
 * may look for itself, at no cost.
 */
static void tell_quarter(struct nvme_queue *q)
{
	if (q->params.lazy && ++q->taken >= q->params.entries / 4)
		nvme_queue_tell(q);
}

static void tell_taken(struct nvme_queue *q)
{
	if (!q->params.lazy)
		ring(q, &q->cq_doorbell, q->cq_head);
	else if (q->cq_doorbell.shadow)
		__atomic_store_n(q->cq_doorbell.shadow, htole32(q->cq_head), __ATOMIC_RELEASE);
}

unsigned nvme_queue_reap(struct nvme_queue *q, unsigned budget)
{
	unsigned n = 0;

	while (n < budget && !q->stopped && nvme_queue_ready(q)) {
		volatile struct nvme_cqe *slot = &q->cq[q->cq_head];
		uint32_t result = le32toh(slot->result);
		uint16_t cid = le16toh(slot->cid), status = le16toh(slot->status);

		if (++q->cq_head == q->params.entries) {
			q->cq_head = 0;
			q->phase ^= 1;
		}
		tell_quarter(q);
		complete(q, cid, status, result);
		n++;
	}
	if (n)
		tell_taken(q);
	return n;
}
