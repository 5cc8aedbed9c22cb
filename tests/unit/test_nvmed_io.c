// SPDX-License-Identifier: MIT
/* What nvmed asks of a controller: the commands of each request, pass-through, shadow doorbells. */
#include "nvmerig.h"
#include "suites.h"

/* ---- commands ---- */

static void check_command(uint8_t opcode, uint32_t cdw12)
{
	CU_ASSERT_EQUAL(m.last.opcode, opcode);
	CU_ASSERT_EQUAL(m.last.nsid, htole32(1));
	CU_ASSERT_EQUAL(m.last.cdw12, htole32(cdw12));
	CU_ASSERT_EQUAL(m.last.metadata, 0);
}

static void check_start(void)
{
	CU_ASSERT_EQUAL(m.last.cdw10, htole32(5));
	CU_ASSERT_EQUAL(m.last.cdw11, htole32(1));
}

static void test_rw(void)
{
	begin();
	start();
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 8, false, false, NULL), 0);
	check_command(nvme_cmd_read, 7);
	check_start();
	CU_ASSERT_EQUAL(m.last.prp1, htole64(1u << 20));
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_WRITE, 8, false, false, NULL), 0);
	check_command(nvme_cmd_write, 7);
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_WRITE, 8, true, false, NULL), 0);
	check_command(nvme_cmd_write, 7 | 1u << 30);
	check_start();
	/* Force unit access holds for every command of a request. */
	m.io_commands = 0;
	m.all_of = ~0u;
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_WRITE, 40, true, false, NULL), 0);
	CU_ASSERT_EQUAL(m.io_commands, 3);
	CU_ASSERT_EQUAL(m.all_of & 1u << 30, 1u << 30);
	finish();
}

static void test_flush(void)
{
	begin();
	start();
	CU_ASSERT(c->namespaces[0]->disk.info.flags & RINGABI_BLOCK_VOLATILE_CACHE);
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_FLUSH, 0, false, false, NULL), 0);
	check_command(nvme_cmd_flush, 0);
	CU_ASSERT_EQUAL(m.io_commands, 1);
	CU_ASSERT_EQUAL(m.last.prp1, 0);
	finish();
}

static void test_zero(void)
{
	begin();
	start();
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_ZERO, 9, false, false, NULL), 0);
	check_command(nvme_cmd_write_zeroes, 8);
	check_start();
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_ZERO, 9, false, true, NULL), 0);
	check_command(nvme_cmd_write_zeroes, 8 | 1u << 25);
	m.io_commands = 0;
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_ZERO, 2 * 65536 + 3, false, true, NULL), 0);
	CU_ASSERT_EQUAL(m.io_commands, 3);
	check_command(nvme_cmd_write_zeroes, 2 | 1u << 25);
	CU_ASSERT_EQUAL(m.last.cdw10, htole32(5 + 2 * 65536));
	c->namespaces[0]->deallocates_zeroes = false;
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_ZERO, 9, false, true, NULL), 0);
	check_command(nvme_cmd_write_zeroes, 8);
	finish();
}

static void check_range(uint64_t start_block, uint32_t blocks)
{
	CU_ASSERT_EQUAL(m.range.slba, htole64(start_block));
	CU_ASSERT_EQUAL(m.range.nlb, htole32(blocks));
	CU_ASSERT_EQUAL(m.last.cdw10, 0);
	CU_ASSERT_EQUAL(m.last.cdw11, htole32(4));
}

static void test_discard(void)
{
	begin();
	start();
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_DISCARD, 9, false, false, NULL), 0);
	CU_ASSERT_EQUAL(m.last.opcode, nvme_cmd_dsm);
	check_range(0x100000005ull, 9);
	m.io_commands = 0;
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_DISCARD, UINT32_MAX + 7ull, false, false, NULL), 0);
	CU_ASSERT_EQUAL(m.io_commands, 2);
	check_range(0x100000005ull + UINT32_MAX, 7);
	finish();
}

static void test_health(void)
{
	struct ringabi_block_health h = {0};

	begin();
	start();
	m.warnings = 0xff; /* bits that the interface has no name for stay out */
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_HEALTH, 0, false, false, &h), 0);
	CU_ASSERT_EQUAL(h.warnings, 0x1f);
	CU_ASSERT_EQUAL(h.temperature, 300);
	CU_ASSERT_EQUAL(h.spare, 90);
	CU_ASSERT_EQUAL(h.spare_limit, 10);
	CU_ASSERT_EQUAL(h.used, 120);
	CU_ASSERT_EQUAL(h.bytes_read, 3 * 512000);
	CU_ASSERT_EQUAL(h.bytes_written, UINT64_MAX);
	CU_ASSERT_EQUAL(h.reads, 256);
	CU_ASSERT_EQUAL(h.writes, 5);
	CU_ASSERT_EQUAL(h.power_cycles, 6);
	CU_ASSERT_EQUAL(h.power_on_hours, 7);
	CU_ASSERT_EQUAL(h.unsafe_shutdowns, 8);
	CU_ASSERT_EQUAL(h.media_errors, 9);
	CU_ASSERT_EQUAL(h.error_log_entries, 10);
	CU_ASSERT_EQUAL(m.io_commands, 0);
	finish();
}

/* ---- pass-through ---- */

static int pass(struct ringabi_block_passthrough *p, uint64_t iova)
{
	struct asked a;
	int res;

	prepare(&a, PCIDIPC_BLOCK_PASSTHROUGH, 0);
	a.io->data = p;
	a.io->passthrough = (struct pcidipc_segment){iova, p->data_bytes};
	submit(&a);
	until(&a.done);
	res = a.res;
	free(a.rq);
	return res;
}

static struct ringabi_block_passthrough admin(uint8_t opcode, uint32_t cdw10, uint32_t bytes)
{
	struct ringabi_block_passthrough p = {.kind = RINGABI_BLOCK_PT_NVME_ADMIN,
					      .data_bytes = bytes,
					      .command = {opcode, 1, [10] = cdw10}};

	return p;
}

static void test_passthrough(void)
{
	static unsigned char page[4096] __attribute__((aligned(4096)));
	struct ringabi_block_passthrough p = admin(nvme_admin_identify, 1, 4096);

	begin();
	start();
	p.command[6] = p.command[8] = 0xdead; /* pointers are the driver's business */
	CU_ASSERT_EQUAL(pass(&p, (uintptr_t)page), 0);
	CU_ASSERT_EQUAL(p.status, 0);
	CU_ASSERT_EQUAL(memcmp(page + 4, "\x01serial", 7), 0);
	p = admin(nvme_admin_get_features, NVME_FEAT_FID_NUM_QUEUES, 0);
	CU_ASSERT_EQUAL(pass(&p, 0), 0);
	p = admin(nvme_admin_get_log_page, NVME_LOG_LID_SMART | 127u << 16, 512);
	m.answer = 0x2002;
	CU_ASSERT_EQUAL(pass(&p, (uintptr_t)page), -EIO);
	CU_ASSERT_EQUAL(p.status, 0x2002);
	m.answer = 0;
	p = admin(nvme_admin_format_nvm, 0, 0);
	CU_ASSERT_EQUAL(pass(&p, 0), -EACCES);
	p = admin(nvme_admin_identify, 1, 4095);
	CU_ASSERT_EQUAL(pass(&p, (uintptr_t)page), -EINVAL);
	finish();
}

/* It has a limit of its own, and a controller that does not answer is reset. */
static void test_passthrough_hangs(void)
{
	static unsigned char page[4096] __attribute__((aligned(4096)));
	struct ringabi_block_passthrough p = admin(nvme_admin_identify, 1, 4096);

	begin();
	c->admin_limit = 1000000;
	start();
	p.timeout_ms = 2; /* ticks of 1 ms */
	m.hold_opcode = MODEL_HOLD | nvme_admin_identify;
	CU_ASSERT_EQUAL(pass(&p, (uintptr_t)page), -ETIMEDOUT);
	m.hold_opcode = 0;
	UNTIL(!c->recovering);
	CU_ASSERT_EQUAL(m.enables, 2);
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	finish();
}

/* ---- shadow doorbells ---- */

/* A controller that is awake is not written to, and finds its commands all the same; one that
 * sleeps is, once for all that were queued together. */
static void test_doorbell_buffers(void)
{
	struct asked a[200];
	unsigned before;

	begin();
	m.offers_dbbuf = true;
	start();
	CU_ASSERT_PTR_NOT_NULL_FATAL(c->shadow);
	CU_ASSERT_PTR_EQUAL(m.shadow, c->shadow);
	for (unsigned i = 0; i < 200; i++) { /* asleep after each: several rounds of the queue */
		before = m.doorbells;
		ask(&a[i], 1);
		CU_ASSERT_EQUAL(m.doorbells, before + 1);
		until(&a[i].done);
		CU_ASSERT_EQUAL(a[i].res, 0);
		free(a[i].rq);
	}
	m.awake = true;
	model_poll(1);
	before = m.doorbells;
	for (unsigned i = 0; i < 200; i++) {
		ask(&a[i], 1);
		CU_ASSERT_EQUAL(m.doorbells, before);
		CU_ASSERT(!a[i].done);
		model_poll(1);
		until(&a[i].done);
		CU_ASSERT_EQUAL(a[i].res, 0);
		free(a[i].rq);
	}
	m.awake = false;
	model_poll(1);
	ask(&a[0], 40); /* three commands */
	CU_ASSERT_EQUAL(m.doorbells, before + 1);
	until(&a[0].done);
	free(a[0].rq);
	finish();
}

/* A reset ends them, and sets them up again with the indices at zero. */
static void test_doorbell_buffers_reset(void)
{
	struct asked a;

	begin();
	m.offers_dbbuf = true;
	start();
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	m.hold_io = m.heals = true;
	m.csts |= CSTS_FATAL;
	ask(&a, 1);
	until(&a.done);
	CU_ASSERT_EQUAL(a.res, -EIO);
	free(a.rq);
	UNTIL(!c->recovering);
	CU_ASSERT_PTR_EQUAL(m.shadow, c->shadow);
	CU_ASSERT_EQUAL(c->shadow[2], 0);
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	CU_ASSERT_EQUAL(c->shadow[2], 5);
	finish();
}

/* Of completions the controller is told when a quarter of the queue has been taken, where an
 * interrupt is a message; else at once. */
static void completions_told(uint32_t kind, bool shadow, unsigned expect)
{
	begin();
	m.kind = kind;
	m.offers_dbbuf = shadow;
	start();
	CU_ASSERT_EQUAL(c->pairs[0]->queue.params.entries, 64);
	for (unsigned i = 0; i < 384; i++)
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	CU_ASSERT_EQUAL(m.cq_doorbells, expect);
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	if (shadow) /* it may look at any time */
		CU_ASSERT_EQUAL(m.shadow[3], 385 % 64);
	finish();
}

static void test_completions_told(void)
{
	completions_told(RINGABI_IRQ_MSIX, false, 24);
	completions_told(RINGABI_IRQ_MSIX, true, 24);
	completions_told(RINGABI_IRQ_MSI, false, 384);
}

/* Where telling costs a register write and no request, all is told before an interrupt is waited
 * for, and once. */
static void told_before_sleep(bool mapped)
{
	struct asked a[3];

	begin();
	c->io_limit = 1000000;
	start();
	c->mapped = mapped;
	m.hold_io = true;
	for (unsigned i = 0; i < 3; i++)
		ask(&a[i], 1);
	while (m.nheld)
		model_answer_held(0, 0);
	CU_ASSERT_EQUAL(c->poller.poll(&c->poller), 3);
	CU_ASSERT_EQUAL(m.cq_doorbells, 0);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT(c->poller.arm(&c->poller));
		CU_ASSERT_EQUAL(m.cq_doorbells, mapped);
		CU_ASSERT_EQUAL(m.queue[1].cq_head, mapped ? 3 : 0);
	}
	for (unsigned i = 0; i < 3; i++)
		free(a[i].rq);
	finish();
}

static void test_told_before_sleep(void)
{
	told_before_sleep(true);
	told_before_sleep(false);
}

/* As many at once as there are places: with what was taken before they make a whole round, after
 * which the head is where it was. The controller must not think that nothing was taken. */
static void test_whole_round(void)
{
	struct asked a[63];

	begin();
	m.offers_dbbuf = true;
	c->io_limit = 1000000;
	start();
	for (unsigned round = 0; round < 130; round++) {
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
		m.hold_io = true;
		for (unsigned i = 0; i < 63; i++)
			ask(&a[i], 1);
		m.hold_io = false;
		while (m.nheld)
			model_answer_held(0, 0);
		CU_ASSERT_EQUAL(nvme_queue_reap(&c->pairs[0]->queue, 64), 63);
		for (unsigned i = 0; i < 63; i++) {
			CU_ASSERT(a[i].done);
			free(a[i].rq);
		}
	}
	finish();
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"read, write, force unit access", test_rw},
		{"flush", test_flush},
		{"write zeroes", test_zero},
		{"discard", test_discard},
		{"health", test_health},
		{"pass-through", test_passthrough},
		{"pass-through that hangs", test_passthrough_hangs},
		{"shadow doorbells", test_doorbell_buffers},
		{"shadow doorbells after a reset", test_doorbell_buffers_reset},
		{"when completions are told of", test_completions_told},
		{"completions are told of before it sleeps", test_told_before_sleep},
		{"a whole round of completions", test_whole_round},
		CU_TEST_INFO_NULL,
	};

	pcidipc_log_init("test_nvmed_io", 0);
	return run_tests("nvmed's commands", tests);
}
