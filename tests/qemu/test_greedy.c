// SPDX-License-Identifier: MIT
/*
 * Limits of one user at a disk: nvmed's options hold, the log names user and limit, and whoever is
 * another user is served meanwhile. The second user needs root.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "greedy.h"

#define MIB (1u << 20)

static const char config[] = RIG_NVMED("mode = \"0666\" dma_quota_mib = %u args = { %s }");

static struct rig rig;

/* ---- the greedy one ---- */

/* Everything of one kind after the other, from two disks of one controller. */
static struct got take_all(void)
{
	static struct client clients[64];
	struct got got = {0};
	int n;

	for (n = 0; n < 64; n++) {
		got.errors[0] = client_open(&clients[n], n % 2 ? "nvme0n2" : "nvme0n1", 0,
					    4ull * GREEDY_CHUNK);
		if (got.errors[0])
			break;
	}
	got.connections = n;
	if (!n)
		return got;
	got.pools = 2 * n; /* each has one for answers, too */
	greedy_pools(&clients[0], &got, 2 * n + 8, 64);
	greedy_chunks(&clients[0], &got, 64);
	return got;
}

/* ---- tests ---- */

static void test_options(void)
{
	struct got got = greedy_start(take_all), again;

	CU_ASSERT_EQUAL(got.connections, 3);
	CU_ASSERT_EQUAL(got.errors[0], -EDQUOT);
	CU_ASSERT_EQUAL(got.pools, 7);
	CU_ASSERT_EQUAL(got.errors[1], -EDQUOT);
	CU_ASSERT_EQUAL(got.chunks, 4);
	CU_ASSERT_EQUAL(got.errors[2], -EDQUOT);
	CU_ASSERT_TRUE(
		greedy_said(&rig, "connections, the limit for one user; one more turned away", 3));
	CU_ASSERT_TRUE(greedy_said(&rig, "pools, the limit for one user; one more was refused", 7));
	CU_ASSERT_TRUE(
		greedy_said(&rig,
			    "MiB mapped for the device and wants 32 more, the limit for one user "
			    "is 128",
			    128));
	if (geteuid())
		fprintf(stderr, "not root: NOT TESTED that another user is served\n");
	else
		CU_ASSERT_TRUE(greedy_served("nvme0n1") && greedy_served("nvme0n2"));
	greedy_end();
	again = greedy_again(take_all, &got); /* all of it comes back */
	CU_ASSERT_EQUAL(memcmp(&again, &got, sizeof(got)), 0);
	greedy_end();
}

/* Nothing is said: half of what pcid lets the device reach, less what nvmed has itself. */
static void test_default(void)
{
	struct got got = greedy_start(take_all);

	CU_ASSERT_EQUAL(got.connections, 64);
	CU_ASSERT_EQUAL(got.chunks, (256 - 64) / 2 / 32);
	CU_ASSERT_EQUAL(got.errors[2], -EDQUOT);
	if (!geteuid())
		CU_ASSERT_TRUE(greedy_served("nvme0n1") && greedy_served("nvme0n2"));
	greedy_end();
}

static int run_nvmed(const char *option, const char *value)
{
	pid_t pid = fork();
	int status = -1, log;

	if (!pid) {
		log = open(rig.log, O_WRONLY | O_APPEND);
		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		execl(rig_program("nvmed"), "nvmed", option, value, NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void refused(const char *option, const char *value, const char *text)
{
	size_t mark = rig_mark(&rig);

	CU_ASSERT_EQUAL(run_nvmed(option, value), 2);
	CU_ASSERT_TRUE(rig_logged_since(&rig, mark, text));
}

static void test_arguments(void)
{
	refused("--user-connections", "0", "--user-connections 0: it must be 1 to 1024");
	refused("--user-connections", "1025", "--user-connections 1025: it must be 1 to 1024");
	refused("--user-pools", "-1", "--user-pools -1: it must be 1 to 256");
	refused("--user-pools", "x", "--user-pools x: it must be 1 to 256");
	refused("--user-pool-gib", "", "--user-pool-gib : it must be 1 to 1048576");
	refused("--user-dma-mib", "7GiB", "--user-dma-mib 7GiB: it must be 1 to 1073741824");
}

/* ---- the rig ---- */

static int start(unsigned quota, const char *args)
{
	char text[sizeof(config) + 256];
	int ret = rig_create(&rig, 300);

	if (!ret)
		ret = rig_image(&rig, "a", 4u * MIB, 1, NULL);
	if (!ret)
		ret = rig_image(&rig, "b", 4u * MIB, 2, NULL);
	if (ret)
		return ret;
	for (char name = 'a'; name <= 'b'; name++) {
		rig_arg(&rig, "-drive");
		rig_arg(&rig, "file=@/%c.img,if=none,id=d%c,format=raw", name, name);
	}
	rig_arg(&rig, "-device");
	rig_arg(&rig, "nvme,id=ctl,serial=a");
	for (unsigned i = 0; i < 2; i++) {
		rig_arg(&rig, "-device");
		rig_arg(&rig, "nvme-ns,bus=ctl,drive=d%c,nsid=%u", 'a' + (int)i, i + 1);
	}
	snprintf(text, sizeof(text), config, quota, args);
	ret = rig_start(&rig, text);
	/* For the other user. */
	return ret || chmod(rig.dir, 0711) ? -1 : 0;
}

static int start_limited(void)
{
	return start(4096,
		     "\"--user-connections=3\", \"--user-pools=7\", \"--user-pool-gib=1024\", "
		     "\"--user-dma-mib=128\"");
}

static int start_default(void)
{
	return start(256, "");
}

static int stop(void)
{
	return rig_stop(&rig);
}

static CU_TestInfo limited[] = {
	{"a greedy user and another one", test_options},
	{"wrong arguments", test_arguments},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo unlimited[] = {
	{"without options", test_default},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	CU_SuiteInfo suites[] = {
		{"limits of a user", start_limited, stop, NULL, NULL, limited},
		{"limits of a user, nothing said", start_default, stop, NULL, NULL, unlimited},
		CU_SUITE_INFO_NULL,
	};

	return rig_run_tests(suites);
}
