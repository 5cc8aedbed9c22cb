// SPDX-License-Identifier: MIT
/* Several clients at once, pools that grow under load, and clients that die in mid-transfer. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "procfs.h"
#include "rig.h"

#define CLIENTS 8
#define REGION (RIG_SIMPLE_BYTES / CLIENTS)

/* What one user may have is less on a small machine than one of these clients wants. */
static const char config[] = RIG_NVMED("args = {\"--user-dma-mib\", \"1536\"}");

static struct rig rig;
static int64_t idle_pools; /* with no client: the driver's own */
static unsigned char *shadow;
static struct usage idle;
static unsigned idle_reached;

static struct work usual(unsigned number)
{
	struct work work = {.disk = "nvme0n1",
			    .first = (uint64_t)number * REGION,
			    .bytes = REGION,
			    .depth = 8,
			    .largest = 256u << 10,
			    .rounds = 300,
			    .pool_bytes = 32u << 20,
			    .stride = (1u << 20) + 512,
			    .seed = number + 1};

	return work;
}

static int64_t stats_say(const char *key)
{
	return rig_number(&rig, "stats", "nvmed", key);
}

/* ---- several at once ---- */

static void test_eight(void)
{
	pid_t pids[CLIENTS];

	for (unsigned i = 0; i < CLIENTS; i++) {
		struct work work = usual(i);

		pids[i] = work_fork(&work);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		CU_ASSERT_EQUAL(work_wait(pids[i]), 0);
}

/* More than the controller may have queues for, come and gone. */
static void test_come_and_go(void)
{
	for (unsigned round = 0; round < 5; round++) {
		pid_t pids[2 * CLIENTS];

		for (unsigned i = 0; i < 2 * CLIENTS; i++) {
			struct work work = usual(i % CLIENTS);

			work.first += i / CLIENTS * (work.bytes / 2);
			work.bytes /= 2;
			work.rounds = 20;
			pids[i] = work_fork(&work);
		}
		for (unsigned i = 0; i < 2 * CLIENTS; i++)
			CU_ASSERT_EQUAL(work_wait(pids[i]), 0);
	}
}

/* ---- growth ---- */

/* Buffers 96 MiB apart in a pool of 4 GiB: nearly every one needs another chunk; a neighbour
 * notices nothing. */
static void test_growth(void)
{
	struct work grower = usual(0), neighbour = usual(1);
	int64_t before, during;
	pid_t pid;
	struct client c;

	CU_ASSERT_TRUE(RIG_UNTIL(stats_say("pools") == idle_pools));
	neighbour.rounds = 0;
	neighbour.progress = shared_words();
	pid = work_fork(&neighbour);
	CU_ASSERT_TRUE(RIG_UNTIL(*neighbour.progress > 0));
	before = stats_say("mapped_bytes");
	grower.depth = 32;
	grower.rounds = 200;
	grower.stride = (96u << 20) + 4096 - 512;
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme0n1", 0, 4ull << 30), 0);
	CU_ASSERT_EQUAL(work_on(&c, &grower), 0);
	during = stats_say("mapped_bytes");
	CU_ASSERT_TRUE(during - before >= 32 * (32ll << 20));
	CU_ASSERT_TRUE(during - before <= 4ll << 30);
	client_close(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(stats_say("mapped_bytes") <= before));
	/* The neighbour still works, and all of it was right. */
	before = *neighbour.progress;
	CU_ASSERT_TRUE(RIG_UNTIL(*neighbour.progress > before));
	kill(pid, SIGKILL);
	CU_ASSERT_EQUAL(work_wait(pid), -1);
}

/* A buffer across the border of two chunks; the last bytes of the pool. */
static void test_borders(void)
{
	const uint64_t chunk = RINGABI_POOL_CHUNK, bytes = 4 * chunk;
	struct client c;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme0n1", 0, bytes), 0);
	for (unsigned i = 1; i < 4; i++) {
		uint64_t addr = i * chunk - (64u << 10) + 4;

		CU_ASSERT_EQUAL(client_read(&c, addr, 128u << 10, 0), 128 << 10);
		CU_ASSERT_EQUAL(client_write(&c, addr, 128u << 10, 1u << 20), 128 << 10);
		CU_ASSERT_EQUAL(client_read(&c, bytes - (128u << 10), 128u << 10, 1u << 20),
				128 << 10);
		CU_ASSERT_EQUAL(memcmp(c.base + addr, c.base + bytes - (128u << 10), 128u << 10),
				0);
	}
	client_close(&c);
}

/* ---- death ---- */

static void kill_one(unsigned after)
{
	struct work victim = usual(0), other = usual(1);
	int64_t pools, mapped;
	struct memory memory;
	unsigned reached;
	pid_t dying, living;
	uint32_t seen;

	other.rounds = victim.rounds = 0;
	other.progress = shared_words();
	victim.progress = other.progress + 1;
	victim.depth = 32;
	CU_ASSERT_TRUE(RIG_UNTIL(stats_say("pools") == idle_pools)); /* those before are gone */
	living = work_fork(&other);
	CU_ASSERT_TRUE(RIG_UNTIL(other.progress[0] > 0));
	pools = stats_say("pools");
	mapped = stats_say("mapped_bytes");
	reached = rig_pools(&rig);
	dying = work_fork(&victim);
	CU_ASSERT_TRUE(RIG_UNTIL(*victim.progress > after));
	CU_ASSERT_TRUE(stats_say("pools") > pools);
	CU_ASSERT_TRUE_FATAL(process_pool(dying, &memory));
	CU_ASSERT_EQUAL(rig_pools(&rig), reached + 2); /* its own, and the library's small one */
	CU_ASSERT_TRUE(daemons_hold(&rig, memory) >= DAEMONS);
	kill(dying, SIGKILL);
	CU_ASSERT_EQUAL(work_wait(dying), -1);
	CU_ASSERT_TRUE(
		RIG_UNTIL(stats_say("pools") == pools && stats_say("mapped_bytes") == mapped));
	CU_ASSERT_TRUE(RIG_UNTIL(daemons_hold(&rig, memory) == 0));
	CU_ASSERT_EQUAL(rig_pools(&rig), reached);
	seen = other.progress[0];
	CU_ASSERT_TRUE(RIG_UNTIL(other.progress[0] > seen + 10));
	kill(living, SIGKILL);
	CU_ASSERT_EQUAL(work_wait(living), -1);
}

static void test_killed(void)
{
	for (unsigned i = 0; i < 5; i++)
		kill_one(7 * i);
	CU_ASSERT_EQUAL(rig_number(&rig, "drivers", "nvmed", "restarts"), 0);
}

/* Everything that clients had is given back. */
static void test_nothing_left(void)
{
	struct work work = usual(3);
	int64_t mapped;

	CU_ASSERT_EQUAL(work_wait(work_fork(&work)), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(stats_say("pools") == idle_pools));
	mapped = stats_say(
		"mapped_bytes"); /* the driver's own: it keeps what its queues once needed */
	for (unsigned i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(work_wait(work_fork(&work)), 0);
	CU_ASSERT_TRUE(
		RIG_UNTIL(stats_say("pools") == idle_pools && stats_say("mapped_bytes") == mapped));
}

/* After all of it: what the daemons hold is what they held before there was any client. */
static void test_daemons_as_before(void)
{
	CU_ASSERT_TRUE(RIG_UNTIL(rig_usage_is(&rig, &idle, false)));
	CU_ASSERT_TRUE(rig_usage_is(&rig, &idle, true));
	CU_ASSERT_EQUAL(rig_pools(&rig), idle_reached);
}

/* ---- one client's faults are its own ---- */

static void test_own_fault(void)
{
	struct work other = usual(2);
	struct client c;
	pid_t pid = work_fork(&other);

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme0n1", 0, 2u << 20), 0);
	for (unsigned i = 0; i < 1000; i++) {
		CU_ASSERT_EQUAL(client_read(&c, 1ull << 40, 4096, 0), -EFAULT);
		CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 1ull << 50), -ENOSPC);
	}
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 0), 4096);
	client_close(&c);
	CU_ASSERT_EQUAL(work_wait(pid), 0);
}

static CU_TestInfo tests[] = {
	{"eight clients at once", test_eight},
	{"eighty clients come and go", test_come_and_go},
	{"a pool grows under load", test_growth},
	{"buffers across the borders of chunks", test_borders},
	{"a client is killed in mid-transfer", test_killed},
	{"nothing is left of clients", test_nothing_left},
	{"a client's faults are its own", test_own_fault},
	{"the daemons hold what they held before", test_daemons_as_before},
	CU_TEST_INFO_NULL,
};

static int start(void)
{
	int ret = rig_simple(&rig, 600, config, &shadow);

	if (ret)
		return ret;
	rig_usage(&rig, &idle);
	idle_reached = rig_pools(&rig);
	idle_pools = stats_say("pools");
	return idle_reached && idle_pools > 0 ? 0 : -1;
}

static CU_SuiteInfo suites[] = {
	{"clients", NULL, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	int ret = rig_main(&rig, start(), suites);

	free(shadow);
	return ret;
}
