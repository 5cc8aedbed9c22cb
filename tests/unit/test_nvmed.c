// SPDX-License-Identifier: MIT
/* nvmed against a controller that holds commands, lies, hangs and goes away. */
#include <stdio.h>

#include "nvmerig.h"
#include "suites.h"

/* ---- tasks ---- */

static void get_task(void *arg)
{
	start_result = pair_get(c, arg);
	flag = true;
}

static void put_task(void *arg)
{
	pair_put(arg);
	flag = true;
}

/* As if a command had been in flight for long enough to make the driver look at CSTS. */
static void watchdog_look(void)
{
	static struct asked a;

	m.hold_io = true;
	ask(&a, 1);
	m.heals = true;
	UNTIL(c->recovering);
	UNTIL(a.done);
	free(a.rq);
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
	m.hold_io = false;
	ask(&a, 1);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, 0);
	free(a.rq);
	CU_ASSERT_EQUAL(m.vectors, 2); /* the reset took them */
	CU_ASSERT_EQUAL(m.lost, 0);
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

/* A command may begin just before a tick: its limit is whole ticks after that. */
static void test_not_early(void)
{
	struct asked a;
	uint32_t before;

	begin();
	start();
	m.hold_io = true;
	ask(&a, 1);
	before = c->clock;
	UNTIL(m.aborts);
	CU_ASSERT(c->clock - before > c->io_limit);
	until(&a.done);
	free(a.rq);
	finish();
}

/* Many commands late on two queues: never more Aborts at once than the controller allows. */
static void limit_aborts(uint8_t acl, unsigned expect)
{
	struct asked a[20];
	struct pair *pairs[2];

	begin();
	m.acl = acl;
	start();
	c->mapped = true; /* a pair for each */
	pairs[0] = model_pair;
	flag = false;
	pcidipc_spawn(c->loop, get_task, &pairs[1]);
	until(&flag);
	m.hold_io = m.refuse_abort = m.stuck_abort = m.heals = true;
	for (unsigned i = 0; i < 20; i++) {
		model_pair = pairs[i % 2];
		ask(&a[i], 1);
	}
	for (unsigned i = 0; i < 20; i++) {
		until(&a[i].done);
		CU_ASSERT_EQUAL(a[i].res, -ETIMEDOUT);
		CU_ASSERT(!a[i].enabled_then);
		free(a[i].rq);
	}
	CU_ASSERT_EQUAL(m.aborts_worst, expect);
	UNTIL(!c->recovering);
	CU_ASSERT_EQUAL(c->aborts, 0);
	CU_ASSERT_EQUAL(m.enables, 2);
	finish();
}

static void test_abort_limit(void)
{
	limit_aborts(0, 1);
	limit_aborts(2, 3);
}

static void answer_all(void)
{
	while (m.nheld)
		model_answer_held(0, 0);
}

/* All answers come without an interrupt just when the watchdog looks: it takes them, and those that
 * wait for a slot go on. */
static void test_lost_interrupt(void)
{
	struct asked a[80];

	begin();
	start();
	m.mute = m.hold_io = true;
	for (unsigned i = 0; i < 80; i++)
		ask(&a[i], 1);
	m.hold_io = false;
	m.at_status = answer_all;
	for (unsigned i = 0; i < 80; i++) {
		until(&a[i].done);
		CU_ASSERT_EQUAL(a[i].res, 0);
		free(a[i].rq);
	}
	CU_ASSERT_EQUAL(m.aborts, 0);
	CU_ASSERT_EQUAL(m.enables, 1);
	m.mute = false;
	finish();
}

/* ---- pairs and resets ---- */

/* The controller fails while a pair is being created or deleted: the command that this waits for
 * ends, and it is done again, or not needed any more. */
static void reset_in_get(uint8_t held)
{
	struct pair *p = NULL;
	struct asked a;

	begin();
	start();
	c->mapped = true; /* a pair for each */
	m.hold_opcode = MODEL_HOLD | held;
	flag = false;
	pcidipc_spawn(c->loop, get_task, &p);
	UNTIL(m.nheld);
	m.csts |= CSTS_FATAL;
	m.hold_opcode = 0;
	until(&flag);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_PTR_NOT_EQUAL(p, model_pair);
	UNTIL(!c->recovering);
	CU_ASSERT_EQUAL(p->made, c->resets);
	CU_ASSERT_EQUAL(m.enables, 2);
	for (unsigned i = 1; i <= 2; i++)
		CU_ASSERT(m.queue[i].exists);
	model_pair = p;
	ask(&a, 1);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, 0);
	free(a.rq);
	finish();
}

static void test_reset_in_get(void)
{
	reset_in_get(nvme_admin_create_cq);
	reset_in_get(nvme_admin_create_sq);
}

/* A reset has begun, and somebody opens the disk: it waits until the controller works. */
static void test_get_in_reset(void)
{
	struct pair *p = NULL;

	begin();
	m.offers_dbbuf = true;
	start();
	c->mapped = true; /* a pair for each */
	m.csts |= CSTS_FATAL;
	m.hold_opcode = MODEL_HOLD | nvme_admin_dbbuf;
	flag = false;
	watchdog_look();
	UNTIL(m.nheld); /* enabled, and does not know the shadow doorbells */
	pcidipc_spawn(c->loop, get_task, &p);
	for (unsigned i = 0; i < 3; i++) /* it runs, and waits */
		pcidipc_loop_turn(c->loop, false);
	CU_ASSERT(!flag);
	m.hold_opcode = 0;
	m.shadow = (void *)(uintptr_t)m.held[0].prp1;
	m.event = (void *)(uintptr_t)m.held[0].prp2;
	model_answer_held(0, 0);
	until(&flag);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_PTR_EQUAL(p->queue.sq_doorbell.shadow, c->shadow + 2 * p->queue.params.id);
	finish();
}

static void reset_in_put(uint8_t held)
{
	struct pair *p = model_pair;
	struct asked a;

	begin();
	start();
	c->mapped = true; /* a pair for each */
	flag = false;
	pcidipc_spawn(c->loop, get_task, &p);
	until(&flag);
	m.hold_opcode = MODEL_HOLD | held;
	flag = false;
	pcidipc_spawn(c->loop, put_task, p);
	UNTIL(m.nheld);
	m.csts |= CSTS_FATAL;
	m.hold_opcode = 0;
	until(&flag);
	UNTIL(!c->recovering);
	CU_ASSERT_EQUAL(m.enables, 2);
	CU_ASSERT_PTR_NULL(c->pairs[1]);
	CU_ASSERT(m.queue[1].exists && !m.queue[2].exists);
	ask(&a, 1);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, 0);
	free(a.rq);
	finish();
}

static void test_reset_in_put(void)
{
	reset_in_put(nvme_admin_delete_sq);
	reset_in_put(nvme_admin_delete_cq);
}

/* More queues are granted than the BAR has doorbells for; after a reset that is no different. */
static void test_few_doorbells(void)
{
	struct asked a;

	begin();
	m.grant = 15;
	start();
	CU_ASSERT_EQUAL(c->max_pairs, 16);
	c->bar.bytes = 0x1000 + 8 * c->stride; /* the admin queue's, and three pairs' */
	m.hold_io = true;
	ask(&a, 1);
	m.csts |= CSTS_FATAL;
	until(&a.done);
	UNTIL(m.enables == 2 && !c->recovering);
	CU_ASSERT_EQUAL(c->max_pairs, 3);
	free(a.rq);
	finish();
}

/* The reset's own command hangs: the controller is given up, and everybody learns of it. */
static void test_hung_reset(void)
{
	struct asked a, late;
	struct pair *p = NULL;

	begin();
	start();
	m.hold_io = true;
	ask(&a, 1);
	m.csts |= CSTS_FATAL;
	m.hold_opcode = MODEL_HOLD | nvme_admin_create_cq;
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, -EIO);
	CU_ASSERT(!a.enabled_then);
	ask(&late, 1); /* waits for the end of the reset */
	CU_ASSERT(!late.done);
	until(&late.done);
	CU_ASSERT_EQUAL(late.res, -ENODEV);
	CU_ASSERT(c->dead);
	CU_ASSERT(!m.master); /* it can reach no memory */
	UNTIL(disks_removed == 1);
	flag = false;
	pcidipc_spawn(c->loop, get_task, &p);
	until(&flag);
	CU_ASSERT_EQUAL(start_result, -ENODEV);
	UNTIL(!c->recovering);
	free(a.rq);
	free(late.rq);
	finish();
}

static void pass_ticks(uint32_t n)
{
	for (uint32_t now = c->clock; c->clock - now < n;) {
		watchdog_start(c);
		pcidipc_loop_turn(c->loop, true);
	}
}

/* What was queued while the controller came up is not late because that took long. */
static void test_queued_in_reset(void)
{
	struct ringabi_block_health log;
	struct asked health;

	begin();
	start();
	m.csts |= CSTS_FATAL;
	m.slow_ready = true;
	watchdog_look();
	UNTIL(m.enables == 2);
	prepare(&health, PCIDIPC_BLOCK_HEALTH, 0);
	health.io->data = &log;
	submit(&health);
	pass_ticks(2 * c->admin_limit);
	m.hold_opcode = MODEL_HOLD | nvme_admin_get_log_page;
	m.csts = 1;
	UNTIL(m.nheld);
	pass_ticks(2);
	CU_ASSERT(!c->dead);
	m.hold_opcode = 0;
	if (m.nheld)
		model_answer_held(0, 0);
	until(&health.done);
	CU_ASSERT_EQUAL(health.res, 0);
	UNTIL(!c->recovering);
	free(health.rq);
	finish();
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
	CU_TestInfo tests[] = {
		{"start and read, split at MDTS", test_read},
		{"a slow command is aborted", test_abort},
		{"no abort: reset; what waited goes on", test_reset},
		{"fatal status: reset", test_fatal},
		{"registers all ones: gone", test_gone},
		{"cannot be disabled: function reset", test_stuck},
		{"events, namespaces that change", test_events},
		{"completions that lie", test_lies},
		{"absurd identities", test_absurd},
		{"event index", test_doorbell},
		{"no command is late before its time", test_not_early},
		{"as many Aborts as the controller allows", test_abort_limit},
		{"a lost interrupt", test_lost_interrupt},
		{"a reset while a pair is created", test_reset_in_get},
		{"a pair is wanted during a reset", test_get_in_reset},
		{"a reset while a pair is deleted", test_reset_in_put},
		{"fewer doorbells than queues, after a reset", test_few_doorbells},
		{"a reset whose commands hang", test_hung_reset},
		{"commands queued during a reset", test_queued_in_reset},
		CU_TEST_INFO_NULL,
	};

	pcidipc_log_init("test_nvmed", 0);
	return run_tests("nvmed", tests);
}
