/* SPDX-License-Identifier: MIT */
/*
 * The event ring (xHCI 1.2, 4.9.4) and its interrupt in the manner of NAPI: it arrives, poll until
 * idle, tell the controller how far we came. Meanwhile it is the controller that keeps quiet, or,
 * where it does not, the mask.
 */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>
#include <sys/epoll.h>

#include "xhcid.h"

#define BUDGET 64
#define SEGMENT_BYTES (EVENT_ENTRIES * TRB_BYTES)

struct segment_entry { /* of the Event Ring Segment Table (6.5) */
	uint64_t base;
	uint32_t entries;
	uint32_t reserved;
};

int events_create(struct controller *c)
{
	struct event_ring *e = &c->events;
	struct segment_entry *table;

	e->segments =
		c->event_segments_most < EVENT_SEGMENTS ? c->event_segments_most : EVENT_SEGMENTS;
	e->memory = pcidipc_pool_alloc(c->dma.pool, (size_t)e->segments * SEGMENT_BYTES, 4096);
	e->table = pcidipc_pool_alloc(c->dma.pool, e->segments * sizeof(*table), 64);
	if (!e->memory || !e->table)
		return -ENOMEM;
	memset(pcidipc_buf_ptr(e->memory), 0, (size_t)e->segments * SEGMENT_BYTES);
	table = pcidipc_buf_ptr(e->table);
	for (unsigned i = 0; i < e->segments; i++)
		table[i] = (struct segment_entry){
			htole64(pcidipc_dma_iova(&c->dma, e->memory) + (uint64_t)i * SEGMENT_BYTES),
			htole32(EVENT_ENTRIES), 0};
	e->segment = e->index = 0;
	e->cycle = true;
	return 0;
}

static uint64_t dequeue_pointer(const struct controller *c)
{
	const struct event_ring *e = &c->events;

	return pcidipc_dma_iova(&c->dma, e->memory) + (uint64_t)e->segment * SEGMENT_BYTES +
	       (uint64_t)e->index * TRB_BYTES;
}

/* With `idle` the controller may interrupt again (Event Handler Busy, 5.5.2.3.3). */
static void tell(struct controller *c, bool idle)
{
	controller_write64(c, c->runtime + RT_ERDP,
			   dequeue_pointer(c) | (c->events.segment & 7) | (idle ? ERDP_BUSY : 0));
	c->events.unread = 0;
}

void events_program(struct controller *c)
{
	pcidipc_write32(&c->bar, c->runtime + RT_ERSTSZ, c->events.segments);
	tell(c, true);
	controller_write64(c, c->runtime + RT_ERSTBA, pcidipc_dma_iova(&c->dma, c->events.table));
	pcidipc_write32(&c->bar, c->runtime + RT_IMOD, 0);
}

/* ---- taking events ---- */

static struct trb *current(const struct controller *c)
{
	const struct event_ring *e = &c->events;
	struct trb *trbs = pcidipc_buf_ptr(e->memory);

	return &trbs[e->segment * EVENT_ENTRIES + e->index];
}

static bool ready(const struct controller *c, uint32_t *control)
{
	*control = le32toh(__atomic_load_n(&current(c)->control, __ATOMIC_ACQUIRE));
	return (*control & TRB_CYCLE) == c->events.cycle;
}

static void advance(struct event_ring *e)
{
	e->unread++;
	if (++e->index < EVENT_ENTRIES)
		return;
	e->index = 0;
	if (++e->segment < e->segments)
		return;
	e->segment = 0;
	e->cycle = !e->cycle;
}

static void port_event(struct controller *c, const struct trb *event)
{
	unsigned number = event->parameter >> 24 & 0xff;

	if (number && number <= c->nports && c->ports[number].major)
		port_changed(&c->ports[number]);
	else
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: an event of port %u, of %u: ignored",
					c->address, number, c->nports);
}

static void dispatch(struct controller *c, const struct trb *event)
{
	switch (TRB_TYPE_OF(event->control)) {
	case TRB_TRANSFER_EVENT:
		transfer_event(c, event);
		break;
	case TRB_COMMAND_EVENT:
		command_event(c, event);
		break;
	case TRB_PORT_EVENT:
		port_event(c, event);
		break;
	case TRB_MFINDEX_EVENT:
		break;
	default:
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: event type %u, code %u: ignored",
					c->address, TRB_TYPE_OF(event->control),
					event->status >> 24);
	}
}

unsigned events_reap(struct controller *c, unsigned budget)
{
	unsigned n = 0;
	uint32_t control;

	while (n < budget && !c->dead && ready(c, &control)) {
		const struct trb *slot = current(c);
		struct trb event = {le64toh(slot->parameter), le32toh(slot->status), control};

		advance(&c->events);
		dispatch(c, &event);
		n++;
	}
	if (c->events.unread > EVENT_ENTRIES / 2) /* it must not get full meanwhile */
		tell(c, false);
	transfer_flush(c);
	return n;
}

/* ---- interrupts ---- */

static unsigned poll_events(struct pcidipc_poller *poller)
{
	return events_reap(pcidipc_container_of(poller, struct controller, poller), BUDGET);
}

static bool arm_events(struct pcidipc_poller *poller)
{
	struct controller *c = pcidipc_container_of(poller, struct controller, poller);
	uint32_t control;

	if (c->dead)
		return true;
	if (c->interrupted || c->events.unread)
		tell(c, true);
	c->interrupted = false;
	if (c->masked) {
		c->masked = false;
		pcidipc_pci_unmask(c->pci, 0);
	}
	return !ready(c, &control);
}

/* Transfers under way; without any it is only a port that may change. */
static unsigned await_events(struct pcidipc_poller *poller, uint32_t cpu)
{
	struct controller *c = pcidipc_container_of(poller, struct controller, poller);

	(void)cpu;
	return c->timed ? PCIDIPC_AWAITED_DEVICE : 0;
}

/*
 * A message comes once, and the controller sends no other until it is told that we are idle (Event
 * Handler Busy): a mask and an unmask, each of which may wake pcid, would keep nothing
 * away. One that comes all the same is masked. A level that lasts has to be at once.
 */
static void interrupt(struct pcidipc_watch *watch, unsigned events)
{
	struct controller *c = pcidipc_container_of(watch, struct controller, irq);
	bool level = c->vectors.kind == RINGABI_IRQ_INTX, again = c->interrupted;

	(void)events;
	if (pcidipc_vector_ack(watch->fd) < 0) {
		pcidipc_watch_remove(watch); /* pcid will tell us to end */
		return;
	}
	c->interrupted = true;
	if (c->masked || !(level || again))
		return;
	c->masked = true;
	pcidipc_pci_mask(c->pci, 0);
	if (level) /* what MSI clears by itself (5.5.2.1) */
		pcidipc_write32(&c->bar, c->runtime + RT_IMAN, IMAN_ENABLE | IMAN_PENDING);
}

int events_start(struct controller *c)
{
	int ret = pcidipc_pci_alloc_vectors(c->pci, 1, 1, &c->vectors);

	if (!ret)
		ret = pcidipc_watch_add(c->loop, &c->irq, c->vectors.fds[0], EPOLLIN, interrupt);
	if (ret)
		return ret;
	c->poller.poll = poll_events;
	c->poller.arm = arm_events;
	c->poller.awaits = await_events;
	pcidipc_poller_add(c->loop, &c->poller);
	return 0;
}

void events_stop(struct controller *c)
{
	pcidipc_watch_remove(&c->irq);
	pcidipc_poller_remove(&c->poller);
}
