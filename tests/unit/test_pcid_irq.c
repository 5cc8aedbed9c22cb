// SPDX-License-Identifier: MIT
/*
 * Interrupts and their masks, as pcid's core keeps them: none is lost, and none delivered twice.
 * Over a fake bus that masks itself, and over one that cannot.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <poll.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core_driver.h"
#include "suites.h"

/* ---- interrupts ---- */

static struct pcidipc_vectors vectors;

static void fire(struct core_rig *r, void *arg)
{
	fake_bus_fire(r->fake, *(unsigned *)arg);
}

static void raise_vector(unsigned i)
{
	core_rig_call(&rig, fire, &i);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* It is there, or comes: at the latest when pcid has relayed it. */
static bool arrives(unsigned i)
{
	return readable(vectors.fds[i], 10000) && pcidipc_vector_ack(vectors.fds[i]) == 1;
}

/*
 * It is not there and will not come. A relayed one has been seen by pcid when a later interrupt of
 * another vector has come through; with the bus's own mask there is nobody in between.
 */
static bool stays_away(unsigned i)
{
	unsigned other = i ? 0 : 1;

	raise_vector(other);
	return arrives(other) && !readable(vectors.fds[i], 0);
}

/* What is the bus's own is looked at and changed on pcid's thread, here and below. */
static void set_maskable(struct core_rig *r, void *arg)
{
	r->fake->maskable = *(bool *)arg;
}

static void begin_vectors(bool maskable)
{
	core_begin();
	core_rig_call(&rig, set_maskable, &maskable);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_alloc_vectors(pci, 2, 3, &vectors), 0);
	CU_ASSERT_EQUAL(vectors.count, 3);
	CU_ASSERT_EQUAL(vectors.kind, maskable ? RINGABI_IRQ_MSIX : RINGABI_IRQ_MSI);
}

static void finish_vectors(void)
{
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	core_finish();
}

static void test_alloc_errors(void)
{
	core_begin();
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 0, 1, &vectors), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 3, 2, &vectors), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 65, &vectors), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 5, 8, &vectors), -ENOSPC);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 0, true), -ERANGE);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 4, 8, &vectors), 0);
	CU_ASSERT_EQUAL(vectors.count, 4);
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 1, &vectors), -EALREADY);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 4, true), -ERANGE);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, UINT32_MAX, true), -ERANGE);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 3, true), 0);
	core_finish();
}

static void masks(bool maskable)
{
	begin_vectors(maskable);
	raise_vector(2);
	CU_ASSERT_TRUE(arrives(2));
	/* Kept while masked, delivered once on unmask. */
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, true), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, true), 0);
	raise_vector(2);
	raise_vector(2);
	CU_ASSERT_TRUE(stays_away(2));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, false), 0);
	CU_ASSERT_TRUE(arrives(2));
	CU_ASSERT_TRUE(stays_away(2));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, false), 0);
	CU_ASSERT_TRUE(stays_away(2));
	/* Nothing came: nothing is delivered. */
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, true), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 2, false), 0);
	CU_ASSERT_TRUE(stays_away(2));
	finish_vectors();
}

static void test_masks_of_the_bus(void)
{
	masks(true);
}

static void test_masks_by_relay(void)
{
	masks(false);
}

static void wait_pending(struct core_rig *r, void *arg)
{
	*(bool *)arg = r->driver->irq.vector[1].pending;
}

static void function_masks(bool maskable)
{
	bool pending = false;

	begin_vectors(maskable);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
	raise_vector(1);
	while (!maskable && !pending)
		core_rig_call(&rig, wait_pending, &pending);
	CU_ASSERT_FALSE(readable(vectors.fds[1], 0));
	/* The vector's own mask and the function's are independent of each other. */
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 1, false), 0);
	CU_ASSERT_FALSE(readable(vectors.fds[1], 0));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 1, true), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_IRQ_UNMASK_ALL, 0, 0, 0, 0), 0);
	CU_ASSERT_TRUE(stays_away(1));
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 1, false), 0);
	CU_ASSERT_TRUE(arrives(1));
	/* Masked twice, unmasked once: delivered. */
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
	raise_vector(0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_IRQ_UNMASK_ALL, 0, 0, 0, 0), 0);
	CU_ASSERT_TRUE(arrives(0));
	finish_vectors();
}

static void test_function_mask_of_the_bus(void)
{
	function_masks(true);
}

static void test_function_mask_by_relay(void)
{
	function_masks(false);
}

/* Interrupts at random against masks at random: after an interrupt there is always one to be seen,
 * sooner or later. */
static void storm(bool maskable)
{
	unsigned seed = 42;

	begin_vectors(maskable);
	for (unsigned round = 0; round < 2000; round++) {
		unsigned v = (unsigned)rand_r(&seed) % 3;
		unsigned when = (unsigned)rand_r(&seed) % 3;

		if (rand_r(&seed) % 2)
			pcidipc_pci_mask(pci, v);
		else
			pcidipc_pci_mask_all(pci);
		if (when == 0)
			raise_vector(v);
		if (rand_r(&seed) % 2)
			pcidipc_pci_unmask_all(pci);
		if (when == 1)
			raise_vector(v);
		pcidipc_pci_unmask(pci, v);
		pcidipc_pci_unmask_all(pci);
		if (when == 2)
			raise_vector(v);
		CU_ASSERT_TRUE_FATAL(arrives(v));
	}
	finish_vectors();
}

static void test_storm_of_the_bus(void)
{
	storm(true);
}

static void test_storm_by_relay(void)
{
	storm(false);
}

/* ---- interrupts and masks at random, against a model ---- */

#define MODEL_VECTORS 3u
#define MODEL_ROUNDS 600u
#define MODEL_BURST 12u

struct model {
	bool maskable, masked[MODEL_VECTORS], function_masked;
	bool pending[MODEL_VECTORS];
	unsigned due[MODEL_VECTORS]; /* deliveries that the driver has not read */
	uint64_t fired[MODEL_VECTORS];
	unsigned seed;
};

static unsigned pick(struct model *m, unsigned n)
{
	return (unsigned)rand_r(&m->seed) % n;
}

static bool model_masked(const struct model *m, unsigned v)
{
	return m->masked[v] || m->function_masked;
}

static void model_settle(struct model *m)
{
	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		if (m->pending[v] && !model_masked(m, v)) {
			m->pending[v] = false;
			m->due[v]++;
		}
}

static void model_mask(struct model *m, uint32_t op, unsigned v)
{
	if (op == RINGABI_PCI_IRQ_MASK || op == RINGABI_PCI_IRQ_UNMASK)
		m->masked[v] = op == RINGABI_PCI_IRQ_MASK;
	else
		m->function_masked = op == RINGABI_PCI_IRQ_MASK_ALL;
	model_settle(m);
}

static const uint32_t mask_ops[] = {
	RINGABI_PCI_IRQ_MASK,
	RINGABI_PCI_IRQ_UNMASK,
	RINGABI_PCI_IRQ_MASK_ALL,
	RINGABI_PCI_IRQ_UNMASK_ALL,
};

static struct io_uring_sqe random_mask(struct model *m)
{
	uint32_t op = mask_ops[pick(m, 4)];
	bool one = op == RINGABI_PCI_IRQ_MASK || op == RINGABI_PCI_IRQ_UNMASK;

	return core_sqe(op, 0, one ? pick(m, MODEL_VECTORS) : 0, 0, 0);
}

static unsigned index_of(const struct io_uring_sqe *sqe)
{
	struct ringabi_pci_arg arg;

	memcpy(&arg, (const char *)sqe + offsetof(struct io_uring_sqe, cmd), sizeof(arg));
	return arg.index;
}

static void count_interrupts(struct core_rig *r, void *arg)
{
	uint64_t *counts = arg;

	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		counts[v] = r->driver->irq.vector[v].interrupts;
}

/* A relayed interrupt counts when pcid has seen it. */
static void model_fire(struct model *m, unsigned v)
{
	uint64_t counts[MODEL_VECTORS] = {0};

	raise_vector(v);
	m->fired[v]++;
	while (!m->maskable && counts[v] < m->fired[v])
		core_rig_call(&rig, count_interrupts, counts);
	m->pending[v] = true;
	model_settle(m);
}

/* How often the driver is woken: the eventfd's count, or a relay's packets. */
static unsigned deliveries(unsigned v)
{
	uint64_t count;
	unsigned n = 0;

	while (read(vectors.fds[v], &count, sizeof(count)) == sizeof(count))
		n += (unsigned)count;
	return n;
}

static void model_compare(struct model *m)
{
	for (unsigned v = 0; v < MODEL_VECTORS; v++) {
		CU_ASSERT_EQUAL_FATAL(deliveries(v), m->due[v]);
		m->due[v] = 0;
	}
}

/* One step with a bus that takes everything: all that is to be seen is known exactly. */
static void model_step(struct model *m)
{
	struct io_uring_sqe sqe;

	if (pick(m, 2)) {
		model_fire(m, pick(m, MODEL_VECTORS));
	} else {
		sqe = random_mask(m);
		CU_ASSERT_EQUAL_FATAL(pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL), 0);
		model_mask(m, sqe.cmd_op, index_of(&sqe));
	}
	model_compare(m);
}

static void set_full_after(struct core_rig *r, void *arg)
{
	r->fake->full = true;
	r->fake->room = *(unsigned *)arg;
}

static void let_through(struct core_rig *r, void *arg)
{
	r->fake->room = *(unsigned *)arg;
	r->fake->bus.writable(&r->fake->bus);
}

static void cancel_some(struct model *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe sqe = {.opcode = IORING_OP_ASYNC_CANCEL, .addr = 1 + i};

		if (pick(m, 3) == 0) /* -ENOENT: it is done, -EALREADY: it is on its way */
			pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL);
	}
}

static void read_masked(struct core_rig *r, void *arg)
{
	memcpy(arg, r->fake->masked, MODEL_VECTORS * sizeof(bool));
}

static void read_kept(struct core_rig *r, void *arg)
{
	bool *kept = arg;

	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		kept[v] = r->fake->pending[v] || r->driver->irq.vector[v].pending;
}

/*
 * When vector v's interrupt met the masks on their way is not known; but it, and what was kept
 * before, is either kept behind a mask or was delivered, each at most once.
 */
static void burst_compare(struct model *m, const bool *before, unsigned v)
{
	uint64_t counts[MODEL_VECTORS] = {0};
	bool kept[MODEL_VECTORS];

	while (!m->maskable && counts[v] < m->fired[v])
		core_rig_call(&rig, count_interrupts, counts);
	core_rig_call(&rig, read_kept, kept);
	for (unsigned i = 0; i < MODEL_VECTORS; i++) {
		unsigned woken = deliveries(i), came = before[i] + (i == v);

		CU_ASSERT_TRUE_FATAL(woken + kept[i] <= came);
		CU_ASSERT_TRUE_FATAL(!came || woken + kept[i] >= 1);
		CU_ASSERT_FALSE_FATAL(kept[i] && !model_masked(m, i));
		m->pending[i] = kept[i];
		m->due[i] = 0;
	}
}

/*
 * A burst of masks while the bus takes a few at a time, some of them canceled, with an interrupt
 * among them. What was canceled has left no trace, and the interrupt is delivered or kept.
 */
static void model_burst(struct model *m)
{
	struct pcidipc_consumer *c = pcidipc_pci_consumer(pci);
	struct io_uring_sqe sqes[MODEL_BURST];
	unsigned n = 1 + pick(m, MODEL_BURST - 1), room = pick(m, 4), v = pick(m, MODEL_VECTORS);
	unsigned parked = 0;
	bool before[MODEL_VECTORS], masked[MODEL_VECTORS];

	memcpy(before, m->pending, sizeof(before));
	core_rig_call(&rig, set_full_after, &room);
	sqes[0] = core_sqe(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1); /* relays wait for it, too */
	for (unsigned i = 0; i < n; i++) {
		if (i)
			sqes[i] = random_mask(m);
		core_push(1 + i, &sqes[i]);
	}
	CU_ASSERT_EQUAL_FATAL(pcidipc_submit(c), 0);
	CU_ASSERT_EQUAL_FATAL(core_request(RINGABI_PCI_INFO, 0, 0, 0, 0),
			      0); /* pcid has them all */
	raise_vector(v);
	m->fired[v]++;
	room = pick(m, 4);
	core_rig_call(&rig, let_through, &room);
	cancel_some(m, n);
	core_rig_call(&rig, core_set_drained, NULL);
	CU_ASSERT_EQUAL_FATAL(pcidipc_submit_and_wait(c, n), 0);
	for (unsigned i = 0; i < n; i++) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_TRUE_FATAL(cqe.res == 0 || cqe.res == -ECANCELED);
		CU_ASSERT_TRUE_FATAL(cqe.user_data >= 1 && cqe.user_data <= n);
		if (!cqe.res && cqe.user_data > 1)
			model_mask(m, sqes[cqe.user_data - 1].cmd_op,
				   index_of(&sqes[cqe.user_data - 1]));
	}
	core_rig_call(&rig, core_parked_count, &parked);
	CU_ASSERT_EQUAL_FATAL(parked, 0);
	core_rig_call(&rig, read_masked, masked);
	for (unsigned i = 0; i < MODEL_VECTORS && m->maskable; i++)
		CU_ASSERT_EQUAL_FATAL(masked[i], model_masked(m, i));
	burst_compare(m, before, v);
}

/* A reset, or a driver's successor: new vectors, open, and nothing is left of the old ones. */
static void model_again(struct model *m)
{
	if (pick(m, 2)) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_pci_reset(pci), 0);
	} else {
		pcidipc_pci_close(pci);
		core_rig_leave(&rig);
		CU_ASSERT_EQUAL_FATAL(pcidipc_pci_adopt(loop, core_rig_join(&rig), &pci), 0);
	}
	for (unsigned v = 0; v < MODEL_VECTORS; v++)
		close(vectors.fds[v]);
	*m = (struct model){.maskable = m->maskable, .seed = m->seed};
	if (pick(m, 2)) { /* masked before there is a vector */
		CU_ASSERT_EQUAL_FATAL(core_request(RINGABI_PCI_IRQ_MASK_ALL, 0, 0, 0, 0), 0);
		m->function_masked = true;
	}
	CU_ASSERT_EQUAL_FATAL(
		pcidipc_pci_alloc_vectors(pci, MODEL_VECTORS, MODEL_VECTORS, &vectors), 0);
}

static void model_run(bool maskable, unsigned seed)
{
	struct model m = {.maskable = maskable, .seed = seed};

	begin_vectors(maskable);
	for (unsigned round = 0; round < MODEL_ROUNDS; round++) {
		unsigned what = pick(&m, 100);

		if (what < 3)
			model_again(&m);
		else if (what < 20)
			model_burst(&m);
		else
			model_step(&m);
		alarm(60);
	}
	finish_vectors();
}

static void test_model_of_the_bus(void)
{
	for (unsigned seed = 1; seed <= 4; seed++)
		model_run(true, seed);
}

static void test_model_by_relay(void)
{
	for (unsigned seed = 1; seed <= 4; seed++)
		model_run(false, seed);
}

static void relayed_all(struct core_rig *r, void *arg)
{
	*(uint64_t *)arg = r->driver->irq.vector[0].interrupts;
}

/* A driver that does not read its interrupts keeps pcid from nothing, and finds some when it does.
 */
static void test_unread_relay(void)
{
	uint64_t seen = 0;

	begin_vectors(false);
	for (unsigned i = 0; i < 5000; i++)
		raise_vector(0);
	while (seen < 5000)
		core_rig_call(&rig, relayed_all, &seen);
	CU_ASSERT_TRUE(arrives(0));
	raise_vector(1);
	CU_ASSERT_TRUE(arrives(1));
	close(vectors.fds[0]); /* nor does one that closed its end */
	raise_vector(0);
	raise_vector(1);
	CU_ASSERT_TRUE(arrives(1));
	vectors.fds[0] = dup(vectors.fds[1]);
	finish_vectors();
}

static void fail_resets(struct core_rig *r, void *arg)
{
	(void)arg;
	r->fake->reset_error = -EOPNOTSUPP;
}

static void read_log(struct core_rig *r, void *arg)
{
	strcpy(arg, r->fake->log);
}

static void read_mask_calls(struct core_rig *r, void *arg)
{
	*(unsigned *)arg = r->fake->mask_calls;
}

static void test_reset(void)
{
	char log[sizeof(rig.fake->log)];

	begin_vectors(true);
	CU_ASSERT_EQUAL(pcidipc_pci_enable(pci, true, true), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 0, true), -ERANGE);
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 3, &vectors), 0);
	raise_vector(2);
	CU_ASSERT_TRUE(arrives(2));
	core_rig_call(&rig, fail_resets, NULL);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 0, true), -ERANGE);
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 3, &vectors), 0);
	raise_vector(2);
	CU_ASSERT_TRUE(arrives(2));
	core_rig_call(&rig, read_log, log);
	CU_ASSERT_STRING_EQUAL(log, "ERRf");
	finish_vectors();
}

static void hold_reset(struct core_rig *r, void *arg)
{
	r->fake->hold_reset = *(bool *)arg;
}

/* While the function is reset it has no vectors that could be masked: masks wait, in order. */
static void test_masks_during_reset(void)
{
	struct io_uring_sqe reset = core_sqe(RINGABI_PCI_RESET, 0, 0, 0, 0);
	struct io_uring_sqe mask = core_sqe(RINGABI_PCI_IRQ_MASK, 0, 1, 0, 0);
	char log[sizeof(rig.fake->log)] = "";
	struct pcidipc_consumer *c;
	unsigned parked = 0, calls = 1;
	bool hold = true;

	begin_vectors(true);
	c = pcidipc_pci_consumer(pci);
	core_rig_call(&rig, hold_reset, &hold);
	core_push(1, &reset);
	CU_ASSERT_EQUAL(pcidipc_submit(c), 0);
	while (!strchr(log, 'R'))
		core_rig_call(&rig, read_log, log);
	core_push(2, &mask);
	CU_ASSERT_EQUAL(pcidipc_submit(c), 0);
	while (!parked)
		core_rig_call(&rig, core_parked_count, &parked);
	core_rig_call(&rig, core_set_drained, NULL); /* another driver's writes went: not yet */
	core_rig_call(&rig, core_parked_count, &parked);
	CU_ASSERT_EQUAL(parked, 1);
	hold = false;
	core_rig_call(&rig, hold_reset, &hold);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 2), 0);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.res, cqe.user_data == 1 ? 0 : -ERANGE);
	}
	core_rig_call(&rig, read_mask_calls, &calls);
	CU_ASSERT_EQUAL(calls, 0);
	finish_vectors();
}

static CU_TestInfo tests[] = {
	{"allocating vectors", test_alloc_errors},
	{"masks, by the bus", test_masks_of_the_bus},
	{"masks, by relay", test_masks_by_relay},
	{"the function's mask, by the bus", test_function_mask_of_the_bus},
	{"the function's mask, by relay", test_function_mask_by_relay},
	{"interrupts against masks, by the bus", test_storm_of_the_bus},
	{"interrupts against masks, by relay", test_storm_by_relay},
	{"masks against a model, by the bus", test_model_of_the_bus},
	{"masks against a model, by relay", test_model_by_relay},
	{"a relay that nobody reads", test_unread_relay},
	{"reset", test_reset},
	{"masks during a reset", test_masks_during_reset},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_DEBUG : 0);
	signal(SIGPIPE, SIG_IGN);
	return run_tests("interrupts and masks", tests);
}
