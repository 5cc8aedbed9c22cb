/* SPDX-License-Identifier: MIT */
/*
 * seccomp: the system calls that a driver may make, and the end for all others. What is here is
 * what the loop, rings, pools, tasks and logs need, and what the C library does on its own. Nothing
 * here names a file, makes a process, a socket or executable memory, or asks a device's driver in
 * the kernel anything; pread and its like are missing because they would read any register of a
 * VFIO device's fd.
 */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/seccomp.h>

#include "sandbox.h"

#define INT_BITS 0xffffffffu /* the kernel takes no more of an int argument */
#define FD_BITS 12	     /* of the numbers that a driver's fds have: pcid's limit is 4096 */

static const int allowed[] = {
	/* rings, channels and what the loop watches */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(accept4),
	SCMP_SYS(getsockopt), SCMP_SYS(shutdown), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_gettime),
	/* pools and memory; mmap and mprotect are below */
	SCMP_SYS(memfd_create), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(fstat),
	SCMP_SYS(fstatfs), SCMP_SYS(lseek), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(brk),
	/* time, CPUs, waiting */
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(getcpu), SCMP_SYS(futex), SCMP_SYS(membarrier),
	SCMP_SYS(rseq), SCMP_SYS(restart_syscall), SCMP_SYS(pause),
	/* itself */
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
	SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getrandom), SCMP_SYS(getrusage),
	SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(exit), SCMP_SYS(exit_group)};

static int allow_all(scmp_filter_ctx filter)
{
	int ret = 0;

	for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed) && !ret; i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	return ret;
}

/* Add a rule for the int argument `arg`: its bits `mask` are `value`. */
static int rule(scmp_filter_ctx filter, uint32_t action, int call, unsigned arg, uint32_t mask,
		uint32_t value)
{
	return seccomp_rule_add(filter, action, call, 1,
				SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

static int allow_memory(scmp_filter_ctx filter)
{
	int ret = rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, PROT_EXEC, 0);

	return ret ? ret : rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
}

static int allow_fcntl(scmp_filter_ctx filter)
{
	static const uint32_t commands[] = {F_GETFD,	     F_SETFD,	  F_GETFL,    F_SETFL,
					    F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS};
	int ret = 0;

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands) && !ret; i++)
		ret = rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, INT_BITS, commands[i]);
	return ret;
}

/*
 * The primary ring, which has restrictions of its own, is the one that may be entered. Its number
 * must stay its own, so it cannot be closed: a ring that some client sends would get the number.
 * "Any number but this one" is one rule for each bit in which it may differ.
 */
static int allow_ring(scmp_filter_ctx filter, int ring_fd)
{
	uint32_t fd = (uint32_t)ring_fd;
	int ret;

	if (ring_fd < 0)
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(close), 0);
	if (fd >> FD_BITS)
		return -EMFILE;
	ret = rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(io_uring_enter), 0, INT_BITS, fd);
	for (unsigned bit = 0; bit < FD_BITS && !ret; bit++)
		ret = rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(close), 0,
			   INT_BITS << FD_BITS | 1u << bit, ~fd & 1u << bit);
	if (!ret) /* nothing, and an error by itself */
		ret = rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(close), 0, 1u << 31, 1u << 31);
	if (!ret)
		ret = rule(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(close), 0, INT_BITS, fd);
	return ret;
}

/* abort, and a handler that lets its signal have its usual effect. */
static int allow_own_end(scmp_filter_ctx filter)
{
	return rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 0, INT_BITS, (uint32_t)getpid());
}

/* What the C library asks and can do without. */
static int answer_probes(scmp_filter_ctx filter)
{
	int ret = rule(filter, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1, INT_BITS, TCGETS);

	if (!ret) /* fstat; the path may be another one than "", and only tell what it is */
		ret = rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 3, INT_BITS,
			   AT_EMPTY_PATH);
	if (!ret) /* limits are read, not set */
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
				       SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0));
	return ret;
}

static int fill(scmp_filter_ctx filter, int ring_fd)
{
	/* All threads; and a search tree, so that no call is slower for standing late in a list. */
	int ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	if (!ret)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!ret)
		ret = allow_all(filter);
	if (!ret)
		ret = allow_memory(filter);
	if (!ret)
		ret = allow_fcntl(filter);
	if (!ret)
		ret = allow_ring(filter, ring_fd);
	if (!ret)
		ret = allow_own_end(filter);
	if (!ret)
		ret = answer_probes(filter);
	return ret;
}

/* ---- when one is being debugged ---- */

static void name_it(int number, siginfo_t *info, void *context)
{
	char *name = seccomp_syscall_resolve_num_arch(info->si_arch, info->si_syscall);

	(void)context;
	pcidipc_err("the sandbox forbids the system call %s (number %d), made at %p",
		    name ? name : "?", info->si_syscall, info->si_call_addr);
	free(name);
	raise(number); /* the handler is the default again */
}

static int watch_forbidden(void)
{
	struct sigaction action = {.sa_sigaction = name_it,
				   .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER};

	return sigaction(SIGSYS, &action, NULL) ? -errno : 0;
}

static bool available(void)
{
	const uint32_t action = SECCOMP_RET_KILL_PROCESS;

	return !syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

int sandbox_seccomp(enum sandbox_mode mode, int ring_fd)
{
	scmp_filter_ctx filter;
	int ret;

	if (!available())
		return -ENOSYS;
	if (mode == SANDBOX_DEBUG && (ret = watch_forbidden()))
		return ret;
	filter = seccomp_init(mode == SANDBOX_DEBUG ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS);
	if (!filter)
		return -ENOMEM;
	ret = fill(filter, ring_fd);
	if (!ret)
		ret = seccomp_load(filter);
	seccomp_release(filter);
	return ret;
}
