/* SPDX-License-Identifier: MIT */
/* What a block request must be before a driver sees it, and the words for what it was not. */
#include <pcidipc/log.h>
#include <stdarg.h>
#include <stdio.h>

#include "blockserve_internal.h"

static bool power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

/* The driver's own mistakes: everything below divides by masks and shifts. */
int block_check_info(const struct pcidipc_disk *disk)
{
	const struct ringabi_block_info *info = &disk->info;
	bool medium = !(info->flags & RINGABI_BLOCK_NO_MEDIUM);

	if (power_of_two(info->dma_align) && (!medium || power_of_two(info->block_bytes)) &&
	    info->max_bytes <= BLOCK_MAX_BYTES)
		return 0;
	pcidipc_err("%s: block_bytes %u and dma_align %u must be powers of two, max_bytes %u at "
		    "most %u",
		    disk->name, info->block_bytes, info->dma_align, info->max_bytes,
		    BLOCK_MAX_BYTES);
	return -EINVAL;
}

uint32_t block_largest(const struct pcidipc_disk *disk)
{
	return disk->info.max_bytes ? disk->info.max_bytes : BLOCK_MAX_BYTES;
}

/* Fields that no request of this interface but READ and WRITE uses. */
int block_check_unused(struct pcidipc_request *rq)
{
	const struct io_uring_sqe *sqe = &rq->sqe;

	if (sqe->fd || sqe->ioprio || sqe->rw_flags)
		return pcidipc_refuse(rq, -EINVAL, "fd %d, ioprio %u and flags %#x must be 0",
				      sqe->fd, sqe->ioprio, sqe->rw_flags);
	return 0;
}

/* May this client change this disk? */
int block_check_changes(struct pcidipc_request *rq)
{
	if (block_disk(rq)->info.flags & RINGABI_BLOCK_READ_ONLY)
		return pcidipc_refuse(rq, -EROFS, "the disk is read-only");
	if (pcidipc_session_open_flags(rq->session) & RINGABI_OPEN_READ_ONLY)
		return pcidipc_refuse(rq, -EROFS, "it opened the disk read-only");
	return 0;
}

static int refuse_range(struct pcidipc_request *rq, uint64_t off, uint64_t bytes)
{
	const struct ringabi_block_info *info = &block_disk(rq)->info;

	if (info->flags & RINGABI_BLOCK_NO_MEDIUM)
		return -ENOMEDIUM;
	if (!bytes || (off | bytes) & (info->block_bytes - 1))
		return pcidipc_refuse(
			rq, -EINVAL,
			"offset %llu and length %llu must be multiples of %u, length not 0",
			(unsigned long long)off, (unsigned long long)bytes, info->block_bytes);
	return pcidipc_refuse(rq, -ENOSPC,
			      "offset %llu and length %llu reach beyond the disk's %llu bytes",
			      (unsigned long long)off, (unsigned long long)bytes,
			      (unsigned long long)info->bytes);
}

/* A range of the disk, in bytes as the client gives it, in blocks as the driver gets it. */
int block_set_range(struct pcidipc_request *rq, uint64_t off, uint64_t bytes)
{
	const struct ringabi_block_info *info = &block_disk(rq)->info;
	struct pcidipc_block_io *io = block_io(rq);
	int shift;

	if (info->flags & RINGABI_BLOCK_NO_MEDIUM || !bytes ||
	    (off | bytes) & (info->block_bytes - 1) || off > info->bytes ||
	    bytes > info->bytes - off)
		return refuse_range(rq, off, bytes);
	shift = __builtin_ctz(info->block_bytes);
	io->lba = off >> shift;
	io->blocks = bytes >> shift;
	return 0;
}

static int refuse_buffer(struct pcidipc_request *rq, int error, uint64_t addr, uint64_t bytes)
{
	const struct pcidipc_pool_view *pool = pcidipc_session_pool(rq->session, rq->sqe.buf_index);

	if (!pool)
		return pcidipc_refuse(rq, error, "there is no pool %u", rq->sqe.buf_index);
	return pcidipc_refuse(rq, error,
			      "buffer %#llx of %llu bytes lies outside pool %u of %llu bytes",
			      (unsigned long long)addr, (unsigned long long)bytes,
			      rq->sqe.buf_index, (unsigned long long)pool->bytes);
}

/* Where a buffer lies for the device. PCIDIPC_PENDING: its pool has to grow first, the handler will
 * run again. */
int block_reach(struct pcidipc_request *rq, uint64_t addr, uint64_t bytes,
		struct pcidipc_segment *segment)
{
	uint32_t align = block_disk(rq)->info.dma_align;
	int ret;

	if (addr & (align - 1))
		return pcidipc_refuse(rq, -EINVAL, "buffer %#llx is not aligned to %u",
				      (unsigned long long)addr, align);
	segment->bytes = bytes;
	ret = pcidipc_request_reach(rq, rq->sqe.buf_index, addr, bytes, &segment->iova);
	if (ret == -ENXIO || ret == -EFAULT)
		return refuse_buffer(rq, ret, addr, bytes);
	return ret;
}
