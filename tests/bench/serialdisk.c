// SPDX-License-Identifier: MIT
#include "serialdisk.h"

#include <pcidipc/blockserve.h>
#include <string.h>
#include <unistd.h>

#include "rig.h"

#define SERIAL_DISK_BYTES (1ull << 30)

static struct pcidipc_request *first, *last; /* in flight */
static uint64_t free_from;		     /* when the disk has done what it has now */

/* In io->driver. */
struct serial {
	uint64_t due;
};

static struct serial *serial(struct pcidipc_request *rq)
{
	return (void *)((struct pcidipc_block_io *)rq->priv)->driver;
}

static int submit(struct pcidipc_block_io *io)
{
	struct pcidipc_request *rq = pcidipc_block_request(io);
	uint64_t now = bench_now();

	free_from = (free_from > now ? free_from : now) + SERIAL_DISK_NS;
	serial(rq)->due = free_from;
	rq->next = NULL;
	if (first)
		last->next = rq;
	else
		first = rq;
	last = rq;
	return PCIDIPC_PENDING;
}

static unsigned poll_disk(struct pcidipc_poller *poller)
{
	uint64_t now = first ? bench_now() : 0;
	unsigned n = 0;

	(void)poller;
	while (first && serial(first)->due <= now) {
		struct pcidipc_request *rq = first;

		first = rq->next;
		pcidipc_block_complete((void *)rq->priv, 0);
		n++;
	}
	return n;
}

static bool arm_disk(struct pcidipc_poller *poller)
{
	(void)poller;
	return !first;
}

static void serve(struct bench_process *process, void *arg)
{
	static struct pcidipc_poller poller = {.poll = poll_disk, .arm = arm_disk};
	static struct pcidipc_disk disk = {
		.name = "serial",
		.info = {.bytes = SERIAL_DISK_BYTES, .block_bytes = 512, .dma_align = 4},
		.max_sessions = 1024,
		.max_sq_entries = 1024,
		.io_bytes = sizeof(struct serial),
		.submit = submit};
	struct pcidipc_loop *loop;

	(void)process;
	if (pcidipc_loop_create(0, &loop))
		_exit(1);
	pcidipc_poller_add(loop, &poller);
	if (pcidipc_disk_serve(loop, &disk, *(int *)arg, -1))
		_exit(1);
	_exit(pcidipc_loop_run(loop));
}

int serial_disk_start(struct bench_process *process, const char *path)
{
	int fd = pcidipc_listen_socket(path, 0600), ret;

	if (fd < 0)
		return fd;
	ret = bench_spawn(process, BENCH_SERVER_CPU, serve, &fd);
	close(fd);
	if (!ret)
		bench_go(process);
	return ret;
}
