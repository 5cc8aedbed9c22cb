// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Answering for a driver that will not come back: every hello gets -ENODEV. To a client it means
 * that the function was reset, so its buffers are its own again.
 */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "breather.h"
#include "driver.h"

#define MAX_WAITING 64
#define PATIENCE_NS 2000000000ull /* for a client that connects and says nothing */
#define BACKLOG 256		  /* no more can have piled up */

/* A client that has not said hello yet. Closing before that would look to it as if pcid had died.
 */
struct waiting {
	struct pcidipc_list link;
	struct pcidipc_watch watch;
	struct pcidipc_timer timer;
	struct pcid_refuser *refuser;
};

struct pcid_refuser {
	struct pcidipc_loop *loop;
	struct pcidipc_watch watch;
	struct pcid_breather breather;
	struct pcidipc_list waiting;
	unsigned nwaiting;
};

/* 1: answered; 0: it has said nothing yet; -errno: there is no talking to it. */
static int answer(int channel)
{
	struct pcidipc_packet packet;
	struct ringabi_hello_reply reply = {.version_major = RINGABI_VERSION_MAJOR,
					    .version_minor = RINGABI_VERSION_MINOR};
	int ret = pcidipc_channel_receive(channel, &packet, NULL);

	if (ret <= 0)
		return ret;
	pcidipc_packet_close(&packet);
	if (packet.msg.type != RINGABI_MSG_HELLO)
		return -EPROTO;
	pcidipc_channel_reply(channel, &packet.msg, &reply.msg, sizeof(reply), -ENODEV, NULL, 0);
	return 1;
}

static void drop(struct waiting *w)
{
	pcidipc_watch_remove(&w->watch);
	pcidipc_timer_cancel(&w->timer);
	close(w->watch.fd);
	pcidipc_list_remove(&w->link);
	w->refuser->nwaiting--;
	free(w);
}

static void readable(struct pcidipc_watch *watch, unsigned events)
{
	struct waiting *w = pcidipc_container_of(watch, struct waiting, watch);

	(void)events;
	if (answer(watch->fd))
		drop(w);
}

static void too_late(struct pcidipc_timer *timer)
{
	drop(pcidipc_container_of(timer, struct waiting, timer));
}

static int wait_for_hello(struct pcid_refuser *r, int fd)
{
	struct waiting *w = r->nwaiting < MAX_WAITING ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return -ENOMEM;
	w->refuser = r;
	if (pcidipc_watch_add(r->loop, &w->watch, fd, EPOLLIN, readable)) {
		free(w);
		return -ENOMEM;
	}
	pcidipc_timer_set(r->loop, &w->timer, PATIENCE_NS, too_late);
	pcidipc_list_append(&r->waiting, &w->link);
	r->nwaiting++;
	return 0;
}

/*
 * O_NONBLOCK belongs to the file description, which the driver had too: set it anew, and look
 * first, so that accept cannot block. An fd, or -errno.
 */
static int accept_one(int listening)
{
	struct pollfd p = {.fd = listening, .events = POLLIN};

	int fd;

	if (fcntl(listening, F_SETFL, O_NONBLOCK) || poll(&p, 1, 0) != 1)
		return -EAGAIN;
	fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static void incoming(struct pcidipc_watch *watch, unsigned events)
{
	struct pcid_refuser *r = pcidipc_container_of(watch, struct pcid_refuser, watch);
	int fd = accept_one(watch->fd);

	(void)events;
	if (fd < 0)
		pcid_breathe(&r->breather, watch, -fd);
	else if (answer(fd) || wait_for_hello(r, fd))
		close(fd);
}

int pcid_refuser_create(struct pcidipc_loop *loop, int fd, struct pcid_refuser **out)
{
	struct pcid_refuser *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->loop = loop;
	pcidipc_list_init(&r->waiting);
	ret = pcidipc_watch_add(loop, &r->watch, fd, EPOLLIN, incoming);
	if (ret)
		free(r);
	else
		*out = r;
	return ret;
}

void pcid_refuser_free(struct pcid_refuser *r)
{
	if (!r)
		return;
	pcid_breather_cancel(&r->breather);
	pcidipc_watch_remove(&r->watch);
	pcidipc_list_for_each_safe(w, after, &r->waiting, struct waiting, link)
		drop(w);
	free(r);
}

void pcid_refuse_backlog(int listening)
{
	for (int i = 0; i < BACKLOG; i++) {
		int fd = accept_one(listening);

		if (fd < 0)
			return;
		answer(fd);
		close(fd);
	}
}
