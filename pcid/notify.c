// SPDX-License-Identifier: GPL-2.0-or-later
/* Telling whoever started pcid that it is ready: systemd's way (a datagram to $NOTIFY_SOCKET) and
 * s6's (--ready-fd). */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pcid.h"

void pcid_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	int fd;

	if (!n || (path[0] != '/' && path[0] != '@'))
		return;
	if (n >= sizeof(address.sun_path)) {
		pcidipc_warn("NOTIFY_SOCKET=%s is longer than a socket's path can be", path);
		return;
	}
	memcpy(address.sun_path, path, n);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* an abstract name */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
			     (struct sockaddr *)&address, bytes) < 0)
		pcidipc_warn("NOTIFY_SOCKET=%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* A newline, as s6 has it. */
static void write_ready(int *fd)
{
	if (*fd < 0)
		return;
	if (write(*fd, "\n", 1) != 1)
		pcidipc_warn("telling that pcid is ready on file descriptor %d: %s", *fd,
			     strerror(errno));
	close(*fd);
	*fd = -1;
}

void pcid_notify_ready(struct pcid *pcid)
{
	pcid_notify("READY=1\n");
	write_ready(&pcid->options.ready_fd);
	write_ready(&pcid->options.started_fd);
}
