// SPDX-License-Identifier: MIT
/*
 * The rig itself: a test that is killed leaves no pcid, no QEMU and no driver behind, and no
 * directory where a signal lets it clean up; and what a daemon does wrong is found. The test to be
 * killed is this program, started again with the argument "victim".
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "procfs.h"
#include "rig.h"

#define PATIENCE_MS 60000

/* ---- the victim ---- */

struct report {
	struct daemons daemons;
	pid_t client;
	char dir[64];
};

/* Start everything, tell who they are, and work on until somebody ends it. */
static int victim(int fd)
{
	static struct rig rig;
	volatile uint32_t *progress = shared_words();
	struct report report;
	unsigned char *shadow;
	struct work work = {.disk = "nvme0n1",
			    .bytes = 16u << 20,
			    .depth = 8,
			    .largest = 64u << 10,
			    .pool_bytes = 16u << 20,
			    .stride = 1u << 20,
			    .progress = progress};

	if (rig_simple(&rig, 120, NULL, &shadow))
		return 1;
	report.client = work_fork(&work);
	if (!RIG_UNTIL(*progress > 0))
		return 1;
	report.daemons = rig_daemons(&rig);
	memcpy(report.dir, rig.dir, sizeof(report.dir));
	if (write(fd, &report, sizeof(report)) != sizeof(report))
		return 1;
	for (;;)
		pause();
}

static pid_t start_victim(struct report *report)
{
	char number[16];
	int ends[2];
	pid_t pid;
	struct pollfd ready;

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	snprintf(number, sizeof(number), "%d", ends[1]);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		close(ends[0]);
		execl(rig_self(), "test_rig", "victim", number, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	ready = (struct pollfd){.fd = ends[0], .events = POLLIN};
	CU_ASSERT_EQUAL_FATAL(poll(&ready, 1, PATIENCE_MS), 1);
	CU_ASSERT_EQUAL_FATAL(read(ends[0], report, sizeof(*report)), sizeof(*report));
	close(ends[0]);
	return pid;
}

/* ---- the tests ---- */

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static void remove_directory(const char *dir)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void ends_by(int number, bool cleans_up)
{
	struct report report;
	pid_t pid = start_victim(&report);
	const pid_t pids[] = {report.daemons.pcid, report.daemons.qemu, report.daemons.driver,
			      report.client};
	int fds[4], status = 0;

	for (unsigned i = 0; i < 4; i++) {
		CU_ASSERT_TRUE(pids[i] > 0);
		fds[i] = process_open(pids[i]);
	}
	CU_ASSERT_TRUE(exists(report.dir));
	kill(pid, number);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == number);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_TRUE(process_ends(fds[i]));
	CU_ASSERT_EQUAL(exists(report.dir), !cleans_up);
	if (!cleans_up)
		remove_directory(report.dir);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void test_sigterm(void)
{
	ends_by(SIGTERM, true);
}

static void test_sigint(void)
{
	ends_by(SIGINT, true);
}

static void test_sigkill(void)
{
	ends_by(SIGKILL, false);
}

/* ---- what the rig must find ---- */

/* Stop a rig whose log has this line, too. */
static int stop_with(const char *line)
{
	static struct rig rig;
	unsigned char *shadow;
	FILE *log;

	CU_ASSERT_EQUAL_FATAL(rig_simple(&rig, 120, NULL, &shadow), 0);
	free(shadow);
	log = fopen(rig.log, "a");
	CU_ASSERT_PTR_NOT_NULL_FATAL(log);
	fprintf(log, "%s\n", line);
	fclose(log);
	return rig_end(&rig);
}

static void test_findings(void)
{
	CU_ASSERT_EQUAL(stop_with("nothing at all"), 0);
	CU_ASSERT_EQUAL(stop_with("==1==ERROR: AddressSanitizer: heap-use-after-free"), 1);
	CU_ASSERT_EQUAL(stop_with("x.c:1:2: runtime error: shift exponent 64 is too large"), 1);
	CU_ASSERT_EQUAL(stop_with("==1==ERROR: LeakSanitizer: detected memory leaks"), 1);
	CU_ASSERT_EQUAL(stop_with("pcid: nvmed 0: killed by signal 11 (Segmentation fault)"), 1);
	CU_ASSERT_EQUAL(stop_with("pcid: nvmed 0000:00:01.0: ended (exit status 1)"), 1);
}

/* A driver that crashes by itself, not by a SIGKILL of ours, is seen although pcid restarts it. */
static void test_crash(void)
{
	static struct rig rig;
	unsigned char *shadow;
	pid_t driver;

	CU_ASSERT_EQUAL_FATAL(rig_simple(&rig, 120, NULL, &shadow), 0);
	free(shadow);
	driver = rig_daemons(&rig).driver;
	kill(driver, SIGABRT);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_number(&rig, "drivers", "nvmed", "restarts") == 1 &&
				 rig_text(&rig, "drivers", "nvmed", "state", "running")));
	CU_ASSERT_TRUE(rig_end(&rig) > 0);
}

/* pcid too. */
static void test_pcid_crash(void)
{
	static struct rig rig;
	unsigned char *shadow;

	CU_ASSERT_EQUAL_FATAL(rig_simple(&rig, 120, NULL, &shadow), 0);
	free(shadow);
	kill(rig.pid, SIGABRT);
	CU_ASSERT_TRUE(rig_end(&rig) > 0);
}

static CU_TestInfo tests[] = {
	{"a test that gets SIGTERM", test_sigterm},
	{"a test that gets SIGINT", test_sigint},
	{"a test that gets SIGKILL", test_sigkill},
	{"what a log must not hold", test_findings},
	{"a driver that crashes", test_crash},
	{"a pcid that crashes", test_pcid_crash},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"rig", NULL, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "victim"))
		return victim(atoi(argv[2]));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return rig_run_tests(suites);
}
