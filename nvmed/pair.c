/* SPDX-License-Identifier: MIT */
/* I/O queue pairs, and their interrupt in the manner of NAPI: it arrives, mask once, poll until
 * idle, unmask. */
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "nvmed.h"

#define BUDGET 64

static unsigned io_vector(const struct controller *c)
{
	return c->vectors.count > 1;
}

static int create_cq(struct controller *c, const struct nvme_queue *q)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_create_cq,
			       .prp1 = q->cq_iova,
			       .cdw10 = (uint32_t)(q->entries - 1) << 16 | q->id,
			       .cdw11 = io_vector(c) << 16 | 3};

	return admin_command(c, &sqe, NULL);
}

static int create_sq(struct controller *c, const struct nvme_queue *q)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_create_sq,
			       .prp1 = q->sq_iova,
			       .cdw10 = (uint32_t)(q->entries - 1) << 16 | q->id,
			       .cdw11 = (uint32_t)q->id << 16 | 1};

	return admin_command(c, &sqe, NULL);
}

static void delete_queue(struct controller *c, uint8_t opcode, uint16_t id)
{
	struct nvme_sqe sqe = {.opcode = opcode, .cdw10 = id};

	admin_command(c, &sqe, NULL);
}

static void use_shadow(struct controller *c, struct nvme_doorbell *d, unsigned index)
{
	unsigned at = index * c->stride / 4;

	if (!c->shadow || at >= 1024)
		return;
	c->shadow[at] = c->event[at] = 0;
	d->shadow = &c->shadow[at];
	d->event = &c->event[at];
}

static struct pair *make_pair(struct controller *c, uint16_t id, int *error)
{
	struct pair *p = calloc(1, sizeof(*p));
	uint16_t entries =
		(c->cap & 0xffff) + 1 < IO_ENTRIES ? (uint16_t)((c->cap & 0xffff) + 1) : IO_ENTRIES;

	*error = p ? nvme_queue_create(&p->queue, &c->dma, &c->bar, id, entries, c->stride)
		   : -ENOMEM;
	if (*error)
		goto out;
	p->controller = c;
	use_shadow(c, &p->queue.sq_doorbell, 2u * id);
	use_shadow(c, &p->queue.cq_doorbell, 2u * id + 1);
	*error = create_cq(c, &p->queue);
	if (*error)
		goto out;
	*error = create_sq(c, &p->queue);
	if (!*error)
		return p;
	delete_queue(c, nvme_admin_delete_cq, id);
out:
	if (p)
		nvme_queue_destroy(&p->queue);
	free(p);
	return NULL;
}

static struct pair *least_used(struct controller *c)
{
	struct pair *best = NULL;

	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i] && (!best || c->pairs[i]->users < best->users))
			best = c->pairs[i];
	return best;
}

int pair_get(struct controller *c, struct pair **pair)
{
	int ret = -EBUSY;
	unsigned i = 0;

	pcidipc_task_lock(&c->pairs_lock);
	while (i < c->max_pairs && c->pairs[i])
		i++;
	*pair = i < c->max_pairs ? make_pair(c, (uint16_t)(i + 1), &ret) : NULL;
	if (*pair)
		c->pairs[i] = *pair;
	else
		*pair = least_used(c);
	if (*pair)
		(*pair)->users++;
	pcidipc_task_unlock(&c->pairs_lock);
	if (!*pair)
		return ret;
	return 0;
}

void pair_put(struct pair *p)
{
	struct controller *c = p->controller;

	pcidipc_task_lock(&c->pairs_lock);
	if (!--p->users) {
		delete_queue(c, nvme_admin_delete_sq, p->queue.id);
		delete_queue(c, nvme_admin_delete_cq, p->queue.id);
		c->pairs[p->queue.id - 1] = NULL;
		nvme_queue_destroy(&p->queue);
		free(p);
	}
	pcidipc_task_unlock(&c->pairs_lock);
}

/* ---- polling ---- */

static unsigned poll_pairs(struct pcidipc_poller *poller)
{
	struct controller *c = pcidipc_container_of(poller, struct controller, poller);
	unsigned n = 0;

	for (unsigned i = 0; i < c->max_pairs; i++) {
		struct pair *p = c->pairs[i];

		if (!p || !p->queue.in_flight)
			continue;
		n += nvme_queue_reap(&p->queue, BUDGET);
		if (p->parked_first)
			command_resume(p);
	}
	return n;
}

static bool anything_ready(struct controller *c)
{
	for (unsigned i = 0; i < c->max_pairs; i++)
		if (c->pairs[i] && c->pairs[i]->queue.in_flight &&
		    nvme_queue_ready(&c->pairs[i]->queue))
			return true;
	return false;
}

static bool arm_pairs(struct pcidipc_poller *poller)
{
	struct controller *c = pcidipc_container_of(poller, struct controller, poller);

	if (c->io_masked) {
		c->io_masked = false;
		pcidipc_pci_unmask(c->pci, io_vector(c));
	}
	return !anything_ready(c);
}

static void io_interrupt(struct pcidipc_watch *watch, unsigned events)
{
	struct controller *c = pcidipc_container_of(watch, struct controller, io_irq);

	(void)events;
	pcidipc_vector_ack(watch->fd);
	if (c->io_masked)
		return;
	c->io_masked = true;
	pcidipc_pci_mask(c->pci, io_vector(c));
}

void pairs_start(struct controller *c)
{
	c->poller.poll = poll_pairs;
	c->poller.arm = arm_pairs;
	pcidipc_poller_add(c->loop, &c->poller);
	if (io_vector(c))
		pcidipc_watch_add(c->loop, &c->io_irq, c->vectors.fds[1], EPOLLIN, io_interrupt);
}
