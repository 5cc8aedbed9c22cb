// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pcidipc/log.h>
#include <pcidipc/pool.h>

#include <ringabi/ring.h>

#include "extent.h"
#include "memfd.h"

#define POOL_SEALS (MEMFD_FIXED_SIZE | F_SEAL_SEAL)

/*
 * Quick lists: freed extents kept whole, by exact size, last in first out. Most programs allocate
 * the few sizes that they just freed, and the last one freed is still in the cache. What is kept is
 * bounded, which bounds the time to give it all back.
 */
#define QUICK_BITS 9
#define QUICK_LISTS (1u << QUICK_BITS)
#define QUICK_LIST_MAX 128u
#define QUICK_TOTAL_MAX 1024u

struct pool_quick {
	struct extent *head;
	uint64_t bytes; /* of each extent in it */
	uint32_t count;
};

struct pcidipc_pool {
	char *base;
	uint64_t bytes;
	int fd;
	/* Not of one type: gcc would update the two as one vector, and wait for the last scalar
	 * stores each time. */
	uint32_t quick_count; /* in all lists */
	uint64_t quick_bytes; /* likewise */
	uint64_t high_bytes;
	struct pool_quick quick[QUICK_LISTS];
	struct extent_map map;
};

/* Quick lists */

/* Two sizes in use rarely meet in one list; when they do, the newcomer turns the other out. */
static struct pool_quick *quick_of(struct pcidipc_pool *pool, uint64_t bytes)
{
	return &pool->quick[(bytes / EXTENT_GRANULE * 0x9e3779b97f4a7c15ull) >> (64 - QUICK_BITS)];
}

static struct extent *quick_pop(struct pcidipc_pool *pool, struct pool_quick *quick)
{
	struct extent *e = quick->head;

	quick->head = e->link_next;
	quick->count--;
	pool->quick_count--;
	pool->quick_bytes -= e->bytes;
	return e;
}

static struct extent *quick_take(struct pcidipc_pool *pool, uint64_t bytes, uint64_t align)
{
	struct pool_quick *quick = quick_of(pool, bytes);
	struct extent *e = quick->head;

	if (!e || quick->bytes != bytes || (e->buf.offset & (align - 1)))
		return NULL;
	return quick_pop(pool, quick);
}

static void quick_flush(struct pcidipc_pool *pool, struct pool_quick *quick)
{
	while (quick->head)
		extent_give(&pool->map, quick_pop(pool, quick));
}

static void quick_flush_all(struct pcidipc_pool *pool)
{
	for (unsigned i = 0; i < QUICK_LISTS && pool->quick_count; i++)
		quick_flush(pool, &pool->quick[i]);
}

static void quick_give(struct pcidipc_pool *pool, struct extent *e)
{
	struct pool_quick *quick = quick_of(pool, e->bytes);

	if (quick->bytes != e->bytes) {
		quick_flush(pool, quick);
		quick->bytes = e->bytes;
	}
	if (quick->count >= QUICK_LIST_MAX || pool->quick_count >= QUICK_TOTAL_MAX) {
		extent_give(&pool->map, e);
		return;
	}
	e->state = EXTENT_QUICK;
	e->link_next = quick->head;
	quick->head = e;
	quick->count++;
	pool->quick_count++;
	pool->quick_bytes += e->bytes;
}

/* Buffers */

static struct extent *take_slowly(struct pcidipc_pool *pool, uint64_t bytes, uint64_t align)
{
	struct extent_map *map = &pool->map;
	struct extent *e = extent_take(map, bytes, align);

	/* Before the pool spreads, merge what the quick lists keep, if it could help: a free pays
	 * for that once. */
	if (!e && pool->quick_bytes >= bytes) {
		quick_flush_all(pool);
		e = extent_take(map, bytes, align);
	}
	if (!e)
		e = extent_take_wilderness(map, bytes, align);
	if (!e && pool->quick_count) {
		quick_flush_all(pool);
		e = extent_take(map, bytes, align);
		if (!e)
			e = extent_take_wilderness(map, bytes, align);
	}
	return e ? e : extent_take_search(map, bytes, align);
}

struct pcidipc_buf *pcidipc_pool_alloc(struct pcidipc_pool *pool, size_t bytes, size_t align)
{
	uint64_t whole = (bytes + EXTENT_GRANULE - 1) & -(uint64_t)EXTENT_GRANULE;
	struct extent *e;

	if (!bytes || bytes > pool->bytes || (align & (align - 1)))
		return NULL;
	if (align < EXTENT_GRANULE)
		align = EXTENT_GRANULE;
	e = quick_take(pool, whole, align);
	if (!e) {
		e = take_slowly(pool, whole, align);
		if (!e)
			return NULL;
		if (extent_end(e) > pool->high_bytes)
			pool->high_bytes = extent_end(e);
	}
	e->state = EXTENT_USED;
	e->buf.bytes = bytes;
	e->buf.holds = 0;
	e->buf.freed = false;
	return &e->buf;
}

static void misuse(const struct pcidipc_buf *buf, const char *what)
{
	pcidipc_err("pool: buffer at offset %#llx %s; ignored, but it is a bug of this program",
		    (unsigned long long)buf->offset, what);
}

void pcidipc_buf_free(struct pcidipc_buf *buf)
{
	if (!buf)
		return;
	if (__builtin_expect(extent_of(buf)->state != EXTENT_USED || buf->freed, 0))
		misuse(buf, "freed twice");
	else if (buf->holds)
		buf->freed = true;
	else
		quick_give(buf->pool, extent_of(buf));
}

void pcidipc_buf_release(struct pcidipc_buf *buf)
{
	if (extent_of(buf)->state != EXTENT_USED || !buf->holds)
		misuse(buf, "released, but nobody holds it");
	else if (--buf->holds == 0 && buf->freed)
		quick_give(buf->pool, extent_of(buf));
}

/* Creation */

static int open_memory(struct pcidipc_pool *pool)
{
	pool->fd = memfd_make("pcidipc-pool", pool->bytes, POOL_SEALS);
	return pool->fd < 0 ? pool->fd : 0;
}

/* At a multiple of RINGABI_POOL_ALIGN, so that pointers are aligned as offsets are and huge pages
 * are possible. */
static int map_memory(struct pcidipc_pool *pool, unsigned flags)
{
	uint64_t room = pool->bytes + RINGABI_POOL_ALIGN;
	char *reserved, *base;

	reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (reserved == MAP_FAILED)
		return -errno;
	base = reserved + (-(uintptr_t)reserved & (RINGABI_POOL_ALIGN - 1));
	if (mmap(base, pool->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
		 pool->fd, 0) == MAP_FAILED) {
		int err = -errno;

		munmap(reserved, room);
		return err;
	}
	if (base > reserved)
		munmap(reserved, base - reserved);
	munmap(base + pool->bytes, reserved + room - (base + pool->bytes));
	pool->base = base;
	if (flags & PCIDIPC_POOL_HUGE)
		madvise(base, pool->bytes, MADV_HUGEPAGE); /* a wish: small pages do as well */
	return 0;
}

int pcidipc_pool_create(uint64_t max_bytes, unsigned flags, struct pcidipc_pool **poolp)
{
	struct pcidipc_pool *pool;
	int err;

	if (!max_bytes || max_bytes > RINGABI_POOL_MAX_BYTES || (flags & ~PCIDIPC_POOL_HUGE))
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->bytes = (max_bytes + RINGABI_POOL_ALIGN - 1) & -(uint64_t)RINGABI_POOL_ALIGN;
	err = open_memory(pool);
	if (!err)
		err = map_memory(pool, flags);
	if (!err)
		err = extent_map_init(&pool->map, pool, pool->bytes);
	if (err)
		pcidipc_pool_destroy(pool);
	else
		*poolp = pool;
	return err;
}

void pcidipc_pool_destroy(struct pcidipc_pool *pool)
{
	if (!pool)
		return;
	extent_map_exit(&pool->map);
	if (pool->base)
		munmap(pool->base, pool->bytes);
	if (pool->fd >= 0)
		close(pool->fd);
	free(pool);
}

void *pcidipc_pool_base(const struct pcidipc_pool *pool)
{
	return pool->base;
}

uint64_t pcidipc_pool_bytes(const struct pcidipc_pool *pool)
{
	return pool->bytes;
}

int pcidipc_pool_fd(const struct pcidipc_pool *pool)
{
	return pool->fd;
}

void pcidipc_pool_stats(struct pcidipc_pool *pool, struct pcidipc_pool_stats *stats)
{
	quick_flush_all(pool);
	*stats = (struct pcidipc_pool_stats){.max_bytes = pool->bytes,
					     .high_bytes = pool->high_bytes};
	for (const struct extent *e = pool->map.first; e; e = e->next) {
		if (e->state == EXTENT_USED) {
			stats->used_bytes += e->bytes;
			stats->buffers++;
		} else {
			stats->free_extents++;
		}
	}
}

static int check_quick(const struct pcidipc_pool *pool, const struct pool_quick *quick)
{
	const struct extent *e = quick->head;
	size_t count = 0;

	for (; e && count <= QUICK_LIST_MAX; e = e->link_next, count++)
		if (e->state != EXTENT_QUICK || e->bytes != quick->bytes)
			break;
	if (!e && count == quick->count)
		return 0;
	pcidipc_err("pool bookkeeping: quick list %td of %#llx bytes is broken",
		    quick - pool->quick, (unsigned long long)quick->bytes);
	return -EIO;
}

int pcidipc_pool_check(struct pcidipc_pool *pool)
{
	size_t count = 0;
	int err;

	for (unsigned i = 0; i < QUICK_LISTS; i++) {
		err = check_quick(pool, &pool->quick[i]);
		if (err)
			return err;
		count += pool->quick[i].count;
	}
	if (count != pool->quick_count) {
		pcidipc_err("pool bookkeeping: %zu extents in quick lists, %u counted", count,
			    pool->quick_count);
		return -EIO;
	}
	return extent_map_check(&pool->map, pool->quick_count);
}
