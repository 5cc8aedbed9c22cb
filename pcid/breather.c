// SPDX-License-Identifier: GPL-2.0-or-later
/* A listening socket when no file descriptor is left: it stays readable, so it is left alone for a
 * while, or the loop would spin. */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>
#include <sys/epoll.h>

#include "breather.h"

#define BREATHER_NS 100000000u

static void again(struct pcidipc_timer *timer)
{
	struct pcid_breather *b = pcidipc_container_of(timer, struct pcid_breather, timer);

	pcidipc_watch_change(b->watch, EPOLLIN);
}

void pcid_breathe(struct pcid_breather *b, struct pcidipc_watch *watch, int error)
{
	if (error == EAGAIN || error == EINTR || error == ECONNABORTED)
		return;
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "cannot accept a connection: %s", strerror(error));
	b->watch = watch;
	pcidipc_watch_change(watch, 0);
	pcidipc_timer_set(watch->loop, &b->timer, BREATHER_NS, again);
}

void pcid_breather_cancel(struct pcid_breather *b)
{
	pcidipc_timer_cancel(&b->timer);
}
