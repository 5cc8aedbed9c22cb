/* SPDX-License-Identifier: MIT */
/* Block requests that move no data of the disk: flush, zero, discard, identity, health,
 * pass-through. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <pcidipc/log.h>
#include <stdlib.h>

#include "blockserve_internal.h"

#define ZERO_RANGE (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
#define PUNCH_HOLE (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

int block_flush(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = block_io(rq);
	const struct io_uring_sqe *sqe = &rq->sqe;

	if (sqe->fd || sqe->ioprio || sqe->off || sqe->addr || sqe->len ||
	    sqe->fsync_flags & ~IORING_FSYNC_DATASYNC)
		return pcidipc_refuse(
			rq, -EINVAL,
			"FSYNC takes no range, no fd, and no flag but IORING_FSYNC_DATASYNC");
	if (io->disk->info.flags & RINGABI_BLOCK_NO_MEDIUM) /* what was written went with it */
		return -ENOMEDIUM;
	if (!(io->disk->info.flags & RINGABI_BLOCK_VOLATILE_CACHE))
		return 0;
	return block_start(io, PCIDIPC_BLOCK_FLUSH);
}

int block_allocate(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = block_io(rq);
	int ret = block_check_unused(rq);

	if (ret)
		return ret;
	if (rq->sqe.len != ZERO_RANGE && rq->sqe.len != PUNCH_HOLE)
		return pcidipc_refuse(rq, -EOPNOTSUPP, "FALLOCATE mode %#x, it must be %#x or %#x",
				      rq->sqe.len, ZERO_RANGE, PUNCH_HOLE);
	ret = block_check_changes(rq);
	if (ret)
		return ret;
	if (!(io->disk->info.flags & RINGABI_BLOCK_ZEROES_WORK))
		return -EOPNOTSUPP;
	ret = block_set_range(rq, rq->sqe.off, rq->sqe.addr);
	if (ret)
		return ret;
	io->unmap = rq->sqe.len == PUNCH_HOLE;
	return block_start(io, PCIDIPC_BLOCK_ZERO);
}

static int discard(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = block_io(rq);
	struct ringabi_block_range range;
	int ret = block_check_changes(rq);

	if (ret)
		return ret;
	if (!(io->disk->info.flags & RINGABI_BLOCK_DISCARD_WORKS))
		return -EOPNOTSUPP;
	memcpy(&range, (const char *)&rq->sqe + offsetof(struct io_uring_sqe, cmd), sizeof(range));
	ret = block_set_range(rq, range.off, range.bytes);
	return ret ? ret : block_start(io, PCIDIPC_BLOCK_DISCARD);
}

/* ---- answers and arguments in the client's pool ---- */

/* What goes back to the client. The pool stays while the request does. */
struct answer {
	void *to;
	size_t bytes;
	union {
		struct ringabi_block_health health;
		struct ringabi_block_passthrough passthrough;
	};
};

/* The structure that (addr, len, buf_index) names, here. */
static int map_argument(struct pcidipc_request *rq, size_t bytes, void **address)
{
	int ret;

	if (rq->sqe.len < bytes)
		return pcidipc_refuse(rq, -EINVAL, "len %u, it must be %zu or more", rq->sqe.len,
				      bytes);
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, bytes, address);
	if (ret)
		return pcidipc_refuse(rq, ret,
				      "no pool %u, or %zu bytes at %#llx lie outside of it",
				      rq->sqe.buf_index, bytes, (unsigned long long)rq->sqe.addr);
	return 0;
}

static int info(struct pcidipc_request *rq)
{
	const struct pcidipc_disk *disk = block_disk(rq);
	struct ringabi_block_info answer = disk->info;
	void *to;
	int ret = map_argument(rq, sizeof(answer), &to);

	if (ret)
		return ret;
	answer.max_bytes = block_largest(disk);
	if (answer.flags & RINGABI_BLOCK_NO_MEDIUM) /* requests for the old one may still run */
		answer.bytes = answer.block_bytes = 0;
	answer.flags &= ~RINGABI_BLOCK_ADMIN;
	if (pcidipc_session_flags(rq->session) & BLOCK_SESSION_ADMIN)
		answer.flags |= RINGABI_BLOCK_ADMIN;
	if (pcidipc_session_open_flags(rq->session) & RINGABI_OPEN_READ_ONLY)
		answer.flags |= RINGABI_BLOCK_READ_ONLY;
	memcpy(to, &answer, sizeof(answer));
	return sizeof(answer);
}

static int health(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = block_io(rq);
	struct answer *answer;
	void *to;
	int ret = map_argument(rq, sizeof(answer->health), &to);

	if (ret)
		return ret;
	answer = calloc(1, sizeof(*answer));
	if (!answer)
		return -ENOMEM;
	answer->to = to;
	answer->bytes = sizeof(answer->health);
	io->data = &answer->health;
	return block_start(io, PCIDIPC_BLOCK_HEALTH);
}

static int check_passthrough(struct pcidipc_request *rq, const struct ringabi_block_passthrough *p)
{
	uint32_t most = block_largest(block_disk(rq));

	if (p->kind != RINGABI_BLOCK_PT_NVME_ADMIN && p->kind != RINGABI_BLOCK_PT_SCSI)
		return pcidipc_refuse(rq, -EINVAL, "pass-through of kind %u, it must be 1 or 2",
				      p->kind);
	if (p->flags || p->to_device > 1)
		return pcidipc_refuse(
			rq, -EINVAL,
			"pass-through with flags %#x, to_device %u: they must be 0, and 0 or 1",
			p->flags, p->to_device);
	if (p->data_bytes > most)
		return pcidipc_refuse(rq, -EINVAL, "pass-through of %u bytes, the limit is %u",
				      p->data_bytes, most);
	return p->to_device ? block_check_changes(rq) : 0;
}

static int start_passthrough(struct pcidipc_request *rq, struct answer *answer)
{
	struct pcidipc_block_io *io = block_io(rq);
	const struct ringabi_block_passthrough *p = &answer->passthrough;
	int ret = check_passthrough(rq, p);

	io->passthrough = (struct pcidipc_segment){0};
	if (!ret && p->data_bytes)
		ret = block_reach(rq, p->data, p->data_bytes, &io->passthrough);
	if (ret) { /* PENDING too: the handler runs again and copies again */
		free(answer);
		return ret;
	}
	io->data = &answer->passthrough;
	return block_start(io, PCIDIPC_BLOCK_PASSTHROUGH);
}

static int passthrough(struct pcidipc_request *rq)
{
	struct answer *answer;
	void *at;
	int ret;

	if (!(pcidipc_session_flags(rq->session) & BLOCK_SESSION_ADMIN))
		return pcidipc_refuse(rq, -EPERM, "pass-through, but not over the admin socket");
	ret = map_argument(rq, sizeof(answer->passthrough), &at);
	if (ret)
		return ret;
	answer = malloc(sizeof(*answer));
	if (!answer)
		return -ENOMEM;
	answer->to = at;
	answer->bytes = sizeof(answer->passthrough);
	pcidipc_copy_once(&answer->passthrough, at, answer->bytes);
	return start_passthrough(rq, answer);
}

/* A pass-through's status goes back whatever became of the command. */
int block_write_back(struct pcidipc_block_io *io, int res)
{
	struct answer *answer =
		io->kind == PCIDIPC_BLOCK_HEALTH
			? pcidipc_container_of(io->data, struct answer, health)
			: pcidipc_container_of(io->data, struct answer, passthrough);

	if (!res || io->kind == PCIDIPC_BLOCK_PASSTHROUGH)
		memcpy(answer->to, io->data, answer->bytes);
	if (!res && io->kind == PCIDIPC_BLOCK_HEALTH)
		res = (int)answer->bytes;
	free(answer);
	io->data = NULL;
	return res;
}

int block_command(struct pcidipc_request *rq)
{
	int ret = block_check_unused(rq);

	if (ret)
		return ret;
	switch (rq->sqe.cmd_op) {
	case RINGABI_BLOCK_INFO:
		return info(rq);
	case RINGABI_BLOCK_HEALTH:
		return health(rq);
	case RINGABI_BLOCK_DISCARD:
		return discard(rq);
	case RINGABI_BLOCK_PASSTHROUGH:
		return passthrough(rq);
	default:
		return pcidipc_refuse(rq, -EOPNOTSUPP, "cmd_op %#x is none of the block interface",
				      rq->sqe.cmd_op);
	}
}
