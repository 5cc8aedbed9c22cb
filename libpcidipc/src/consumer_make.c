/* SPDX-License-Identifier: MIT */
/* Consumers: making them, their memory, what can be asked of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumer_internal.h"

#define DEFAULT_ENTRIES 128

static uint32_t power_up(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* In flight at once: what lies in the SQ and what has a CQ slot. */
static int make_tables(struct pcidipc_consumer *c)
{
	c->nslots = power_up(c->params.sq_entries + c->params.cq_entries);
	c->slots = calloc(c->nslots + 1, sizeof(*c->slots)); /* the last: reconnect.c's */
	c->backlog = calloc(c->nslots, sizeof(*c->backlog));
	if (!c->slots || !c->backlog)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->nslots; i++)
		c->slots[i].next_free = i + 1 < c->nslots ? i + 1 : OP_NONE;
	c->free_slot = 0;
	return 0;
}

void consumer_free(struct pcidipc_consumer *c)
{
	pcidipc_consumer_ring_unmap(&c->ring);
	for (uint32_t i = 0; i < RINGABI_MAX_POOLS; i++)
		if (c->pools[i].fd >= 0)
			close(c->pools[i].fd);
	if (c->channel >= 0)
		close(c->channel);
	if (c->successor >= 0)
		close(c->successor);
	c->event = NULL;
	c->adopt = NULL;
	consumer_deliver_kept(c);
	free(c->slots);
	free(c->backlog);
	replay_free(c->replay);
	free(c->path);
	free(c);
}

static struct pcidipc_consumer *new_consumer(const struct pcidipc_consumer_params *params)
{
	struct pcidipc_consumer *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->params = *params;
	if (!c->params.sq_entries)
		c->params.sq_entries = DEFAULT_ENTRIES;
	if (!c->params.cq_entries)
		c->params.cq_entries = 2 * c->params.sq_entries;
	c->channel = c->successor = -1;
	for (uint32_t i = 0; i < RINGABI_MAX_POOLS; i++)
		c->pools[i].fd = -1;
	spin_init(&c->spin);
	return c;
}

static int setup(struct pcidipc_consumer *c, int channel, struct pcidipc_consumer **out)
{
	int ret = consumer_setup(c, channel);

	if (!ret)
		ret = make_tables(c);
	if (ret)
		consumer_free(c);
	else
		*out = c;
	return ret;
}

int pcidipc_consumer_adopt(int channel, const struct pcidipc_consumer_params *params,
			   struct pcidipc_consumer **out)
{
	struct pcidipc_consumer *c = new_consumer(params);

	if (c)
		return setup(c, channel, out);
	close(channel);
	return -ENOMEM;
}

const char *pcidipc_runtime_dir(void)
{
	const char *dir = getenv("PCID_RUNTIME_DIR");

	return dir && *dir ? dir : "/run/pcid";
}

/* NULL: no memory. */
static char *socket_path(const char *path)
{
	char *whole;

	if (*path == '/')
		return strdup(path);
	return asprintf(&whole, "%s/%s", pcidipc_runtime_dir(), path) < 0 ? NULL : whole;
}

int pcidipc_consumer_open(const char *path, const struct pcidipc_consumer_params *params,
			  struct pcidipc_consumer **out)
{
	struct pcidipc_consumer *c = new_consumer(params);
	int channel;

	if (!c)
		return -ENOMEM;
	c->path = socket_path(path);
	channel = c->path ? pcidipc_channel_connect(c->path) : -ENOMEM;
	if (channel >= 0)
		return setup(c, channel, out);
	consumer_free(c);
	return channel;
}

int pcidipc_consumer_error(const struct pcidipc_consumer *c)
{
	return c->error;
}

uint64_t pcidipc_consumer_generation(const struct pcidipc_consumer *c)
{
	return c->generation;
}

void pcidipc_consumer_stats(const struct pcidipc_consumer *c, struct pcidipc_consumer_stats *stats)
{
	*stats = c->stats;
	stats->sqes += c->ring.sq_tail;
	stats->cqes += c->ring.cq_head;
}

void pcidipc_consumer_on_event(struct pcidipc_consumer *c,
			       void (*event)(struct pcidipc_consumer *, uint32_t, void *),
			       void *arg)
{
	c->event = event;
	c->event_arg = arg;
}

void pcidipc_consumer_on_adopt(struct pcidipc_consumer *c,
			       void (*adopt)(struct pcidipc_consumer *, uint32_t, int, void *),
			       void *arg)
{
	c->adopt = adopt;
	c->adopt_arg = arg;
}
