// SPDX-License-Identifier: MIT
/*
 * In the guest, in the place of the QEMU that pcid starts on the QEMU bus: the tests find it as
 * pcid's child, and its QMP socket where that one's would be. What it says comes from the QEMU that
 * the guest runs on, through a serial port that is wired to that one's monitor; what is traced
 * there (/share/trace) goes to standard error, as that of pcid's own QEMU does. It ends with pcid.
 * usage: qemu_outside PID-OF-PCID SOCKET
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define MONITOR "/dev/ttyS2"
#define TRACE "/share/trace"
#define TRACE_MS 50 /* there is no event for a file that grows on the other side */

enum { PCID, LISTENER, PORT, CLIENT, PLACES };

static struct pollfd places[PLACES];
static int trace;

/*
 * 0xff has the monitor's parser forget what it has, which may be what the port echoed of its
 * greeting before it was raw. What it says of that, and all that came before, is not for the tests.
 */
static int begin_anew(int fd)
{
	static const char anew[] = "\377{\"execute\": \"query-version\", \"id\": \"anew\"}\n";
	char line[4096];
	size_t n = 0;

	if (write(fd, anew, sizeof(anew) - 1) != sizeof(anew) - 1)
		return -1;
	for (;;) {
		if (read(fd, line + n, 1) != 1)
			return -1;
		if (line[n] != '\n' && n + 2 < sizeof(line)) {
			n++;
			continue;
		}
		line[n] = '\0';
		n = 0;
		if (strstr(line, "\"anew\""))
			return 0;
	}
}

static int open_port(void)
{
	int fd = open(MONITOR, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t))
		return -1;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	if (tcsetattr(fd, TCSANOW, &t) || begin_anew(fd))
		return -1;
	return fd;
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, 8))
		return -1;
	return fd;
}

static bool write_all(int fd, const char *bytes, ssize_t n)
{
	for (ssize_t done; n > 0; bytes += done, n -= done)
		if ((done = write(fd, bytes, (size_t)n)) <= 0)
			return false;
	return true;
}

/* One at a time is served, as QEMU does. What comes for nobody is lost. */
static void drop_client(void)
{
	close(places[CLIENT].fd);
	places[CLIENT].fd = -1;
	places[LISTENER].events = POLLIN;
}

static void accept_client(void)
{
	places[CLIENT].fd = accept4(places[LISTENER].fd, NULL, NULL, SOCK_CLOEXEC);
	if (places[CLIENT].fd >= 0)
		places[LISTENER].events = 0;
}

static void relay(int from, int to)
{
	char bytes[4096];
	ssize_t n = read(places[from].fd, bytes, sizeof(bytes));

	if (n > 0 && (places[to].fd < 0 || write_all(places[to].fd, bytes, n)))
		return;
	if (from == PORT && n <= 0)
		exit(1);
	drop_client();
}

static void copy_trace(void)
{
	char bytes[4096];
	ssize_t n;

	while (trace >= 0 && (n = read(trace, bytes, sizeof(bytes))) > 0)
		if (!write_all(STDERR_FILENO, bytes, n))
			exit(1);
}

static void turn(void)
{
	if (places[PORT].revents)
		relay(PORT, CLIENT);
	if (places[CLIENT].fd >= 0 && places[CLIENT].revents)
		relay(CLIENT, PORT);
	if (places[LISTENER].revents)
		accept_client();
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	close_range(3, ~0u, 0);
	signal(SIGPIPE, SIG_IGN);
	trace = open(TRACE, O_RDONLY | O_CLOEXEC);
	if (trace >= 0)
		lseek(trace, 0, SEEK_END);
	places[PCID].fd = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
	places[PORT].fd = open_port();
	places[LISTENER].fd = listen_at(argv[2]);
	places[CLIENT].fd = -1;
	for (unsigned i = 0; i < PLACES; i++)
		places[i].events = POLLIN;
	if (places[PCID].fd < 0 || places[PORT].fd < 0 || places[LISTENER].fd < 0) {
		perror("qemu_outside");
		return 1;
	}
	while (poll(places, PLACES, trace >= 0 ? TRACE_MS : -1) >= 0 && !places[PCID].revents) {
		copy_trace();
		turn();
	}
	copy_trace();
	return 0;
}
