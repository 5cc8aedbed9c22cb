/* SPDX-License-Identifier: MIT */
/*
 * A ring that the driver produces: the command ring or a transfer ring (xHCI 1.2, 4.9). One
 * segment. What belongs together lies side by side: where it would not fit before the end, the
 * Link TRB is put earlier. Pure code, apart from the memory.
 */
#ifndef RING_H
#define RING_H

#include <pcidipc/pci.h>

#include "regs.h"

struct ring {
	struct trb *trbs;
	uint64_t iova;
	uint16_t entries;
	uint16_t enqueue;
	uint16_t dequeue; /* the first that is not known to be done with */
	bool cycle;	  /* of what is written at enqueue */
};

/* Over memory of entries * TRB_BYTES, which must not cross a multiple of 64 KiB. Empty. */
void ring_init(struct ring *ring, void *memory, uint64_t iova, uint16_t entries);

/* What can be reserved at once, when the ring is empty. */
static inline uint16_t ring_most(const struct ring *ring)
{
	return ring->entries / 2 - 1;
}

/* Make sure that n TRBs fit at enqueue, side by side: put a Link there if need be. */
bool ring_reserve(struct ring *ring, uint16_t n);

/*
 * Write the TRB at enqueue + i, without its cycle bit's being valid for i == 0: that is what
 * ring_commit does for the first of n, at last, so that the controller sees all or nothing.
 */
void ring_write(struct ring *ring, uint16_t i, uint64_t parameter, uint32_t status,
		uint32_t control);
/* Returns the index of the first. */
uint16_t ring_commit(struct ring *ring, uint16_t n);

static inline uint64_t ring_address(const struct ring *ring, uint16_t index)
{
	return ring->iova + (uint64_t)index * TRB_BYTES;
}

/* The index of a TRB that the controller names, or -1: none of this ring's. */
static inline int ring_index(const struct ring *ring, uint64_t address)
{
	uint64_t offset = address - ring->iova;

	if (offset >= (uint64_t)ring->entries * TRB_BYTES || offset % TRB_BYTES)
		return -1;
	return (int)(offset / TRB_BYTES);
}

/* The controller, which is stopped there, shall skip from this TRB to that one. */
void ring_skip(struct ring *ring, uint16_t from, uint16_t to, bool cycle);

#endif
