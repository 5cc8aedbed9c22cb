// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>

#include <pcidipc/log.h>

#include "extent.h"

#define SLAB_EXTENTS 512u

/* How many extents of a class are tried before a larger class is, and before the answer is "no
 * room". */
#define TAKE_LOOKS 4u
#define SEARCH_LOOKS 256u

struct extent_slab {
	struct extent_slab *next;
	struct extent extents[SLAB_EXTENTS];
};

struct extent_class {
	unsigned fl;
	unsigned sl;
};

/* Descriptors */

static void spare_push(struct extent_map *map, struct extent *e)
{
	e->state = EXTENT_SPARE;
	e->link_next = map->spares;
	map->spares = e;
	map->spare_count++;
}

static struct extent *spare_pop(struct extent_map *map)
{
	struct extent *e = map->spares;

	map->spares = e->link_next;
	map->spare_count--;
	return e;
}

static int slab_add(struct extent_map *map)
{
	struct extent_slab *slab = calloc(1, sizeof(*slab));

	if (!slab)
		return -ENOMEM;
	slab->next = map->slabs;
	map->slabs = slab;
	map->descriptors += SLAB_EXTENTS;
	for (unsigned i = SLAB_EXTENTS; i--;) {
		slab->extents[i].buf.pool = map->pool;
		spare_push(map, &slab->extents[i]);
	}
	return 0;
}

/* Taking a range splits at most twice. Freeing must never fail, and needs no descriptor. */
static bool spares_ready(struct extent_map *map)
{
	return map->spare_count >= 2 || !slab_add(map);
}

/* Size classes */

/* The class whose extents have at least its lower bound, which is at most `bytes`. */
static struct extent_class class_of(uint64_t bytes)
{
	uint64_t granules = bytes / EXTENT_GRANULE;
	unsigned log2;

	if (granules < EXTENT_SL)
		return (struct extent_class){0, granules};
	log2 = 63 - __builtin_clzll(granules);
	return (struct extent_class){log2 - EXTENT_SL_SHIFT + 1,
				     (granules >> (log2 - EXTENT_SL_SHIFT)) & (EXTENT_SL - 1)};
}

/* The first class in which every extent has at least `bytes`. */
static struct extent_class class_above(uint64_t bytes)
{
	uint64_t granules = bytes / EXTENT_GRANULE;

	if (granules >= EXTENT_SL)
		granules += (1ull << (63 - __builtin_clzll(granules) - EXTENT_SL_SHIFT)) - 1;
	return class_of(granules * EXTENT_GRANULE);
}

/* The first class from `*class` on that has an extent. */
static bool class_next(const struct extent_map *map, struct extent_class *class)
{
	uint32_t sl_bits = 0;
	uint64_t fl_bits;

	if (class->fl >= EXTENT_FL)
		return false;
	if (class->sl < EXTENT_SL)
		sl_bits = map->sl_bits[class->fl] & (~0u << class->sl);
	if (!sl_bits) {
		fl_bits = map->fl_bits & (~0ull << (class->fl + 1));
		if (!fl_bits)
			return false;
		class->fl = __builtin_ctzll(fl_bits);
		sl_bits = map->sl_bits[class->fl];
	}
	class->sl = __builtin_ctz(sl_bits);
	return true;
}

static void class_insert(struct extent_map *map, struct extent *e)
{
	struct extent_class class = class_of(e->bytes);
	struct extent **head = &map->heads[class.fl][class.sl];

	e->link_prev = NULL;
	e->link_next = *head;
	if (*head)
		(*head)->link_prev = e;
	*head = e;
	map->sl_bits[class.fl] |= 1u << class.sl;
	map->fl_bits |= 1ull << class.fl;
}

static void class_remove(struct extent_map *map, struct extent *e)
{
	struct extent_class class = class_of(e->bytes);

	if (e->link_next)
		e->link_next->link_prev = e->link_prev;
	if (e->link_prev) {
		e->link_prev->link_next = e->link_next;
		return;
	}
	map->heads[class.fl][class.sl] = e->link_next;
	if (e->link_next)
		return;
	map->sl_bits[class.fl] &= ~(1u << class.sl);
	if (!map->sl_bits[class.fl])
		map->fl_bits &= ~(1ull << class.fl);
}

/* Free extents */

static void free_insert(struct extent_map *map, struct extent *e)
{
	e->state = EXTENT_FREE;
	if (e->next)
		class_insert(map, e);
	else
		map->wilderness = e;
}

static void free_remove(struct extent_map *map, struct extent *e)
{
	if (e == map->wilderness)
		map->wilderness = NULL;
	else
		class_remove(map, e);
}

/* Cut `e` after `bytes` and return the upper part. */
static struct extent *split(struct extent_map *map, struct extent *e, uint64_t bytes)
{
	struct extent *upper = spare_pop(map);

	upper->buf.offset = e->buf.offset + bytes;
	upper->bytes = e->bytes - bytes;
	upper->prev = e;
	upper->next = e->next;
	if (e->next)
		e->next->prev = upper;
	e->next = upper;
	e->bytes = bytes;
	return upper;
}

static void merge_next(struct extent_map *map, struct extent *e)
{
	struct extent *upper = e->next;

	e->bytes += upper->bytes;
	e->next = upper->next;
	if (e->next)
		e->next->prev = e;
	spare_push(map, upper);
}

/* Where an aligned range would begin in a free extent, or UINT64_MAX if it does not fit. */
static uint64_t place(const struct extent *e, uint64_t bytes, uint64_t align)
{
	uint64_t gap = -e->buf.offset & (align - 1);

	if (gap > e->bytes || e->bytes - gap < bytes)
		return UINT64_MAX;
	return e->buf.offset + gap;
}

static struct extent *carve(struct extent_map *map, struct extent *e, uint64_t at, uint64_t bytes)
{
	struct extent *lower = e;

	if (!spares_ready(map))
		return NULL;
	free_remove(map, e);
	if (at > lower->buf.offset) {
		e = split(map, lower, at - lower->buf.offset);
		free_insert(map, lower);
	}
	if (e->bytes > bytes)
		free_insert(map, split(map, e, bytes));
	e->state = EXTENT_USED;
	return e;
}

static struct extent *take_from_class(struct extent_map *map, struct extent_class class,
				      unsigned *looks, uint64_t bytes, uint64_t align)
{
	struct extent *e = map->heads[class.fl][class.sl];
	uint64_t at;

	for (; e && *looks; e = e->link_next, --*looks) {
		at = place(e, bytes, align);
		if (at != UINT64_MAX)
			return carve(map, e, at, bytes);
	}
	return NULL;
}

struct extent *extent_take(struct extent_map *map, uint64_t bytes, uint64_t align)
{
	struct extent_class class = class_of(bytes);
	unsigned looks = TAKE_LOOKS;
	struct extent *e;

	/* Buffers of one size come and go: what fits best is most likely in their own class. */
	e = take_from_class(map, class, &looks, bytes, align);
	if (e)
		return e;
	class = class_above(bytes);
	looks = 1;
	if (class_next(map, &class))
		e = take_from_class(map, class, &looks, bytes, align);
	if (e || align <= EXTENT_GRANULE)
		return e;
	/* An extent with this much more has room for the range wherever it begins. */
	class = class_above(bytes + align - EXTENT_GRANULE);
	looks = 1;
	return class_next(map, &class) ? take_from_class(map, class, &looks, bytes, align) : NULL;
}

struct extent *extent_take_wilderness(struct extent_map *map, uint64_t bytes, uint64_t align)
{
	uint64_t at = map->wilderness ? place(map->wilderness, bytes, align) : UINT64_MAX;

	return at == UINT64_MAX ? NULL : carve(map, map->wilderness, at, bytes);
}

struct extent *extent_take_search(struct extent_map *map, uint64_t bytes, uint64_t align)
{
	struct extent_class class = class_of(bytes);
	unsigned looks = SEARCH_LOOKS;
	struct extent *e = NULL;

	while (!e && looks && class_next(map, &class)) {
		e = take_from_class(map, class, &looks, bytes, align);
		class.sl++;
	}
	return e;
}

void extent_give(struct extent_map *map, struct extent *e)
{
	if (e->next && e->next->state == EXTENT_FREE) {
		free_remove(map, e->next);
		merge_next(map, e);
	}
	if (e->prev && e->prev->state == EXTENT_FREE) {
		e = e->prev;
		free_remove(map, e);
		merge_next(map, e);
	}
	free_insert(map, e);
}

int extent_map_init(struct extent_map *map, struct pcidipc_pool *pool, uint64_t bytes)
{
	struct extent *e;

	map->pool = pool;
	map->bytes = bytes;
	if (!spares_ready(map))
		return -ENOMEM;
	e = spare_pop(map);
	e->bytes = bytes;
	map->first = e;
	free_insert(map, e);
	return 0;
}

void extent_map_exit(struct extent_map *map)
{
	struct extent_slab *slab, *next;

	for (slab = map->slabs; slab; slab = next) {
		next = slab->next;
		free(slab);
	}
}

/* Checks */

static int broken(const struct extent *e, const char *what)
{
	pcidipc_err("pool bookkeeping: extent at offset %#llx of %#llx bytes: %s",
		    (unsigned long long)e->buf.offset, (unsigned long long)e->bytes, what);
	return -EIO;
}

static int check_state(const struct extent_map *map, const struct extent *e)
{
	switch (e->state) {
	case EXTENT_USED:
		if (!e->buf.bytes || e->buf.bytes > e->bytes ||
		    e->bytes - e->buf.bytes >= EXTENT_GRANULE)
			return broken(e, "its buffer has another size");
		if (e->buf.freed && !e->buf.holds)
			return broken(e, "freed and not held, yet in use");
		return 0;
	case EXTENT_FREE:
		if (e->next && e->next->state == EXTENT_FREE)
			return broken(e, "free, and so is the next one: not merged");
		if (!e->next != (e == map->wilderness))
			return broken(e, "wilderness is not the free end of the pool");
		return 0;
	case EXTENT_QUICK:
		return 0;
	default:
		return broken(e, "in the address list, but in no state to be there");
	}
}

static int check_extent(const struct extent_map *map, const struct extent *e)
{
	uint64_t start = e->prev ? extent_end(e->prev) : 0;

	if (e->prev ? e->prev->next != e : e != map->first)
		return broken(e, "the one below does not lead to it");
	if (e->buf.offset != start)
		return broken(e, "does not begin where the one below ends");
	if (!e->bytes || e->bytes % EXTENT_GRANULE || e->bytes > map->bytes - start)
		return broken(e, "impossible size");
	if (e->buf.pool != map->pool)
		return broken(e, "belongs to another pool");
	return check_state(map, e);
}

/* Count the extents in one class; -EIO if one does not belong there, or the list is not one. */
static long check_class(const struct extent_map *map, unsigned fl, unsigned sl)
{
	const struct extent *prev = NULL, *e;
	struct extent_class class;
	size_t count = 0;

	for (e = map->heads[fl][sl]; e; prev = e, e = e->link_next) {
		class = class_of(e->bytes);
		if (class.fl != fl || class.sl != sl)
			return broken(e, "in the list of another size");
		if (e->state != EXTENT_FREE || e == map->wilderness)
			return broken(e, "in a list of free extents, but not one");
		if (e->link_prev != prev || ++count > map->descriptors)
			return broken(e, "its size list is broken");
	}
	return count;
}

/* The number of free extents in all classes, or -EIO. */
static long check_classes(const struct extent_map *map)
{
	long total = 0, count;

	for (unsigned fl = 0; fl < EXTENT_FL; fl++) {
		for (unsigned sl = 0; sl < EXTENT_SL; sl++) {
			count = check_class(map, fl, sl);
			if (count < 0)
				return count;
			if (!count != !(map->sl_bits[fl] & (1u << sl)))
				return broken(map->first, "a bitmap differs from its size list");
			total += count;
		}
		if (!map->sl_bits[fl] != !(map->fl_bits & (1ull << fl)))
			return broken(map->first, "the upper bitmap differs from the lower");
	}
	return total;
}

static int check_spares(const struct extent_map *map, size_t in_use)
{
	size_t count = 0;

	for (const struct extent *e = map->spares; e; e = e->link_next)
		if (e->state != EXTENT_SPARE || ++count > map->descriptors)
			return broken(e, "the list of spare descriptors is broken");
	if (count != map->spare_count || count + in_use != map->descriptors)
		return broken(map->first, "descriptors were lost or appeared");
	return 0;
}

/* Walk the address list and count its extents by state. */
static int check_order(const struct extent_map *map, size_t counts[EXTENT_USED + 1])
{
	const struct extent *last = NULL;
	size_t total = 0;
	int err;

	for (const struct extent *e = map->first; e; last = e, e = e->next) {
		err = check_extent(map, e);
		if (err)
			return err;
		counts[e->state]++;
		if (++total > map->descriptors)
			return broken(e, "the address list has more than all extents");
	}
	if (!last || extent_end(last) != map->bytes)
		return broken(map->first, "the extents do not fill the pool");
	return 0;
}

int extent_map_check(const struct extent_map *map, size_t quick_count)
{
	size_t counts[EXTENT_USED + 1] = {0};
	long listed;
	int err;

	err = check_order(map, counts);
	if (err)
		return err;
	listed = check_classes(map);
	if (listed < 0)
		return listed;
	if (counts[EXTENT_FREE] != (size_t)listed + !!map->wilderness)
		return broken(map->first, "free extents are missing from the size lists");
	if (counts[EXTENT_QUICK] != quick_count)
		return broken(map->first, "quick lists and extents differ in number");
	return check_spares(map, counts[EXTENT_FREE] + counts[EXTENT_QUICK] + counts[EXTENT_USED]);
}
