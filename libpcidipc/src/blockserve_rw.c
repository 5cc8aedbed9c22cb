/* SPDX-License-Identifier: MIT */
/*
 * Block reads and writes: from an SQE to device addresses. Nothing here allocates once a session
 * has warmed up. A handler may run twice for one request (its pool had to grow first), so nothing
 * starts before all is resolved.
 */
#include <linux/fs.h>
#include <pcidipc/log.h>
#include <stdlib.h>

#include "blockserve_internal.h"

/* ---- starting and finishing ---- */

static struct block_vector *take_vector(struct block_session *bs)
{
	struct block_vector *vector = bs->spare;

	if (!vector)
		return malloc(sizeof(*vector));
	bs->spare = vector->next;
	return vector;
}

static void drop_vector(struct pcidipc_block_io *io)
{
	struct block_session *bs = block_session(pcidipc_block_session(io));
	struct block_vector *vector;

	if (io->segments == &io->one)
		return;
	vector = pcidipc_container_of(io->segments, struct block_vector, segment[0]);
	vector->next = bs->spare;
	bs->spare = vector;
	io->segments = &io->one;
}

static int32_t finish(struct pcidipc_block_io *io, int res)
{
	io->disk->running--;
	drop_vector(io);
	if (io->data)
		return block_write_back(io, res);
	if (!res && io->kind <= PCIDIPC_BLOCK_WRITE)
		return (int32_t)(io->blocks * io->disk->info.block_bytes);
	return res;
}

int block_start(struct pcidipc_block_io *io, enum pcidipc_block_kind kind)
{
	int res;

	io->kind = kind;
	io->disk->running++;
	res = io->disk->submit(io);
	return res == PCIDIPC_PENDING ? res : finish(io, res);
}

void pcidipc_block_complete(struct pcidipc_block_io *io, int res)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);

	pcidipc_complete(rq, finish(io, res));
}

/* ---- checks ---- */

static int check_flags(struct pcidipc_request *rq, enum pcidipc_block_kind kind)
{
	const struct io_uring_sqe *sqe = &rq->sqe;

	if (sqe->fd || sqe->ioprio || sqe->rw_flags & ~RWF_DSYNC)
		return pcidipc_refuse(rq, -EINVAL,
				      "fd %d and ioprio %u must be 0, rw_flags %#x 0 or RWF_DSYNC",
				      sqe->fd, sqe->ioprio, sqe->rw_flags);
	return kind == PCIDIPC_BLOCK_WRITE ? block_check_changes(rq) : 0;
}

static int refuse_length(struct pcidipc_request *rq, uint64_t bytes)
{
	return pcidipc_refuse(rq, -EINVAL, "%llu bytes in one request, the limit is %u",
			      (unsigned long long)bytes, block_largest(block_disk(rq)));
}

/* ---- one buffer ---- */

int block_rw_fixed(struct pcidipc_request *rq, enum pcidipc_block_kind kind)
{
	struct pcidipc_block_io *io = block_io(rq);
	int ret = check_flags(rq, kind);

	if (ret)
		return ret;
	if (rq->sqe.len > block_largest(io->disk))
		return refuse_length(rq, rq->sqe.len);
	ret = block_set_range(rq, rq->sqe.off, rq->sqe.len);
	if (!ret)
		ret = block_reach(rq, rq->sqe.addr, rq->sqe.len, &io->one);
	if (ret)
		return ret;
	io->fua = rq->sqe.rw_flags & RWF_DSYNC;
	io->nsegments = 1;
	return block_start(io, kind);
}

/* ---- many buffers ---- */

static int copy_vector(struct pcidipc_request *rq, struct block_vector *vector)
{
	size_t bytes = rq->sqe.len * sizeof(struct iovec);
	void *from;
	int ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, bytes, &from);

	if (ret)
		return pcidipc_refuse(rq, ret,
				      "no pool %u, or the iovecs at %#llx lie outside of it",
				      rq->sqe.buf_index, (unsigned long long)rq->sqe.addr);
	pcidipc_copy_once(vector->iov, from, bytes);
	return 0;
}

/* Whole blocks each, so that a driver may split between any two. */
static int add_up(struct pcidipc_request *rq, const struct block_vector *vector, uint64_t *total)
{
	const struct pcidipc_disk *disk = block_disk(rq);

	*total = 0;
	if (disk->info.flags & RINGABI_BLOCK_NO_MEDIUM)
		return -ENOMEDIUM;
	for (uint32_t i = 0; i < rq->sqe.len; i++) {
		uint64_t bytes = vector->iov[i].iov_len;

		if (!bytes || bytes & (disk->info.block_bytes - 1))
			return pcidipc_refuse(rq, -EINVAL,
					      "iov_len %llu must be a multiple of %u, not 0",
					      (unsigned long long)bytes, disk->info.block_bytes);
		if (bytes > block_largest(disk) - *total)
			return refuse_length(rq, bytes);
		*total += bytes;
	}
	return 0;
}

static int resolve(struct pcidipc_request *rq, struct block_vector *vector, uint16_t *n)
{
	struct pcidipc_segment *last = NULL;

	for (uint32_t i = 0; i < rq->sqe.len; i++) {
		struct pcidipc_segment next;
		int ret = block_reach(rq, (uintptr_t)vector->iov[i].iov_base,
				      vector->iov[i].iov_len, &next);

		if (ret)
			return ret;
		if (last && last->iova + last->bytes == next.iova) {
			last->bytes += next.bytes;
		} else {
			last = &vector->segment[(*n)++];
			*last = next;
		}
	}
	return 0;
}

static int prepare_vector(struct pcidipc_request *rq, struct block_vector *vector)
{
	uint64_t total;
	int ret = copy_vector(rq, vector);

	if (!ret)
		ret = add_up(rq, vector, &total);
	if (!ret)
		ret = block_set_range(rq, rq->sqe.off, total);
	return ret ? ret : resolve(rq, vector, &block_io(rq)->nsegments);
}

int block_rw_vectored(struct pcidipc_request *rq, enum pcidipc_block_kind kind)
{
	struct pcidipc_block_io *io = block_io(rq);
	struct block_vector *vector;
	int ret = check_flags(rq, kind);

	if (ret)
		return ret;
	if (!rq->sqe.len || rq->sqe.len > RINGABI_BLOCK_MAX_IOV)
		return pcidipc_refuse(rq, -EINVAL, "%u iovecs, it must be 1 to %u", rq->sqe.len,
				      RINGABI_BLOCK_MAX_IOV);
	vector = take_vector(block_session(rq->session));
	if (!vector)
		return -ENOMEM;
	io->segments = vector->segment;
	ret = prepare_vector(rq, vector);
	if (ret) {
		drop_vector(io);
		return ret;
	}
	io->fua = rq->sqe.rw_flags & RWF_DSYNC;
	return block_start(io, kind);
}
