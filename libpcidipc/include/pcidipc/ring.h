/* SPDX-License-Identifier: MIT */
/*
 * Both sides of a shared ring (ringabi/ring.h), without its channel. Small and inline, because this
 * is the hot path; set-up is in ring.c. One thread per side.
 *
 * Memory ordering, in one place: an entry is written, then its index is stored with release; the
 * other side loads the index with acquire, then reads the entry. Publishing an index and testing
 * the other side's NEED_WAKEUP word are a store and a load of different words, so a full fence
 * stands between them; the sleeper has the same fence between setting the word and looking at the
 * index once more. One of the two sees the other. A head is tested for less often than it is
 * published: only when the other side may be waiting for the space.
 */
#ifndef PCIDIPC_RING_H
#define PCIDIPC_RING_H

#include <errno.h>
#include <ringabi/ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A completion, copied out of the ring. big is zero on rings without RINGABI_RING_CQE32. */
struct pcidipc_cqe {
	uint64_t user_data;
	int32_t res; /* result, or a negative errno */
	uint32_t flags;
	uint64_t big[2];
};

/* What one side knows about a mapped ring: copied from the header once, never read from it again.
 */
struct pcidipc_ring_map {
	struct ringabi_ring *shared;
	struct io_uring_sqe *sqes;
	unsigned char *cqes;
	uint32_t sq_entries;
	uint32_t cq_entries;
	uint32_t cqe_shift; /* log2 of a CQE's bytes */
	size_t bytes;
};

struct pcidipc_consumer_ring {
	struct pcidipc_ring_map map;
	uint32_t sqe_tail;     /* SQEs handed out by get_sqe */
	uint32_t sq_tail;      /* SQEs published */
	uint32_t sq_head;      /* as last seen */
	uint32_t cq_head;      /* CQEs taken */
	uint32_t cq_head_told; /* CQEs taken, as published */
	uint32_t cq_tail;      /* as last seen */
	int error;	       /* -EPROTO once the other side broke the rules */
};

struct pcidipc_producer_ring {
	struct pcidipc_ring_map map;
	uint32_t sq_head;      /* SQEs copied out */
	uint32_t sq_head_told; /* the same, as published */
	uint32_t sq_head_woke; /* the same, when the consumer's NEED_WAKEUP was tested last */
	uint32_t sq_tail;      /* as last seen */
	uint32_t cq_tail;      /* CQEs written */
	uint32_t cq_tail_told; /* the same, as published */
	uint32_t cq_head;      /* as last seen */
	uint32_t reserved;     /* CQ slots held by SQEs that were copied out and not completed */
	int error;
};

/*
 * Create a ring and return its sealed memfd in *fd (the caller's to close). Entries are powers of
 * two within RINGABI_MIN_ENTRIES and RINGABI_MAX_ENTRIES, cq_entries >= sq_entries; features as in
 * ringabi. -EINVAL, -ENOMEM.
 */
int pcidipc_producer_ring_create(struct pcidipc_producer_ring *ring, uint32_t sq_entries,
				 uint32_t cq_entries, uint32_t features, int *fd);

/*
 * Map the ring behind `fd` after checking seals, sizes, offsets and version; `fd` stays the
 * caller's. -EPROTO with a log line that names what is wrong.
 */
int pcidipc_consumer_ring_attach(struct pcidipc_consumer_ring *ring, int fd, uint32_t features);

/* Undo create and attach: our mapping goes, the memfd is its owner's. */
void pcidipc_consumer_ring_unmap(struct pcidipc_consumer_ring *ring);
void pcidipc_producer_ring_unmap(struct pcidipc_producer_ring *ring);

/*
 * Copy out of memory that the other side may be writing to. The barrier keeps the compiler from
 * reading the original again where the copy is looked at.
 */
static inline void pcidipc_copy_once(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
	__asm__ volatile("" ::: "memory");
}

/* Read an index that the other side writes; what it wrote before is visible then. */
static inline uint32_t pcidipc_load_acquire(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Write an index; what was written before is visible to who reads it. */
static inline void pcidipc_store_release(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/*
 * After publishing an index: must the other side be woken? The flag is cleared here, so one sleep
 * costs one wake; the caller sends it. See docs/ring-abi.md for why clearing another's flag loses
 * nothing. It is an exchange because a plain store might reach memory after the wake was refused by
 * a full channel, the other side had drained that channel, and set the flag anew
 * (tests/model/wakeup.pml finds it).
 */
static inline bool pcidipc_take_need_wakeup(uint32_t *word)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(!__atomic_load_n(word, __ATOMIC_RELAXED), 1))
		return false;
	return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
}

/* Before sleeping; afterwards look at the ring once more. */
static inline void pcidipc_set_need_wakeup(uint32_t *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Not asleep any more: no wake-up is wanted. */
static inline void pcidipc_clear_need_wakeup(uint32_t *word)
{
	__atomic_store_n(word, 0, __ATOMIC_RELAXED);
}

/* ---- consumer side ---- */

/* An index that the other side moved: it may only go forward, and by no more than is outstanding.
 */
static inline bool pcidipc_index_ok(uint32_t seen, uint32_t now, uint32_t most)
{
	return now - seen <= most;
}

/* The next free SQE, or NULL when the SQ is full. It is not cleared; it is the caller's until
 * publish. */
static inline struct io_uring_sqe *pcidipc_ring_get_sqe(struct pcidipc_consumer_ring *ring)
{
	if (__builtin_expect(ring->sqe_tail - ring->sq_head >= ring->map.sq_entries, 0)) {
		uint32_t head = pcidipc_load_acquire(&ring->map.shared->sq_head);

		if (!pcidipc_index_ok(ring->sq_head, head, ring->sq_tail - ring->sq_head)) {
			ring->error = -EPROTO;
			return NULL;
		}
		ring->sq_head = head;
		if (ring->sqe_tail - head >= ring->map.sq_entries)
			return NULL;
	}
	return &ring->map.sqes[ring->sqe_tail++ & (ring->map.sq_entries - 1)];
}

/* How many SQEs get_sqe can hand out now. */
static inline uint32_t pcidipc_ring_sq_space(struct pcidipc_consumer_ring *ring)
{
	uint32_t head = pcidipc_load_acquire(&ring->map.shared->sq_head);

	if (!pcidipc_index_ok(ring->sq_head, head, ring->sq_tail - ring->sq_head)) {
		ring->error = -EPROTO;
		return 0;
	}
	ring->sq_head = head;
	return ring->map.sq_entries - (ring->sqe_tail - head);
}

/* Has the producer taken every SQE that was published? Once true it stays so until the next. */
static inline bool pcidipc_ring_all_taken(struct pcidipc_consumer_ring *ring)
{
	if (ring->sq_head != ring->sq_tail &&
	    pcidipc_load_acquire(&ring->map.shared->sq_head) == ring->sq_tail)
		ring->sq_head = ring->sq_tail;
	return ring->sq_head == ring->sq_tail;
}

/*
 * Publish what get_sqe handed out, and CQ space given back. True: the producer sleeps, wake it. For
 * CQ space alone only when it may wait for that, which takes an SQE that it has not taken.
 */
static inline bool pcidipc_ring_publish_sq(struct pcidipc_consumer_ring *ring)
{
	struct ringabi_ring *shared = ring->map.shared;
	bool more = ring->sqe_tail != ring->sq_tail;

	if (!more && ring->cq_head == ring->cq_head_told)
		return false;
	if (ring->cq_head != ring->cq_head_told) {
		ring->cq_head_told = ring->cq_head;
		pcidipc_store_release(&shared->cq_head, ring->cq_head);
	}
	if (more) {
		ring->sq_tail = ring->sqe_tail;
		pcidipc_store_release(&shared->sq_tail, ring->sq_tail);
	} else if (pcidipc_ring_all_taken(ring)) {
		return false;
	}
	return pcidipc_take_need_wakeup(&shared->producer_need_wakeup);
}

/* Where in shared memory the next CQE will be, or is. */
static inline const struct io_uring_cqe *
pcidipc_ring_next_cqe_slot(const struct pcidipc_consumer_ring *ring)
{
	size_t index = ring->cq_head & (ring->map.cq_entries - 1);

	return (const void *)(ring->map.cqes + (index << ring->map.cqe_shift));
}

/* Look how far the producer has come: how many CQEs there are, or -EPROTO when its index makes no
 * sense. */
static inline int pcidipc_ring_see_cqes(struct pcidipc_consumer_ring *ring)
{
	uint32_t tail = pcidipc_load_acquire(&ring->map.shared->cq_tail);

	if (!pcidipc_index_ok(ring->cq_tail, tail,
			      ring->map.cq_entries - (ring->cq_tail - ring->cq_head_told))) {
		ring->error = -EPROTO;
		return -EPROTO;
	}
	ring->cq_tail = tail;
	return (int)(tail - ring->cq_head);
}

/* Copy the oldest CQE out: 1, 0 when there is none, -EPROTO when the producer's index makes no
 * sense. */
static inline int pcidipc_ring_peek_cqe(struct pcidipc_consumer_ring *ring, struct pcidipc_cqe *cqe)
{
	const struct io_uring_cqe *slot;

	if (ring->cq_head == ring->cq_tail) {
		int n = pcidipc_ring_see_cqes(ring);

		if (n <= 0)
			return n;
	}
	slot = pcidipc_ring_next_cqe_slot(ring);
	cqe->user_data = __atomic_load_n(&slot->user_data, __ATOMIC_RELAXED);
	cqe->res = __atomic_load_n(&slot->res, __ATOMIC_RELAXED);
	cqe->flags = __atomic_load_n(&slot->flags, __ATOMIC_RELAXED);
	if (ring->map.cqe_shift == 5) {
		cqe->big[0] = __atomic_load_n(&slot->big_cqe[0], __ATOMIC_RELAXED);
		cqe->big[1] = __atomic_load_n(&slot->big_cqe[1], __ATOMIC_RELAXED);
	} else {
		cqe->big[0] = cqe->big[1] = 0;
	}
	return 1;
}

/* Done with the CQE that peek_cqe copied. Its slot is free for the producer after the next publish.
 */
static inline void pcidipc_ring_cqe_seen(struct pcidipc_consumer_ring *ring)
{
	ring->cq_head++;
}

/* Is there anything for the consumer to do? Used while spinning, and for the last look before
 * sleeping. Entry and index come over together, not one after the other. */
static inline bool pcidipc_consumer_ring_ready(const struct pcidipc_consumer_ring *ring)
{
	__builtin_prefetch(pcidipc_ring_next_cqe_slot(ring));
	return ring->error ||
	       ring->cq_head != __atomic_load_n(&ring->map.shared->cq_tail, __ATOMIC_ACQUIRE);
}

/* ---- producer side ---- */

/* How far ahead of the SQE being copied the producer asks for its lines: they lie in the other
 * CPU's cache, and one at a time would cost more than the work between them. */
#define PCIDIPC_SQE_PREFETCH 8u

/* The slot in shared memory of an index, which wraps: a slot's contents are the other side's, copy
 * them once. */
static inline const struct io_uring_sqe *
pcidipc_ring_sqe_at(const struct pcidipc_producer_ring *ring, uint32_t index)
{
	return &ring->map.sqes[index & (ring->map.sq_entries - 1)];
}

/* How many CQ slots are free and not reserved, as far as the consumer's head was seen. */
static inline uint32_t pcidipc_ring_cq_room(const struct pcidipc_producer_ring *ring)
{
	return ring->map.cq_entries - (ring->cq_tail - ring->cq_head + ring->reserved);
}

/* Nothing new in the SQ, and nothing left in it: what a session that is idle costs. Entry and index
 * come over together, not one after the other. */
static inline bool pcidipc_ring_sq_idle(const struct pcidipc_producer_ring *ring)
{
	__builtin_prefetch(pcidipc_ring_sqe_at(ring, ring->sq_head));
	return ring->sq_head == __atomic_load_n(&ring->map.shared->sq_tail, __ATOMIC_RELAXED);
}

/*
 * How many SQEs take_sqe may take now, a CQ slot for each: 0 when there is none, -EPROTO when an
 * index of the consumer makes no sense.
 */
static inline int pcidipc_ring_sqes(struct pcidipc_producer_ring *ring)
{
	struct ringabi_ring *shared = ring->map.shared;
	uint32_t n;

	if (ring->sq_head == ring->sq_tail) {
		uint32_t tail;

		/* Entry and index come over together, not one after the other. */
		__builtin_prefetch(pcidipc_ring_sqe_at(ring, ring->sq_head));
		tail = pcidipc_load_acquire(&shared->sq_tail);
		if (!pcidipc_index_ok(ring->sq_tail, tail,
				      ring->map.sq_entries -
					      (ring->sq_tail - ring->sq_head_told))) {
			ring->error = -EPROTO;
			return -EPROTO;
		}
		ring->sq_tail = tail;
	}
	n = ring->sq_tail - ring->sq_head;
	if (__builtin_expect(n > pcidipc_ring_cq_room(ring), 0)) {
		uint32_t head = pcidipc_load_acquire(&shared->cq_head);

		if (!pcidipc_index_ok(ring->cq_head, head, ring->cq_tail_told - ring->cq_head)) {
			ring->error = -EPROTO;
			return -EPROTO;
		}
		ring->cq_head = head;
		if (n > pcidipc_ring_cq_room(ring))
			n = pcidipc_ring_cq_room(ring);
	}
	return (int)n;
}

/* Copy the oldest SQE out and hold a CQ slot for it; `sqes` has said that it is there. Each SQE
 * taken needs one post_cqe or skip_cqe. */
static inline void pcidipc_ring_take_sqe(struct pcidipc_producer_ring *ring,
					 struct io_uring_sqe *sqe)
{
	if (ring->sq_tail - ring->sq_head > PCIDIPC_SQE_PREFETCH)
		__builtin_prefetch(pcidipc_ring_sqe_at(ring, ring->sq_head + PCIDIPC_SQE_PREFETCH));
	pcidipc_copy_once(sqe, pcidipc_ring_sqe_at(ring, ring->sq_head), sizeof(*sqe));
	ring->sq_head++;
	ring->reserved++;
}

/* `sqes` and `take_sqe` for one: 1, 0, or -EPROTO. */
static inline int pcidipc_ring_next_sqe(struct pcidipc_producer_ring *ring,
					struct io_uring_sqe *sqe)
{
	int n = pcidipc_ring_sqes(ring);

	if (n <= 0)
		return n;
	pcidipc_ring_take_sqe(ring, sqe);
	return 1;
}

/* Complete one SQE. It becomes visible with the next publish. */
static inline void pcidipc_ring_post_cqe(struct pcidipc_producer_ring *ring, uint64_t user_data,
					 int32_t res, uint32_t flags, const uint64_t big[2])
{
	struct io_uring_cqe *cqe;

	cqe = (void *)(ring->map.cqes + ((size_t)(ring->cq_tail & (ring->map.cq_entries - 1))
					 << ring->map.cqe_shift));
	cqe->user_data = user_data;
	cqe->res = res;
	cqe->flags = flags;
	if (ring->map.cqe_shift == 5) {
		cqe->big_cqe[0] = big ? big[0] : 0;
		cqe->big_cqe[1] = big ? big[1] : 0;
	}
	ring->cq_tail++;
	ring->reserved--;
}

/* Complete one SQE without a CQE (IOSQE_CQE_SKIP_SUCCESS). */
static inline void pcidipc_ring_skip_cqe(struct pcidipc_producer_ring *ring)
{
	ring->reserved--;
}

/*
 * How much SQ space may be published without a look at whether the consumer waits for it: so little
 * that one who waits until half the SQ is free is told in time, but the common consumer, who waits
 * for a CQE, is left asleep (docs/ring-abi.md, "Space").
 */
static inline uint32_t pcidipc_ring_quiet_space(const struct pcidipc_producer_ring *ring)
{
	return ring->map.sq_entries > 2 ? ring->map.sq_entries / 2 : 2;
}

/* Publish CQEs and SQ space. True: the consumer sleeps, wake it. */
static inline bool pcidipc_ring_publish_cq(struct pcidipc_producer_ring *ring)
{
	struct ringabi_ring *shared = ring->map.shared;
	bool more = ring->cq_tail != ring->cq_tail_told;

	if (!more && ring->sq_head == ring->sq_head_told)
		return false;
	if (ring->sq_head != ring->sq_head_told) {
		ring->sq_head_told = ring->sq_head;
		pcidipc_store_release(&shared->sq_head, ring->sq_head);
	}
	if (more) {
		ring->cq_tail_told = ring->cq_tail;
		pcidipc_store_release(&shared->cq_tail, ring->cq_tail);
	} else if (ring->sq_head - ring->sq_head_woke < pcidipc_ring_quiet_space(ring)) {
		return false;
	}
	ring->sq_head_woke = ring->sq_head;
	return pcidipc_take_need_wakeup(&shared->consumer_need_wakeup);
}

/* Could next_sqe return something other than 0? Used for the last look before sleeping. */
static inline bool pcidipc_producer_ring_ready(const struct pcidipc_producer_ring *ring)
{
	struct ringabi_ring *shared = ring->map.shared;

	if (ring->error)
		return true;
	if (ring->sq_head == __atomic_load_n(&shared->sq_tail, __ATOMIC_ACQUIRE))
		return false;
	return ring->cq_tail - __atomic_load_n(&shared->cq_head, __ATOMIC_ACQUIRE) +
		       ring->reserved <
	       ring->map.cq_entries;
}

#endif
