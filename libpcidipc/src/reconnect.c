/* SPDX-License-Identifier: MIT */
/* Connecting again, and going on where the producer was lost. */
#include <pcidipc/log.h>
#include <sched.h>
#include <unistd.h>

#include "consumer_internal.h"

/* After a reconnect: the same pools under the same indices. */
static int attach_pools_again(struct pcidipc_consumer *c)
{
	for (uint32_t i = 0; i < RINGABI_MAX_POOLS; i++) {
		int ret;

		if (c->pools[i].fd < 0)
			continue;
		ret = consumer_send_pool(c, i, c->pools[i].fd, c->pools[i].bytes, NULL);
		if (ret)
			return ret;
	}
	return 0;
}

static int connect_patiently(const char *path)
{
	int fd;

	while ((fd = pcidipc_channel_connect(path)) == -EAGAIN)
		usleep(10000); /* the backlog of a driver that is being restarted is full */
	return fd;
}

int pcidipc_consumer_reconnect(struct pcidipc_consumer *c)
{
	int ret;

	if (!c->path)
		return -EOPNOTSUPP;
	if (!c->error)
		return 0;
	c->removed = false;
	if (c->replay && !c->reconnecting)
		replay_forget(c->replay);
	c->stats.sqes += c->ring.sq_tail;
	c->stats.cqes += c->ring.cq_head;
	pcidipc_watch_remove(&c->watch);
	close(c->channel);
	c->channel = c->successor;
	c->successor = -1;
	pcidipc_consumer_ring_unmap(&c->ring);
	c->error = 0;
	c->lost_producer = false;
	if (c->successor_ready) {
		c->generation = c->successor_generation;
		ret = consumer_attach_ring(c);
	} else {
		if (c->channel >= 0)
			close(c->channel);
		c->channel = connect_patiently(c->path);
		ret = c->channel < 0 ? c->channel : consumer_setup(c, c->channel);
	}
	c->successor_ready = false;
	c->kept_tail = 0;
	if (!ret)
		ret = attach_pools_again(c);
	if (ret)
		c->error = ret;
	else if (c->loop)
		ret = pcidipc_consumer_attach_loop(c, c->loop, c->lost, c->lost_arg);
	return ret;
}

/* ---- going on ---- */

int pcidipc_consumer_replay(struct pcidipc_consumer *c,
			    int (*resume)(struct pcidipc_consumer *, void *), void *arg)
{
	if (!c->path)
		return -EOPNOTSUPP;
	if (c->replay || c->ring.sqe_tail != c->ring.sq_tail || c->ring.sq_tail != c->ring.cq_head)
		return -EBUSY;
	c->replay = replay_create(c->nslots);
	if (!c->replay)
		return -ENOMEM;
	c->kept_tail = c->ring.sqe_tail;
	c->resume = resume;
	c->resume_arg = arg;
	return 0;
}

void consumer_keep_requests(struct pcidipc_consumer *c)
{
	struct pcidipc_consumer_ring *ring = &c->ring;

	while (c->kept_tail != ring->sqe_tail) {
		uint32_t i = c->kept_tail++ & (ring->map.sq_entries - 1);

		replay_keep(c->replay, &ring->map.sqes[i], c->kept_tail == ring->sqe_tail);
	}
}

/* All of them have room: what is in flight has a place in the SQ or the CQ. But for silent members
 * of chains, and a producer that is slow to take them, for whom we wait. */
static bool wait_for_room(struct pcidipc_consumer *c, uint32_t n)
{
	if (n > c->ring.map.sq_entries) {
		pcidipc_warn("%s: the new driver takes %u requests at once, a chain has %u",
			     c->path, c->ring.map.sq_entries, n);
		c->ring.error = -EPROTO;
	}
	while (pcidipc_ring_sq_space(&c->ring) < n || c->ring.error) {
		if (clock_ns() >= c->give_up_at)
			consumer_wait_channel(c); /* which says so */
		if (c->error || c->ring.error)
			return false;
		consumer_publish(c);
		consumer_drain(c);
		consumer_read_channel(c);
		sched_yield();
	}
	return true;
}

static unsigned replay_all(struct pcidipc_consumer *c)
{
	unsigned n = 0, chain;

	while ((chain = replay_chain(c->replay)) && wait_for_room(c, chain))
		for (n += chain = replay_chain(c->replay); chain; chain--)
			replay_next(c->replay, pcidipc_ring_get_sqe(&c->ring));
	return n;
}

static int resume(struct pcidipc_consumer *c, bool *handed_over)
{
	int ret = pcidipc_consumer_reconnect(c);
	unsigned n;

	if (!ret)
		ret = c->resume ? c->resume(c, c->resume_arg) : 0;
	if (ret < 0)
		return ret;
	replay_begin(c->replay, ret == PCIDIPC_CACHE_LOST);
	*handed_over = true;
	n = replay_all(c);
	consumer_publish(c);
	if (c->error || c->ring.error)
		return c->error ? c->error : c->ring.error;
	c->stats.replays++;
	c->stats.replayed += n;
	pcidipc_notice("%s: its driver was restarted; requests made again: %u", c->path, n);
	return 0;
}

int consumer_resume(struct pcidipc_consumer *c, bool *handed_over)
{
	bool lost;
	int ret;

	if (c->ring.map.shared)
		consumer_keep_requests(c); /* those that were not published, too */
	consumer_fail_asks(c, -ENOTCONN);
	c->error = -ENOTCONN;
	c->give_up_at = clock_ns() + consumer_patience(c);
	c->reconnecting = true;
	ret = resume(c, handed_over);
	c->reconnecting = false;
	/* What it asked, and what it made again, is not kept anew. */
	c->kept_tail = c->ring.sqe_tail;
	lost = c->error == -ENOTCONN;
	c->error = 0;
	if (!ret && c->loop && c->backlog_head != c->backlog_tail)
		pcidipc_defer(c->loop, &c->deliver, c->deliver.call);
	if (lost)
		return -EAGAIN;
	return ret == -EAGAIN ? -EIO : ret;
}
