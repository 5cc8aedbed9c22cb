// SPDX-License-Identifier: MIT
/* The parts of the VFIO bus that need no VFIO: addresses, workers, the configuration's section. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <pcidipc/task.h>
#include <ringabi/ring.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pcid/config.h"
#include "pcid/vfio/vfio.h"
#include "suites.h"

#define MIB (1ull << 20)
#define UNIT ((uint64_t)RINGABI_POOL_ALIGN)

/* ---- addresses ---- */

static struct pcid_iova space_of(uint64_t start, uint64_t last)
{
	struct pcid_iova space = {.ranges = 1};

	space.range[0].start = start;
	space.range[0].last = last;
	return space;
}

static void drop(struct pcid_iova *space)
{
	while (space->used)
		pcid_iova_free(space, space->used->start);
}

static void test_iova_edges(void)
{
	struct pcid_iova space = space_of(0, 16 * MIB - 1);
	uint64_t at = 0;

	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 16 * MIB, UINT64_MAX, &at), -ENOSPC);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 0, UINT64_MAX, &at), -ENOSPC);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 14 * MIB, UINT64_MAX, &at), 0);
	CU_ASSERT_EQUAL(at, 2 * MIB); /* never 0 */
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 2 * MIB, UINT64_MAX, &at), -ENOSPC);
	pcid_iova_free(&space, 2 * MIB);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 2 * MIB, 4 * MIB - 2, &at), -ENOSPC);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 2 * MIB, 4 * MIB - 1, &at), 0);
	CU_ASSERT_EQUAL(at, 2 * MIB);
	drop(&space);
	space = space_of(UINT64_MAX - 4 * MIB, UINT64_MAX);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 4 * MIB, UINT64_MAX, &at), 0);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 2 * MIB, UINT64_MAX, &at), -ENOSPC);
	drop(&space);
}

/* What was freed comes last. */
static void test_iova_late_reuse(void)
{
	struct pcid_iova space = space_of(0, 10 * MIB - 1);
	uint64_t a = 0, b = 0;

	for (unsigned i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 2 * MIB, UINT64_MAX, &a), 0);
		CU_ASSERT_NOT_EQUAL(a, b);
		pcid_iova_free(&space, a);
		b = a;
	}
	CU_ASSERT_EQUAL(a, 8 * MIB);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&space, 2 * MIB, UINT64_MAX, &a), 0);
	CU_ASSERT_EQUAL(a, 2 * MIB);
	drop(&space);
}

/* A domain ends, another begins: it goes on where the first one was. */
static void test_iova_next_domain(void)
{
	struct vfio_container c = {.fd = -1, .group_fd = -1, .iova = space_of(0, 10 * MIB - 1)};
	uint64_t a = 0, b = 0;

	CU_ASSERT_EQUAL(pcid_iova_alloc(&c.iova, 2 * MIB, UINT64_MAX, &a), 0);
	vfio_container_close(&c);
	CU_ASSERT_PTR_NULL(c.iova.used);
	CU_ASSERT_EQUAL(pcid_iova_alloc(&c.iova, 2 * MIB, UINT64_MAX, &b), 0);
	CU_ASSERT_EQUAL(b, a + 2 * MIB);
	drop(&c.iova);
}

/* Random operations against a map of units. */

#define UNITS 64
#define HOLE_START 20 /* a window that the IOMMU cannot map */
#define HOLE_END 24

static uint32_t random_state = 1;

static uint32_t rnd(uint32_t below)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % below;
}

static bool fits(const uint64_t *owner, unsigned at, unsigned n, unsigned limit)
{
	if (at + n > limit || at + n > UNITS)
		return false;
	for (unsigned i = at; i < at + n; i++)
		if (owner[i])
			return false;
	return true;
}

static bool any_fits(const uint64_t *owner, unsigned n, unsigned limit)
{
	for (unsigned at = 1; at < UNITS; at++)
		if (fits(owner, at, n, limit))
			return true;
	return false;
}

static void random_alloc(struct pcid_iova *space, uint64_t *owner)
{
	unsigned n = 1 + rnd(9), limit = rnd(4) ? UNITS : 1 + rnd(UNITS);
	bool possible = any_fits(owner, n, limit);
	uint64_t at = 0;
	int ret = pcid_iova_alloc(space, n * UNIT, limit * UNIT - 1, &at);

	CU_ASSERT_EQUAL(ret, possible ? 0 : -ENOSPC);
	if (ret)
		return;
	CU_ASSERT_EQUAL(at % UNIT, 0);
	CU_ASSERT_TRUE(fits(owner, (unsigned)(at / UNIT), n, limit));
	for (unsigned i = 0; i < n; i++)
		owner[at / UNIT + i] = at;
}

static void random_free(struct pcid_iova *space, uint64_t *owner)
{
	uint64_t at = owner[1 + rnd(UNITS - 1)];

	if (!at || at == 1)
		return;
	pcid_iova_free(space, at);
	for (unsigned i = 0; i < UNITS; i++)
		if (owner[i] == at)
			owner[i] = 0;
}

static void test_iova_random(void)
{
	struct pcid_iova space = space_of(0, HOLE_START * UNIT - 1);
	uint64_t owner[UNITS] = {1};

	space.ranges = 2;
	space.range[1].start = HOLE_END * UNIT;
	space.range[1].last = UNITS * UNIT - 1;
	for (unsigned i = HOLE_START; i < HOLE_END; i++)
		owner[i] = 1;
	for (unsigned i = 0; i < 20000; i++) {
		if (rnd(2))
			random_alloc(&space, owner);
		else
			random_free(&space, owner);
	}
	drop(&space);
}

/* ---- workers ---- */

#define CALLERS 8

static struct pcidipc_loop *loop;
static struct vfio_done done;
static struct vfio_worker workers[2];
static unsigned finished;
static int gate[2]; /* a pipe: the first worker waits for it */

static int wait_at_gate(void *arg)
{
	char byte;

	(void)arg;
	return read(gate[0], &byte, 1) == 1 ? 7 : -EIO;
}

static int answer(void *arg)
{
	return *(int *)arg;
}

static void call_slow(void *arg)
{
	(void)arg;
	CU_ASSERT_EQUAL(vfio_call(&done, &workers[0], wait_at_gate, NULL), 7);
	finished++;
	pcidipc_loop_stop(loop, 0);
}

/* One function's worker sleeps; the other's goes on, and the last of its callers lets the first go.
 */
static void call_quick(void *arg)
{
	int number = (int)(intptr_t)arg;

	CU_ASSERT_EQUAL(vfio_call(&done, &workers[1], answer, &number), number);
	if (++finished == CALLERS)
		CU_ASSERT_EQUAL(write(gate[1], "x", 1), 1);
}

static void test_workers(void)
{
	CU_ASSERT_EQUAL_FATAL(pipe(gate), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	CU_ASSERT_EQUAL_FATAL(vfio_done_init(&done, loop), 0);
	finished = 0;
	CU_ASSERT_EQUAL(pcidipc_spawn(loop, call_slow, NULL), 0);
	for (intptr_t i = 0; i < CALLERS; i++)
		CU_ASSERT_EQUAL(pcidipc_spawn(loop, call_quick, (void *)i), 0);
	CU_ASSERT_EQUAL(pcidipc_loop_run(loop), 0);
	CU_ASSERT_EQUAL(finished, CALLERS + 1);
	vfio_worker_stop(&workers[0]);
	vfio_worker_stop(&workers[1]);
	vfio_worker_stop(&workers[1]); /* fine twice */
	vfio_done_fini(&done);
	pcidipc_loop_destroy(loop);
	close(gate[0]);
	close(gate[1]);
}

/* ---- configuration ---- */

static void test_config(void)
{
	struct pcid_config *config = NULL;

	CU_ASSERT_EQUAL_FATAL(
		pcid_config_parse("vfio { take = {\"0000:00:02.0\", \"8086:0a54\"} }", &config), 0);
	CU_ASSERT_STRING_EQUAL(config->vfio_take[0], "0000:00:02.0");
	CU_ASSERT_STRING_EQUAL(config->vfio_take[1], "8086:0a54");
	CU_ASSERT_PTR_NULL(config->vfio_take[2]);
	CU_ASSERT_FALSE(config->vfio_shared_groups);
	pcid_config_free(config);
	CU_ASSERT_EQUAL_FATAL(pcid_config_parse("vfio { shared_groups = true }", &config), 0);
	CU_ASSERT_TRUE(config->vfio_shared_groups);
	pcid_config_free(config);
}

static void test_config_wrong(void)
{
	static const char *const wrong[] = {"nvme",	 "00:02.0", "0000:00:02.8x", "8086:",
					    "8086:0a5g", "",	    "0000:00:02.0 ", "8086:0a540"};
	struct pcid_config *config;
	char text[128];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		snprintf(text, sizeof(text), "vfio { take = {\"%s\"} }", wrong[i]);
		CU_ASSERT_EQUAL(pcid_config_parse(text, &config), -EINVAL);
	}
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"iova edges", test_iova_edges},
		{"iova late reuse", test_iova_late_reuse},
		{"iova: the next domain goes on", test_iova_next_domain},
		{"iova random", test_iova_random},
		{"workers", test_workers},
		{"config", test_config},
		{"config wrong", test_config_wrong},
		CU_TEST_INFO_NULL,
	};

	return run_tests("vfio", tests);
}
