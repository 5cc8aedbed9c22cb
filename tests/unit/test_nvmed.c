// SPDX-License-Identifier: MIT
/* nvmed against a controller that holds commands, lies, hangs and goes away. */
#include <CUnit/Basic.h>
#include <pcidipc/log.h>
#include <stdio.h>

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

static void begin(void)
{
	memset(&m, 0, sizeof(m));
	m.cap = 63 | 1ull << 24 | 1ull << 37;
	m.blocks = 1000;
	m.lbads = 9;
	m.mdts = 1;
	m.nsids[0] = 1;
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
	close(m.irq[1]);
	free(c);
}

/* Read `blocks` blocks. */
static void ask(struct asked *a, uint64_t blocks)
{
	struct pcidipc_disk *disk = &c->namespaces[0]->disk;

	*a = (struct asked){0};
	a->rq = calloc(1, sizeof(*a->rq) + sizeof(*a->io) + disk->io_bytes + 64);
	a->io = (void *)a->rq->priv;
	*a->io = (struct pcidipc_block_io){.kind = PCIDIPC_BLOCK_READ,
					   .blocks = blocks,
					   .nsegments = 1,
					   .one = {1u << 20, blocks * 512},
					   .passthrough = {(uintptr_t)a, 0},
					   .disk = disk};
	a->io->segments = &a->io->one;
	a->res = disk->submit(a->io);
	a->done = a->res != PCIDIPC_PENDING;
	disk->flush(NULL);
}

static void test_read(void)
{
	struct asked a;

	begin();
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	CU_ASSERT_EQUAL(disks_served, 1);
	CU_ASSERT_STRING_EQUAL(c->serial, "?serial");
	CU_ASSERT_EQUAL(m.nevents, 4);
	ask(&a, 40); /* 8 KiB each: three commands */
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, 0);
	CU_ASSERT_EQUAL(m.io_commands, 3);
	free(a.rq);
	finish();
}

static void test_abort(void)
{
	struct asked a;

	begin();
	start();
	m.hold_io = true;
	ask(&a, 1);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, -ETIMEDOUT);
	CU_ASSERT_EQUAL(m.aborts, 1);
	CU_ASSERT_EQUAL(m.enables, 1);
	free(a.rq);
	finish();
}

/* Nothing completes while the controller may still touch a buffer; what waited goes on after. */
static void test_reset(void)
{
	struct asked a[80];
	unsigned timeouts = 0, good = 0;

	begin();
	start();
	m.hold_io = m.refuse_abort = true;
	for (unsigned i = 0; i < 80; i++)
		ask(&a[i], 1);
	CU_ASSERT_EQUAL(m.io_commands, 63);
	m.heals = true;
	for (unsigned i = 0; i < 80; i++) {
		until(&a[i].done);
		if (a[i].res) {
			CU_ASSERT(!a[i].enabled_then);
			CU_ASSERT(a[i].res == -ETIMEDOUT || a[i].res == -EIO);
			timeouts++;
		}
		good += !a[i].res;
		free(a[i].rq);
	}
	CU_ASSERT_EQUAL(timeouts, 63);
	CU_ASSERT_EQUAL(good, 17);
	CU_ASSERT_EQUAL(m.enables, 2);
	while (m.nevents != 4)
		pcidipc_loop_turn(c->loop, true);
	finish();
}

static void lose(bool fatal, bool gone, int expect, unsigned enables)
{
	struct asked a;

	begin();
	start();
	m.hold_io = true;
	ask(&a, 1);
	m.gone = gone;
	m.csts |= fatal ? 2 : 0;
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, expect);
	CU_ASSERT_EQUAL(m.aborts, 0);
	while (m.enables != enables || (gone && !disks_removed) || (!gone && c->recovering))
		pcidipc_loop_turn(c->loop, true);
	CU_ASSERT_EQUAL(disks_removed, gone);
	free(a.rq);
	finish();
}

static void test_fatal(void)
{
	lose(true, false, -EIO, 2);
}

static void test_gone(void)
{
	lose(false, true, -ENODEV, 1);
}

static void test_stuck(void)
{
	struct asked a;

	begin();
	m.cap &= ~(0xffull << 24);
	start();
	m.hold_io = m.refuse_abort = m.stuck_ready = true;
	ask(&a, 1);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, -ETIMEDOUT);
	CU_ASSERT_EQUAL(m.flrs, 1);
	free(a.rq);
	while (c->recovering)
		pcidipc_loop_turn(c->loop, true);
	CU_ASSERT(!c->dead);
	finish();
}

static void test_events(void)
{
	begin();
	start();
	model_event(1 | 1 << 8 | NVME_LOG_LID_SMART << 16);
	while (m.nevents != 4)
		pcidipc_loop_turn(c->loop, true);
	CU_ASSERT_EQUAL(m.logs[NVME_LOG_LID_SMART], 1);
	m.nsids[1] = 7;
	m.blocks = 2000;
	model_event(2 | NVME_LOG_LID_CHANGED_NS << 16);
	while (m.nevents != 4)
		pcidipc_loop_turn(c->loop, true);
	CU_ASSERT_EQUAL(disks_served, 2);
	CU_ASSERT_EQUAL(disks_changed, 1);
	m.nsids[0] = 7;
	m.nsids[1] = 0;
	model_event(2 | NVME_LOG_LID_CHANGED_NS << 16);
	while (m.nevents != 4)
		pcidipc_loop_turn(c->loop, true);
	CU_ASSERT_EQUAL(disks_removed, 1);
	CU_ASSERT_EQUAL(c->nnamespaces, 1);
	finish();
}

/* Completions for what is not in flight, or twice for what was, complete nothing. */
static void test_lies(void)
{
	struct asked a, b;

	begin();
	start();
	m.hold_io = true;
	ask(&a, 1);
	model_complete(1, 0xffff, 0, 0);
	model_complete(1, m.held[0].cid ^ 0x1000, 0, 0);
	model_complete(1, 62, 0, 0);
	model_complete(1, m.held[0].cid, 0, 0);
	model_complete(1, m.held[0].cid, 0, 0);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, 0);
	m.nheld = 0;
	ask(&b, 1);
	pcidipc_loop_turn(c->loop, false);
	CU_ASSERT(!b.done);
	model_answer_held(0, 0x281);
	until(&b.done);
	CU_ASSERT_EQUAL(b.res, -ENODATA);
	free(a.rq);
	free(b.rq);
	finish();
}

static void refused(void (*spoil)(void), int expect, unsigned disks)
{
	begin();
	spoil();
	start();
	CU_ASSERT_EQUAL(start_result, expect);
	CU_ASSERT_EQUAL(disks_served, disks);
	if (c->dma.pool)
		finish();
}

static void no_queue(void)
{
	m.cap &= ~0xffffull;
}
static void big_pages(void)
{
	m.cap |= 5ull << 48;
}
static void too_large(void)
{
	m.blocks = UINT64_MAX;
}
static void odd_blocks(void)
{
	m.lbads = 63;
}
static void descending(void)
{
	m.nsids[0] = 5;
	m.nsids[1] = 3;
}
static void silent(void)
{
	m.hold_admin = true;
}

static void test_absurd(void)
{
	refused(no_queue, -EOPNOTSUPP, 0);
	refused(big_pages, -EOPNOTSUPP, 0);
	refused(too_large, 0, 0);
	refused(odd_blocks, 0, 0);
	refused(descending, 0, 1);
	refused(silent, -ETIMEDOUT, 0);
}

/* Event index against a walk: does a step from before to now pass the event? */
static void test_doorbell(void)
{
	for (uint32_t n = 2; n <= 40; n++)
		for (uint32_t before = 0; before < n; before++)
			for (uint32_t now = 0; now < n; now++)
				for (uint32_t event = 0; event < n; event++) {
					bool passed = false;

					for (uint32_t i = before; i != now; i = (i + 1) % n)
						passed |= i == event;
					CU_ASSERT_EQUAL(nvme_doorbell_passes(event, now, before),
							passed);
				}
}

int main(void)
{
	CU_pSuite suite;
	unsigned failed;

	pcidipc_log_init("test_nvmed", 0);
	CU_initialize_registry();
	suite = CU_add_suite("nvmed", NULL, NULL);
	CU_add_test(suite, "start and read, split at MDTS", test_read);
	CU_add_test(suite, "a slow command is aborted", test_abort);
	CU_add_test(suite, "no abort: reset; what waited goes on", test_reset);
	CU_add_test(suite, "fatal status: reset", test_fatal);
	CU_add_test(suite, "registers all ones: gone", test_gone);
	CU_add_test(suite, "cannot be disabled: function reset", test_stuck);
	CU_add_test(suite, "events, namespaces that change", test_events);
	CU_add_test(suite, "completions that lie", test_lies);
	CU_add_test(suite, "absurd identities", test_absurd);
	CU_add_test(suite, "event index", test_doorbell);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed != 0;
}
