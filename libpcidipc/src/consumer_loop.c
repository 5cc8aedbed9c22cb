/* SPDX-License-Identifier: MIT */
/* A consumer with a loop: its poller, and its channel's watch. */
#include <sys/epoll.h>

#include "consumer_internal.h"

static void deliver_later(struct pcidipc_deferred *deferred)
{
	struct pcidipc_consumer *c =
		pcidipc_container_of(deferred, struct pcidipc_consumer, deliver);

	pcidipc_consumer_reap(c);
	consumer_deliver_kept(c);
}

static unsigned poll_consumer(struct pcidipc_poller *poller)
{
	struct pcidipc_consumer *c = pcidipc_container_of(poller, struct pcidipc_consumer, poller);
	int n = pcidipc_consumer_reap(c);

	return n > 0 ? (unsigned)n : 0;
}

static bool arm_consumer(struct pcidipc_poller *poller)
{
	struct pcidipc_consumer *c = pcidipc_container_of(poller, struct pcidipc_consumer, poller);
	uint32_t *need;

	if (c->error || c->lost_producer)
		return true;
	need = &c->ring.map.shared->consumer_need_wakeup;
	consumer_publish(c);
	pcidipc_set_need_wakeup(need);
	if (!pcidipc_consumer_ring_ready(&c->ring)) {
		c->stats.sleeps++;
		return true;
	}
	pcidipc_clear_need_wakeup(need);
	return false;
}

static void disarm_consumer(struct pcidipc_poller *poller)
{
	struct pcidipc_consumer *c = pcidipc_container_of(poller, struct pcidipc_consumer, poller);

	if (c->ring.map.shared)
		pcidipc_clear_need_wakeup(&c->ring.map.shared->consumer_need_wakeup);
}

/* Only an answer is awaited; what comes over the channel ends a sleep. Whoever has asked for no CQE
 * counts as waiting for one. */
static unsigned consumer_awaits(struct pcidipc_poller *poller, uint32_t cpu)
{
	struct pcidipc_consumer *c = pcidipc_container_of(poller, struct pcidipc_consumer, poller);
	bool elsewhere;

	if (!c->ring.map.shared || c->error || c->lost_producer)
		return 0;
	elsewhere = consumer_elsewhere(c, cpu);
	if (c->ring.sqe_tail == c->ring.cq_head)
		return 0;
	return elsewhere ? PCIDIPC_AWAITED_DEVICE : PCIDIPC_AWAITED_ANSWER;
}

static void channel_ready(struct pcidipc_watch *watch, unsigned events)
{
	struct pcidipc_consumer *c = pcidipc_container_of(watch, struct pcidipc_consumer, watch);

	(void)events;
	consumer_read_channel(c);
	if (c->kept_first)
		pcidipc_defer(c->loop, &c->deliver, deliver_later);
}

int pcidipc_consumer_attach_loop(struct pcidipc_consumer *c, struct pcidipc_loop *loop,
				 void (*lost)(struct pcidipc_consumer *, int, void *), void *arg)
{
	int ret = c->lost_producer
			  ? 0
			  : pcidipc_watch_add(loop, &c->watch, c->channel, EPOLLIN, channel_ready);

	if (ret)
		return ret;
	c->loop = loop;
	c->lost = lost;
	c->lost_arg = arg;
	c->deliver.call = deliver_later;
	c->poller.poll = poll_consumer;
	c->poller.arm = arm_consumer;
	c->poller.disarm = disarm_consumer;
	c->poller.awaits = consumer_awaits;
	if (!c->poller.link.next)
		pcidipc_poller_add(loop, &c->poller);
	if (c->lost_producer)
		consumer_recover_in_loop(c);
	if (c->kept_first)
		pcidipc_defer(loop, &c->deliver, deliver_later);
	return 0;
}
