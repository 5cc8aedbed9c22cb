// SPDX-License-Identifier: MIT
/* The driver of a disk of memory, and the strings it hangs on. */
#include "ramdisk.h"

#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pcidipc/log.h>
#include <pcidipc/task.h>

#define PATIENCE_MS 30000

/* ---- the driver, in its own process ---- */

struct driver {
	struct ramdisk *rd;
	struct ramdisk_shared *shared;
	struct pcidipc_loop *loop;
	struct pcidipc_disk disk;
	struct pcidipc_users users; /* without limits */
	struct pcidipc_watch commands;
	struct pcidipc_deferred later;
	struct pcidipc_request *held, *finished; /* linked by next, newest first */
	bool removing;
};

/* What the driver keeps of a request. */
struct ram_io {
	int res;
};

/* And of a pool: which chunks it was told to map. */
struct ram_pool {
	uint64_t chunks[(1ull << 40) / RINGABI_POOL_CHUNK / 64];
};

static struct driver driver;

static void count(_Atomic uint32_t *counter)
{
	uint64_t one = 1;

	atomic_fetch_add(counter, 1);
	if (write(driver.rd->event_fd, &one, sizeof(one)) < 0)
		abort();
}

/* A promise was not kept. */
static void expect(bool kept, const char *what)
{
	if (kept)
		return;
	pcidipc_err("ramdisk: broken promise: %s", what);
	count(&driver.shared->broken);
}

static struct pcidipc_block_io *io_of(struct pcidipc_request *rq)
{
	return (void *)rq->priv;
}

static struct ram_io *ram_io(struct pcidipc_block_io *io)
{
	return (void *)io->driver;
}

static bool chunks_mapped(struct pcidipc_block_io *io, const struct pcidipc_segment *segment)
{
	uint32_t index = pcidipc_block_request(io)->sqe.buf_index;
	struct pcidipc_pool_view *view = pcidipc_request_pool(pcidipc_block_request(io), index);
	struct ram_pool *pool;
	uint64_t first, last;

	if (!view)
		return false;
	pool = view->driver;
	first = (segment->iova - view->iova) / RINGABI_POOL_CHUNK;
	last = (segment->iova - view->iova + segment->bytes - 1) / RINGABI_POOL_CHUNK;
	for (uint64_t c = first; c <= last; c++)
		if (!(pool->chunks[c / 64] >> (c % 64) & 1))
			return false;
	return true;
}

static void move(struct pcidipc_block_io *io)
{
	uint32_t block = io->disk->info.block_bytes;
	unsigned char *disk = driver.shared->data + io->lba * block;
	uint64_t total = 0;

	for (unsigned i = 0; i < io->nsegments; i++) {
		const struct pcidipc_segment *s = &io->segments[i];
		void *memory = (void *)(uintptr_t)s->iova;

		expect(chunks_mapped(io, s), "a segment's chunks are mapped");
		if (io->kind == PCIDIPC_BLOCK_READ)
			memcpy(memory, disk + total, s->bytes);
		else
			memcpy(disk + total, memory, s->bytes);
		total += s->bytes;
	}
	expect(total == io->blocks * block, "segments add up to the blocks");
}

static int pass_through(struct pcidipc_block_io *io)
{
	struct ringabi_block_passthrough *p = io->data;

	p->status = 7;
	p->result = 0x1122334455667788;
	if (p->command[0] != 6)
		return -EACCES;
	expect(io->passthrough.bytes == p->data_bytes, "the pass-through's buffer is resolved");
	if (p->data_bytes && p->to_device)
		memcpy(driver.shared->data, (void *)(uintptr_t)io->passthrough.iova, p->data_bytes);
	else if (p->data_bytes)
		memset((void *)(uintptr_t)io->passthrough.iova, 0xa5, p->data_bytes);
	return 0;
}

static int perform(struct pcidipc_block_io *io)
{
	uint32_t block = io->disk->info.block_bytes;

	switch (io->kind) {
	case PCIDIPC_BLOCK_READ:
	case PCIDIPC_BLOCK_WRITE:
		move(io);
		return 0;
	case PCIDIPC_BLOCK_FLUSH:
		return 0;
	case PCIDIPC_BLOCK_ZERO:
		memset(driver.shared->data + io->lba * block, 0, io->blocks * block);
		return 0;
	case PCIDIPC_BLOCK_DISCARD:
		memset(driver.shared->data + io->lba * block, 0xdd, io->blocks * block);
		return 0;
	case PCIDIPC_BLOCK_HEALTH:
		*(struct ringabi_block_health *)io->data = (struct ringabi_block_health){
			.temperature = 300, .spare = 99, .writes = 12};
		return 0;
	default:
		return pass_through(io);
	}
}

static void remember(const struct pcidipc_block_io *io)
{
	uint32_t block = io->disk->info.block_bytes;

	driver.shared->last.kind = io->kind;
	driver.shared->last.fua = io->fua;
	driver.shared->last.unmap = io->unmap;
	driver.shared->last.nsegments = io->nsegments;
	driver.shared->last.lba = io->lba;
	driver.shared->last.blocks = io->blocks;
	expect((io->lba + io->blocks) * block <= RAMDISK_BYTES, "requests lie within the disk");
	count(&driver.shared->submits);
}

static void complete_finished(struct pcidipc_deferred *deferred)
{
	struct pcidipc_request *rq = driver.finished;

	(void)deferred;
	driver.finished = NULL;
	while (rq) {
		struct pcidipc_request *next = rq->next;

		pcidipc_block_complete(io_of(rq), ram_io(io_of(rq))->res);
		rq = next;
	}
}

static void finish_later(struct pcidipc_request *rq, int res)
{
	ram_io(io_of(rq))->res = res;
	rq->next = driver.finished;
	driver.finished = rq;
	pcidipc_defer(driver.loop, &driver.later, complete_finished);
}

static int submit(struct pcidipc_block_io *io)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);

	remember(io);
	if (driver.shared->mode == RAMDISK_HOLD && io->kind <= PCIDIPC_BLOCK_FLUSH) {
		rq->next = driver.held;
		driver.held = rq;
		count(&driver.shared->held);
		return PCIDIPC_PENDING;
	}
	if (driver.shared->submits % 2)
		return perform(io);
	finish_later(rq, perform(io));
	return PCIDIPC_PENDING;
}

/* `perform_it`: as if the device had done them; else with the error. */
static void finish_held(bool perform_it, int error)
{
	while (driver.held) {
		struct pcidipc_request *rq = driver.held;

		driver.held = rq->next;
		finish_later(rq, perform_it ? perform(io_of(rq)) : error);
	}
}

static int cancel(struct pcidipc_block_io *io)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);

	count(&driver.shared->cancels);
	if (!driver.shared->hurry)
		return -EALREADY;
	for (struct pcidipc_request **p = &driver.held; *p; p = &(*p)->next) {
		if (*p != rq)
			continue;
		*p = rq->next;
		finish_later(rq, -ECANCELED);
		return 0;
	}
	return -EALREADY;
}

static int open_session(struct pcidipc_session *s)
{
	uint64_t *priv = pcidipc_block_session_priv(s);

	expect(!*priv, "a session's private memory is zeroed");
	*priv = 0xfeed;
	count(&driver.shared->opens);
	return 0;
}

static void close_session(struct pcidipc_session *s)
{
	struct pcidipc_session_stats stats;

	pcidipc_session_stats(s, &stats);
	expect(!stats.pending, "nothing is pending when a session closes");
	expect(!stats.pools, "pools are detached when a session closes");
	expect(*(uint64_t *)pcidipc_block_session_priv(s) == 0xfeed,
	       "a session's private memory stays");
	count(&driver.shared->closes);
}

static int pool_attach(struct pcidipc_session *s, struct pcidipc_pool_view *view)
{
	(void)s;
	expect(view->base, "pools are mapped");
	view->iova = (uintptr_t)view->base;
	view->driver = calloc(1, sizeof(struct ram_pool));
	count(&driver.shared->attaches);
	return view->driver ? 0 : -ENOMEM;
}

static int pool_map(struct pcidipc_session *s, struct pcidipc_pool_view *view, uint64_t offset,
		    uint64_t bytes)
{
	struct ram_pool *pool = view->driver;
	uint64_t chunk = offset / RINGABI_POOL_CHUNK;

	(void)s;
	pcidipc_task_yield();
	/* Whole chunks when a request needs them; pages when the client asks
	 * (RINGABI_CMD_POOL_MAP). */
	expect(!((offset | bytes) % RINGABI_POOL_PAGE) && bytes && bytes <= RINGABI_POOL_CHUNK &&
		       offset < view->bytes && bytes <= view->bytes - offset,
	       "what is mapped lies in its pool");
	if (driver.shared->maps >= driver.shared->max_maps)
		return -EDQUOT;
	if (offset % RINGABI_POOL_CHUNK == 0 &&
	    (bytes == RINGABI_POOL_CHUNK || offset + bytes == view->bytes))
		pool->chunks[chunk / 64] |= 1ull << (chunk % 64);
	count(&driver.shared->maps);
	return 0;
}

static void pool_detach(struct pcidipc_session *s, struct pcidipc_pool_view *view)
{
	(void)s;
	free(view->driver);
	count(&driver.shared->detaches);
}

static void remove_disk(void *arg)
{
	(void)arg;
	driver.removing = true;
	finish_held(false, -ENODEV);
	pcidipc_disk_remove(&driver.disk);
	driver.removing = false;
	expect(!pcidipc_scheme_sessions(&driver.disk.scheme), "no session outlives its disk");
}

static void quit(void *arg)
{
	while (driver.removing)
		pcidipc_task_yield();
	if (driver.disk.listener)
		remove_disk(arg);
	pcidipc_loop_stop(driver.loop, 0);
}

static void set_medium(bool there)
{
	driver.disk.info = driver.shared->info;
	if (!there) {
		driver.disk.info.flags |= RINGABI_BLOCK_NO_MEDIUM;
		driver.disk.info.bytes = driver.disk.info.block_bytes = 0;
	}
	pcidipc_disk_changed(&driver.disk);
}

static void obey(struct pcidipc_watch *watch, unsigned events)
{
	char command;

	(void)events;
	if (recv(watch->fd, &command, 1, 0) != 1)
		exit(3); /* the test's process is gone */
	if (command == RAMDISK_RELEASE)
		finish_held(true, 0);
	else if (command == RAMDISK_EJECT || command == RAMDISK_INSERT)
		set_medium(command == RAMDISK_INSERT);
	else
		pcidipc_spawn(driver.loop, command == RAMDISK_QUIT ? quit : remove_disk, NULL);
	count(&driver.shared->commands);
}

static int drive(struct ramdisk *rd)
{
	struct pcidipc_disk *disk = &driver.disk;
	int ret;

	driver.rd = rd;
	driver.shared = rd->shared;
	*disk = (struct pcidipc_disk){.info = rd->shared->info,
				      .name = "disk/ram0",
				      .max_sessions = RAMDISK_MAX_SESSIONS,
				      .users = &driver.users,
				      .max_sq_entries = 256,
				      .io_bytes = sizeof(struct ram_io),
				      .session_bytes = sizeof(uint64_t),
				      .submit = submit,
				      .cancel = cancel,
				      .open = open_session,
				      .close = close_session,
				      .pool_attach = pool_attach,
				      .pool_map = pool_map,
				      .pool_detach = pool_detach};
	if (pcidipc_loop_create(0, &driver.loop))
		return 2;
	snprintf(rd->shared->backend, sizeof(rd->shared->backend), "%s",
		 pcidipc_loop_backend(driver.loop));
	if (pcidipc_disk_serve(driver.loop, disk, rd->listen_fd, rd->admin_fd) ||
	    pcidipc_watch_add(driver.loop, &driver.commands, rd->driver_command_fd, EPOLLIN, obey))
		return 2;
	count(&rd->shared->serving);
	ret = pcidipc_loop_run(driver.loop);
	pcidipc_watch_remove(&driver.commands);
	pcidipc_defer_cancel(&driver.later);
	pcidipc_loop_destroy(driver.loop);
	return ret;
}

/* ---- the test's side ---- */

void close_inherited(const int *keep, unsigned n)
{
	for (int fd = 3; fd < 1024; fd++) {
		bool kept = false;

		for (unsigned i = 0; i < n; i++)
			kept |= keep[i] == fd;
		if (!kept)
			close(fd);
	}
}

static void set_defaults(struct ramdisk_shared *shared)
{
	shared->info = (struct ringabi_block_info){.bytes = RAMDISK_BYTES,
						   .block_bytes = 512,
						   .physical_bytes = 4096,
						   .dma_align = 4,
						   .flags = RINGABI_BLOCK_VOLATILE_CACHE |
							    RINGABI_BLOCK_DISCARD_WORKS |
							    RINGABI_BLOCK_ZEROES_WORK,
						   .max_bytes = RAMDISK_MAX_BYTES,
						   .best_bytes = 65536,
						   .name_space = 1,
						   .serial = "RAM-1",
						   .model = "Memory",
						   .transport = "ram"};
	shared->max_maps = UINT32_MAX;
}

int ramdisk_create(struct ramdisk *rd)
{
	char disk_dir[96];

	memset(rd, 0, sizeof(*rd));
	rd->shared = mmap(NULL, sizeof(*rd->shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (rd->shared == MAP_FAILED)
		return -errno;
	set_defaults(rd->shared);
	snprintf(rd->dir, sizeof(rd->dir), "/tmp/ramdisk.XXXXXX");
	if (!mkdtemp(rd->dir))
		return -errno;
	snprintf(disk_dir, sizeof(disk_dir), "%s/disk", rd->dir);
	snprintf(rd->path, sizeof(rd->path), "%s/ram0", disk_dir);
	snprintf(rd->admin_path, sizeof(rd->admin_path), "%s/ram0.admin", disk_dir);
	setenv("PCID_RUNTIME_DIR", rd->dir, 1);
	if (mkdir(disk_dir, 0700))
		return -errno;
	rd->listen_fd = pcidipc_listen_socket(rd->path, 0600);
	rd->admin_fd = pcidipc_listen_socket(rd->admin_path, 0600);
	rd->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return rd->listen_fd < 0 || rd->admin_fd < 0 || rd->event_fd < 0 ? -EIO : 0;
}

void ramdisk_destroy(struct ramdisk *rd)
{
	char disk_dir[96];

	if (rd->driver)
		ramdisk_kill(rd);
	close(rd->listen_fd);
	close(rd->admin_fd);
	close(rd->event_fd);
	unlink(rd->path);
	unlink(rd->admin_path);
	snprintf(disk_dir, sizeof(disk_dir), "%s/disk", rd->dir);
	rmdir(disk_dir);
	rmdir(rd->dir);
	munmap(rd->shared, sizeof(*rd->shared));
}

int ramdisk_start(struct ramdisk *rd, const char *loop)
{
	uint32_t serving = rd->shared->serving;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	rd->command_fd = ends[0];
	rd->driver_command_fd = ends[1];
	snprintf(rd->shared->loop, sizeof(rd->shared->loop), "%s", loop);
	fflush(NULL);
	rd->driver = fork();
	if (!rd->driver) {
		int keep[] = {rd->listen_fd, rd->admin_fd, rd->event_fd, ends[1]};

		close_inherited(keep, 4);
		setenv("PCIDIPC_LOOP", loop, 1);
		if (rd->fork_has_tasks)
			_exit(drive(rd));
		exit(drive(rd));
	}
	close(ends[1]);
	return ramdisk_wait(rd, &rd->shared->serving, serving + 1);
}

static int reap(struct ramdisk *rd)
{
	int status = -1;

	waitpid(rd->driver, &status, 0);
	close(rd->command_fd);
	rd->driver = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void ramdisk_kill(struct ramdisk *rd)
{
	kill(rd->driver, SIGKILL);
	reap(rd);
}

int ramdisk_stop(struct ramdisk *rd)
{
	ramdisk_tell(rd, RAMDISK_QUIT);
	return reap(rd);
}

const char *ramdisk_backend(const char *loop)
{
	struct io_uring ring;

	if (!strcmp(loop, "epoll") || io_uring_queue_init(2, &ring, 0))
		return "epoll";
	io_uring_queue_exit(&ring);
	return "io_uring";
}

int ramdisk_tell(struct ramdisk *rd, enum ramdisk_command command)
{
	uint32_t commands = rd->shared->commands;
	char byte = (char)command;

	if (send(rd->command_fd, &byte, 1, MSG_NOSIGNAL) != 1)
		return -errno;
	return ramdisk_wait(rd, &rd->shared->commands, commands + 1);
}

int ramdisk_wait(struct ramdisk *rd, _Atomic uint32_t *counter, uint32_t least)
{
	struct pollfd p = {.fd = rd->event_fd, .events = POLLIN};
	uint64_t n;

	while (atomic_load(counter) < least) {
		if (poll(&p, 1, PATIENCE_MS) <= 0)
			return -ETIMEDOUT;
		if (read(rd->event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
			return -errno;
	}
	return 0;
}
