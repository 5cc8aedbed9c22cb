// SPDX-License-Identifier: MIT
/*
 * Make a process's netlink sockets as small as the kernel lets them be, so that what it is told
 * overruns them. As root. Prints how many they are. usage: deafen PID
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_netlink(int fd)
{
	struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
	socklen_t n = sizeof(address);

	return !getsockname(fd, (struct sockaddr *)&address, &n) && address.ss_family == AF_NETLINK;
}

/* The copy is of the same open socket. */
static bool deafen(int process, int number)
{
	const int least = 1;
	int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	bool done = fd >= 0 && is_netlink(fd) &&
		    !setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));

	if (fd >= 0)
		close(fd);
	return done;
}

int main(int argc, char **argv)
{
	int process = argc == 2 ? (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0) : -1;
	struct dirent *entry;
	unsigned n = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", argc == 2 ? argv[1] : "none");
	dir = process < 0 ? NULL : opendir(path);
	while (dir && (entry = readdir(dir)))
		n += *entry->d_name != '.' && deafen(process, atoi(entry->d_name));
	printf("%u\n", n);
	return n ? 0 : 1;
}
