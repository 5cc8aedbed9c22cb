/* SPDX-License-Identifier: MIT */
/* usbscsid's target on the stick: started, asked, ended. For one test program: it defines functions
 * of the library in their place. */
#ifndef STICKRIG_H
#define STICKRIG_H

#include <CUnit/Basic.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../usbscsid/target.h"
#include "stick.h"

#define CLIENT_BYTES (40u << 20)
#define CLIENT_POOL 1

static struct stick stick;
static struct target target;
static struct pcidipc_loop *loop;
static uint8_t *client; /* the client's pool */
static unsigned disks_served, disks_removed, disks_changed, ended;
static int start_result;
static bool flag;

#define UNTIL(condition)                               \
	do {                                           \
		while (!(condition))                   \
			pcidipc_loop_turn(loop, true); \
	} while (0)

/* ---- in place of the library ---- */

int pcidipc_disk_serve(struct pcidipc_loop *l, struct pcidipc_disk *disk, int fd, int admin_fd)
{
	(void)l, (void)fd, (void)admin_fd, (void)disk;
	disks_served++;
	return 0;
}

void pcidipc_disk_remove(struct pcidipc_disk *disk)
{
	(void)disk;
	disks_removed++;
}

void pcidipc_disk_changed(struct pcidipc_disk *disk)
{
	(void)disk;
	disks_changed++;
}

struct pcidipc_pool_view *pcidipc_request_pool(const struct pcidipc_request *rq, uint32_t index)
{
	static struct pcidipc_pool_view view = {.forwarded = CLIENT_POOL};

	(void)rq, (void)index;
	return &view;
}

struct pcidipc_scheme *pcidipc_session_scheme(struct pcidipc_session *s)
{
	(void)s;
	return NULL;
}

/* A request and what became of it. */
struct asked {
	int res;
	bool done;
	struct pcidipc_request *rq;
	struct pcidipc_block_io *io;
	struct pcidipc_segment segments[RINGABI_BLOCK_MAX_IOV];
};

static unsigned completed;

void pcidipc_block_complete(struct pcidipc_block_io *io, int res)
{
	struct asked *a = (void *)(uintptr_t)pcidipc_block_request(io)->sqe.user_data;

	if (a->done)
		abort();
	a->done = true;
	a->res = res;
	io->disk->running--;
	completed++;
}

/* ---- beginning and end ---- */

static int publish(struct target *t, const char *suffix, struct pcidipc_service *service)
{
	(void)t;
	*service = (struct pcidipc_service){.listen_fd = -1, .admin_fd = -1};
	snprintf(service->name, sizeof(service->name), "disk/usb0%s", suffix);
	return 0;
}

static void unpublish(struct target *t, struct pcidipc_service *service)
{
	(void)t, (void)service;
}

static void target_ended(struct target *t, int code)
{
	(void)t, (void)code;
	ended++;
}

static void link_lost(struct usb_link *link, int error)
{
	(void)link, (void)error;
	if (target.transport)
		transport_die(target.transport);
}

static void begin(void)
{
	disks_served = disks_removed = disks_changed = ended = completed = 0;
	flag = false;
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	stick_create(&stick, loop);
	client = calloc(1, CLIENT_BYTES);
	stick.base[CLIENT_POOL] = client;
	stick.pool_bytes[CLIENT_POOL] = CLIENT_BYTES;
	stick.link.lost = link_lost;
	memset(&target, 0, sizeof(target));
	target.loop = loop;
	target.link = &stick.link;
	target.publish = publish;
	target.unpublish = unpublish;
	target.ended = target_ended;
	target.tick_ns = 1000000;
	target.limit = 20;
	target.pause_ns = 100000;
	target.poll_ns = 1000000;
}

static void start_task(void *arg)
{
	(void)arg;
	start_result = target_start(&target);
	flag = true;
}

static void start(void)
{
	flag = false;
	pcidipc_spawn(loop, start_task, NULL);
	UNTIL(flag);
}

static void stop_task(void *arg)
{
	(void)arg;
	target_stop(&target);
	flag = true;
}

static void finish(void)
{
	flag = false;
	pcidipc_spawn(loop, stop_task, NULL);
	UNTIL(flag);
	CU_ASSERT_EQUAL(stick.reads_outside, 0);
	if (target.transport) {
		UNTIL(!target.transport->recovering);
		CU_ASSERT_EQUAL(target.transport->in_flight, 0);
	}
	target_destroy(&target);
	stick_destroy(&stick);
	pcidipc_loop_destroy(loop);
	free(client);
}

/* ---- requests ---- */

static void prepare(struct asked *a, unsigned lun, enum pcidipc_block_kind kind, uint64_t lba,
		    uint64_t blocks, uint64_t at)
{
	struct pcidipc_disk *disk = &target.lun[lun]->disk;

	memset(a, 0, offsetof(struct asked, segments));
	a->rq = calloc(1, sizeof(*a->rq) + sizeof(*a->io) + lun_io_bytes());
	a->rq->sqe.user_data = (uintptr_t)a;
	a->io = (void *)a->rq->priv;
	*a->io = (struct pcidipc_block_io){.kind = kind,
					   .lba = lba,
					   .blocks = blocks,
					   .nsegments = 1,
					   .one = {at, blocks * disk->info.block_bytes},
					   .disk = disk};
	a->io->segments = &a->io->one;
}

/* With what is submitted next. */
static void submit_with_next(struct asked *a)
{
	a->io->disk->running++;
	a->res = a->io->disk->submit(a->io);
	a->done = a->res != PCIDIPC_PENDING;
	if (a->done)
		a->io->disk->running--;
}

static void submit(struct asked *a)
{
	submit_with_next(a);
	transport_flush(target.transport);
}

static int finish_request(struct asked *a)
{
	UNTIL(a->done);
	free(a->rq);
	return a->res;
}

static int ask(enum pcidipc_block_kind kind, uint64_t lba, uint64_t blocks, uint64_t at)
{
	struct asked a;

	prepare(&a, 0, kind, lba, blocks, at);
	submit(&a);
	return finish_request(&a);
}

static int __attribute__((unused)) ask_fua(uint64_t lba, uint64_t blocks, uint64_t at)
{
	struct asked a;

	prepare(&a, 0, PCIDIPC_BLOCK_WRITE, lba, blocks, at);
	a.io->fua = true;
	submit(&a);
	return finish_request(&a);
}

#endif
