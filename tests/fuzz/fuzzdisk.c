// SPDX-License-Identifier: MIT
#include "fuzzdisk.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <pcidipc/task.h>

#include "../../libpcidipc/src/blockserve_internal.h"

static struct fuzzdisk fd_;

static struct pcidipc_block_io *io_of(struct pcidipc_request *rq)
{
	return (void *)rq->priv;
}

static void in_its_pool(const struct pcidipc_block_io *io, const struct pcidipc_segment *s)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);
	const struct pcidipc_pool_view *view = pcidipc_request_pool(rq, rq->sqe.buf_index);

	fuzz_expect(view && s->iova >= view->iova && s->iova - view->iova <= view->bytes &&
			    s->bytes <= view->bytes - (s->iova - view->iova),
		    "segments lie in their pool");
}

/* As a device would: a wrong address is a fault here. */
static void touch(const struct pcidipc_block_io *io)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < io->nsegments; i++) {
		const struct pcidipc_segment *s = &io->segments[i];
		volatile unsigned char *memory = (void *)(uintptr_t)s->iova;

		fuzz_expect(s->bytes && !(s->iova & (io->disk->info.dma_align - 1)),
			    "segments are aligned and not empty");
		in_its_pool(io, s);
		memory[0] = memory[s->bytes - 1];
		total += s->bytes;
	}
	fuzz_expect(total == io->blocks * io->disk->info.block_bytes,
		    "segments add up to the blocks");
}

static void check(const struct pcidipc_block_io *io)
{
	uint64_t blocks = FUZZDISK_BYTES / io->disk->info.block_bytes;

	fuzz_expect(io->lba <= blocks && io->blocks <= blocks - io->lba,
		    "requests lie within the disk");
	if (io->kind == PCIDIPC_BLOCK_READ || io->kind == PCIDIPC_BLOCK_WRITE)
		touch(io);
	if (io->kind == PCIDIPC_BLOCK_HEALTH)
		memset(io->data, 0x5a, sizeof(struct ringabi_block_health));
	if (io->kind == PCIDIPC_BLOCK_PASSTHROUGH && io->passthrough.bytes) {
		in_its_pool(io, &io->passthrough);
		*(volatile unsigned char *)(uintptr_t)io->passthrough.iova = 1;
	}
}

static int submit(struct pcidipc_block_io *io)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);

	check(io);
	if (fd_.mode == FUZZDISK_FAIL)
		return -EIO;
	if (fd_.mode == FUZZDISK_NOW)
		return 0;
	rq->next = fd_.held;
	fd_.held = rq;
	return PCIDIPC_PENDING;
}

static int cancel(struct pcidipc_block_io *io)
{
	(void)io;
	return -EALREADY;
}

static int opened(struct pcidipc_session *s)
{
	(void)s;
	fd_.opens++;
	return 0;
}

static void closed(struct pcidipc_session *s)
{
	struct pcidipc_session_stats stats;

	pcidipc_session_stats(s, &stats);
	fuzz_expect(!stats.pending && !stats.pools, "nothing is left when a session closes");
	fd_.closes++;
}

static int pool_attach(struct pcidipc_session *s, struct pcidipc_pool_view *view)
{
	(void)s;
	pcidipc_task_yield();
	if (fd_.refuse_pools)
		return -ENOSPC;
	view->iova = (uintptr_t)view->base;
	fd_.attaches++;
	return 0;
}

static int pool_map(struct pcidipc_session *s, struct pcidipc_pool_view *view, uint64_t offset,
		    uint64_t bytes)
{
	(void)s;
	pcidipc_task_yield();
	fuzz_expect(bytes && bytes <= RINGABI_POOL_CHUNK && offset <= view->bytes &&
			    bytes <= view->bytes - offset,
		    "chunks lie within their pool");
	return fd_.refuse_growth ? -EDQUOT : 0;
}

static void pool_detach(struct pcidipc_session *s, struct pcidipc_pool_view *view)
{
	(void)s;
	(void)view;
	pcidipc_task_yield();
	fd_.detaches++;
}

static int listening_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* Without a name: the kernel finds one, and nobody else does. */
	fuzz_expect(fd >= 0 && !bind(fd, (void *)&address, sizeof(sa_family_t)) && !listen(fd, 1),
		    "a listening socket");
	return fd;
}

static void serve(void)
{
	fd_.disk = (struct pcidipc_disk){
		.info = {.bytes = FUZZDISK_BYTES,
			 .block_bytes = 512,
			 .physical_bytes = 4096,
			 .dma_align = 4,
			 .flags = RINGABI_BLOCK_DISCARD_WORKS | RINGABI_BLOCK_ZEROES_WORK,
			 .max_bytes = 256 << 10,
			 .serial = "FUZZ"},
		.name = "disk/fuzz0",
		.max_sessions = 4,
		.max_sq_entries = 16,
		.io_bytes = 16,
		.session_bytes = 16,
		.submit = submit,
		.cancel = cancel,
		.open = opened,
		.close = closed,
		.pool_attach = pool_attach,
		.pool_map = pool_map,
		.pool_detach = pool_detach};
	fuzz_expect(!pcidipc_disk_serve(fuzz_loop(), &fd_.disk, listening_socket(), -1),
		    "the disk is served");
}

struct fuzzdisk *fuzzdisk(void)
{
	if (!fd_.disk.submit)
		serve();
	return &fd_;
}

void fuzzdisk_session(int channel, bool admin)
{
	fuzz_expect(!pcidipc_session_create(fuzz_loop(), &fuzzdisk()->disk.scheme, channel,
					    admin ? BLOCK_SESSION_ADMIN : 0, NULL),
		    "a session");
}

void fuzzdisk_complete(unsigned nth, int res)
{
	struct pcidipc_request **p = &fd_.held, *rq;

	while (*p && nth--)
		p = &(*p)->next;
	rq = *p;
	if (!rq)
		return;
	*p = rq->next;
	pcidipc_block_complete(io_of(rq), res);
}

static bool settled(void *arg)
{
	(void)arg;
	fuzzdisk_complete(0, 0);
	return !fd_.held && !pcidipc_scheme_sessions(&fd_.disk.scheme);
}

void fuzzdisk_settle(void)
{
	fuzz_run_until(settled, NULL, "every session ends when its consumer has gone");
	fuzz_expect(fd_.opens == fd_.closes && fd_.attaches == fd_.detaches && !fd_.disk.running &&
			    !fd_.disk.opens && !fd_.disk.exclusive,
		    "what was opened and attached is closed and detached");
	fd_.mode = FUZZDISK_NOW;
	fd_.refuse_pools = fd_.refuse_growth = false;
}
