/* SPDX-License-Identifier: MIT */
/* Physical Region Pages (NVMe base specification 4.1.1): how a command names its memory. Pure code.
 */
#ifndef PRP_H
#define PRP_H

#include <pcidipc/blockserve.h>

#define PRP_PAGE 4096u
#define PRP_LIST_ENTRIES (PRP_PAGE / 8)

/* A position in an io's segments. */
struct prp_cursor {
	const struct pcidipc_segment *segments;
	unsigned nsegments;
	unsigned index;
	uint64_t offset; /* in segments[index] */
};

/*
 * Describe up to max_bytes from the cursor on: the first entry may begin inside a page, every
 * further one begins a page and all but the last end one; where the segments do not allow that, the
 * command ends. Returns the bytes described, a multiple of `granule` (0: not even one fits), and
 * moves the cursor past them. list: one page of entries, at list_iova.
 */
uint64_t prp_build(struct prp_cursor *cursor, uint64_t max_bytes, uint32_t granule, uint64_t *list,
		   uint64_t list_iova, uint64_t *prp1, uint64_t *prp2);

#endif
