/* SPDX-License-Identifier: MIT */
/* Accepting consumers. */
#include <pcidipc/log.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "scheme_internal.h"

#define BACKLOG 128
#define BREATHER_NS 100000000u /* when there is no fd left */

struct pcidipc_listener {
	struct pcidipc_loop *loop;
	struct pcidipc_scheme *scheme;
	struct pcidipc_watch watch;
	struct pcidipc_timer breather;
	uint32_t session_flags;
};

static void listen_again(struct pcidipc_timer *timer)
{
	struct pcidipc_listener *l = pcidipc_container_of(timer, struct pcidipc_listener, breather);

	pcidipc_watch_change(&l->watch, EPOLLIN);
}

/* One answer that it cannot mistake, and no session: so much for the one who comes too many. */
static void turn_away(int channel, int error)
{
	struct ringabi_msg asked = {.type = RINGABI_MSG_HELLO};
	struct ringabi_hello_reply reply = {0};

	pcidipc_channel_reply(channel, &asked, &reply.msg, sizeof(reply), error, NULL, 0);
	close(channel);
}

static void serve(struct pcidipc_listener *l, int fd)
{
	struct pcidipc_session *s;
	int ret = pcidipc_session_create(l->loop, l->scheme, fd, l->session_flags, &s);

	if (!ret)
		session_expect_hello(s);
	else
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: a connection cannot be served and was closed: %s",
					l->scheme->name, strerror(-ret));
}

static void incoming(struct pcidipc_watch *watch, unsigned events)
{
	struct pcidipc_listener *l = pcidipc_container_of(watch, struct pcidipc_listener, watch);
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: cannot accept: %s", l->scheme->name,
					strerror(errno));
		pcidipc_watch_change(watch, 0);
		pcidipc_timer_set(l->loop, &l->breather, BREATHER_NS, listen_again);
	} else if (l->scheme->nsessions >= l->scheme->max_sessions) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: %u connections, the limit; one more turned away",
					l->scheme->name, l->scheme->max_sessions);
		turn_away(fd, -EMFILE);
	} else if (!users_admit(scheme_users(l->scheme), users_peer(fd), l->scheme->name)) {
		turn_away(fd, -EDQUOT);
	} else {
		serve(l, fd);
	}
}

int pcidipc_listen(struct pcidipc_loop *loop, struct pcidipc_scheme *scheme, int fd,
		   uint32_t session_flags, struct pcidipc_listener **out)
{
	struct pcidipc_listener *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return -ENOMEM;
	session_prepare_scheme(scheme);
	l->loop = loop;
	l->scheme = scheme;
	l->session_flags = session_flags;
	ret = pcidipc_watch_add(loop, &l->watch, fd, EPOLLIN, incoming);
	if (ret)
		free(l);
	else
		*out = l;
	return ret;
}

void pcidipc_listener_close(struct pcidipc_listener *l)
{
	if (!l)
		return;
	pcidipc_watch_remove(&l->watch);
	pcidipc_timer_cancel(&l->breather);
	free(l);
}

int pcidipc_listen_socket(const char *path, unsigned mode)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || chmod(path, mode) ||
	    listen(fd, BACKLOG)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}
