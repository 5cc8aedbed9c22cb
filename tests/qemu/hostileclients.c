// SPDX-License-Identifier: MIT
/*
 * Hostile clients of a disk, in processes of their own, beside an honest one that writes, reads and
 * compares all the while. Each attack is made several times: after the first the daemons hold what
 * is kept for use again, and after the others no more than that.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tests/unit/attacks.h>

#include "bad.h"
#include "held.h"
#include "hostileclients.h"

#define ATTACK_S 120 /* one that is kept waiting for so long has made a daemon block */

static void make(uint32_t seed, const void *attack)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		rig_forget_signals();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(ATTACK_S);
		attack_begin(bad_socket_path, seed);
		(*(void (*const *)(void))attack)();
		_exit(0);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	bad_all_is_well();
}

static void withstand(void (*attack)(void))
{
	held_over(&bad_rig, make, &attack);
}

#define TEST(what)                        \
	static void test_##what(void)     \
	{                                 \
		withstand(attack_##what); \
	}
/* And it was met: the limit was reached, or the fault was seen. */
#define SEEN(what, text)                                    \
	static void test_##what(void)                       \
	{                                                   \
		withstand(attack_##what);                   \
		CU_ASSERT_TRUE(rig_logged(&bad_rig, text)); \
	}
TEST(leave_early)
TEST(die)
SEEN(scribble, "a ring index ran past what is outstanding; disconnected")
TEST(change_memory)
TEST(reshape_ring)
SEEN(wrong_pools, "is no memfd sealed against shrinking and growing")
SEEN(replace_pools, "is attached already")
SEEN(many_fds, "carries file descriptors that it must not")
TEST(talk)
SEEN(crowd, "connections, the limit for one user")

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

static CU_TestInfo last_tests[] = {
	{"the daemons hold what they held before", bad_nothing_left},
	CU_TEST_INFO_NULL,
};

CU_SuiteInfo hostile_clients[] = {
	{"hostile clients", bad_begin, bad_end, NULL, NULL, tests},
	{"after all of it", NULL, NULL, NULL, NULL, last_tests},
	CU_SUITE_INFO_NULL,
};
