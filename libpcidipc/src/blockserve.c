/* SPDX-License-Identifier: MIT */
/*
 * Serving the block interface: each request is checked against the disk, its buffers become device addresses, and the
 * driver gets what is right. A handler may run twice for one request (its pool had to grow first), so nothing is
 * started before everything is resolved.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pcidipc/blockserve.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define MAX_BYTES (1u << 30)
#define SESSION_ADMIN (1u << 0)

/* A session's private memory: ours, then the driver's. */
struct block_session {
	struct pcidipc_disk *disk;
	struct segments *spare; /* arrays for vectored requests, made when first needed */
	_Alignas(16) unsigned char driver[];
};

struct segments {
	struct segments *next;
	struct iovec iov[RINGABI_BLOCK_MAX_IOV]; /* the copy that is validated */
	struct pcidipc_segment segment[RINGABI_BLOCK_MAX_IOV];
};

static struct block_session *block_session(struct pcidipc_session *s)
{
	return pcidipc_session_priv(s);
}

void *pcidipc_block_session_priv(struct pcidipc_session *s)
{
	return block_session(s)->driver;
}

static struct pcidipc_block_io *io_of(struct pcidipc_request *rq)
{
	return (void *)rq->priv;
}

static struct pcidipc_disk *disk_of(struct pcidipc_request *rq)
{
	return block_session(rq->session)->disk;
}

/* ---- complaints ---- */

static int complain(struct pcidipc_request *rq, int error, const char *what, uint64_t value, uint64_t limit)
{
	pcidipc_log_ratelimited(PCIDIPC_INFO, "%s: pid %d: opcode %u: %s %llu, the limit is %llu: %s",
				disk_of(rq)->name, pcidipc_session_pid(rq->session), rq->sqe.opcode, what,
				(unsigned long long)value, (unsigned long long)limit, strerror(-error));
	return error;
}

/* ---- checks ---- */

static uint64_t largest(const struct pcidipc_disk *disk)
{
	return disk->info.max_bytes ? disk->info.max_bytes : MAX_BYTES;
}

/* A range of the disk, in bytes as the client gives it, in blocks as the driver gets it. */
static int set_range(struct pcidipc_request *rq, uint64_t off, uint64_t bytes)
{
	struct pcidipc_disk *disk = disk_of(rq);
	const struct ringabi_block_info *info = &disk->info;
	struct pcidipc_block_io *io = io_of(rq);

	if (info->flags & RINGABI_BLOCK_NO_MEDIUM || !info->block_bytes)
		return -ENOMEDIUM;
	if (off % info->block_bytes)
		return complain(rq, -EINVAL, "offset not a multiple of the block:", off, info->block_bytes);
	if (!bytes || bytes % info->block_bytes)
		return complain(rq, -EINVAL, "length not a multiple of the block:", bytes, info->block_bytes);
	if (off > info->bytes || bytes > info->bytes - off)
		return complain(rq, -ENOSPC, "beyond the end of the disk: offset", off, info->bytes);
	io->lba = off / info->block_bytes;
	io->blocks = bytes / info->block_bytes;
	return 0;
}

static int check_write(struct pcidipc_request *rq)
{
	if (disk_of(rq)->info.flags & RINGABI_BLOCK_READ_ONLY ||
	    pcidipc_session_open_flags(rq->session) & RINGABI_OPEN_READ_ONLY)
		return -EROFS;
	return 0;
}

static int check_rw_flags(struct pcidipc_request *rq, bool write)
{
	uint32_t known = write ? RWF_DSYNC : 0;

	if (rq->sqe.fd || rq->sqe.ioprio || rq->sqe.rw_flags & ~known)
		return complain(rq, -EINVAL, "unknown rw_flags, or fd or ioprio not 0:", rq->sqe.rw_flags, known);
	return write ? check_write(rq) : 0;
}

static int reach(struct pcidipc_request *rq, uint64_t addr, uint64_t bytes, struct pcidipc_segment *segment)
{
	if (addr % disk_of(rq)->info.dma_align)
		return complain(rq, -EINVAL, "buffer not aligned:", addr, disk_of(rq)->info.dma_align);
	segment->bytes = bytes;
	return pcidipc_request_reach(rq, rq->sqe.buf_index, addr, bytes, &segment->iova);
}

/* ---- starting ---- */

static void free_segments(struct pcidipc_block_io *io)
{
	struct block_session *bs = block_session(pcidipc_block_session(io));
	struct segments *s;

	if (io->segments == &io->one)
		return;
	s = pcidipc_container_of(io->segments, struct segments, segment[0]);
	s->next = bs->spare;
	bs->spare = s;
	io->segments = &io->one;
}

static int32_t result_of(const struct pcidipc_block_io *io, int res)
{
	if (res)
		return res;
	switch (io->kind) {
	case PCIDIPC_BLOCK_READ:
	case PCIDIPC_BLOCK_WRITE:
		return (int32_t)(io->blocks * io->disk->info.block_bytes);
	case PCIDIPC_BLOCK_HEALTH:
		return sizeof(struct ringabi_block_health);
	default:
		return 0;
	}
}

/* What lay in a private copy goes to the client, if its pool is still there. */
static int write_back(struct pcidipc_block_io *io, int res)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);
	size_t bytes;
	void *to;
	int ret = 0;

	if (!io->data)
		return res;
	bytes = io->kind == PCIDIPC_BLOCK_HEALTH ? sizeof(struct ringabi_block_health)
						 : sizeof(struct ringabi_block_passthrough);
	if (!res || io->kind == PCIDIPC_BLOCK_PASSTHROUGH) {
		ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, bytes, &to);
		if (!ret)
			memcpy(to, io->data, bytes);
	}
	free(io->data);
	io->data = NULL;
	return res ? res : ret;
}

static int32_t finish(struct pcidipc_block_io *io, int res)
{
	free_segments(io);
	return result_of(io, write_back(io, res));
}

static int start(struct pcidipc_block_io *io)
{
	int res = io->disk->submit(io);

	return res == PCIDIPC_PENDING ? res : finish(io, res);
}

void pcidipc_block_complete(struct pcidipc_block_io *io, int res)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);

	pcidipc_complete(rq, finish(io, res));
}

/* ---- reads and writes ---- */

static int fixed(struct pcidipc_request *rq, bool write)
{
	struct pcidipc_block_io *io = io_of(rq);
	int ret = check_rw_flags(rq, write);

	if (!ret)
		ret = set_range(rq, rq->sqe.off, rq->sqe.len);
	if (ret)
		return ret;
	if (rq->sqe.len > largest(io->disk))
		return complain(rq, -EINVAL, "length", rq->sqe.len, largest(io->disk));
	ret = reach(rq, rq->sqe.addr, rq->sqe.len, &io->one);
	if (ret)
		return ret;
	io->kind = write ? PCIDIPC_BLOCK_WRITE : PCIDIPC_BLOCK_READ;
	io->fua = rq->sqe.rw_flags & RWF_DSYNC;
	io->nsegments = 1;
	return start(io);
}

static struct segments *take_segments(struct block_session *bs)
{
	struct segments *s = bs->spare;

	if (s)
		bs->spare = s->next;
	else
		s = malloc(sizeof(*s));
	return s;
}

/* Copy the vector once, then add it up. */
static int copy_iov(struct pcidipc_request *rq, struct segments *s, uint64_t *total)
{
	uint64_t bytes = (uint64_t)rq->sqe.len * sizeof(struct iovec);
	uint64_t most = largest(disk_of(rq));
	void *from;
	int ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, bytes, &from);

	if (ret)
		return ret;
	memcpy(s->iov, from, bytes);
	*total = 0;
	for (uint32_t i = 0; i < rq->sqe.len; i++) {
		if (!s->iov[i].iov_len || s->iov[i].iov_len > most - *total)
			return complain(rq, -EINVAL, "iov_len", s->iov[i].iov_len, most - *total);
		*total += s->iov[i].iov_len;
	}
	return 0;
}

static int resolve_iov(struct pcidipc_request *rq, struct segments *s)
{
	struct pcidipc_block_io *io = io_of(rq);
	uint16_t n = 0;

	for (uint32_t i = 0; i < rq->sqe.len; i++) {
		struct pcidipc_segment next;
		int ret = reach(rq, (uint64_t)(uintptr_t)s->iov[i].iov_base, s->iov[i].iov_len, &next);

		if (ret)
			return ret;
		if (n && s->segment[n - 1].iova + s->segment[n - 1].bytes == next.iova)
			s->segment[n - 1].bytes += next.bytes;
		else
			s->segment[n++] = next;
	}
	io->nsegments = n;
	return 0;
}

static int vectored(struct pcidipc_request *rq, bool write)
{
	struct pcidipc_block_io *io = io_of(rq);
	struct segments *s;
	uint64_t total;
	int ret = check_rw_flags(rq, write);

	if (ret)
		return ret;
	if (!rq->sqe.len || rq->sqe.len > RINGABI_BLOCK_MAX_IOV)
		return complain(rq, -EINVAL, "iovecs", rq->sqe.len, RINGABI_BLOCK_MAX_IOV);
	s = take_segments(block_session(rq->session));
	if (!s)
		return -ENOMEM;
	io->segments = s->segment;
	ret = copy_iov(rq, s, &total);
	if (!ret)
		ret = set_range(rq, rq->sqe.off, total);
	if (!ret)
		ret = resolve_iov(rq, s);
	if (ret) {
		free_segments(io);
		return ret;
	}
	io->kind = write ? PCIDIPC_BLOCK_WRITE : PCIDIPC_BLOCK_READ;
	io->fua = rq->sqe.rw_flags & RWF_DSYNC;
	return start(io);
}

/* ---- the rest ---- */

static int flush(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = io_of(rq);

	if (rq->sqe.fd || rq->sqe.off || rq->sqe.addr || rq->sqe.len ||
	    rq->sqe.fsync_flags & ~IORING_FSYNC_DATASYNC)
		return -EINVAL;
	if (!(io->disk->info.flags & RINGABI_BLOCK_VOLATILE_CACHE))
		return 0;
	io->kind = PCIDIPC_BLOCK_FLUSH;
	return start(io);
}

static int allocate(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = io_of(rq);
	int ret = rq->sqe.fd ? -EINVAL : check_write(rq);

	if (ret)
		return ret;
	if (rq->sqe.len == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		io->unmap = true;
	else if (rq->sqe.len != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE))
		return complain(rq, -EOPNOTSUPP, "fallocate mode", rq->sqe.len,
				FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	ret = set_range(rq, rq->sqe.off, rq->sqe.addr);
	if (ret)
		return ret;
	io->kind = PCIDIPC_BLOCK_ZERO;
	return start(io);
}

static int discard(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = io_of(rq);
	struct ringabi_block_range range;
	int ret = check_write(rq);

	if (ret)
		return ret;
	if (!(io->disk->info.flags & RINGABI_BLOCK_DISCARD_WORKS))
		return -EOPNOTSUPP;
	memcpy(&range, (const char *)&rq->sqe + offsetof(struct io_uring_sqe, cmd), sizeof(range));
	ret = set_range(rq, range.off, range.bytes);
	if (ret)
		return ret;
	io->kind = PCIDIPC_BLOCK_DISCARD;
	return start(io);
}

static int info(struct pcidipc_request *rq)
{
	struct ringabi_block_info answer = disk_of(rq)->info;
	void *to;
	int ret;

	if (rq->sqe.len < sizeof(answer))
		return complain(rq, -EINVAL, "room for the answer", rq->sqe.len, sizeof(answer));
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, sizeof(answer), &to);
	if (ret)
		return ret;
	if (pcidipc_session_flags(rq->session) & SESSION_ADMIN)
		answer.flags |= RINGABI_BLOCK_ADMIN;
	if (pcidipc_session_open_flags(rq->session) & RINGABI_OPEN_READ_ONLY)
		answer.flags |= RINGABI_BLOCK_READ_ONLY;
	memcpy(to, &answer, sizeof(answer));
	return sizeof(answer);
}

static int health(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = io_of(rq);
	void *to;
	int ret;

	if (rq->sqe.len < sizeof(struct ringabi_block_health))
		return complain(rq, -EINVAL, "room for the answer", rq->sqe.len, sizeof(struct ringabi_block_health));
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, sizeof(struct ringabi_block_health), &to);
	if (ret)
		return ret;
	io->data = calloc(1, sizeof(struct ringabi_block_health));
	if (!io->data)
		return -ENOMEM;
	io->kind = PCIDIPC_BLOCK_HEALTH;
	return start(io);
}

static int passthrough(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = io_of(rq);
	struct ringabi_block_passthrough *copy;
	void *from;
	int ret;

	if (!(pcidipc_session_flags(rq->session) & SESSION_ADMIN))
		return -EPERM;
	if (rq->sqe.len < sizeof(*copy))
		return complain(rq, -EINVAL, "bytes of command", rq->sqe.len, sizeof(*copy));
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, sizeof(*copy), &from);
	if (ret)
		return ret;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, from, sizeof(*copy));
	io->passthrough = (struct pcidipc_segment){ 0 };
	ret = copy->data_bytes > MAX_BYTES ? -EINVAL : 0;
	if (!ret && copy->data_bytes)
		ret = reach(rq, copy->data, copy->data_bytes, &io->passthrough);
	if (ret) { /* PENDING too: the handler runs again and copies again */
		free(copy);
		return ret;
	}
	io->data = copy;
	io->kind = PCIDIPC_BLOCK_PASSTHROUGH;
	return start(io);
}

static int command(struct pcidipc_request *rq)
{
	if (rq->sqe.fd)
		return -EINVAL;
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
		return -EOPNOTSUPP;
	}
}

static int handle(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = io_of(rq);

	io->disk = disk_of(rq);
	io->segments = &io->one;
	io->nsegments = 0;
	io->data = NULL;
	io->fua = io->unmap = false;
	io->lba = io->blocks = 0;
	switch (rq->sqe.opcode) {
	case IORING_OP_READ_FIXED:
		return fixed(rq, false);
	case IORING_OP_WRITE_FIXED:
		return fixed(rq, true);
	case IORING_OP_READV:
		return vectored(rq, false);
	case IORING_OP_WRITEV:
		return vectored(rq, true);
	case IORING_OP_FSYNC:
		return flush(rq);
	case IORING_OP_FALLOCATE:
		return allocate(rq);
	case IORING_OP_URING_CMD:
		return command(rq);
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- sessions: what is common, then the driver's ---- */

static struct pcidipc_disk *session_disk(struct pcidipc_session *s)
{
	return pcidipc_session_scheme(s)->driver;
}

static int open_session(struct pcidipc_session *s, uint32_t open_flags)
{
	struct pcidipc_disk *disk = session_disk(s);
	bool exclusive = open_flags & RINGABI_OPEN_EXCLUSIVE;
	int ret;

	if (disk->exclusive || (exclusive && disk->opens))
		return -EBUSY;
	block_session(s)->disk = disk;
	disk->opens++;
	if (exclusive)
		disk->exclusive = s;
	ret = disk->open ? disk->open(s) : 0;
	if (!ret)
		return 0;
	disk->opens--;
	if (exclusive)
		disk->exclusive = NULL;
	return ret;
}

static void close_session(struct pcidipc_session *s)
{
	struct pcidipc_disk *disk = session_disk(s);
	struct block_session *bs = block_session(s);

	if (disk->close)
		disk->close(s);
	while (bs->spare) {
		struct segments *next = bs->spare->next;

		free(bs->spare);
		bs->spare = next;
	}
	disk->opens--;
	if (disk->exclusive == s)
		disk->exclusive = NULL;
}

static int cancel_request(struct pcidipc_request *rq)
{
	struct pcidipc_disk *disk = disk_of(rq);

	return disk->cancel ? disk->cancel(io_of(rq)) : -EALREADY;
}

static void fill_scheme(struct pcidipc_disk *disk)
{
	disk->scheme = (struct pcidipc_scheme){
		.name = disk->name,
		.interface = RINGABI_INTERFACE_BLOCK,
		.flags = PCIDIPC_SCHEME_MAP_POOLS | (disk->pool_map ? PCIDIPC_SCHEME_DMA : 0),
		.max_sq_entries = disk->max_sq_entries,
		.max_cq_entries = 2 * disk->max_sq_entries,
		.max_sessions = disk->max_sessions,
		.request_bytes = (uint32_t)sizeof(struct pcidipc_block_io) + disk->io_bytes,
		.session_bytes = (uint32_t)sizeof(struct block_session) + disk->session_bytes,
		.driver = disk,
		.open = open_session,
		.request = handle,
		.flush = disk->flush,
		.cancel = cancel_request,
		.close = close_session,
		.pool_attach = disk->pool_attach,
		.pool_map = disk->pool_map,
		.pool_detach = disk->pool_detach,
	};
}

int pcidipc_disk_serve(struct pcidipc_loop *loop, struct pcidipc_disk *disk, int listen_fd, int admin_fd)
{
	int ret;

	fill_scheme(disk);
	disk->opens = 0;
	disk->exclusive = NULL;
	ret = pcidipc_listen(loop, &disk->scheme, listen_fd, 0, &disk->listener);
	if (ret)
		return ret;
	disk->admin_listener = NULL;
	if (admin_fd >= 0)
		ret = pcidipc_listen(loop, &disk->scheme, admin_fd, SESSION_ADMIN, &disk->admin_listener);
	if (ret)
		pcidipc_listener_close(disk->listener);
	return ret;
}

void pcidipc_disk_changed(struct pcidipc_disk *disk)
{
	pcidipc_scheme_event(&disk->scheme, RINGABI_EVENT_CHANGED);
}

void pcidipc_disk_remove(struct pcidipc_disk *disk)
{
	pcidipc_listener_close(disk->listener);
	pcidipc_listener_close(disk->admin_listener);
	disk->listener = disk->admin_listener = NULL;
	pcidipc_scheme_event(&disk->scheme, RINGABI_EVENT_REMOVED);
	pcidipc_scheme_end_sessions(&disk->scheme);
}
