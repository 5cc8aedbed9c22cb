/* SPDX-License-Identifier: MIT */
/* I/O queue pairs, and their interrupt in the manner of NAPI: it arrives, mask once, poll until
 * idle, unmask. */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "nvmed.h"

#define BUDGET 64
#define RESET_STEP_NS 1000000u

static unsigned io_vector(const struct controller *c)
{
	return c->vectors.count > 1;
}

/* An interrupt is a message, not a state that lasts until it is served. */
static bool by_message(const struct controller *c)
{
	return c->vectors.kind == RINGABI_IRQ_MSIX && io_vector(c);
}

static uint32_t size_and_id(const struct nvme_queue *q)
{
	return (uint32_t)(q->params.entries - 1) << 16 | q->params.id;
}

static int create_cq(struct controller *c, const struct nvme_queue *q)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_create_cq,
			       .prp1 = htole64(q->cq_iova),
			       .cdw10 = htole32(size_and_id(q)),
			       .cdw11 = htole32(io_vector(c) << 16 | 3)};

	return admin_command(c, &sqe, NULL);
}

static int create_sq(struct controller *c, const struct nvme_queue *q)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_create_sq,
			       .prp1 = htole64(q->sq_iova),
			       .cdw10 = htole32(size_and_id(q)),
			       .cdw11 = htole32((uint32_t)q->params.id << 16 | 1)};

	return admin_command(c, &sqe, NULL);
}

static void delete_queue(struct controller *c, uint8_t opcode, uint16_t id)
{
	struct nvme_sqe sqe = {.opcode = opcode, .cdw10 = htole32(id)};

	admin_command(c, &sqe, NULL);
}

static void use_shadow(struct controller *c, struct nvme_doorbell *d, unsigned index)
{
	unsigned at = index * c->stride / 4;

	d->shadow = d->event = NULL;
	if (!c->shadow || at >= c->page / 4)
		return;
	c->shadow[at] = c->event[at] = 0;
	d->shadow = &c->shadow[at];
	d->event = &c->event[at];
}

/* Tell the controller of the pair, whose queues are as new. */
static int announce(struct controller *c, struct pair *p)
{
	uint16_t id = p->queue.params.id;
	int ret;

	p->made = c->resets;
	use_shadow(c, &p->queue.sq_doorbell, 2u * id);
	use_shadow(c, &p->queue.cq_doorbell, 2u * id + 1);
	ret = create_cq(c, &p->queue);
	if (ret)
		return ret;
	ret = create_sq(c, &p->queue);
	if (ret && p->made == c->resets)
		delete_queue(c, nvme_admin_delete_cq, id);
	return ret;
}

static uint16_t depth(const struct controller *c)
{
	uint32_t most = (c->cap & 0xffff) + 1; /* MQES */

	return (uint16_t)(most < IO_ENTRIES ? most : IO_ENTRIES);
}

static struct pair *make_pair(struct controller *c, uint16_t id, int *error)
{
	const struct nvme_queue_params params = {.dma = &c->dma,
						 .bar = &c->bar,
						 .clock = &c->clock,
						 .limit = c->io_limit,
						 .page = c->page,
						 .list_bytes = c->list_bytes,
						 .stride = c->stride,
						 .id = id,
						 .entries = depth(c),
						 .lazy = by_message(c)};
	struct pair *p = calloc(1, sizeof(*p));

	*error = p ? nvme_queue_create(&p->queue, &params) : -ENOMEM;
	if (!*error) {
		p->controller = c;
		p->epoch = 1; /* so that a session that has asked for nothing is not in it */
		*error = announce(c, p);
		if (!*error)
			return p;
		nvme_queue_destroy(&p->queue);
	}
	free(p);
	return NULL;
}

int pairs_restore(struct controller *c)
{
	int ret = 0;

	pcidipc_task_lock(&c->pairs_lock);
	for (unsigned i = 0; i < MAX_PAIRS && !ret; i++) {
		struct pair *p = c->pairs[i];

		if (!p || p->made == c->resets)
			continue;
		nvme_queue_reset(&p->queue);
		ret = announce(c, p);
		if (!ret)
			nvme_queue_start(&p->queue);
	}
	pcidipc_task_unlock(&c->pairs_lock);
	return ret;
}

static struct pair *least_used(struct controller *c)
{
	struct pair *best = NULL;

	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i] && (!best || c->pairs[i]->users < best->users))
			best = c->pairs[i];
	return best;
}

/* A pair of its own if there is room. */
static struct pair *own_pair(struct controller *c, int *error)
{
	unsigned i = 0, most = c->mapped ? c->max_pairs : 1;

	while (i < most && c->pairs[i])
		i++;
	*error = -EBUSY;
	if (i == most)
		return NULL;
	c->pairs[i] = make_pair(c, (uint16_t)(i + 1), error);
	if (c->pairs[i] && i >= c->npairs)
		c->npairs = i + 1;
	return c->pairs[i];
}

/*
 * During a reset a new pair would be lost with the others, or be created before the controller
 * knows of shadow doorbells. Waiting must not hold the lock: the reset needs it.
 */
static void lock_running(struct controller *c)
{
	pcidipc_task_lock(&c->pairs_lock);
	while (c->paused && !c->dead) {
		pcidipc_task_unlock(&c->pairs_lock);
		pcidipc_task_sleep(RESET_STEP_NS);
		pcidipc_task_lock(&c->pairs_lock);
	}
}

int pair_get(struct controller *c, struct pair **pair)
{
	uint32_t resets;
	int ret = -ENODEV;

	do {
		lock_running(c);
		resets = c->resets;
		*pair = c->dead ? NULL : own_pair(c, &ret);
		if (!*pair && !c->dead && resets == c->resets)
			*pair = least_used(c);
		if (*pair)
			(*pair)->users++;
		pcidipc_task_unlock(&c->pairs_lock);
	} while (!*pair && !c->dead && resets != c->resets);
	return *pair ? 0 : c->dead ? -ENODEV : ret;
}

/*
 * A pair that a reset ended, and that is not created again yet, has no queues to delete. The
 * doorbell of a queue that is deleted must not be rung, which controllers report as an error: what
 * was taken stays untold.
 */
static void drop_pair(struct controller *c, struct pair *p)
{
	nvme_queue_stop(&p->queue);
	if (!c->dead && p->made == c->resets) {
		delete_queue(c, nvme_admin_delete_sq, p->queue.params.id);
		if (p->made == c->resets)
			delete_queue(c, nvme_admin_delete_cq, p->queue.params.id);
	}
	c->pairs[p->queue.params.id - 1] = NULL;
	while (c->npairs && !c->pairs[c->npairs - 1])
		c->npairs--;
	nvme_queue_destroy(&p->queue);
	free(p);
}

void pair_put(struct pair *p)
{
	struct controller *c = p->controller;

	pcidipc_task_lock(&c->pairs_lock);
	if (!--p->users)
		drop_pair(c, p);
	pcidipc_task_unlock(&c->pairs_lock);
}

/* ---- polling ---- */

static unsigned poll_pairs(struct pcidipc_poller *poller)
{
	struct controller *c = pcidipc_container_of(poller, struct controller, poller);
	unsigned n = 0;

	for (unsigned i = 0; i < c->npairs; i++) {
		struct pair *p = c->pairs[i];

		if (!p || (!p->queue.in_flight && !p->line_first))
			continue;
		n += nvme_queue_reap(&p->queue, BUDGET);
		if (p->line_first)
			command_resume(p);
	}
	return n;
}

static bool anything_ready(struct controller *c)
{
	for (unsigned i = 0; i < c->npairs; i++)
		if (c->pairs[i] && c->pairs[i]->queue.in_flight &&
		    nvme_queue_ready(&c->pairs[i]->queue))
			return true;
	return false;
}

/*
 * Who polls tells the controller seldom what was taken; who waits for an interrupt tells all: one
 * that thinks that we have not seen the last need not send the next. Where it would wake pcid first
 * the quarters must do.
 */
static void tell_all(struct controller *c)
{
	for (unsigned i = 0; c->mapped && i < c->npairs; i++)
		if (c->pairs[i])
			nvme_queue_tell(&c->pairs[i]->queue);
}

static bool arm_pairs(struct pcidipc_poller *poller)
{
	struct controller *c = pcidipc_container_of(poller, struct controller, poller);

	c->io_told = false;
	tell_all(c);
	if (c->io_masked) {
		c->io_masked = false;
		pcidipc_pci_unmask(c->pci, io_vector(c));
	}
	return !anything_ready(c);
}

/*
 * Masking pays when a second interrupt comes while we are awake. With one command in flight at a
 * time we sleep for each: there would be a mask and an unmask for every interrupt, and none less. A
 * state that lasts has to be masked at once.
 */
static void io_interrupt(struct pcidipc_watch *watch, unsigned events)
{
	struct controller *c = pcidipc_container_of(watch, struct controller, io_irq);

	(void)events;
	if (pcidipc_vector_ack(watch->fd) < 0) {
		pcidipc_watch_remove(watch); /* pcid will tell us to end */
		return;
	}
	if (!c->io_masked && (c->io_told || !by_message(c))) {
		c->io_masked = true;
		pcidipc_pci_mask(c->pci, io_vector(c));
	}
	c->io_told = true;
	if (!io_vector(c))
		nvme_queue_reap(&c->admin, ADMIN_ENTRIES);
}

/* With one vector for all, it is treated in the manner of NAPI too: a level-triggered one has to
 * be. */
int pairs_watch(struct controller *c)
{
	if (!io_vector(c))
		pcidipc_watch_remove(&c->admin_irq);
	return pcidipc_watch_add(c->loop, &c->io_irq, c->vectors.fds[io_vector(c)], EPOLLIN,
				 io_interrupt);
}

int pairs_start(struct controller *c)
{
	c->poller.poll = poll_pairs;
	c->poller.arm = arm_pairs;
	pcidipc_poller_add(c->loop, &c->poller);
	return pairs_watch(c);
}
