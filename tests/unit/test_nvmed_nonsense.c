// SPDX-License-Identifier: MIT
/*
 * nvmed against a controller that answers nonsense: registers that are stuck, identify data beyond
 * all measure, phase bits that flip, completions out of nowhere. Every request ends, once; nothing
 * hangs; and a controller that comes to its senses works again.
 */
#include "nvmerig.h"
#include "suites.h"

#define REQUESTS 20u

/* ---- registers while it starts ---- */

static void never_ready(void)
{
	m.slow_ready = true;
}

static void fails_at_once(void)
{
	m.csts |= 2;
}

static void fatal(void)
{
	m.slow_ready = true;
	m.at_status = fails_at_once;
}

static void gone(void)
{
	m.gone = true;
}

/* Ready before it was asked, and it stays so: only a reset of the function helps. */
static void always_ready(void)
{
	m.cc = m.csts = 1;
	m.stuck_ready = true;
}

static int start_with(void (*spoil)(void))
{
	unsigned flrs;

	begin();
	m.cap &= ~(0xffull << 24); /* half a second at most until it must be ready */
	spoil();
	start();
	flrs = m.flrs;
	CU_ASSERT_EQUAL(disks_served, start_result ? 0 : 1);
	if (c->dma.pool)
		finish();
	return start_result ? start_result : (int)flrs;
}

static void test_registers(void)
{
	CU_ASSERT(start_with(never_ready) < 0);
	CU_ASSERT(start_with(fatal) < 0);
	CU_ASSERT_EQUAL(start_with(gone), -ENODEV);
	CU_ASSERT(start_with(always_ready) != 0);
}

/* ---- identify data ---- */

static void read_one(void)
{
	struct asked a;

	prepare(&a, PCIDIPC_BLOCK_READ, 1);
	a.io->one = (typeof(a.io->one)){1u << 20, c->namespaces[0]->disk.info.block_bytes};
	submit(&a);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, 0);
	free(a.rq);
}

static void identified_as(uint8_t mdts, uint8_t lbads, uint64_t blocks, unsigned grant)
{
	begin();
	m.mdts = mdts;
	m.lbads = lbads;
	m.blocks = blocks;
	m.grant = grant;
	m.acl = (uint8_t)grant;
	start();
	CU_ASSERT_EQUAL(start_result, 0);
	CU_ASSERT(disks_served <= 1);
	if (disks_served) {
		const struct ringabi_block_info *info = &c->namespaces[0]->disk.info;

		CU_ASSERT(info->block_bytes >= 512 && info->bytes);
		CU_ASSERT_EQUAL(info->bytes / info->block_bytes, blocks);
		CU_ASSERT_EQUAL(info->bytes % info->block_bytes, 0);
		read_one();
	}
	finish();
}

static void test_identify(void)
{
	static const uint8_t mdts[] = {0, 1, 5, 19, 20, 31, 63, 64, 255};
	static const uint8_t lbads[] = {0, 1, 8, 9, 12, 13, 16, 31, 32, 63, 64, 255};
	static const uint64_t blocks[] = {
		0, 1, UINT32_MAX, 1ull << 52, 1ull << 55, (1ull << 55) - 1, INT64_MAX, UINT64_MAX};
	static const unsigned grants[] = {0, 1, 7, 0xfffe, 0xffff};

	for (size_t i = 0; i < sizeof(mdts); i++)
		identified_as(mdts[i], 9, 1000, 1);
	for (size_t i = 0; i < sizeof(lbads); i++)
		for (size_t k = 0; k < sizeof(blocks) / sizeof(*blocks); k++)
			identified_as(1, lbads[i], blocks[k], 1);
	for (size_t i = 0; i < sizeof(grants) / sizeof(*grants); i++)
		identified_as(1, 9, 1000, grants[i]);
}

/* ---- completions ---- */

static void ask_all(struct asked *a)
{
	m.hold_io = m.heals = true; /* until the reset, which must come */
	for (unsigned i = 0; i < REQUESTS; i++)
		ask(&a[i], 1);
}

static void all_end(struct asked *a)
{
	for (unsigned i = 0; i < REQUESTS; i++) {
		until(&a[i].done);
		free(a[i].rq);
	}
	UNTIL(!c->recovering);
}

/* It fails for good to see, is reset, and works as ever. */
static void heal(void)
{
	unsigned enables = m.enables;
	struct asked a;

	m.hold_io = m.heals = true;
	m.csts |= 2;
	ask(&a, 1);
	until(&a.done);
	free(a.rq);
	UNTIL(m.enables > enables && !c->recovering);
	m.hold_io = false;
	read_one();
	m.overruns = 0; /* it has none, whatever it was told of its queues */
	finish();
}

/* The phase bits of some entries, or of all, at once: they look like completions of command 0, or
 * like older ones once more. */
static void flip(unsigned every, unsigned rounds)
{
	struct asked a[REQUESTS];

	begin();
	start();
	for (unsigned i = 0; i < 70; i++) /* more than once around */
		read_one();
	ask_all(a);
	for (unsigned round = 0; round < rounds; round++) {
		struct model_queue *q = &m.queue[1];

		for (unsigned i = round % every; i < q->entries; i += every)
			q->cq[i].status ^= htole16(1);
		model_interrupt(1);
		pcidipc_loop_turn(c->loop, false);
	}
	all_end(a);
	heal();
}

static void test_phases(void)
{
	flip(1, 1);
	flip(1, 2);
	flip(1, 9);
	flip(2, 8);
	flip(7, 40);
}

/* Command ids that are not in flight, of other queues, beyond the queue; and the right ones again.
 */
static void test_ids(void)
{
	struct asked a[REQUESTS];
	uint32_t seed = 3;

	begin();
	start();
	ask_all(a);
	for (unsigned i = 0; i < 2000; i++) {
		seed = seed * 1664525 + 1013904223;
		model_complete(1, (uint16_t)(seed >> 16), (uint16_t)(seed >> 8 & 0x7ff), seed);
		m.queue[1]
			.cq[(m.queue[1].cq_tail + m.queue[1].entries - 1) % m.queue[1].entries]
			.sq_id = (uint16_t)seed;
		pcidipc_loop_turn(c->loop, false);
	}
	all_end(a);
	heal();
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"registers while it starts", test_registers},
		{"identify data", test_identify},
		{"phases that flip", test_phases},
		{"command ids out of nowhere", test_ids},
		CU_TEST_INFO_NULL,
	};

	pcidipc_log_init("test_nvmed_nonsense", 0);
	return run_tests("nvmed and a controller that answers nonsense", tests);
}
