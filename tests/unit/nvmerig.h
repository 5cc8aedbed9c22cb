/* SPDX-License-Identifier: MIT */
/* nvmed's controller on the model: started, asked, ended. For one test program, as the model is. */
#ifndef NVMERIG_H
#define NVMERIG_H

#include <CUnit/Basic.h>
#include <pcidipc/log.h>

#include "nvmemodel.h"

static struct controller *c;
static bool flag;
static int start_result;

static void start_task(void *arg)
{
	(void)arg;
	start_result = controller_start(c);
	if (!start_result) {
		pairs_start(c);
		events_start(c);
		start_result = namespaces_start(c);
	}
	if (!start_result)
		start_result = pair_get(c, &model_pair);
	flag = true;
}

static void until(const bool *what)
{
	while (!*what)
		pcidipc_loop_turn(c->loop, true);
}

#define UNTIL(condition)                                  \
	do {                                              \
		while (!(condition))                      \
			pcidipc_loop_turn(c->loop, true); \
	} while (0)

static void begin(void)
{
	memset(&m, 0, sizeof(m));
	m.cap = 63 | 1ull << 24 | 1ull << 37;
	m.blocks = 1000;
	m.lbads = 9;
	m.mdts = 1;
	m.grant = 1;
	m.acl = 3;
	m.nsids[0] = 1;
	model_share = (struct share){0};
	disks_served = disks_removed = disks_changed = 0;
	c = calloc(1, sizeof(*c));
	c->tick_ns = 1000000;
	c->io_limit = c->admin_limit = 4;
	c->address = "model";
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &c->loop), 0);
	flag = false;
}

static void start(void)
{
	pcidipc_spawn(c->loop, start_task, NULL);
	until(&flag);
}

static void finish(void)
{
	CU_ASSERT_EQUAL(m.overruns, 0);
	pcidipc_timer_cancel(&c->watchdog);
	pcidipc_watch_remove(&c->admin_irq);
	pcidipc_watch_remove(&c->io_irq);
	pcidipc_poller_remove(&c->poller);
	pcidipc_loop_destroy(c->loop);
	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i]) {
			nvme_queue_destroy(&c->pairs[i]->queue);
			free(c->pairs[i]);
		}
	for (unsigned i = 0; i < c->nnamespaces; i++)
		free(c->namespaces[i]);
	nvme_queue_destroy(&c->admin);
	pcidipc_pool_destroy(c->dma.pool);
	close(m.irq[0]);
	if (m.vectors_most != 1)
		close(m.irq[1]);
	free(c);
}

/* A request for `blocks` blocks from the start of the first namespace, not yet submitted. */
static void prepare(struct asked *a, enum pcidipc_block_kind kind, uint64_t blocks)
{
	struct pcidipc_disk *disk = &c->namespaces[0]->disk;

	*a = (struct asked){0};
	a->rq = calloc(1, sizeof(*a->rq) + sizeof(*a->io) + disk->io_bytes + 64);
	a->rq->sqe.user_data = (uintptr_t)a;
	a->io = (void *)a->rq->priv;
	*a->io = (struct pcidipc_block_io){.kind = kind,
					   .blocks = blocks,
					   .nsegments = 1,
					   .one = {1u << 20, blocks * 512},
					   .disk = disk};
	a->io->segments = &a->io->one;
}

static void submit(struct asked *a)
{
	a->res = a->io->disk->submit(a->io);
	a->done = a->res != PCIDIPC_PENDING;
	a->io->disk->flush(NULL);
}

/* Read `blocks` blocks. */
static inline void ask(struct asked *a, uint64_t blocks)
{
	prepare(a, PCIDIPC_BLOCK_READ, blocks);
	submit(a);
}

/* Do one request; the model has its (last) command. */
static inline int perform(enum pcidipc_block_kind kind, uint64_t blocks, bool fua, bool unmap,
			  void *data)
{
	struct asked a;
	int res;

	prepare(&a, kind, blocks);
	a.io->lba = 0x100000005ull;
	a.io->fua = fua;
	a.io->unmap = unmap;
	a.io->data = data;
	submit(&a);
	until(&a.done);
	res = a.res;
	free(a.rq);
	return res;
}

#endif
