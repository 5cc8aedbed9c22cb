/* SPDX-License-Identifier: MIT */
/*
 * Physical Region Pages (NVMe base specification 1.4, 4.3): how a command names its memory. Pure
 * code. `page` is the memory page size that CC.MPS set, a power of two from 4096 on.
 */
#ifndef PRP_H
#define PRP_H

#include <pcidipc/blockserve.h>

/* A position in an io's segments. */
struct prp_cursor {
	const struct pcidipc_segment *segments;
	unsigned nsegments;
	unsigned index;
	uint64_t offset; /* in segments[index] */
};

/* Where a command's PRP list goes: inside one page, or whole pages in a row, which are chained. */
struct prp_list {
	uint64_t *entries;
	uint64_t iova;
	uint32_t bytes;
};

/*
 * Describe up to max_bytes from the cursor on: the first entry may begin inside a page, every
 * further one begins a page and all but the last end one; where the segments do not allow that, or
 * the list is full, the command ends. Returns the bytes described, a multiple of `granule` (0: not
 * even one fits), and moves the cursor past them.
 */
uint64_t prp_build(struct prp_cursor *cursor, uint64_t max_bytes, uint32_t granule, uint32_t page,
		   const struct prp_list *list, uint64_t *prp1, uint64_t *prp2);

/* How long a list for max_bytes must be: a power of two up to a page, then whole pages. */
uint32_t prp_list_bytes(uint64_t max_bytes, uint32_t page);

#endif
