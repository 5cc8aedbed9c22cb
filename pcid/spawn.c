// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Starting a driver's process: its fds and nothing else, another user, no capabilities, and no way
 * back to any. What runs between fork and exec makes system calls only.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pcidipc/task.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"

#define CHANNEL_FD 3
#define PARENT_FD 4
#define STATUS_FD 5 /* until exec */
#define IMAGE_FD 6  /* until exec: the executable */
#define SAFE_FD 16  /* above all of these */
#define MAX_FILES 4096
#define MAX_LOCKED (8u << 20) /* what the kernel gives users, since 5.16 */
#define MAX_ENV 32

enum step {
	STEP_FDS,
	STEP_LIMITS,
	STEP_USER,
	STEP_CAPABILITIES,
	STEP_PARENT,
	STEP_EXEC,
};

static const char *const step_names[] = {
	[STEP_FDS] = "arranging file descriptors", [STEP_LIMITS] = "setting resource limits",
	[STEP_USER] = "changing the user",	   [STEP_CAPABILITIES] = "dropping capabilities",
	[STEP_PARENT] = "pcid ended meanwhile",	   [STEP_EXEC] = "executing it",
};

struct status {
	int error;
	int step;
};

/* ---- the environment: a short list, because pcid's own is none of a driver's business ---- */

struct environment {
	char *entry[MAX_ENV + 1];
	char channel[32], parent[32], sandbox[32], quota[48], bits[32];
};

static bool wanted(const char *entry)
{
	static const char *const names[] = {
		"PATH=",	 "LANG=",	  "TZ=",
		"PCIDIPC_LOOP=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=",
		"LSAN_OPTIONS=", "TSAN_OPTIONS=", "MALLOC_TRIM_THRESHOLD_="};

	if (!strncmp(entry, "LC_", 3))
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strncmp(entry, names[i], strlen(names[i])))
			return true;
	return false;
}

static void make_environment(struct environment *env, const struct pcid_spawn *spawn)
{
	extern char **environ;
	unsigned n = 0;

	for (char **e = environ; *e && n < MAX_ENV - 6; e++)
		if (wanted(*e))
			env->entry[n++] = *e;
	/* Its standard error is a pipe of ours: with the levels, so that they are not lost. */
	env->entry[n++] = (char *)"JOURNAL_STREAM=pcid";
	snprintf(env->channel, sizeof(env->channel), "PCID_CLIENT_CHANNEL=%d", CHANNEL_FD);
	env->entry[n++] = env->channel;
	snprintf(env->parent, sizeof(env->parent), "PCID_PARENT_CHANNEL=%d", PARENT_FD);
	if (spawn->parent_channel >= 0)
		env->entry[n++] = env->parent;
	snprintf(env->sandbox, sizeof(env->sandbox), "PCID_SANDBOX=%s",
		 pcid_sandbox_name(spawn->sandbox));
	env->entry[n++] = env->sandbox;
	snprintf(env->quota, sizeof(env->quota), "PCID_DMA_QUOTA_MIB=%llu",
		 (unsigned long long)spawn->dma_quota >> 20);
	if (spawn->dma_quota)
		env->entry[n++] = env->quota;
	snprintf(env->bits, sizeof(env->bits), "PCID_DMA_BITS=%u", spawn->dma_bits);
	if (spawn->dma_bits)
		env->entry[n++] = env->bits;
	env->entry[n] = NULL;
}

/* ---- in the child ---- */

static _Noreturn void give_up(int status_fd, enum step step)
{
	struct status status = {.error = errno, .step = step};

	(void)!write(status_fd, &status, sizeof(status));
	_exit(127);
}

/* Out of the way of the numbers that they are to have. */
static int move_up(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD, SAFE_FD);
}

/* *status_fd and *image become STATUS_FD and IMAGE_FD. */
static int arrange_fds(const struct pcid_spawn *spawn, int *status_fd, int *image)
{
	int null = open("/dev/null", O_RDWR);
	int channel = move_up(spawn->channel);
	int parent = move_up(spawn->parent_channel);
	int output = move_up(spawn->output);
	int status = move_up(*status_fd);
	int executable = move_up(*image);

	if (null < 0 || channel < 0 || output < 0 || status < 0 || executable < 0)
		return -1;
	*status_fd = status;
	if (dup3(status, STATUS_FD, O_CLOEXEC) < 0)
		return -1;
	*status_fd = STATUS_FD;
	if (dup3(executable, IMAGE_FD, O_CLOEXEC) < 0)
		return -1;
	*image = IMAGE_FD;
	if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 ||
	    dup2(channel, CHANNEL_FD) < 0)
		return -1;
	if (parent < 0)
		close(PARENT_FD);
	else if (dup2(parent, PARENT_FD) < 0)
		return -1;
	return (int)syscall(SYS_close_range, IMAGE_FD + 1, ~0u, 0);
}

/* By the system call: whoever started pcid may have had 32 and 33 ignored too, which libc keeps to
 * itself. All zero is the default in every layout of the kernel's structure. */
static int reset_signals(void)
{
	static const unsigned long by_default[8];
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		syscall(SYS_rt_sigaction, i, by_default, NULL, 8);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

static int limit(int resource, rlim_t most)
{
	struct rlimit old, new = {.rlim_cur = most, .rlim_max = most};

	if (getrlimit(resource, &old))
		return -1;
	if (old.rlim_max < most)
		new.rlim_cur = new.rlim_max = old.rlim_max;
	return setrlimit(resource, &new);
}

/*
 * No core, unless it is being debugged: it would hold clients' data. Memory that a device reaches
 * is pinned by pcid, under quotas, so a driver needs to lock little. Not limited: address space
 * (pools reserve theirs in terabytes and use little of it), files' sizes (pools are files) and
 * processes: a driver gives up making any by itself, in its sandbox, which a sanitizer that needs
 * one cannot be in.
 */
static int set_limits(const struct pcid_spawn *spawn)
{
	return limit(RLIMIT_CORE, spawn->sandbox == PCID_SANDBOX_DEBUG ? RLIM_INFINITY : 0) ||
			       limit(RLIMIT_NOFILE, MAX_FILES) || limit(RLIMIT_MEMLOCK, MAX_LOCKED)
		       ? -1
		       : 0;
}

/* What an exec by uid 0 could gain is bounded here; without the right to do so there is nothing to
 * gain either. */
static void drop_bounding_set(void)
{
	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			return;
}

static int change_user(const struct pcid_spawn *spawn)
{
	if (geteuid() || spawn->uid == PCID_KEEP_ID)
		return 0;
	if (setgroups(0, NULL) || setresgid(spawn->gid, spawn->gid, spawn->gid))
		return -1;
	return setresuid(spawn->uid, spawn->uid, spawn->uid);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capset, &header, none))
		return -1;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* After the change of user, which clears it; then look whether pcid died before. */
static int die_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -1;
	errno = ESRCH;
	return getppid() == parent ? 0 : -1;
}

/*
 * By the fd that pcid opened, because the driver's user need not be able to reach the file: a build
 * tree below somebody's home directory. A script cannot be run so (its interpreter would have to
 * open it).
 */
static void execute(const struct pcid_spawn *spawn, int image, char *const *env)
{
	execveat(image, "", spawn->args, env, AT_EMPTY_PATH);
	if (errno == ENOENT)
		execve(spawn->path, spawn->args, env);
}

/*
 * A driver must not have pcid's terminal, into which it could type, nor the signals of its keys.
 * Where there is none (ENXIO) a process group is enough, and better than a session: the scheduler
 * may divide the CPUs among sessions first (autogroup), and would then refuse it when one driver
 * yields to another.
 */
static void leave_terminal(void)
{
	int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

	if (terminal < 0 && errno == ENXIO) {
		setpgid(0, 0);
		return;
	}
	if (terminal >= 0)
		close(terminal);
	setsid();
}

static _Noreturn void run_child(const struct pcid_spawn *spawn, char *const *env, pid_t parent,
				int status, int image)
{
	leave_terminal();
	umask(077);
	if (reset_signals() || arrange_fds(spawn, &status, &image) || chdir("/"))
		give_up(status, STEP_FDS);
	if (set_limits(spawn))
		give_up(status, STEP_LIMITS);
	drop_bounding_set();
	if (change_user(spawn))
		give_up(status, STEP_USER);
	if (drop_capabilities())
		give_up(status, STEP_CAPABILITIES);
	if (die_with(parent))
		give_up(status, STEP_PARENT);
	execute(spawn, image, env);
	give_up(status, STEP_EXEC);
}

/* ---- in pcid ---- */

static void reap(pid_t pid, int pidfd)
{
	if (pidfd >= 0)
		close(pidfd);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Closed by exec, or it says what went wrong. */
static int await_exec(int fd, const char **step)
{
	struct status status;
	ssize_t n;

	pcidipc_task_wait_fd(fd, EPOLLIN, 0);
	n = read(fd, &status, sizeof(status));
	if (n != sizeof(status))
		return 0;
	*step = status.step >= 0 && status.step <= STEP_EXEC ? step_names[status.step] : "?";
	return status.error > 0 ? -status.error : -EIO;
}

/* The parent closes its copy of status[1], or it would never see the end. */
static int start(const struct pcid_spawn *spawn, int image, int status[2], pid_t *pid, int *pidfd,
		 const char **step)
{
	struct environment env;
	pid_t self = getpid();
	int ret;

	make_environment(&env, spawn);
	*pid = fork();
	if (!*pid)
		run_child(spawn, env.entry, self, status[1], image);
	if (*pid < 0)
		return -errno;
	close(status[1]);
	status[1] = -1;
	*pidfd = pidfd_open(*pid, 0);
	ret = *pidfd < 0 ? -errno : await_exec(status[0], step);
	if (ret)
		reap(*pid, *pidfd);
	return ret;
}

int pcid_spawn(const struct pcid_spawn *spawn, pid_t *pid, int *pidfd, const char **step)
{
	int status[2] = {-1, -1}, image, ret;

	*step = "opening it";
	image = open(spawn->path, O_PATH | O_CLOEXEC);
	if (image < 0)
		return -errno;
	*step = "making a process";
	ret = pipe2(status, O_CLOEXEC) ? -errno : start(spawn, image, status, pid, pidfd, step);
	for (int i = 0; i < 2; i++)
		if (status[i] >= 0)
			close(status[i]);
	close(image);
	return ret;
}
