// SPDX-License-Identifier: MIT
/*
 * Hostile clients of a disk, in processes of their own, beside an honest one. Whatever they do, the
 * honest client's data comes back right and without an error, its progress is what a test waits
 * for, and in the end the disk's process holds exactly what it held before.
 */
#include <CUnit/CUnit.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pcidipc/log.h>

#include "attacks.h"
#include "blockclient.h"
#include "leaks.h"
#include "suites.h"

#define HONEST_FROM (RAMDISK_BYTES / 2) /* the hostile ones' right requests stay below */
#define PATIENCE_S 60
#define GROWTH_KIB 512 /* of memory, after many hostile clients: no more than allocators' noise */

static struct ramdisk rd;
static struct client honest;
static uint32_t honest_seed = 1;
static const char *loop_kind;

/* ---- the honest one ---- */

static void work(void)
{
	uint32_t bytes = (1 + next_random(&honest_seed) % 16) * 512;
	uint64_t off = HONEST_FROM + next_random(&honest_seed) % 4096 * 512;

	fill_random(&honest_seed, honest.base, bytes);
	CU_ASSERT_EQUAL_FATAL(
		pcidipc_blockdev_write(honest.dev, honest.index, 0, bytes, off, false), (int)bytes);
	CU_ASSERT_EQUAL_FATAL(pcidipc_blockdev_read(honest.dev, honest.index, 65536, bytes, off),
			      (int)bytes);
	CU_ASSERT_FATAL(!memcmp(honest.base, honest.base + 65536, bytes));
}

/* Work beside it until it has ended. */
static void endure(void (*attack)(void), uint32_t with_seed)
{
	int status = 0, rounds = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_inherited(NULL, 0);
		attack_begin(rd.path, with_seed);
		attack();
		_exit(0);
	}
	do {
		work();
		rounds++;
	} while (!waitpid(pid, &status, WNOHANG));
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(rounds > 0);
}

/* Until only the honest one is left: the hostile ones have gone, the disk may still have to notice.
 */
static void settle(const struct leaks *want, struct leaks *now)
{
	time_t give_up = time(NULL) + PATIENCE_S;

	do {
		work();
		leaks_count(rd.driver, now);
	} while ((now->fds != want->fds || now->shared_maps != want->shared_maps ||
		  rd.shared->opens != rd.shared->closes + 1) &&
		 time(NULL) < give_up);
}

static void withstand(void (*attack)(void))
{
	struct leaks first, before, after;

	CU_ASSERT_EQUAL_FATAL(ramdisk_start(&rd, loop_kind), 0);
	CU_ASSERT_EQUAL_FATAL(client_open(&honest, "ram0", 0), 0);
	work();
	leaks_count(rd.driver, &first);
	endure(attack, 1); /* what is kept for use again is there after this */
	settle(&first, &before);
	for (uint32_t i = 2; i < 6; i++)
		endure(attack, i);
	settle(&first, &after);
	CU_ASSERT_EQUAL(after.fds, first.fds);
	CU_ASSERT_EQUAL(after.shared_maps, first.shared_maps);
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory, and finds leaks at the end */
	CU_ASSERT(after.anon_kib <= before.anon_kib + GROWTH_KIB);
	CU_ASSERT(after.maps <= before.maps + 16);
#endif
	client_close(&honest);
	CU_ASSERT_EQUAL(ramdisk_stop(&rd), 0);
	CU_ASSERT_EQUAL(rd.shared->broken, 0);
	CU_ASSERT_EQUAL(rd.shared->opens, rd.shared->closes);
	CU_ASSERT_EQUAL(rd.shared->attaches, rd.shared->detaches);
}

#define TEST(what)                        \
	static void test_##what(void)     \
	{                                 \
		withstand(attack_##what); \
	}
TEST(leave_early)
TEST(die)
TEST(scribble)
TEST(change_memory)
TEST(reshape_ring)
TEST(wrong_pools)
TEST(replace_pools)
TEST(many_fds)
TEST(talk)
TEST(crowd)

static CU_TestInfo tests[] = {
	{"leaving at every step", test_leave_early},
	{"killed at every step", test_die},
	{"indices, flags and entries", test_scribble},
	{"memory that changes", test_change_memory},
	{"reshaping the ring", test_reshape_ring},
	{"pools that are none", test_wrong_pools},
	{"pools that are exchanged", test_replace_pools},
	{"descriptors by the dozen", test_many_fds},
	{"talking and not listening", test_talk},
	{"thousands of connections", test_crowd},
	CU_TEST_INFO_NULL,
};

static int init(void)
{
	memset(&rd, 0, sizeof(rd));
	return ramdisk_create(&rd);
}

static int init_epoll(void)
{
	loop_kind = "epoll";
	return init();
}

static int init_uring(void)
{
	loop_kind = "io_uring";
	return init();
}

static int clean(void)
{
	ramdisk_destroy(&rd);
	return 0;
}

int main(void)
{
	CU_SuiteInfo suites[] = {
		{"hostile clients, epoll", init_epoll, clean, NULL, NULL, tests},
		{"hostile clients, io_uring", init_uring, clean, NULL, NULL, tests},
		CU_SUITE_INFO_NULL,
	};

	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_INFO : PCIDIPC_ERROR);
	return run_suites(suites);
}
