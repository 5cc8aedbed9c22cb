// SPDX-License-Identifier: MIT
/*
 * Limits of one user at a disk: nvmed's options hold, the log names user and limit, and whoever is
 * another user is served meanwhile. The second user needs root.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "rig.h"

#define GREEDY_UID 61234
#define MIB (1u << 20)
#define CHUNK (32u * MIB)

static const char config[] = RIG_NVMED("mode = \"0666\" dma_quota_mib = %u args = { %s }");

static struct rig rig;

/* ---- the greedy one ---- */

struct got {
	int connections, pools, chunks;
	int errors[3]; /* what each stopped at */
};

static int touch(struct client *c, uint16_t index, uint64_t chunk)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ_FIXED, .addr = chunk * CHUNK, .len = 4096};

	sqe.buf_index = index;
	return client_call(c, &sqe);
}

/* Everything of one kind after the other, from two disks of one controller. */
static struct got take_all(void)
{
	static struct client clients[64];
	struct got got = {0};
	struct pcidipc_pool *pool;
	uint16_t index = 0;
	int n, res = 0;

	for (n = 0; n < 64; n++) {
		res = client_open(&clients[n], n % 2 ? "nvme0n2" : "nvme0n1", 0, 4ull * CHUNK);
		if (res)
			break;
	}
	got.connections = n;
	got.errors[0] = res;
	if (!n)
		return got;
	if (pcidipc_pool_create(64ull * CHUNK, 0, &pool))
		_exit(4);
	for (got.pools = 2 * n; /* each has one for answers, too */ got.pools < 2 * n + 8;
	     got.pools++) {
		uint16_t last = index;

		res = pcidipc_consumer_attach_pool(clients[0].consumer, pool, &index);
		if (res) {
			index = last;
			break;
		}
	}
	got.errors[1] = res;
	for (got.chunks = 0; got.chunks < 64; got.chunks++) {
		res = touch(&clients[0], index, (uint64_t)got.chunks);
		if (res < 0)
			break;
	}
	got.errors[2] = res;
	return got;
}

static pid_t greedy;
static int go;

static struct got greedy_start(uid_t uid)
{
	struct got got = {0};
	int told[2], ends[2];
	char byte;

	CU_ASSERT_FATAL(!pipe(told) && !pipe(ends));
	fflush(NULL);
	greedy = fork();
	if (!greedy) {
		rig_forget_signals();
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[1]);
		if (uid && setresuid(uid, uid, uid))
			_exit(3);
		got = take_all();
		if (write(told[1], &got, sizeof(got)) != sizeof(got) || read(ends[0], &byte, 1) < 0)
			_exit(3);
		_exit(0);
	}
	close(told[1]);
	close(ends[0]);
	go = ends[1];
	CU_ASSERT_EQUAL(read(told[0], &got, sizeof(got)), sizeof(got));
	close(told[0]);
	return got;
}

static void greedy_end(void)
{
	int status = -1;

	close(go);
	CU_ASSERT_EQUAL(waitpid(greedy, &status, 0), greedy);
	CU_ASSERT_EQUAL(status, 0);
}

/* ---- tests ---- */

static bool served(const char *disk)
{
	struct client c;
	bool good;

	if (client_open(&c, disk, 0, 2ull * MIB))
		return false;
	good = client_read(&c, 0, 4096, 0) == 4096;
	client_close(&c);
	return good;
}

static bool said(const char *what, unsigned limit)
{
	char line[160];

	snprintf(line, sizeof(line), "user %u has %u %s", geteuid() ? geteuid() : GREEDY_UID, limit,
		 what);
	if (RIG_UNTIL(rig_logged(&rig, line))) /* pcid passes it on a little later */
		return true;
	fprintf(stderr, "not in the log: %s\n", line);
	return false;
}

static struct got greedy_again(const struct got *first)
{
	struct got got;

	/* Its connections of a moment ago may not be gone yet. */
	for (int i = 0; i < 3000; i++) {
		got = greedy_start(geteuid() ? 0 : GREEDY_UID);
		if (!first || !memcmp(&got, first, sizeof(got)))
			break;
		greedy_end();
		rig_pause();
	}
	return got;
}

static void test_options(void)
{
	struct got got = greedy_again(NULL), again;

	CU_ASSERT_EQUAL(got.connections, 3);
	CU_ASSERT_EQUAL(got.errors[0], -EDQUOT);
	CU_ASSERT_EQUAL(got.pools, 7);
	CU_ASSERT_EQUAL(got.errors[1], -EDQUOT);
	CU_ASSERT_EQUAL(got.chunks, 4);
	CU_ASSERT_EQUAL(got.errors[2], -EDQUOT);
	CU_ASSERT_TRUE(said("connections, the limit for one user; one more turned away", 3));
	CU_ASSERT_TRUE(said("pools, the limit for one user; one more was refused", 7));
	CU_ASSERT_TRUE(said("MiB mapped for the device and wants 32 more, the limit for one user "
			    "is 128",
			    128));
	if (geteuid())
		fprintf(stderr, "not root: NOT TESTED that another user is served\n");
	else
		CU_ASSERT_TRUE(served("nvme0n1") && served("nvme0n2"));
	greedy_end();
	again = greedy_again(&got); /* all of it comes back */
	CU_ASSERT_EQUAL(memcmp(&again, &got, sizeof(got)), 0);
	greedy_end();
}

/* Nothing is said: half of what pcid lets the device reach, less what nvmed has itself. */
static void test_default(void)
{
	struct got got = greedy_again(NULL);

	CU_ASSERT_EQUAL(got.connections, 64);
	CU_ASSERT_EQUAL(got.chunks, (256 - 64) / 2 / 32);
	CU_ASSERT_EQUAL(got.errors[2], -EDQUOT);
	if (!geteuid())
		CU_ASSERT_TRUE(served("nvme0n1") && served("nvme0n2"));
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
