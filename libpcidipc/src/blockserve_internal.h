/* SPDX-License-Identifier: MIT */
/*
 * What the parts of block serving share: blockserve.c (sessions, the scheme), blockserve_rw.c
 * (reads and writes, the hot path), blockserve_command.c (everything else), blockserve_check.c
 * (checks and complaints).
 */
#ifndef BLOCKSERVE_INTERNAL_H
#define BLOCKSERVE_INTERNAL_H

#include <pcidipc/blockserve.h>
#include <string.h>
#include <sys/uio.h>

#define BLOCK_MAX_BYTES (1u << 30) /* of one request, where the driver sets no limit */
#define BLOCK_SESSION_ADMIN PCIDIPC_SESSION_ADMIN

/* For a vectored request: the copy of the client's vector that is validated, and what became of it.
 */
struct block_vector {
	struct block_vector *next;
	struct iovec iov[RINGABI_BLOCK_MAX_IOV];
	struct pcidipc_segment segment[RINGABI_BLOCK_MAX_IOV];
};

/* A session's private memory: ours, then the driver's. */
struct block_session {
	struct pcidipc_disk *disk;
	struct block_vector *spare; /* made when first needed, kept until the session closes */
	_Alignas(16) unsigned char driver[];
};

static inline struct block_session *block_session(struct pcidipc_session *session)
{
	return pcidipc_session_priv(session);
}

static inline struct pcidipc_block_io *block_io(struct pcidipc_request *rq)
{
	return (void *)rq->priv;
}

static inline struct pcidipc_disk *block_disk(struct pcidipc_request *rq)
{
	return block_session(rq->session)->disk;
}

/* blockserve_check.c */
int block_check_info(const struct pcidipc_disk *disk);
int block_check_unused(struct pcidipc_request *rq);
int block_check_changes(struct pcidipc_request *rq);
int block_set_range(struct pcidipc_request *rq, uint64_t off, uint64_t bytes);
int block_reach(struct pcidipc_request *rq, uint64_t addr, uint64_t bytes,
		struct pcidipc_segment *segment);
uint32_t block_largest(const struct pcidipc_disk *disk);

/* blockserve_rw.c */
int block_rw_fixed(struct pcidipc_request *rq, enum pcidipc_block_kind kind);
int block_rw_vectored(struct pcidipc_request *rq, enum pcidipc_block_kind kind);
int block_start(struct pcidipc_block_io *io, enum pcidipc_block_kind kind);

/* blockserve_command.c */
int block_flush(struct pcidipc_request *rq);
int block_allocate(struct pcidipc_request *rq);
int block_command(struct pcidipc_request *rq);
int block_write_back(struct pcidipc_block_io *io, int res);

#endif
