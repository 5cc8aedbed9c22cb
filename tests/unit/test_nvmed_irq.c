// SPDX-License-Identifier: MIT
/* nvmed's interrupts: completions that come while they are masked or between, one vector for all,
 * and events that are told once. */
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>

#include "nvmerig.h"
#include "suites.h"

static unsigned moments; /* how often the hook may still answer one */

static void answer_one(void)
{
	if (m.nheld && moments) {
		moments--;
		model_answer_held(0, 0);
	}
}

static void answer_before(bool before)
{
	if (before)
		answer_one();
}

static void answer_after(bool before)
{
	if (!before)
		answer_one();
}

/*
 * 50 commands in flight; as many are answered as it takes to make the driver mask (two messages, or
 * one interrupt that is a state), and each time one more at the worst moment: while it masks,
 * unmasks, or has just unmasked. None is forgotten.
 */
static void race(void (*at_mask)(void), void (*at_unmask)(bool before), unsigned vectors,
		 uint32_t kind)
{
	bool messages = vectors == 2 && kind == RINGABI_IRQ_MSIX;
	struct asked a[50];

	begin();
	m.vectors_most = vectors;
	m.kind = kind;
	c->io_limit = 1000000;
	start();
	m.hold_io = true;
	for (unsigned i = 0; i < 50; i++)
		ask(&a[i], 1);
	m.at_mask = at_mask;
	m.at_unmask = at_unmask;
	while (m.nheld) {
		unsigned held = m.nheld, enough = messages ? 3 : 2;

		UNTIL(!c->io_told); /* it went to sleep */
		moments = 2;	    /* one of them in the hook */
		answer_one();
		while (messages && !c->io_told)
			pcidipc_loop_turn(c->loop, false);
		if (messages && m.nheld) {
			moments = 2;
			answer_one();
			while (!c->io_masked)
				pcidipc_loop_turn(c->loop, false);
		}
		UNTIL(m.nheld + enough <= held || !m.nheld);
	}
	for (unsigned i = 0; i < 50; i++) {
		until(&a[i].done);
		CU_ASSERT_EQUAL(a[i].res, 0);
		free(a[i].rq);
	}
	CU_ASSERT(m.masks > 0 && m.unmasks > 0);
	CU_ASSERT_EQUAL(m.aborts, 0);
	CU_ASSERT_EQUAL(m.enables, 1);
	finish();
}

static void race_everywhere(unsigned vectors, uint32_t kind)
{
	race(answer_one, NULL, vectors, kind);
	race(NULL, answer_before, vectors, kind);
	race(NULL, answer_after, vectors, kind);
}

static void test_races(void)
{
	race_everywhere(2, RINGABI_IRQ_MSIX);
	race_everywhere(2, RINGABI_IRQ_MSI);
}

static unsigned masks_of(uint32_t kind, unsigned reads)
{
	unsigned masks;

	begin();
	m.kind = kind;
	start();
	for (unsigned i = 0; i < reads; i++) {
		UNTIL(!c->io_told); /* asleep: the clock of timeouts wakes it */
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	}
	masks = m.masks;
	finish();
	return masks;
}

/* One command at a time: a mask would spare no interrupt. But one that is a state must be masked.
 */
static void test_no_masks(void)
{
	CU_ASSERT_EQUAL(masks_of(RINGABI_IRQ_MSIX, 50), 0);
	CU_ASSERT(masks_of(RINGABI_IRQ_MSI, 50) >= 1);
}

/* One vector for both kinds of queues: events, admin commands and I/O all get through it. */
static void test_one_vector(void)
{
	struct ringabi_block_health h;

	race_everywhere(1, RINGABI_IRQ_MSIX);
	begin();
	m.vectors_most = 1;
	start();
	CU_ASSERT_EQUAL(start_result, 0);
	for (unsigned i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 20, false, false, NULL), 0);
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_HEALTH, 0, false, false, &h), 0);
		model_event(1 | NVME_LOG_LID_SMART << 16);
		UNTIL(m.nevents == 4);
	}
	CU_ASSERT_EQUAL(m.logs[NVME_LOG_LID_SMART], 40);
	CU_ASSERT_EQUAL(m.enables, 1);
	finish();
}

/* ---- events ---- */

static void many_warnings(void)
{
	for (unsigned i = 0; i < 100; i++) {
		m.warnings = i < 50 ? 4 : 5;
		model_event(1 | NVME_LOG_LID_SMART << 16);
		UNTIL(m.nevents == 4);
	}
}

static unsigned lines_of(void (*call)(void), const char *text)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	char said[1 << 14], *at = said;
	unsigned n = 0;
	ssize_t bytes;

	dup2(log, STDERR_FILENO);
	call();
	dup2(saved, STDERR_FILENO);
	close(saved);
	bytes = pread(log, said, sizeof(said) - 1, 0);
	said[bytes > 0 ? bytes : 0] = 0;
	close(log);
	for (; (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* Every event is looked at; what is told is what is new. */
static void test_warnings(void)
{
	begin();
	start();
	pcidipc_log_init("test_nvmed_irq", PCIDIPC_WARNING);
	CU_ASSERT_EQUAL(lines_of(many_warnings, "critical warning"), 2);
	CU_ASSERT_EQUAL(m.logs[NVME_LOG_LID_SMART], 100);
	c->told_at -= 60000000000ull; /* a minute later */
	CU_ASSERT_EQUAL(lines_of(many_warnings, "critical warning"), 2);
	pcidipc_log_init("test_nvmed_irq", 0);
	finish();
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"completions while masking and unmasking", test_races},
		{"no masks where each command has its interrupt", test_no_masks},
		{"one vector for all", test_one_vector},
		{"a warning is told once", test_warnings},
		CU_TEST_INFO_NULL,
	};

	pcidipc_log_init("test_nvmed_irq", 0);
	return run_tests("nvmed's interrupts", tests);
}
