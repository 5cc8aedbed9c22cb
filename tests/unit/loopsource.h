/* SPDX-License-Identifier: MIT */
/* What a loop watches: an eventfd that says its letter when it is told. For one test program each.
 */
#ifndef LOOPSOURCE_H
#define LOOPSOURCE_H

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "looptrace.h"

struct source {
	struct pcidipc_watch watch;
	int fd;
	char name;
	unsigned calls, events;
	bool keep; /* unread: it stays readable */
	struct source *remove;
};

static struct source *source_of(struct pcidipc_watch *watch)
{
	return pcidipc_container_of(watch, struct source, watch);
}

static void source_ready(struct pcidipc_watch *watch, unsigned events)
{
	struct source *s = source_of(watch);
	uint64_t value;

	s->calls++;
	s->events |= events;
	if (s->name)
		say(s->name);
	if (!s->keep && read(s->fd, &value, sizeof(value)) < 0)
		s->calls += 1000;
	if (s->remove) {
		pcidipc_watch_remove(&s->remove->watch);
		pcidipc_watch_remove(&s->remove->watch); /* twice is fine */
	}
	pcidipc_loop_stop(loop, 0);
}

static void source_open(struct source *s, char name)
{
	memset(s, 0, sizeof(*s));
	s->name = name;
	s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(pcidipc_watch_add(loop, &s->watch, s->fd, EPOLLIN, source_ready), 0);
}

static void source_close(struct source *s)
{
	pcidipc_watch_remove(&s->watch);
	close(s->fd);
}

static void fire(struct source *s)
{
	CU_ASSERT_EQUAL(write(s->fd, &(uint64_t){1}, 8), 8);
}

#endif
