// SPDX-License-Identifier: MIT
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <libpcidipc/src/loop_internal.h>
#include <libpcidipc/src/sandbox.h>
#include <linux/capability.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_NAME "/etc/passwd" /* every machine has it, and everybody may read it */
#define PAGE 4096u
#define MOST_FILES 8192

const char *const attempt_names[ATTEMPTS] = {
	[ATTEMPT_NOTHING] = "registers",
	[ATTEMPT_OPEN] = "open",
	[ATTEMPT_STAT] = "stat",
	[ATTEMPT_SOCKET] = "socket",
	[ATTEMPT_EXEC] = "exec",
	[ATTEMPT_FORK] = "fork",
	[ATTEMPT_THREAD] = "thread",
	[ATTEMPT_PTRACE] = "ptrace",
	[ATTEMPT_MAP_CODE] = "mmap of code",
	[ATTEMPT_PROTECT_CODE] = "mprotect to code",
	[ATTEMPT_KILL] = "kill",
	[ATTEMPT_IOCTL] = "ioctl",
	[ATTEMPT_PREAD] = "pread",
	[ATTEMPT_SETUID] = "setuid",
	[ATTEMPT_CAPABILITIES] = "capset",
	[ATTEMPT_LIMIT] = "setrlimit",
	[ATTEMPT_FILES] = "many files",
	[ATTEMPT_LOCK_MEMORY] = "mlock",
	[ATTEMPT_RING] = "io_uring_setup",
	[ATTEMPT_PRIMARY_OPEN] = "open by the primary ring",
	[ATTEMPT_PRIMARY_REGISTER] = "io_uring_register",
	[ATTEMPT_CLOSE_RING] = "close of the primary ring",
	[ATTEMPT_REGION] = "the fd behind the registers",
	[ATTEMPT_STEAL] = "pidfd_getfd from pcid",
	[ATTEMPT_UNCONFINE] = "other locks",
	[ATTEMPT_LANDLOCK] = "open, with Landlock alone",
	[ATTEMPT_NO_PROCESS] = "fork, with limits alone",
};

static struct pcidipc_loop *loop;
static struct pcidipc_pci *pci;

/* ---- the attempts: 0 or -errno ---- */

static int closed(long fd)
{
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

static int result(long ret)
{
	return ret < 0 ? -errno : 0;
}

/* edu's first register ends in 0xed. */
static int try_registers(void)
{
	struct pcidipc_mmio bar;
	int ret = pcidipc_pci_enable(pci, true, false);

	if (!ret)
		ret = pcidipc_pci_map(pci, 0, &bar);
	if (ret)
		return ret;
	ret = (pcidipc_read32(&bar, 0) & 0xff) == 0xed ? 0 : -EIO;
	pcidipc_mmio_unmap(&bar);
	return ret;
}

static int try_open(void)
{
	return closed(open(FILE_NAME, O_RDONLY | O_CLOEXEC));
}

static int try_stat(void)
{
	struct stat st;

	return result(stat(FILE_NAME, &st));
}

static int try_socket(void)
{
	return closed(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_exec(void)
{
	execl("/proc/self/exe", "attempts", ATTEMPTS_EXECUTED, (char *)NULL);
	return -errno;
}

static int try_fork(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return pid < 0 ? -errno : result(waitpid(pid, NULL, 0));
}

static void *nothing(void *arg)
{
	return arg;
}

static int try_thread(void)
{
	pthread_t thread;
	int ret = pthread_create(&thread, NULL, nothing, NULL);

	return ret ? -ret : -pthread_join(thread, NULL);
}

static int try_ptrace(void)
{
	return result(ptrace(PTRACE_DETACH, getpid(), NULL, NULL)); /* -ESRCH: it was asked */
}

static int map(int protection)
{
	void *p = mmap(NULL, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -errno : result(munmap(p, PAGE));
}

static int try_map_code(void)
{
	int ret = map(PROT_READ | PROT_WRITE); /* the control */

	return ret ? ret : map(PROT_READ | PROT_EXEC);
}

static int try_protect_code(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p, PAGE, PROT_READ | PROT_WRITE))
		return -errno;
	return result(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
}

static int try_kill(void)
{
	return result(kill(getppid(), 0));
}

static int try_ioctl(void)
{
	int pending;

	if (isatty(STDERR_FILENO)) /* a probe of the C library, which must not end it */
		return -EEXIST;
	return result(ioctl(STDERR_FILENO, FIONREAD, &pending));
}

static int try_pread(void)
{
	int fd = memfd_create("attempt", MFD_CLOEXEC);
	char byte;

	return fd < 0 ? -errno : result(pread(fd, &byte, 1, 0));
}

static int try_setuid(void)
{
	return result(setresuid(0, 0, 0));
}

static int try_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct all[_LINUX_CAPABILITY_U32S_3] = {
		{.effective = 1, .permitted = 1}};

	return result(syscall(SYS_capset, &header, all));
}

static int try_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	limit.rlim_max++;
	return result(setrlimit(RLIMIT_NOFILE, &limit));
}

/* How many there are altogether, or 0 if there is no end to them. */
static int try_files(void)
{
	static int fds[MOST_FILES];
	int n = 0, last = 0;

	while (n < MOST_FILES && (fds[n] = memfd_create("attempt", MFD_CLOEXEC)) >= 0)
		last = fds[n++];
	if (n < MOST_FILES && errno != EMFILE)
		last = -errno;
	else if (n == MOST_FILES)
		last = 0;
	while (n--)
		close(fds[n]);
	return last;
}

static int try_lock_memory(void)
{
	size_t bytes = 64u << 20;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret = p == MAP_FAILED ? -errno : result(syscall(SYS_mlock, p, bytes));

	if (p != MAP_FAILED)
		munmap(p, bytes);
	return ret;
}

/* What the loop has under way may come first; its answers are lost, and the driver is started anew.
 */
static int open_by(struct io_uring *ring)
{
	static int marker;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_prep_openat(sqe, AT_FDCWD, FILE_NAME, O_RDONLY | O_CLOEXEC, 0);
	io_uring_sqe_set_data(sqe, &marker);
	ret = io_uring_submit(ring);
	while (ret >= 0 && !io_uring_wait_cqe(ring, &cqe)) {
		bool ours = io_uring_cqe_get_data(cqe) == &marker;

		ret = cqe->res;
		io_uring_cqe_seen(ring, cqe);
		if (ours)
			return ret < 0 ? ret : closed(ret);
	}
	return ret;
}

static int try_ring(void)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(4, &ring, 0);

	if (ret)
		return ret;
	ret = open_by(&ring);
	io_uring_queue_exit(&ring);
	return ret;
}

static int try_primary_open(void)
{
	return loop_ring_fd(loop) < 0 ? -ENOSYS : open_by(&loop->uring.ring);
}

static int try_primary_register(void)
{
	int fd = STDERR_FILENO;

	return io_uring_register((unsigned)loop_ring_fd(loop), IORING_REGISTER_FILES, &fd, 1);
}

/* Also by a number whose upper half the kernel does not look at. */
static int try_close_ring(void)
{
	int ret = result(syscall(SYS_close, (long)loop_ring_fd(loop)));

	return ret != -EPERM ? ret
			     : result(syscall(SYS_close, 1l << 32 | (long)loop_ring_fd(loop)));
}

static int try_region(void)
{
	struct ringabi_map_region request = {
		.msg = {.type = RINGABI_MSG_MAP_REGION, .size = sizeof(request)}};
	struct pcidipc_packet reply;
	int ret = pcidipc_consumer_ask(pcidipc_pci_consumer(pci), &request.msg, NULL, 0, &reply);

	if (!ret)
		pcidipc_packet_close(&reply);
	return ret;
}

static int try_steal(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getppid(), 0), ret;

	if (pidfd < 0)
		return -errno;
	ret = closed(syscall(SYS_pidfd_getfd, pidfd, STDERR_FILENO, 0));
	close(pidfd);
	return ret;
}

static int try_unconfine(void)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = RINGABI_PCI_CONFINE};

	return pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL);
}

static int try_landlock(void)
{
	int ret = try_open(); /* the control */

	if (ret || !sandbox_landlock())
		return ret ? ret : -ENOSYS;
	return try_open();
}

static int try_no_process(void)
{
	int ret = try_fork(); /* the control */

	return ret || sandbox_no_processes() ? -EIO : try_fork();
}

static int (*const attempts[ATTEMPTS])(void) = {
	[ATTEMPT_NOTHING] = try_registers,
	[ATTEMPT_OPEN] = try_open,
	[ATTEMPT_STAT] = try_stat,
	[ATTEMPT_SOCKET] = try_socket,
	[ATTEMPT_EXEC] = try_exec,
	[ATTEMPT_FORK] = try_fork,
	[ATTEMPT_THREAD] = try_thread,
	[ATTEMPT_PTRACE] = try_ptrace,
	[ATTEMPT_MAP_CODE] = try_map_code,
	[ATTEMPT_PROTECT_CODE] = try_protect_code,
	[ATTEMPT_KILL] = try_kill,
	[ATTEMPT_IOCTL] = try_ioctl,
	[ATTEMPT_PREAD] = try_pread,
	[ATTEMPT_SETUID] = try_setuid,
	[ATTEMPT_CAPABILITIES] = try_capabilities,
	[ATTEMPT_LIMIT] = try_limit,
	[ATTEMPT_FILES] = try_files,
	[ATTEMPT_LOCK_MEMORY] = try_lock_memory,
	[ATTEMPT_RING] = try_ring,
	[ATTEMPT_PRIMARY_OPEN] = try_primary_open,
	[ATTEMPT_PRIMARY_REGISTER] = try_primary_register,
	[ATTEMPT_CLOSE_RING] = try_close_ring,
	[ATTEMPT_REGION] = try_region,
	[ATTEMPT_STEAL] = try_steal,
	[ATTEMPT_UNCONFINE] = try_unconfine,
	[ATTEMPT_LANDLOCK] = try_landlock,
	[ATTEMPT_NO_PROCESS] = try_no_process,
};

/* Afterwards it is of no use: locked up further, or its loop has lost an answer. */
bool attempt_spoils(enum attempt what)
{
	return what == ATTEMPT_LANDLOCK || what == ATTEMPT_NO_PROCESS ||
	       what == ATTEMPT_PRIMARY_OPEN;
}

/* ---- the driver: one test at a time, one attempt for each connection ---- */

static void on_test(struct pcidipc_watch *watch, unsigned events)
{
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
	unsigned char what;
	int32_t how;

	(void)events;
	if (fd < 0)
		return;
	if (recv(fd, &what, 1, 0) == 1 && what < ATTEMPTS) {
		how = attempts[what]();
		(void)!send(fd, &how, sizeof(how), MSG_NOSIGNAL);
		if (attempt_spoils(what))
			_exit(0);
	}
	close(fd);
}

static void on_event(uint32_t event, void *arg)
{
	(void)arg;
	if (event == RINGABI_EVENT_SHUTDOWN || event == RINGABI_EVENT_REMOVED)
		pcidipc_loop_stop(loop, 0);
}

int attempts_driver(void)
{
	static struct pcidipc_service service;
	static struct pcidipc_watch listening;
	int ret = pcidipc_loop_create(0, &loop);

	pcidipc_log_init("attempts", PCIDIPC_INFO);
	if (!ret)
		ret = pcidipc_pci_open(loop, &pci);
	if (ret)
		return 1;
	pcidipc_pci_on_event(pci, on_event, NULL);
	ret = pcidipc_pci_publish(pci, "attempts", "", &service);
	if (!ret)
		ret = pcidipc_watch_add(loop, &listening, service.listen_fd, EPOLLIN, on_test);
	if (!ret)
		ret = pcidipc_loop_run(loop);
	pcidipc_watch_remove(&listening);
	pcidipc_pci_close(pci);
	pcidipc_loop_destroy(loop);
	return ret ? 1 : 0;
}

/* ---- the test's side ---- */

/* By the kernel's own words: what is tested must not decide whether it is tested. */
void attempts_probe(bool *no_landlock, bool *no_ring)
{
	const char *forced = getenv("PCIDIPC_LOOP");
	struct io_uring ring;

	*no_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0;
	*no_ring = (forced && !strcmp(forced, "epoll")) || io_uring_queue_init(4, &ring, 0);
	if (!*no_ring)
		io_uring_queue_exit(&ring);
}

int attempt(struct rig *rig, const char *stem, enum attempt what)
{
	const struct timeval patience = {.tv_sec = 30};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	unsigned char byte = (unsigned char)what;
	int32_t how = -EIO;
	ssize_t n = -1;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/attempts/%s0", rig->run, stem);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address)) &&
	    send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
		n = recv(fd, &how, sizeof(how), 0);
	if (!n || (n < 0 && errno == ECONNRESET))
		how = ATTEMPT_DIED;
	close(fd);
	return how;
}
