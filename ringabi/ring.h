/* SPDX-License-Identifier: MIT */
/*
 * The shared-memory ring: an io_uring between two user processes.
 *
 * One memfd per ring, created and sealed (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) by the
 * producer, the side that serves requests. It holds this header, then the submission queue (SQ)
 * of struct io_uring_sqe, then the completion queue (CQ) of struct io_uring_cqe. Entries mean
 * what they mean in Linux; docs/ring-abi.md is the specification.
 *
 * Headers only: nothing here allocates, locks or logs, and all of it compiles freestanding.
 */
#ifndef RINGABI_RING_H
#define RINGABI_RING_H

#include <linux/io_uring.h>
#include <linux/types.h>

#ifdef __cplusplus
#define RINGABI_ASSERT(cond, text) static_assert(cond, text)
#else
#define RINGABI_ASSERT(cond, text) _Static_assert(cond, text)
#endif

/* Freeze the offset of one field. */
#define RINGABI_AT(type, field, at) \
	RINGABI_ASSERT(__builtin_offsetof(struct type, field) == (at), #type "." #field)
/* Freeze the size of one structure. */
#define RINGABI_SIZE(type, bytes) RINGABI_ASSERT(sizeof(struct type) == (bytes), "size of " #type)

#define RINGABI_VERSION_MAJOR 1 /* differs: the two sides cannot talk */
#define RINGABI_VERSION_MINOR 0 /* differs: the lower of the two holds */

#define RINGABI_RING_MAGIC 0x474e4952u /* "RING", little endian */

/* Features of a ring, fixed when it is created. */
#define RINGABI_RING_CQE32 (1u << 0) /* CQEs have 32 bytes: big_cqe[0..1] carry values */

/* Limits that both sides check. Entry counts are powers of two. */
#define RINGABI_MIN_ENTRIES 2u
#define RINGABI_MAX_ENTRIES 32768u
#define RINGABI_MAX_POOLS 256u /* of a connection; a producer may allow fewer */

#define RINGABI_SQE_BYTES 64u
#define RINGABI_CQE_BYTES 16u
#define RINGABI_CQE32_BYTES 32u

/*
 * Two 64-byte cache lines: processors that prefetch lines in pairs would otherwise make two
 * neighbouring indices, written by different sides, bounce together.
 */
#define RINGABI_LINE 128
#define RINGABI_HEADER_BYTES 4096u

/*
 * The header. The first line never changes after creation. Every line after it has exactly one
 * writer, named beside it. Indices are free-running 32-bit counters; entry i lies at i & (n - 1).
 */
struct ringabi_ring {
	/* fixed at creation; copied and validated once by the side that attaches */
	__u32 magic;	     /* RINGABI_RING_MAGIC */
	__u16 version_major; /* RINGABI_VERSION_MAJOR */
	__u16 version_minor;
	__u32 features;	  /* RINGABI_RING_* */
	__u32 sq_entries; /* power of two */
	__u32 cq_entries; /* power of two, at least sq_entries */
	__u32 sq_offset;  /* bytes from the start of the memfd to the SQ array */
	__u32 cq_offset;  /* bytes from the start of the memfd to the CQ array */
	__u32 reserved0;
	__u64 bytes; /* size of the memfd */
	__u8 reserved1[RINGABI_LINE - 40];

	__u32 sq_tail;	    /* written by the consumer: SQEs published */
	__u32 consumer_cpu; /* a hint, written by the consumer: see below */
	__u8 pad_sq_tail[RINGABI_LINE - 8];
	__u32 sq_head; /* written by the producer: SQEs copied out */
	__u8 pad_sq_head[RINGABI_LINE - 4];
	__u32 cq_tail;	    /* written by the producer: CQEs published */
	__u32 producer_cpu; /* a hint, written by the producer */
	__u8 pad_cq_tail[RINGABI_LINE - 8];
	__u32 cq_head; /* written by the consumer: CQEs taken */
	__u8 pad_cq_head[RINGABI_LINE - 4];

	/*
	 * 1 while that side sleeps or is about to. Set by the sleeper, cleared by the sleeper when
	 * it runs again or by the waker just before it sends RINGABI_MSG_WAKE.
	 */
	__u32 producer_need_wakeup;
	__u8 pad_producer[RINGABI_LINE - 4];
	__u32 consumer_need_wakeup;
	__u8 pad_consumer[RINGABI_LINE - 4];

	__u8 reserved2[RINGABI_HEADER_BYTES - 7 * RINGABI_LINE];
};

/*
 * consumer_cpu, producer_cpu: the CPU on which that side ran when it last found nothing to do, plus
 * 1; 0 is not told. Who reads there that the other side shares its own CPU had better let it have
 * that than spin. It may be out of date, or a lie: nothing else may depend on it.
 */

RINGABI_AT(ringabi_ring, magic, 0);
RINGABI_AT(ringabi_ring, version_major, 4);
RINGABI_AT(ringabi_ring, version_minor, 6);
RINGABI_AT(ringabi_ring, features, 8);
RINGABI_AT(ringabi_ring, sq_entries, 12);
RINGABI_AT(ringabi_ring, cq_entries, 16);
RINGABI_AT(ringabi_ring, sq_offset, 20);
RINGABI_AT(ringabi_ring, cq_offset, 24);
RINGABI_AT(ringabi_ring, bytes, 32);
RINGABI_AT(ringabi_ring, sq_tail, 128);
RINGABI_AT(ringabi_ring, consumer_cpu, 132);
RINGABI_AT(ringabi_ring, sq_head, 256);
RINGABI_AT(ringabi_ring, cq_tail, 384);
RINGABI_AT(ringabi_ring, producer_cpu, 388);
RINGABI_AT(ringabi_ring, cq_head, 512);
RINGABI_AT(ringabi_ring, producer_need_wakeup, 640);
RINGABI_AT(ringabi_ring, consumer_need_wakeup, 768);
RINGABI_SIZE(ringabi_ring, 4096);

/* The parts of Linux's entries that this ABI relies on. */
RINGABI_SIZE(io_uring_sqe, 64);
RINGABI_SIZE(io_uring_cqe, 16);
RINGABI_AT(io_uring_sqe, opcode, 0);
RINGABI_AT(io_uring_sqe, flags, 1);
RINGABI_AT(io_uring_sqe, fd, 4);
RINGABI_AT(io_uring_sqe, off, 8);
RINGABI_AT(io_uring_sqe, cmd_op, 8);
RINGABI_AT(io_uring_sqe, addr, 16);
RINGABI_AT(io_uring_sqe, len, 24);
RINGABI_AT(io_uring_sqe, rw_flags, 28);
RINGABI_AT(io_uring_sqe, user_data, 32);
RINGABI_AT(io_uring_sqe, buf_index, 40);
RINGABI_AT(io_uring_sqe, cmd, 48);
RINGABI_AT(io_uring_cqe, user_data, 0);
RINGABI_AT(io_uring_cqe, res, 8);
RINGABI_AT(io_uring_cqe, flags, 12);

/*
 * An IORING_OP_URING_CMD names what it wants in cmd_op: the high byte is the interface, so that
 * a command sent to the wrong service is refused instead of misread.
 */
#define RINGABI_INTERFACE_COMMON 0u
#define RINGABI_INTERFACE_PCI 1u
#define RINGABI_INTERFACE_BLOCK 2u
#define RINGABI_INTERFACE_USB 3u
#define RINGABI_INTERFACE_PRIVATE 0x7fu /* a driver's own service: never assigned here */
/* What a request of IORING_OP_URING_CMD has in cmd_op. */
#define RINGABI_CMD_OP(interface, number) (((interface) << 8) | (number))

#define RINGABI_CMD_ARG_BYTES 16u /* bytes of argument in a 64-byte SQE, from cmd[] on */

/*
 * Commands of every interface.
 *
 * POOL_MAP makes bytes [addr, addr + len) of pool buf_index reachable by the producer's device.
 * A producer does so by itself when an SQE first names a buffer; the command exists so that a
 * producer which forwarded the pool can ask for it along the chain. addr and len are multiples
 * of RINGABI_POOL_PAGE, len is at most RINGABI_POOL_CHUNK. res: 0, -ENXIO (no such pool),
 * -EINVAL (alignment), -EFAULT (outside the pool), -EDQUOT (the user's quota), -ENOMEM.
 *
 * POOL_DETACH takes pool buf_index back: it completes when no device reaches the pool any more.
 * Requests in flight that name the pool are finished first. res: 0 or -ENXIO.
 */
#define RINGABI_CMD_POOL_MAP RINGABI_CMD_OP(RINGABI_INTERFACE_COMMON, 1u)
#define RINGABI_CMD_POOL_DETACH RINGABI_CMD_OP(RINGABI_INTERFACE_COMMON, 2u)

#define RINGABI_POOL_PAGE 4096u		    /* granule of a device mapping */
#define RINGABI_POOL_CHUNK (32u << 20)	    /* most that one POOL_MAP maps */
#define RINGABI_POOL_ALIGN (2u << 20)	    /* a pool's size is a multiple of this */
#define RINGABI_POOL_MAX_BYTES (1ull << 44) /* 16 TiB */

#endif
