/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting and ending QEMU. Its CPU is halted by its firmware: only its device models are used. */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

#define FIRMWARE_BYTES 65536
#define MAX_ARGS 512

/* cli; hlt; and around again, at the reset vector 16 bytes below 4 GiB. */
static int write_firmware(const char *path)
{
	static const unsigned char code[] = {0xfa, 0xf4, 0xeb, 0xfd};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, FIRMWARE_BYTES) || pwrite(fd, code, sizeof(code), 0xfff0) != sizeof(code))
		ret = -EIO;
	close(fd);
	return ret;
}

static int make_ram(struct machine *m)
{
	m->ram_bytes = (uint64_t)(m->options.ram_mib ? m->options.ram_mib : 64) << 20;
	m->ram_fd = memfd_create("pcid-qemu-ram", MFD_CLOEXEC);
	if (m->ram_fd < 0 || ftruncate(m->ram_fd, (off_t)m->ram_bytes))
		return -errno;
	m->ram = mmap(NULL, m->ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->ram_fd, 0);
	return m->ram == MAP_FAILED ? -errno : 0;
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1))
		return -errno;
	return fd;
}

static const char *format(char *buffer, size_t bytes, const char *pattern, const char *dir,
			  unsigned long n)
{
	snprintf(buffer, bytes, pattern, dir, n);
	return buffer;
}

/* QEMU connects to our sockets, so that none of its own has to be waited for. */
static void exec_qemu(struct machine *m)
{
	char firmware[96], ram[128], machine_ram[48], qtest[128], qmp[128], people[160], iv[128];
	const char *argv[MAX_ARGS] = {m->options.binary,
				      "-M",
				      "q35,memory-backend=ram",
				      "-accel",
				      "tcg",
				      "-cpu",
				      "max,phys-bits=46",
				      "-display",
				      "none",
				      "-nodefaults",
				      "-no-user-config"};
	const char *fixed[] = {
		"-bios",
		format(firmware, sizeof(firmware), "%s/halt.bin", m->run_dir, 0),
		"-qtest",
		format(qtest, sizeof(qtest), "unix:%s/qtest", m->run_dir, 0),
		"-qtest-log",
		"none",
		"-qmp",
		format(qmp, sizeof(qmp), "unix:%s/qmp", m->run_dir, 0),
		"-qmp",
		format(people, sizeof(people), "unix:%s/qmp.sock,server=on,wait=off", m->run_dir,
		       0),
		"-m",
		format(machine_ram, sizeof(machine_ram), "%.0s%luM,slots=256,maxmem=8T", "",
		       m->ram_bytes >> 20),
		"-object",
		format(ram, sizeof(ram),
		       "memory-backend-file,id=ram,share=on,mem-path=/proc/%.0s%lu/fd/", "",
		       (unsigned long)getppid()),
		"-device",
		"intel-iommu,intremap=off,aw-bits=48",
		"-chardev",
		format(iv, sizeof(iv), "socket,id=pcid-iv,path=%s/ivshmem", m->run_dir, 0),
		"-device",
		"ivshmem-doorbell,id=pcid-doorbell,chardev=pcid-iv,vectors=256,addr=1f.7,ioeventfd="
		"off",
	};
	size_t n = 11, used = strlen(ram);

	snprintf(ram + used, sizeof(ram) - used, "%d,size=%lu", m->ram_fd,
		 (unsigned long)m->ram_bytes);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		argv[n++] = fixed[i];
	for (size_t i = 0; m->args[i] && n < MAX_ARGS - 1; i++)
		argv[n++] = m->args[i];
	argv[n] = NULL;
	execvp(argv[0], (char *const *)argv);
	fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void child(struct machine *m, int error_fd)
{
	pid_t parent = getppid();
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
	dup2(error_fd, STDOUT_FILENO);
	dup2(error_fd, STDERR_FILENO);
	exec_qemu(m);
}

static void died(struct pcidipc_watch *watch, unsigned events)
{
	struct machine *m = pcidipc_container_of(watch, struct machine, death);

	(void)events;
	pcidipc_watch_remove(watch);
	pcidipc_err("QEMU ended unexpectedly%s%s", *m->complaint ? ": " : "", m->complaint);
	m->bus.event(&m->bus, PCID_BUS_DEAD, NULL, NULL);
}

static void complained(struct pcidipc_watch *watch, unsigned events)
{
	struct machine *m = pcidipc_container_of(watch, struct machine, complaints);
	char text[sizeof(m->complaint)];
	ssize_t n = read(watch->fd, text, sizeof(text) - 1);

	(void)events;
	if (n <= 0) {
		int fd = watch->fd;

		pcidipc_watch_remove(watch);
		close(fd);
		return;
	}
	text[n] = 0;
	for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		snprintf(m->complaint, sizeof(m->complaint), "%s", line);
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "qemu: %s", line);
	}
}

static int spawn_qemu(struct machine *m)
{
	int errors[2], ret;

	if (pipe2(errors, O_CLOEXEC))
		return -errno;
	m->pid = fork();
	if (!m->pid)
		child(m, errors[1]);
	close(errors[1]);
	if (m->pid < 0) {
		close(errors[0]);
		return -errno;
	}
	m->pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0);
	if (m->pidfd < 0)
		return -errno;
	fcntl(errors[0], F_SETFL, O_NONBLOCK);
	ret = pcidipc_watch_add(m->bus.loop, &m->complaints, errors[0], EPOLLIN, complained);
	return ret ? ret : pcidipc_watch_add(m->bus.loop, &m->death, m->pidfd, EPOLLIN, died);
}

/* The socket that QEMU connects to `listener`. It may as well die instead. */
static int accept_qemu(struct machine *m, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		int status;

		if (fd >= 0 || errno != EAGAIN)
			return fd < 0 ? -errno : fd;
		if (waitpid(m->pid, &status, WNOHANG) == m->pid) {
			m->pid = 0;
			pcidipc_task_sleep(10000000); /* let its last words arrive */
			pcidipc_err("QEMU did not start: %s",
				    *m->complaint ? m->complaint : "it said nothing");
			return -ENODEV;
		}
		pcidipc_task_wait_fd(listener, EPOLLIN, 20000000);
	}
}

static int connect_sockets(struct machine *m, const int listeners[3])
{
	int fd = accept_qemu(m, listeners[0]);
	int ret;

	if (fd < 0)
		return fd;
	m->ivshmem = fd;
	ret = ivshmem_greet(m);
	if (ret)
		return ret;
	fd = accept_qemu(m, listeners[1]);
	ret = fd < 0 ? fd : qtest_start(&m->qtest, m->bus.loop, fd);
	if (ret)
		return ret;
	fd = accept_qemu(m, listeners[2]);
	return fd < 0 ? fd : qmp_start(&m->qmp, m->bus.loop, fd);
}

int machine_launch(struct machine *m)
{
	static const char *const names[3] = {"ivshmem", "qtest", "qmp"};
	int listeners[3] = {-1, -1, -1};
	char path[96];
	int ret;

	snprintf(path, sizeof(path), "%s/halt.bin", m->run_dir);
	ret = write_firmware(path);
	if (!ret)
		ret = make_ram(m);
	for (int i = 0; i < 3 && !ret; i++) {
		snprintf(path, sizeof(path), "%s/%s", m->run_dir, names[i]);
		listeners[i] = listen_at(path);
		ret = listeners[i] < 0 ? listeners[i] : 0;
	}
	if (!ret)
		ret = spawn_qemu(m);
	if (!ret)
		ret = connect_sockets(m, listeners);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", m->run_dir, names[i]);
		unlink(path);
		if (listeners[i] >= 0)
			close(listeners[i]);
	}
	return ret;
}

void machine_kill(struct machine *m)
{
	pcidipc_watch_remove(&m->death);
	if (m->pid > 0) {
		kill(m->pid, SIGKILL);
		waitpid(m->pid, NULL, 0);
		m->pid = 0;
	}
	qtest_stop(&m->qtest);
	qmp_stop(&m->qmp);
	pcidipc_watch_remove(&m->complaints);
}
