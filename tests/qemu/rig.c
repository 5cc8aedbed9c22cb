// SPDX-License-Identifier: MIT
/* Images, pcid's life, and the guard. The control socket is in control.c. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "procfs.h"
#include "rig.h"

#define READY_MS 60000
#define STOP_TRIES 3000 /* of rig_pause */

static const char usual_config[] = RIG_NVMED("");

static bool failed;	    /* some test did */
static struct rig *guarded; /* whose log is shown when time is up */
static struct rig *live[2]; /* what a signal takes down */

/* ---- paths ---- */

const char *rig_self(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[n > 0 ? n : 0] = 0;
	return path;
}

const char *rig_program(const char *name)
{
	static char path[4096 + 64];
	const char *dir = getenv("PCID_BIN_DIR"), *self = rig_self();

	if (dir)
		snprintf(path, sizeof(path), "%s/%s", dir, name);
	else
		snprintf(path, sizeof(path), "%.*s/../bin/%s", (int)(strrchr(self, '/') - self),
			 self, name);
	return path;
}

/* ---- the guard ---- */

static void copy_log(const char *path)
{
	char bytes[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, bytes, sizeof(bytes))) > 0)
		if (write(STDERR_FILENO, bytes, (size_t)n) < 0)
			break;
	if (fd >= 0)
		close(fd);
}

/* What follows runs in signal handlers: system calls only. */
static void remove_directory(const char *dir)
{
	pid_t pid = _Fork();

	if (!pid) {
		execl("/bin/rm", "rm", "-rf", dir, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* QEMU and drivers end with pcid. It may hang: then they all end by force. */
static void take_down(const struct rig *rig)
{
	for (unsigned i = 0; rig->pid > 0 && i < STOP_TRIES; i++) {
		kill(rig->pid, i ? 0 : SIGTERM);
		if (waitpid(rig->pid, NULL, WNOHANG))
			break;
		rig_pause();
		if (i + 1 == STOP_TRIES)
			kill(rig->pid, SIGKILL);
	}
	remove_directory(rig->dir);
}

static void take_all_down(void)
{
	for (unsigned i = 0; i < sizeof(live) / sizeof(*live); i++)
		if (live[i])
			take_down(live[i]);
}

static void time_is_up(int number)
{
	static const char text[] = "\ntime is up; what pcid said:\n";

	(void)number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) > 0 && guarded)
		copy_log(guarded->log);
	take_all_down();
	_exit(3);
}

static void interrupted(int number)
{
	take_all_down();
	signal(number, SIG_DFL);
	raise(number); /* blocked until this returns, and then the end */
}

static void watch_signals(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, interrupted);
	signal(SIGINT, interrupted);
}

/* In a child: a signal is its own end, and no business of the rig's. */
void rig_forget_signals(void)
{
	signal(SIGALRM, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
}

static void enlist(struct rig *rig)
{
	live[live[0] != NULL] = rig;
}

static void delist(struct rig *rig)
{
	for (unsigned i = 0; i < sizeof(live) / sizeof(*live); i++)
		if (live[i] == rig)
			live[i] = NULL;
}

void rig_show_log(struct rig *rig)
{
	fflush(stdout);
	fprintf(stderr, "--- what pcid said:\n");
	copy_log(rig->log);
	fprintf(stderr, "---\n");
}

void rig_pause(void)
{
	const struct timespec pause = {.tv_nsec = 10000000};

	nanosleep(&pause, NULL);
}

/* ---- before the start ---- */

int rig_create(struct rig *rig, unsigned seconds)
{
	const char *base = getenv("TMPDIR");

	memset(rig, 0, sizeof(*rig));
	snprintf(rig->dir, sizeof(rig->dir), "%s/pcidtest.XXXXXX",
		 base && strlen(base) < 40 ? base : "/tmp");
	if (!mkdtemp(rig->dir))
		return -errno;
	snprintf(rig->run, sizeof(rig->run), "%s/run", rig->dir);
	snprintf(rig->log, sizeof(rig->log), "%s/log", rig->dir);
	snprintf(rig->config, sizeof(rig->config), "%s/pcid.conf", rig->dir);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	enlist(rig);
	watch_signals();
	rig_guard(rig, seconds);
	return 0;
}

void rig_guard(struct rig *rig, unsigned seconds)
{
	guarded = rig;
	setenv("PCID_RUNTIME_DIR", rig->run, 1);
	signal(SIGALRM, time_is_up);
	alarm(seconds);
}

static int write_all(const char *path, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t done = 1;

	if (fd < 0)
		return -errno;
	for (size_t at = 0; at < n && done > 0; at += (size_t)done)
		done = write(fd, (const char *)bytes + at, n - at);
	close(fd);
	return done > 0 ? 0 : -EIO;
}

static void image_path(const struct rig *rig, const char *name, char *path)
{
	snprintf(path, RIG_PATH, "%s/%s.img", rig->dir, name);
}

int rig_image(struct rig *rig, const char *name, uint64_t bytes, uint32_t seed,
	      unsigned char **shadow)
{
	unsigned char *copy = calloc(1, bytes);
	char path[RIG_PATH];
	int ret;

	if (!copy)
		return -ENOMEM;
	if (seed)
		fill_random(&seed, copy, bytes);
	image_path(rig, name, path);
	ret = write_all(path, copy, bytes);
	if (shadow && !ret)
		*shadow = copy;
	else
		free(copy);
	return ret;
}

int rig_compare(struct rig *rig, const char *name, const unsigned char *shadow, uint64_t bytes)
{
	static unsigned char part[1 << 16];
	char path[RIG_PATH];
	uint64_t at = 0;
	ssize_t n = 1;
	int fd;

	image_path(rig, name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && at < bytes && (n = pread(fd, part, sizeof(part), (off_t)at)) > 0) {
		if (memcmp(part, shadow + at, (size_t)n))
			break;
		at += (uint64_t)n;
	}
	if (fd >= 0)
		close(fd);
	if (at >= bytes)
		return 0;
	for (size_t i = 0; i < (size_t)n; i++)
		if (part[i] != shadow[at + i]) {
			fprintf(stderr, "%s differs at byte %llu\n", path,
				(unsigned long long)(at + i));
			break;
		}
	return -EBADMSG;
}

static void add_arg(struct rig *rig, const char *text)
{
	if (rig->nargs < RIG_MAX_ARGS - 1)
		rig->args[rig->nargs++] = strdup(text);
}

void rig_arg(struct rig *rig, const char *format, ...)
{
	char text[512], with_dir[640], *at;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	at = strchr(text, '@');
	if (!at) {
		add_arg(rig, text);
		return;
	}
	*at = 0;
	snprintf(with_dir, sizeof(with_dir), "%s%s%s", text, rig->dir, at + 1);
	add_arg(rig, with_dir);
}

void rig_nvme(struct rig *rig, const char *name)
{
	rig_arg(rig, "-drive");
	rig_arg(rig, "file=@/%s.img,if=none,id=d%s,format=raw", name, name);
	rig_arg(rig, "-device");
	rig_arg(rig, "nvme,id=c%s,drive=d%s,serial=%s", name, name, name);
}

/* ---- pcid's life ---- */

static void exec_pcid(struct rig *rig, int ready, pid_t parent)
{
	char number[16];
	char *argv[16 + RIG_MAX_ARGS] = {"pcid",   "--bus",    "qemu",	      "--runtime-dir",
					 rig->run, "--config", rig->config,   "--ready-fd",
					 number,   "-v",       "--driver-dir"};
	char path[4096 + 64], dir[4096 + 64];
	unsigned n = 11;
	int log = open(rig->log, O_WRONLY | O_CREAT | O_APPEND, 0644);

	snprintf(path, sizeof(path), "%s", rig_program("pcid"));
	snprintf(dir, sizeof(dir), "%s", rig_program(""));
	dir[strlen(dir) - 1] = 0;
	argv[n++] = dir;
	argv[n++] = "--";
	memcpy(argv + n, rig->args, sizeof(rig->args));
	snprintf(number, sizeof(number), "%d", ready);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127); /* killed before it could be told */
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	signal(SIGPIPE, SIG_DFL);
	execv(path, argv);
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

static int wait_ready(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char byte = 0;

	if (poll(&ready, 1, READY_MS) != 1)
		return -ETIMEDOUT;
	if (read(fd, &byte, 1) != 1 || byte != '\n')
		return -EPIPE;
	/* It closes its end next: then all that it has open is what it keeps. */
	return read(fd, &byte, 1) == 0 ? 0 : -EPROTO;
}

int rig_start(struct rig *rig, const char *config)
{
	int ends[2], ret;
	pid_t self = getpid();
	size_t mark = rig_mark(rig);

	if (!config)
		config = usual_config;
	ret = write_all(rig->config, config, strlen(config));
	if (!ret && pipe2(ends, O_CLOEXEC))
		ret = -errno;
	if (ret)
		return ret;
	fflush(NULL);
	rig->pid = fork();
	if (!rig->pid) {
		rig_forget_signals();
		fcntl(ends[1], F_SETFD, 0);
		exec_pcid(rig, ends[1], self);
	}
	close(ends[1]);
	ret = rig->pid < 0 ? -EAGAIN : wait_ready(ends[0]);
	close(ends[0]);
	if (ret) {
		fprintf(stderr, "pcid did not get ready: %s\n", strerror(-ret));
		rig_show_log(rig);
	} else {
		rig_await_late(rig, mark);
	}
	return ret;
}

/* 0: it ended by itself, with exit status 0. */
static int reap_pcid(struct rig *rig)
{
	int status = 0, wrong = 0;
	pid_t got = 0;

	kill(rig->pid, SIGTERM);
	for (unsigned i = 0; i < STOP_TRIES && !got; i++) {
		got = waitpid(rig->pid, &status, WNOHANG);
		if (!got)
			rig_pause();
	}
	if (!got) {
		fprintf(stderr, "pcid did not stop when it was told to\n");
		wrong++;
		kill(rig->pid, SIGKILL);
		waitpid(rig->pid, &status, 0);
	} else if (status) {
		fprintf(stderr, "pcid's exit status is %#x\n", (unsigned)status);
		wrong++;
	}
	rig->pid = 0;
	return wrong;
}

/* QEMU and the drivers end with pcid; what is left comes to us, the subreaper, and must end too. */
static int reap_rest(void)
{
	pid_t got = 0;

	for (unsigned i = 0; i < STOP_TRIES; i++) {
		while ((got = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (got < 0)
			return 0;
		rig_pause();
	}
	fprintf(stderr, "pcid left processes behind\n");
	return 1;
}

int rig_kill(struct rig *rig)
{
	struct daemons d = rig_daemons(rig);
	const pid_t pids[DAEMONS] = {d.pcid, d.qemu, d.driver};
	int fds[DAEMONS], wrong = 0;

	for (unsigned i = 0; i < DAEMONS; i++)
		fds[i] = pids[i] > 0 ? process_open(pids[i]) : -1;
	kill(rig->pid, SIGKILL);
	for (unsigned i = 0; i < DAEMONS; i++)
		wrong += fds[i] < 0 || !process_ends(fds[i]);
	waitpid(rig->pid, NULL, 0);
	rig->pid = 0;
	return wrong;
}

/*
 * What must not stand in a log: a sanitizer's report (they write where everybody does), a daemon
 * that fell over, and a driver that did not end well when it was told to (a leak, found at its
 * end, is that too).
 */
static int findings(struct rig *rig)
{
	static const char *const bad[] = {
		"ERROR: AddressSanitizer",
		"ERROR: LeakSanitizer",
		"runtime error:",
		"LeakSanitizer has encountered a fatal error",
		"signal 4 (",
		"signal 6 (",
		"signal 7 (",
		"signal 8 (",
		"signal 11 (",
	};
	int found = 0;

	if (!rig->sigsys && rig_logged(rig, "signal 31 (")) {
		fprintf(stderr, "a driver's sandbox forbade what it does\n");
		found++;
	}

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (rig_logged(rig, bad[i])) {
			fprintf(stderr, "in the log: %s\n", bad[i]);
			found++;
		}
	if (rig_log_count(rig, 0, "ended (exit status ") !=
	    rig_log_count(rig, 0, "ended (exit status 0)")) {
		fprintf(stderr, "a driver ended badly\n");
		found++;
	}
	return found;
}

int rig_end(struct rig *rig)
{
	char command[128];
	int wrong = rig->pid > 0 ? reap_pcid(rig) : 0;

	wrong += findings(rig);
	if (wrong || failed)
		rig_show_log(rig);
	guarded = NULL;
	delist(rig);
	for (unsigned i = 0; i < rig->nargs; i++)
		free(rig->args[i]);
	rig->nargs = 0;
	snprintf(command, sizeof(command), "rm -rf '%s'", rig->dir);
	if (*rig->dir && system(command))
		wrong++;
	return wrong;
}

int rig_stop(struct rig *rig)
{
	int wrong = rig_end(rig);

	return wrong + reap_rest();
}

int rig_simple(struct rig *rig, unsigned seconds, const char *config, unsigned char **shadow)
{
	int ret = rig_create(rig, seconds);

	if (!ret)
		ret = rig_image(rig, "a", RIG_SIMPLE_BYTES, 1, shadow);
	if (ret)
		return ret;
	rig_nvme(rig, "a");
	return rig_start(rig, config);
}

int rig_two_namespaces(struct rig *rig, unsigned seconds, uint64_t bytes, unsigned char **shadow1,
		       unsigned char **shadow2)
{
	int ret = rig_create(rig, seconds);

	if (!ret)
		ret = rig_image(rig, "a", bytes, 1, shadow1);
	if (!ret)
		ret = rig_image(rig, "b", bytes, 2, shadow2);
	if (ret)
		return ret;
	rig_arg(rig, "-drive");
	rig_arg(rig, "file=@/a.img,if=none,id=a,format=raw");
	rig_arg(rig, "-drive");
	rig_arg(rig, "file=@/b.img,if=none,id=b,format=raw,discard=unmap");
	rig_arg(rig, "-device");
	rig_arg(rig, "nvme,id=n,serial=serial1");
	rig_arg(rig, "-device");
	rig_arg(rig, "nvme-ns,drive=a,bus=n,nsid=1,logical_block_size=512,physical_block_size=512");
	rig_arg(rig, "-device");
	rig_arg(rig,
		"nvme-ns,drive=b,bus=n,nsid=2,logical_block_size=4096,physical_block_size=4096");
	return rig_start(rig, NULL);
}

int rig_run_tests(CU_SuiteInfo *suites)
{
	unsigned failures;

	if (CU_initialize_registry() || CU_register_suites(suites))
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	failed = failures;
	CU_cleanup_registry();
	return failed ? 1 : 0;
}

int rig_main(struct rig *rig, int started, CU_SuiteInfo *suites)
{
	int ret = started ? 1 : rig_run_tests(suites);

	return rig_stop(rig) ? 1 : ret;
}
