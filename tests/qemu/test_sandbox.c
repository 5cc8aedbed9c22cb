// SPDX-License-Identifier: MIT
/*
 * A driver's sandbox, lock by lock. A driver that means ill (attempts.h) is started three times:
 * in its sandbox, without one, which shows that an attempt fails because of the lock and not for
 * some other reason, and in one that lets itself be debugged. It is this program, started by pcid.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attempts.h"
#include "client.h"
#include "procfs.h"
#include "rig.h"

#define MAX_FILES 4096

/* A driver with a sanitizer is not locked up: there is nothing to be shown but what pcid does. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static const char config[] = "driver \"ill\" {\n"
			     "	vendor = 0x1234\n"
			     "	device = 0x11e8\n"
			     "	command = \"%s\"\n"
			     "	service = \"ill\"\n"
			     "	args = { \"driver\" }\n"
			     "	restart_limit = 0\n"
			     "	sandbox = \"%s\"\n"
			     "}\n" RIG_NVMED("");

static struct rig rig;
static unsigned char *shadow;
static bool no_landlock, no_ring; /* of this kernel */

/* ---- the driver's life ---- */

static bool state_is(const char *state)
{
	return rig_text(&rig, "drivers", "ill", "state", state);
}

static bool exit_was(const char *how)
{
	return rig_text(&rig, "drivers", "ill", "last_exit", how);
}

/* It has ended, once, and its supervisor waits to be told. */
static void bring_back(void)
{
	struct json_object *show = rig_show(&rig, "ill");
	char command[128];

	snprintf(command, sizeof(command), "restart\",\"function\":\"%s",
		 json_object_get_string(json_object_object_get(show, "address")));
	json_object_put(show);
	json_object_put(rig_ask(&rig, command));
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(state_is("running")));
}

/* `exit`: how it must have ended, if it has. */
static int try(enum attempt what, const char *exit)
{
	int how = attempt(&rig, "ill", what);

	if (how != ATTEMPT_DIED && !attempt_spoils(what))
		return how;
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(state_is("failed")));
	if (how == ATTEMPT_DIED && !exit_was(exit))
		how = -ECHILD;
	bring_back();
	return how;
}

static void expect(enum attempt what, int right, const char *exit)
{
	int how = try(what, exit);

	if (how != right)
		printf("\n%s: %d, not %d\n", attempt_names[what], how, right);
	CU_ASSERT_EQUAL(how, right);
}

static void forbidden(enum attempt what)
{
	expect(what, ATTEMPT_DIED, "killed by signal 31 (Bad system call)");
}

static void answers(enum attempt what, int right)
{
	expect(what, right, "");
}

/* ---- which locks pcid says there are ---- */

static bool has_lock(const char *driver, const char *lock)
{
	struct json_object *list = rig_ask(&rig, "drivers"), *locks = NULL;
	bool has = false;

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *d = json_object_array_get_idx(list, i);

		if (!strcmp(json_object_get_string(json_object_object_get(d, "name")), driver))
			locks = json_object_object_get(d, "locks");
	}
	for (size_t i = 0; locks && i < json_object_array_length(locks); i++)
		has |= !strcmp(json_object_get_string(json_object_array_get_idx(locks, i)), lock);
	json_object_put(list);
	return has;
}

static void locks_are(const char *driver, bool confined, bool hidden)
{
	CU_ASSERT_EQUAL(has_lock(driver, "user"), !geteuid());
	CU_ASSERT_TRUE(has_lock(driver, "capabilities"));
	CU_ASSERT_TRUE(has_lock(driver, "no_new_privs"));
	CU_ASSERT_TRUE(has_lock(driver, "limits"));
	CU_ASSERT_EQUAL(has_lock(driver, "registers"), confined);
	CU_ASSERT_EQUAL(has_lock(driver, "io_uring"), confined && !no_ring);
	CU_ASSERT_EQUAL(has_lock(driver, "seccomp"), confined && !SANITIZED);
	CU_ASSERT_EQUAL(has_lock(driver, "landlock"), confined && !SANITIZED && !no_landlock);
	CU_ASSERT_EQUAL(has_lock(driver, "hidden"), hidden && !SANITIZED);
}

static pid_t pid_of(const char *driver)
{
	return (pid_t)rig_number(&rig, "drivers", driver, "pid");
}

static uid_t uid_of(const char *driver)
{
	return (uid_t)rig_number(&rig, "drivers", driver, "uid");
}

static int look(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int signal_it(pid_t pid)
{
	return kill(pid, 0) ? errno : 0;
}

/* As another process of the driver `as` and its user do this to the driver `whom`: 0 or -errno. */
static int as_if(const char *as, int (*what)(pid_t), const char *whom)
{
	uid_t uid = uid_of(as);
	pid_t pid = pid_of(whom), child;
	int status = 0;

	fflush(NULL);
	child = fork();
	if (!child) {
		rig_forget_signals();
		if (!geteuid() &&
		    (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
			_exit(ENOSYS);
		_exit(what(pid));
	}
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	return -WEXITSTATUS(status);
}

/* ---- in its sandbox ---- */

static void test_locks(void)
{
	locks_are("ill", true, true);
	locks_are("nvmed", true, true);
	CU_ASSERT_TRUE(rig_text(&rig, "drivers", "nvmed", "sandbox", "yes"));
	CU_ASSERT_EQUAL(as_if("ill", look, "ill"), SANITIZED ? 0 : -EACCES);
}

/* A pcid that is not root has one for all. */
static void test_users(void)
{
	int other = geteuid() ? 0 : -EPERM;

	CU_ASSERT_EQUAL(uid_of("ill") == uid_of("nvmed"), geteuid() != 0);
	CU_ASSERT_EQUAL(uid_of("ill") == geteuid(), geteuid() != 0);
	CU_ASSERT_EQUAL(as_if("ill", signal_it, "ill"), 0);
	CU_ASSERT_EQUAL(as_if("ill", signal_it, "nvmed"), other);
	CU_ASSERT_EQUAL(as_if("nvmed", signal_it, "ill"), other);
}

static void test_works(void)
{
	struct client c;

	answers(ATTEMPT_NOTHING, 0);
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme0n1", 0, 2u << 20), 0);
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 4096), 4096);
	CU_ASSERT_EQUAL(memcmp(c.base, shadow + 4096, 4096), 0);
	client_close(&c);
}

static void test_system_calls(void)
{
	static const enum attempt all[] = {
		ATTEMPT_OPEN,	      ATTEMPT_STAT,	    ATTEMPT_SOCKET, ATTEMPT_EXEC,
		ATTEMPT_FORK,	      ATTEMPT_THREAD,	    ATTEMPT_PTRACE, ATTEMPT_MAP_CODE,
		ATTEMPT_PROTECT_CODE, ATTEMPT_KILL,	    ATTEMPT_IOCTL,  ATTEMPT_PREAD,
		ATTEMPT_SETUID,	      ATTEMPT_CAPABILITIES, ATTEMPT_LIMIT,  ATTEMPT_LOCK_MEMORY,
		ATTEMPT_RING,
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all) && !SANITIZED; i++)
		forbidden(all[i]);
	if (!SANITIZED)
		CU_ASSERT_TRUE(RIG_UNTIL(
			rig_logged(&rig, ": ended by SIGSYS: a system call that its sandbox "
					 "forbids; with sandbox = \"debug\" it says which")));
}

static void test_primary_ring(void)
{
	if (no_ring)
		return;
	answers(ATTEMPT_PRIMARY_OPEN, -EACCES);
	if (SANITIZED)
		return;
	forbidden(ATTEMPT_PRIMARY_REGISTER);
	answers(ATTEMPT_CLOSE_RING, -EPERM);
}

static void test_registers(void)
{
	answers(ATTEMPT_REGION, -EPERM);
	answers(ATTEMPT_UNCONFINE, -EALREADY);
	answers(ATTEMPT_REGION, -EPERM);
	CU_ASSERT_EQUAL(process_has_open(pid_of("ill"), "vfio"), 0);
	CU_ASSERT_EQUAL(process_has_open(pid_of("nvmed"), "vfio"), 0);
	CU_ASSERT_EQUAL(process_has_open(rig.pid, "vfio") > 0, rig_on_vfio()); /* the control */
	if (!SANITIZED)
		forbidden(ATTEMPT_STEAL);
}

static void test_limits(void)
{
	int last = try(ATTEMPT_FILES, "");

	CU_ASSERT_TRUE(last > 8 && last < MAX_FILES);
	answers(ATTEMPT_NOTHING, 0); /* they are closed again */
}

/* ---- without it: privileges are gone nevertheless ---- */

static void test_no_locks(void)
{
	locks_are("ill", false, false);
	locks_are("nvmed", true, true);
	CU_ASSERT_EQUAL(as_if("ill", look, "ill"), 0);
}

/* The control. */
static void test_all_work(void)
{
	static const enum attempt all[] = {
		ATTEMPT_NOTHING,  ATTEMPT_OPEN,		ATTEMPT_STAT,  ATTEMPT_SOCKET,
		ATTEMPT_FORK,	  ATTEMPT_THREAD,	ATTEMPT_IOCTL, ATTEMPT_PREAD,
		ATTEMPT_MAP_CODE, ATTEMPT_PROTECT_CODE,
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		answers(all[i], 0);
	expect(ATTEMPT_EXEC, ATTEMPT_DIED, "exit status 42");
	answers(ATTEMPT_PTRACE, -ESRCH);
	if (!geteuid())
		answers(ATTEMPT_STEAL, -EPERM);
	answers(ATTEMPT_KILL, geteuid() ? 0 : -EPERM);
	answers(ATTEMPT_UNCONFINE, 0);
	answers(ATTEMPT_REGION, -EPERM);
	if (!no_ring)
		answers(ATTEMPT_RING, 0);
}

static void test_privileges(void)
{
	int last = try(ATTEMPT_FILES, "");

	answers(ATTEMPT_SETUID, -EPERM);
	answers(ATTEMPT_CAPABILITIES, -EPERM);
	answers(ATTEMPT_LIMIT, -EPERM);
	answers(ATTEMPT_LOCK_MEMORY, -ENOMEM);
	CU_ASSERT_TRUE(last > 8 && last < MAX_FILES);
}

/* Each of these without the others. */
static void test_single_locks(void)
{
	answers(ATTEMPT_LANDLOCK, no_landlock ? -ENOSYS : -EACCES);
	answers(ATTEMPT_NO_PROCESS, -EAGAIN);
	if (no_ring)
		return;
	answers(ATTEMPT_PRIMARY_OPEN, -EACCES);
	answers(ATTEMPT_PRIMARY_REGISTER, -EACCES);
}

/* ---- when one is being debugged ---- */

static void test_debug(void)
{
	locks_are("ill", true, false);
	CU_ASSERT_EQUAL(as_if("ill", look, "ill"), 0);
	if (SANITIZED)
		return;
	forbidden(ATTEMPT_OPEN);
	CU_ASSERT_TRUE(
		RIG_UNTIL(rig_logged(&rig, "the sandbox forbids the system call openat (number ")));
	answers(ATTEMPT_NOTHING, 0);
}

/* ---- the whole ---- */

static int start(const char *sandbox)
{
	char text[8192];
	int ret = rig_create(&rig, 600);

	rig.sigsys = true;
	free(shadow);
	shadow = NULL;
	if (!ret)
		ret = rig_image(&rig, "a", 1u << 20, 1, &shadow);
	if (ret)
		return ret;
	rig_nvme(&rig, "a");
	rig_arg(&rig, "-device");
	rig_arg(&rig, "edu");
	snprintf(text, sizeof(text), config, rig_self(), sandbox);
	ret = rig_start(&rig, text);
	return ret || RIG_UNTIL(state_is("running")) ? ret : -ETIMEDOUT;
}

static int stop(void)
{
	return rig_stop(&rig);
}

static int start_yes(void)
{
	return start("yes");
}

static int start_no(void)
{
	return start("no");
}

static int start_debug(void)
{
	return start("debug");
}

static CU_TestInfo in_it[] = {
	{"which locks there are", test_locks},
	{"a user for each", test_users},
	{"what a driver does goes on working", test_works},
	{"system calls", test_system_calls},
	{"the primary ring", test_primary_ring},
	{"the fd behind the registers", test_registers},
	{"limits", test_limits},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo without[] = {
	{"which locks there are", test_no_locks},
	{"what it forbids works", test_all_work},
	{"privileges and limits", test_privileges},
	{"single locks", test_single_locks},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo debugged[] = {
	{"it says what was forbidden", test_debug},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"in the sandbox", start_yes, stop, NULL, NULL, in_it},
	{"without it", start_no, stop, NULL, NULL, without},
	{"debugged", start_debug, stop, NULL, NULL, debugged},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	int ret;

	if (argc > 1 && !strcmp(argv[1], ATTEMPTS_EXECUTED))
		_exit(ATTEMPTS_EXECUTED_CODE);
	if (argc > 1)
		return attempts_driver();
	setrlimit(RLIMIT_MEMLOCK, &all); /* where we may: so that pcid has something to take away */
	attempts_probe(&no_landlock, &no_ring);
	ret = rig_run_tests(suites);
	free(shadow);
	return ret;
}
