/* SPDX-License-Identifier: MIT */
/* Serving the block interface: the scheme, its sessions, who may open the disk together, and the
 * disk's end. */
#include <pcidipc/log.h>
#include <pcidipc/task.h>
#include <stdlib.h>

#include "blockserve_internal.h"

#define DEFAULT_ENTRIES 256
#define MS 1000000ull
#define LEAVING_NS \
	(100 * MS) /* how long a client that has just closed may be in an exclusive one's way */
#define FINISH_NS \
	(1000 * MS) /* how long requests may take to finish by themselves when the disk goes */

void *pcidipc_block_session_priv(struct pcidipc_session *s)
{
	return block_session(s)->driver;
}

/* ---- requests ---- */

static int handle(struct pcidipc_request *rq)
{
	struct pcidipc_block_io *io = block_io(rq);

	io->disk = block_disk(rq);
	io->segments = &io->one;
	io->nsegments = 0;
	io->data = NULL;
	io->fua = io->unmap = false;
	io->lba = io->blocks = 0;
	if (io->disk->removed)
		return -ENODEV;
	switch (rq->sqe.opcode) {
	case IORING_OP_READ_FIXED:
		return block_rw_fixed(rq, PCIDIPC_BLOCK_READ);
	case IORING_OP_WRITE_FIXED:
		return block_rw_fixed(rq, PCIDIPC_BLOCK_WRITE);
	case IORING_OP_READV:
		return block_rw_vectored(rq, PCIDIPC_BLOCK_READ);
	case IORING_OP_WRITEV:
		return block_rw_vectored(rq, PCIDIPC_BLOCK_WRITE);
	case IORING_OP_FSYNC:
		return block_flush(rq);
	case IORING_OP_FALLOCATE:
		return block_allocate(rq);
	case IORING_OP_URING_CMD:
		return block_command(rq);
	default:
		return pcidipc_refuse(rq, -EOPNOTSUPP, "no request of the block interface");
	}
}

static int cancel_request(struct pcidipc_request *rq)
{
	struct pcidipc_disk *disk = block_disk(rq);

	return disk->cancel ? disk->cancel(block_io(rq)) : -EALREADY;
}

/* ---- sessions: what is common, then the driver's ---- */

static struct pcidipc_disk *session_disk(struct pcidipc_session *s)
{
	return pcidipc_session_scheme(s)->driver;
}

static bool in_the_way(const struct pcidipc_disk *disk, uint32_t open_flags)
{
	return disk->exclusive || (disk->opens && open_flags & RINGABI_OPEN_EXCLUSIVE);
}

/* Who closed a moment ago may not be gone yet; the next one shall not have to know about it. */
static int wait_for_turn(const struct pcidipc_disk *disk, uint32_t open_flags)
{
	uint64_t waited = 0;

	while (in_the_way(disk, open_flags)) {
		if (waited >= LEAVING_NS)
			return -EBUSY;
		pcidipc_task_sleep(MS);
		waited += MS;
	}
	return disk->removed ? -ENODEV : 0;
}

static void leave(struct pcidipc_disk *disk, struct pcidipc_session *s)
{
	disk->opens--;
	if (disk->exclusive == s)
		disk->exclusive = NULL;
}

static int open_session(struct pcidipc_session *s, uint32_t open_flags)
{
	struct pcidipc_disk *disk = session_disk(s);
	int ret = wait_for_turn(disk, open_flags);

	if (ret)
		return ret;
	block_session(s)->disk = disk;
	disk->opens++;
	if (open_flags & RINGABI_OPEN_EXCLUSIVE)
		disk->exclusive = s;
	ret = disk->open ? disk->open(s) : 0;
	if (ret)
		leave(disk, s);
	return ret;
}

static void close_session(struct pcidipc_session *s)
{
	struct pcidipc_disk *disk = session_disk(s);
	struct block_session *bs = block_session(s);

	if (disk->close)
		disk->close(s);
	while (bs->spare) {
		struct block_vector *vector = bs->spare;

		bs->spare = vector->next;
		free(vector);
	}
	leave(disk, s);
}

/* ---- the disk ---- */

static uint32_t cq_entries(uint32_t sq_entries)
{
	return sq_entries < RINGABI_MAX_ENTRIES ? 2 * sq_entries : RINGABI_MAX_ENTRIES;
}

static void fill_scheme(struct pcidipc_disk *disk)
{
	if (!disk->max_sq_entries)
		disk->max_sq_entries = DEFAULT_ENTRIES;
	disk->scheme = (struct pcidipc_scheme){
		.name = disk->name,
		.interface = RINGABI_INTERFACE_BLOCK,
		.flags = PCIDIPC_SCHEME_MAP_POOLS |
			 (disk->pool_map || disk->pci ? PCIDIPC_SCHEME_DMA : 0),
		.pci = disk->pci,
		.max_sq_entries = disk->max_sq_entries,
		.max_cq_entries = cq_entries(disk->max_sq_entries),
		.max_sessions = disk->max_sessions,
		.users = disk->users,
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

int pcidipc_disk_serve(struct pcidipc_loop *loop, struct pcidipc_disk *disk, int listen_fd,
		       int admin_fd)
{
	int ret = block_check_info(disk);

	if (ret)
		return ret;
	fill_scheme(disk);
	disk->opens = disk->running = 0;
	disk->removed = false;
	disk->exclusive = NULL;
	disk->admin_listener = NULL;
	ret = pcidipc_listen(loop, &disk->scheme, listen_fd, 0, &disk->listener);
	if (ret)
		return ret;
	if (admin_fd >= 0)
		ret = pcidipc_listen(loop, &disk->scheme, admin_fd, BLOCK_SESSION_ADMIN,
				     &disk->admin_listener);
	if (ret)
		pcidipc_listener_close(disk->listener);
	return ret;
}

void pcidipc_disk_changed(struct pcidipc_disk *disk)
{
	if (block_check_info(disk)) /* nothing of it can be used */
		disk->info.flags |= RINGABI_BLOCK_NO_MEDIUM;
	pcidipc_scheme_event(&disk->scheme, RINGABI_EVENT_CHANGED);
}

void pcidipc_disk_remove(struct pcidipc_disk *disk)
{
	pcidipc_listener_close(disk->listener);
	pcidipc_listener_close(disk->admin_listener);
	disk->listener = disk->admin_listener = NULL;
	disk->removed = true;
	pcidipc_scheme_event(&disk->scheme, RINGABI_EVENT_REMOVED);
	for (uint64_t waited = 0; disk->running && waited < FINISH_NS; waited += MS)
		pcidipc_task_sleep(MS);
	pcidipc_task_sleep(MS); /* the last answers are published at the end of a turn */
	pcidipc_scheme_end_sessions(&disk->scheme);
}
