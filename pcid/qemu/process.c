// SPDX-License-Identifier: GPL-2.0-or-later
/* QEMU as a child process: started, listened to, reaped. */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qemu.h"

#define QUIT_NS 3000000000ull /* how long QEMU may take to quit */

/* ---- the child's side, between fork and exec ---- */

static void keep(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

static __attribute__((noreturn)) void run_child(char **argv, const struct qemu_ends *ends,
						int output, pid_t parent)
{
	sigset_t none;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127); /* the parent died before it could have been told */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0); /* a Ctrl-C at the terminal is for pcid, which then stops QEMU in order */
	dup2(null, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	keep(ends->qtest);
	keep(ends->qmp);
	keep(ends->ivshmem);
	keep(ends->user_qmp);
	keep(ends->ram);
	keep(ends->firmware);
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "cannot run %s: %s%s\n", argv[0], strerror(errno),
		errno == ENOENT ? " (install qemu-system-x86, or see qemu in pcid.conf(5))" : "");
	_exit(127);
}

/* ---- what it says ---- */

static void take_line(struct qemu_bus *qb, const char *line)
{
	if (!*line)
		return;
	if (strstr(line, "vtd_dmar_fault ")) {
		vtd_trace_line(qb, line);
		return;
	}
	snprintf(qb->process.last_line, sizeof(qb->process.last_line), "%s", line);
	pcidipc_log_ratelimited(PCIDIPC_NOTICE, "qemu: %s", line);
}

/* A line that is too long is told in pieces. */
static void take_output(struct qemu_bus *qb, const char *bytes, size_t n)
{
	struct qemu_process *p = &qb->process;

	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != '\n')
			p->line[p->line_bytes++] = bytes[i];
		if (bytes[i] != '\n' && p->line_bytes + 1 < sizeof(p->line))
			continue;
		p->line[p->line_bytes] = '\0';
		p->line_bytes = 0;
		take_line(qb, p->line);
	}
}

static ssize_t read_output(struct qemu_bus *qb)
{
	char bytes[4096];
	ssize_t n = read(qb->process.stderr_fd, bytes, sizeof(bytes));

	if (n > 0)
		take_output(qb, bytes, (size_t)n);
	return n;
}

static void stderr_ready(struct pcidipc_watch *watch, unsigned events)
{
	struct qemu_bus *qb = pcidipc_container_of(watch, struct qemu_bus, process.stderr_watch);
	ssize_t n = read_output(qb);

	(void)events;
	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		pcidipc_watch_remove(watch);
}

/* ---- how it ends ---- */

static void say_why(struct qemu_bus *qb, const siginfo_t *info)
{
	char why[sizeof(qb->process.last_line) + 80];
	const char *last = qb->process.last_line;

	if (info->si_code == CLD_EXITED)
		snprintf(why, sizeof(why), "it exited with status %d%s%s", info->si_status,
			 *last ? ": " : "", last);
	else
		snprintf(why, sizeof(why), "signal %d (%s) killed it%s%s", info->si_status,
			 strsignal(info->si_status), *last ? "; it last said: " : "", last);
	qemu_bus_broken(qb, why);
}

static void close_process(struct qemu_process *p)
{
	pcidipc_watch_remove(&p->exit_watch);
	pcidipc_watch_remove(&p->stderr_watch);
	if (p->pidfd >= 0)
		close(p->pidfd);
	if (p->stderr_fd >= 0)
		close(p->stderr_fd);
	p->pidfd = p->stderr_fd = -1;
	p->pid = 0;
}

static void exited(struct pcidipc_watch *watch, unsigned events)
{
	struct qemu_bus *qb = pcidipc_container_of(watch, struct qemu_bus, process.exit_watch);
	siginfo_t info = {0};

	(void)events;
	if (waitid(P_PIDFD, (id_t)qb->process.pidfd, &info, WEXITED | WNOHANG) || !info.si_pid)
		return;
	while (read_output(qb) > 0)
		;
	close_process(&qb->process);
	say_why(qb, &info);
	pcidipc_post(&qb->process.exited, 0);
}

void qemu_process_kill(struct qemu_bus *qb)
{
	struct qemu_process *p = &qb->process;

	if (!p->pid)
		return;
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	close_process(p);
	pcidipc_post(&p->exited, 0);
}

static void out_of_patience(struct pcidipc_timer *timer)
{
	struct qemu_bus *qb = pcidipc_container_of(timer, struct qemu_bus, process.patience);

	pcidipc_warn("qemu: it did not quit in time, and is killed");
	qemu_process_kill(qb);
}

void qemu_process_stop(struct qemu_bus *qb)
{
	char why[QMP_WHY_BYTES];

	if (!qb->process.pid)
		return;
	pcidipc_timer_set(qb->bus.loop, &qb->process.patience, QUIT_NS, out_of_patience);
	if (qmp_run(&qb->qmp, why, "{\"execute\":\"quit\"}"))
		qemu_process_kill(qb);
	pcidipc_await(&qb->process.exited);
	pcidipc_timer_cancel(&qb->process.patience);
}

/* ---- how it begins ---- */

static int watch_process(struct qemu_bus *qb)
{
	struct qemu_process *p = &qb->process;
	int ret;

	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	fcntl(p->pidfd, F_SETFD, FD_CLOEXEC);
	ret = pcidipc_watch_add(qb->bus.loop, &p->exit_watch, p->pidfd, EPOLLIN, exited);
	if (ret)
		return ret;
	return pcidipc_watch_add(qb->bus.loop, &p->stderr_watch, p->stderr_fd, EPOLLIN,
				 stderr_ready);
}

int qemu_process_start(struct qemu_bus *qb, const struct qemu_ends *ends)
{
	struct qemu_process *p = &qb->process;
	char **argv = qemu_args(qb, ends);
	pid_t parent = getpid();
	int output[2], ret;

	if (!argv)
		return -ENOMEM;
	if (pipe2(output, O_CLOEXEC | O_NONBLOCK)) {
		ret = -errno;
		qemu_args_free(argv);
		return ret;
	}
	fcntl(output[1], F_SETFL, 0); /* QEMU waits for us, rather than lose lines */
	p->pid = fork();
	if (!p->pid)
		run_child(argv, ends, output[1], parent);
	ret = p->pid < 0 ? -errno : 0;
	qemu_args_free(argv);
	close(output[1]);
	p->stderr_fd = output[0];
	if (ret) {
		p->pid = 0;
		close_process(p);
		return ret;
	}
	ret = watch_process(qb);
	if (ret)
		qemu_process_kill(qb);
	return ret;
}
