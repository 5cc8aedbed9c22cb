/* SPDX-License-Identifier: MIT */
/* What a driver's process is given, and what not. The driver is this program: --probe tells what it
 * sees, --stay lives until its channel's other end closes. */
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pcid/driver.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define NOBODY 65534u
#define PATIENCE_MS 60000 /* for what must happen */

extern char **environ;
static char self[4096];
static char report[16384];
static enum pcid_sandbox sandbox;
static unsigned dma_bits;
static bool parent_dies; /* in a child of a child: before it could ask to die with its parent */

/* In libc's place, for spawn.c. */
int prctl(int option, ...)
{
	unsigned long a[4];
	va_list args;

	va_start(args, option);
	for (unsigned i = 0; i < 4; i++)
		a[i] = va_arg(args, unsigned long);
	va_end(args);
	if (option == PR_SET_PDEATHSIG && parent_dies) {
		pid_t parent = getppid();

		kill(parent, SIGKILL);
		while (getppid() == parent)
			sched_yield();
	}
	return (int)syscall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

static struct rlimit *memlock; /* shared: what a driver's process was last to be limited to */

/* In libc's place, too: a limit that is as low without pcid could not tell. */
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	if (resource == RLIMIT_MEMLOCK && memlock)
		*memlock = *limit;
	return (int)syscall(SYS_prlimit64, 0, resource, limit, NULL);
}

/* ---- the driver's side ---- */

static void tell_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	bool open_fd[256] = {false};

	while (dir && (entry = readdir(dir)))
		if (*entry->d_name != '.' && atoi(entry->d_name) != dirfd(dir))
			open_fd[atoi(entry->d_name) & 255] = true;
	if (dir)
		closedir(dir);
	printf("fds");
	for (int i = 0; i < 256; i++)
		if (open_fd[i])
			printf(" %d", i);
	printf("\n");
}

static void tell_limit(const char *name, int resource)
{
	struct rlimit limit;

	getrlimit(resource, &limit);
	printf("%s %lld %lld\n", name, (long long)limit.rlim_cur, (long long)limit.rlim_max);
}

static int probe(void)
{
	char line[512], cwd[256] = "?";
	FILE *status = fopen("/proc/self/status", "re");

	while (status && fgets(line, sizeof(line), status))
		fputs(line, stdout);
	if (status)
		fclose(status);
	tell_fds();
	tell_limit("core", RLIMIT_CORE);
	tell_limit("nofile", RLIMIT_NOFILE);
	tell_limit("memlock", RLIMIT_MEMLOCK);
	for (char **e = environ; *e; e++)
		printf("env %s\n", *e);
	printf("cwd %s\numask %03o\nleader %d\nterminal %d\n", getcwd(cwd, sizeof(cwd)), umask(0),
	       getpgid(0) == getpid(), open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC) >= 0);
	fflush(stdout);
	_exit(0);
}

static int stay(void)
{
	char byte;

	(void)!read(3, &byte, 1);
	_exit(0);
}

/* ---- pcid's side ---- */

struct attempt {
	struct pcid_spawn spawn;
	int ret;
	pid_t pid;
	int pidfd;
	const char *step;
};

struct run {
	struct attempt *attempt;
	struct pcidipc_loop *loop;
};

static void run_task(void *arg)
{
	struct run *run = arg;
	struct attempt *a = run->attempt;

	a->ret = pcid_spawn(&a->spawn, &a->pid, &a->pidfd, &a->step);
	pcidipc_loop_stop(run->loop, 0);
}

static void run_attempt(struct attempt *a)
{
	struct run run = {.attempt = a};

	if (pcidipc_loop_create(0, &run.loop) || pcidipc_spawn(run.loop, run_task, &run))
		abort();
	pcidipc_loop_run(run.loop);
	pcidipc_loop_destroy(run.loop);
}

static bool has_line(const char *line)
{
	size_t n = strlen(line);

	for (const char *at = strstr(report, line); at; at = strstr(at + 1, line))
		if ((at == report || at[-1] == '\n') && at[n] == '\n')
			return true;
	return false;
}

#define HAS(line)                                                                \
	do {                                                                     \
		if (!has_line(line))                                             \
			fprintf(stderr, "no line \"%s\" in:\n%s", line, report); \
		CU_ASSERT_TRUE(has_line(line));                                  \
	} while (0)

static void read_report(int fd)
{
	size_t n = 0;
	ssize_t got;

	while (n < sizeof(report) - 1 && (got = read(fd, report + n, sizeof(report) - 1 - n)) > 0)
		n += (size_t)got;
	report[n] = '\0';
}

/* Start `path` with `mode`, as a driver; what it prints goes to `report`. Returns pcid_spawn's. */
static int start(const char *path, const char *mode, unsigned uid, bool with_parent)
{
	char *args[] = {(char *)path, (char *)mode, NULL};
	int channel[2], parent[2], output[2], status;
	struct attempt a;

	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(channel), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(parent), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(output, O_CLOEXEC), 0);
	a = (struct attempt){
		.spawn = {.path = path,
			  .args = args,
			  .channel = channel[1],
			  .parent_channel = with_parent ? parent[1] : -1,
			  .output = output[1],
			  .dma_bits = dma_bits,
			  .uid = uid,
			  .gid = uid,
			  .sandbox = sandbox},
	};
	run_attempt(&a);
	close(output[1]);
	close(channel[1]);
	close(parent[1]);
	read_report(output[0]);
	if (!a.ret) {
		CU_ASSERT_EQUAL(waitpid(a.pid, &status, 0), a.pid);
		CU_ASSERT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
		close(a.pidfd);
	}
	close(output[0]);
	close(channel[0]);
	close(parent[0]);
	return a.ret;
}

/* Fds that pcid got from whoever started it, and forgot: a driver must not see them. */
static void test_fds(void)
{
	static const int strays[] = {7, 20, 100, 200};

	for (unsigned i = 0; i < 4; i++)
		if (fcntl(strays[i], F_GETFD) < 0)
			CU_ASSERT_EQUAL(dup2(STDERR_FILENO, strays[i]), strays[i]);
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, false), 0);
	HAS("fds 0 1 2 3");
	HAS("env PCID_CLIENT_CHANNEL=3");
	CU_ASSERT_PTR_NULL(strstr(report, "PCID_PARENT_CHANNEL"));
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, true), 0);
	HAS("fds 0 1 2 3 4");
	HAS("env PCID_PARENT_CHANNEL=4");
	CU_ASSERT_PTR_NULL(strstr(report, "PCID_DMA_BITS"));
	dma_bits = 32;
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, true), 0);
	HAS("env PCID_DMA_BITS=32");
	dma_bits = 0;
	for (unsigned i = 0; i < 4; i++)
		close(strays[i]);
}

static void check_privileges(void)
{
	HAS("NoNewPrivs:\t1");
	HAS("CapInh:\t0000000000000000");
	HAS("CapPrm:\t0000000000000000");
	HAS("CapEff:\t0000000000000000");
	HAS("CapAmb:\t0000000000000000");
	if (!geteuid())
		HAS("CapBnd:\t0000000000000000");
}

static void test_privileges(void)
{
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, false), 0);
	check_privileges();
	if (geteuid())
		return; /* as in pcid: the user stays */
	CU_ASSERT_EQUAL(start(self, "--probe", 0, false), 0);
	check_privileges();
	CU_ASSERT_EQUAL(start(self, "--probe", NOBODY, false), 0);
	check_privileges();
	HAS("Uid:\t65534\t65534\t65534\t65534");
	HAS("Gid:\t65534\t65534\t65534\t65534");
	HAS("Groups:\t ");
}

/* As from a parent that ignores signals, those that libc does not let us touch included. */
static void ignore_signals(bool ignored)
{
	unsigned long action[8] = {ignored ? (unsigned long)SIG_IGN : (unsigned long)SIG_DFL};

	for (int i = 32; i < 34; i++)
		syscall(SYS_rt_sigaction, i, action, NULL, 8);
	signal(SIGHUP, ignored ? SIG_IGN : SIG_DFL);
	signal(SIGPIPE, ignored ? SIG_IGN : SIG_DFL);
}

static void test_surroundings(void)
{
	ignore_signals(true);
	setenv("SECRET", "pcid's own", 1);
	setenv("LD_PRELOAD_NOT", "x", 1);
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, false), 0);
	CU_ASSERT_PTR_NULL(strstr(report, "env SECRET"));
	CU_ASSERT_PTR_NULL(strstr(report, "env LD_"));
	CU_ASSERT_PTR_NULL(strstr(report, "env HOME"));
	HAS("cwd /");
	HAS("umask 077");
	HAS("leader 1");
	HAS("terminal 0");
	HAS("SigBlk:\t0000000000000000");
	HAS("SigIgn:\t0000000000000000");
	ignore_signals(false);
}

/* pcid was started by hand, in a terminal: what it starts is not in it. */
static void test_terminal(void)
{
	int terminal, status = -1;
	pid_t pid = forkpty(&terminal, NULL, NULL, NULL);

	CU_ASSERT_FATAL(pid >= 0);
	if (!pid) {
		if (open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC) < 0)
			_exit(2);
		if (start(self, "--probe", PCID_KEEP_ID, false))
			_exit(3);
		_exit(has_line("leader 1") && has_line("terminal 0") ? 0 : 4);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
	close(terminal);
}

static bool within(const char *name, long long most)
{
	const char *at = strstr(report, name);
	long long now, limit;

	return at && sscanf(at + strlen(name), "%lld %lld", &now, &limit) == 2 && now >= 0 &&
	       now <= most && limit >= 0 && limit <= most;
}

/* As much as we may, so that there is something to take away. */
static void raise_limit(int resource, rlim_t most)
{
	struct rlimit limit = {most, most};

	if (!setrlimit(resource, &limit))
		return;
	getrlimit(resource, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(resource, &limit);
}

static void test_limits(void)
{
	raise_limit(RLIMIT_CORE, RLIM_INFINITY);
	raise_limit(RLIMIT_NOFILE, 8192);
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	memlock = mmap(NULL, sizeof(*memlock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	CU_ASSERT_FATAL(memlock != MAP_FAILED);
	memlock->rlim_max = RLIM_INFINITY;
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, false), 0);
	HAS("core 0 0");
	CU_ASSERT_TRUE(within("\nnofile", 4096));
	CU_ASSERT_TRUE(within("\nmemlock", 8 << 20));
	CU_ASSERT_TRUE(memlock->rlim_cur <= 8 << 20 && memlock->rlim_max <= 8 << 20);
	munmap(memlock, sizeof(*memlock));
	memlock = NULL;
}

/* The hard limit: a sanitizer sets the other one to 0. */
static long long core_limit(void)
{
	const char *at = strstr(report, "\ncore ");
	long long now, limit = -2;

	return at && sscanf(at, "\ncore %lld %lld", &now, &limit) == 2 ? limit : -2;
}

/* One that is being debugged may leave a core, as large as pcid's own. */
static void test_sandbox(void)
{
	struct rlimit own;

	raise_limit(RLIMIT_CORE, RLIM_INFINITY);
	getrlimit(RLIMIT_CORE, &own);
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, false), 0);
	HAS("env PCID_SANDBOX=yes");
	CU_ASSERT_EQUAL(core_limit(), 0);
	sandbox = PCID_SANDBOX_DEBUG;
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, false), 0);
	HAS("env PCID_SANDBOX=debug");
	CU_ASSERT_EQUAL(core_limit(), (long long)own.rlim_max);
	sandbox = PCID_SANDBOX_NO;
	CU_ASSERT_EQUAL(start(self, "--probe", PCID_KEEP_ID, false), 0);
	HAS("env PCID_SANDBOX=no");
	CU_ASSERT_EQUAL(core_limit(), 0);
	sandbox = PCID_SANDBOX_YES;
}

/* ---- what cannot be started ---- */

static int start_file(const char *text, mode_t mode)
{
	char path[] = "/tmp/pcid-spawn.XXXXXX";
	int fd = mkstemp(path), ret;

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	CU_ASSERT_EQUAL(fchmod(fd, mode), 0);
	close(fd);
	ret = start(path, "--probe", PCID_KEEP_ID, false);
	unlink(path);
	return ret;
}

static void test_failures(void)
{
	CU_ASSERT_EQUAL(start("/nonexistent/driver", "--probe", PCID_KEEP_ID, false), -ENOENT);
	CU_ASSERT_EQUAL(start_file("no program", 0755), -ENOEXEC);
	CU_ASSERT_EQUAL(start_file("#!/bin/sh\nexit 0\n", 0644), -EACCES);
	CU_ASSERT_EQUAL(start_file("#!/bin/sh\necho \"a script, $PCID_CLIENT_CHANNEL\"\n", 0755),
			0);
	HAS("a script, 3");
}

/* ---- the end of pcid ---- */

/* Is `fd`'s other end closed everywhere before long? */
static bool hangs_up(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, PATIENCE_MS) == 1 && p.revents & POLLHUP;
}

/* A process in pcid's place, which starts a driver that would stay. */
static pid_t start_pcid(int channel, bool dies_early, int told)
{
	char *args[] = {self, (char *)"--stay", NULL};
	pid_t pid = fork();
	struct attempt a = {.spawn = {.path = self,
				      .args = args,
				      .channel = channel,
				      .parent_channel = -1,
				      .output = STDERR_FILENO,
				      .uid = PCID_KEEP_ID,
				      .gid = PCID_KEEP_ID}};

	if (pid)
		return pid;
	parent_dies = dies_early;
	run_attempt(&a);
	(void)!write(told, a.ret ? "n" : "y", 1);
	for (;;)
		pause();
}

static void end_of_pcid(bool dies_early)
{
	int channel[2], told[2], status;
	char byte = '?';
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel), 0);
	CU_ASSERT_EQUAL_FATAL(pipe2(told, O_CLOEXEC), 0);
	pid = start_pcid(channel[1], dies_early, told[1]);
	close(channel[1]);
	close(told[1]);
	if (!dies_early) {
		CU_ASSERT_EQUAL(read(told[0], &byte, 1), 1);
		CU_ASSERT_EQUAL(byte, 'y'); /* it runs */
		kill(pid, SIGKILL);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CU_ASSERT_TRUE(hangs_up(channel[0]));
	close(channel[0]);
	close(told[0]);
}

static void test_dies_with_pcid(void)
{
	end_of_pcid(false);
}

/* pcid dies after the fork and before the driver's process could ask to be told of it. */
static void test_dies_before(void)
{
	end_of_pcid(true);
}

static CU_TestInfo tests[] = {
	{"file descriptors", test_fds},
	{"privileges", test_privileges},
	{"environment, directory, signals", test_surroundings},
	{"a terminal", test_terminal},
	{"limits", test_limits},
	{"what it is told of its sandbox", test_sandbox},
	{"what cannot be started", test_failures},
	{"a driver dies with pcid", test_dies_with_pcid},
	{"also when pcid dies at once", test_dies_before},
	CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{

	if (argc > 1 && !strcmp(argv[1], "--probe"))
		return probe();
	if (argc > 1 && !strcmp(argv[1], "--stay"))
		return stay();
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 2;
	return run_tests("starting a driver", tests);
}
