/* SPDX-License-Identifier: MIT */
/*
 * Pools: memory that a consumer allocates buffers from and that the producer and its device reach.
 * A pool is a sparse memfd of a fixed maximum size, sealed against shrinking and growing; memory is
 * used as buffers are touched.
 *
 * The allocator's bookkeeping lies outside the shared memory: nothing that the other side writes
 * can corrupt it. It makes no system call per buffer. A pool is used by one thread.
 */
#ifndef PCIDIPC_POOL_H
#define PCIDIPC_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pcidipc_pool;

/*
 * A buffer. Read-only to users. `holds` is its guard: while a request is in flight the buffer is
 * held, and freeing it takes effect when the last hold is released.
 */
struct pcidipc_buf {
	uint64_t offset; /* in the pool: what goes into sqe->addr */
	size_t bytes;	 /* as asked for */
	struct pcidipc_pool *pool;
	uint32_t holds;
	bool freed; /* free was called while held */
};

#define PCIDIPC_POOL_HUGE (1u << 0) /* ask for transparent huge pages */

/*
 * max_bytes is rounded up to RINGABI_POOL_ALIGN, and at most RINGABI_POOL_MAX_BYTES. Sparse: a
 * terabyte costs nothing. -EINVAL, -ENOMEM.
 */
int pcidipc_pool_create(uint64_t max_bytes, unsigned flags, struct pcidipc_pool **pool);

/*
 * Unmaps and closes. Every buffer must be free or its memory is simply gone; a device that still
 * writes keeps writing to the memfd, never to memory that is used for something else. Detach it
 * from every connection first.
 */
void pcidipc_pool_destroy(struct pcidipc_pool *pool);

/*
 * A buffer of `bytes` (at least 1) whose offset is a multiple of `align` (a power of two; 0: 64).
 * Not cleared. NULL: no room, or a size or alignment that cannot be. O(1), no system call once
 * bookkeeping has grown to its working size.
 */
struct pcidipc_buf *pcidipc_pool_alloc(struct pcidipc_pool *pool, size_t bytes, size_t align);
/* Give it back: at once, or when the last hold on it is released. */
void pcidipc_buf_free(struct pcidipc_buf *buf);

/* Guard a buffer for one request in flight, and end it. release after free gives the memory back.
 */
static inline void pcidipc_buf_hold(struct pcidipc_buf *buf)
{
	buf->holds++;
}
void pcidipc_buf_release(struct pcidipc_buf *buf);

/* Where it is mapped in this process: offset 0. */
void *pcidipc_pool_base(const struct pcidipc_pool *pool);
/* Its size, as it was rounded up. */
uint64_t pcidipc_pool_bytes(const struct pcidipc_pool *pool);
/* The memfd, which stays the pool's. */
int pcidipc_pool_fd(const struct pcidipc_pool *pool);

/* Where the buffer lies in our memory. */
static inline void *pcidipc_buf_ptr(const struct pcidipc_buf *buf)
{
	return (char *)pcidipc_pool_base(buf->pool) + buf->offset;
}

struct pcidipc_pool_stats {
	uint64_t max_bytes;
	uint64_t used_bytes;   /* in buffers, rounded up as they were */
	uint64_t high_bytes;   /* end of the highest buffer there ever was */
	uint64_t buffers;      /* allocated now */
	uint64_t free_extents; /* 1 when everything is free and coalesced (0 for a full pool) */
};
/* Coalesces first, so it costs time: for tests, tools and logs. */
void pcidipc_pool_stats(struct pcidipc_pool *pool, struct pcidipc_pool_stats *stats);

/* Check every invariant of the bookkeeping: 0, or -EIO with a log line. For tests. */
int pcidipc_pool_check(struct pcidipc_pool *pool);

#endif
