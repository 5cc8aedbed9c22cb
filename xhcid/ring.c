/* SPDX-License-Identifier: MIT */
#include "ring.h"

#include <endian.h>
#include <string.h>

void ring_init(struct ring *ring, void *memory, uint64_t iova, uint16_t entries)
{
	memset(memory, 0, (size_t)entries * TRB_BYTES);
	*ring = (struct ring){.trbs = memory, .iova = iova, .entries = entries, .cycle = true};
}

/* The control word is what the controller looks at: all else must be there before. */
static void store_control(struct trb *trb, uint32_t control)
{
	__atomic_store_n(&trb->control, htole32(control), __ATOMIC_RELEASE);
}

static void put_link(struct ring *ring, uint16_t at, uint64_t to, uint32_t control)
{
	struct trb *trb = &ring->trbs[at];

	trb->parameter = htole64(to);
	trb->status = 0;
	store_control(trb, TRB_TYPE(TRB_LINK) | control);
}

/*
 * The controller goes on at the start. What is left out behind the Link must look as if it had been
 * written in this round, or it would look valid in the next.
 */
static void wrap(struct ring *ring)
{
	for (uint16_t i = (uint16_t)(ring->enqueue + 1); i < ring->entries; i++)
		ring->trbs[i].control = htole32(ring->cycle);
	put_link(ring, ring->enqueue, ring->iova, TRB_TOGGLE | ring->cycle);
	ring->enqueue = 0;
	ring->cycle = !ring->cycle;
}

bool ring_reserve(struct ring *ring, uint16_t n)
{
	if (ring->enqueue < ring->dequeue) /* one stays free: a full ring would look empty */
		return n < ring->dequeue - ring->enqueue;
	if (n < ring->entries - ring->enqueue) /* and one for the Link */
		return true;
	if (n >= ring->dequeue)
		return false;
	wrap(ring);
	return true;
}

void ring_write(struct ring *ring, uint16_t i, uint64_t parameter, uint32_t status,
		uint32_t control)
{
	struct trb *trb = &ring->trbs[ring->enqueue + i];
	bool cycle = i ? ring->cycle : !ring->cycle;

	trb->parameter = htole64(parameter);
	trb->status = htole32(status);
	trb->control = htole32(control | cycle);
}

uint16_t ring_commit(struct ring *ring, uint16_t n)
{
	uint16_t first = ring->enqueue;
	struct trb *trb = &ring->trbs[first];

	store_control(trb, le32toh(trb->control) ^ TRB_CYCLE);
	ring->enqueue = (uint16_t)(first + n);
	return first;
}

void ring_skip(struct ring *ring, uint16_t from, uint16_t to, bool cycle)
{
	/* where what is skipped goes round the end, so does the cycle bit */
	put_link(ring, from, ring_address(ring, to), cycle | (to < from ? TRB_TOGGLE : 0));
}
