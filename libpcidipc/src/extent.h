/* SPDX-License-Identifier: MIT */
/*
 * The ranges of a pool: used and free extents in address order, and the free ones by size in a
 * two-level segregated list (TLSF), so that finding and merging cost O(1). Descriptors lie in slabs
 * outside the memory they describe.
 */
#ifndef PCIDIPC_EXTENT_H
#define PCIDIPC_EXTENT_H

#include <pcidipc/pool.h>

#define EXTENT_GRANULE \
	64u /* every offset and size is a multiple of it: no two buffers share a cache line */

/* Sizes up to 2^38 granules (16 TiB): 32 exact classes, then 32 classes per power of two. */
#define EXTENT_SL_SHIFT 5
#define EXTENT_SL (1u << EXTENT_SL_SHIFT)
#define EXTENT_FL 35u

enum extent_state {
	EXTENT_SPARE, /* a descriptor that describes nothing */
	EXTENT_FREE,  /* in a size class, or the wilderness */
	EXTENT_QUICK, /* free, kept at its size in the pool's quick lists */
	EXTENT_USED,
};

struct extent {
	struct pcidipc_buf
		buf; /* first: a buffer's address is its extent's; buf.offset is the extent's */
	uint64_t bytes;
	struct extent *link_next; /* in a size class, a quick list or the spares */
	enum extent_state state;
	struct extent *link_prev; /* in a size class */
	struct extent *prev;	  /* in address order */
	struct extent *next;
};

struct extent_slab;

struct extent_map {
	struct pcidipc_pool *pool;
	uint64_t bytes;
	struct extent *first; /* offset 0; merging keeps the lower descriptor, so this one stays */

	/*
	 * The free extent that reaches the end of the pool, if there is one. It is in no size
	 * class: it is taken only when nothing below fits, so that the range a device must be able
	 * to reach stays short.
	 */
	struct extent *wilderness;

	struct extent *spares;
	size_t spare_count;
	size_t descriptors; /* in all slabs */
	struct extent_slab *slabs;

	uint64_t fl_bits;
	uint32_t sl_bits[EXTENT_FL];
	struct extent *heads[EXTENT_FL][EXTENT_SL];
};

static inline struct extent *extent_of(struct pcidipc_buf *buf)
{
	return (struct extent *)buf;
}

static inline uint64_t extent_end(const struct extent *e)
{
	return e->buf.offset + e->bytes;
}

/* One free extent of `bytes`, a multiple of the granule. 0 or -ENOMEM. */
int extent_map_init(struct extent_map *map, struct pcidipc_pool *pool, uint64_t bytes);
void extent_map_exit(struct extent_map *map);

/*
 * Take a free range of `bytes`, a multiple of the granule, at a multiple of `align`, a power of two
 * and at least the granule. NULL: none found, or no memory for descriptors. The state of what is
 * returned is EXTENT_USED.
 */
struct extent *extent_take(struct extent_map *map, uint64_t bytes, uint64_t align);
struct extent *extent_take_wilderness(struct extent_map *map, uint64_t bytes, uint64_t align);

/* The last resort before "no room": looks longer, at extents that extent_take passes over. */
struct extent *extent_take_search(struct extent_map *map, uint64_t bytes, uint64_t align);

/* Give a used or quick extent back and merge it with its free neighbours. */
void extent_give(struct extent_map *map, struct extent *e);

/* Walk everything: 0, or -EIO with a log line. `quick_count`: how many extents must be
 * EXTENT_QUICK. */
int extent_map_check(const struct extent_map *map, size_t quick_count);

#endif
