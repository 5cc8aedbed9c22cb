/* SPDX-License-Identifier: MIT */
/* The loop over epoll: for kernels and sandboxes that forbid io_uring. */
#include <errno.h>
#include <unistd.h>

#include "loop_internal.h"

#define GLANCES 64 /* one of so many asks the kernel */

static int epoll_init(struct pcidipc_loop *loop)
{
	loop->epoll.turns = 0;
	loop->epoll.batch = NULL;
	loop->epoll.nbatch = 0;
	loop->epoll.fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll.fd < 0 ? -errno : 0;
}

static void epoll_fini(struct pcidipc_loop *loop)
{
	close(loop->epoll.fd);
}

static int epoll_set(struct pcidipc_loop *loop, struct pcidipc_watch *watch, int op)
{
	struct epoll_event event = {.events = watch->events, .data.ptr = watch};

	return epoll_ctl(loop->epoll.fd, op, watch->fd, &event) ? -errno : 0;
}

static int epoll_add(struct pcidipc_loop *loop, struct pcidipc_watch *watch)
{
	return epoll_set(loop, watch, EPOLL_CTL_ADD);
}

static void epoll_change(struct pcidipc_loop *loop, struct pcidipc_watch *watch)
{
	epoll_set(loop, watch, EPOLL_CTL_MOD);
}

static void epoll_remove(struct pcidipc_loop *loop, struct pcidipc_watch *watch)
{
	epoll_set(loop, watch, EPOLL_CTL_DEL);
	for (int i = 0; i < loop->epoll.nbatch; i++)
		if (loop->epoll.batch[i].data.ptr == watch)
			loop->epoll.batch[i].data.ptr = NULL;
}

static unsigned handle(struct pcidipc_loop *loop, int timeout_ms)
{
	struct epoll_event batch[EPOLL_BATCH];
	int n = epoll_wait(loop->epoll.fd, batch, EPOLL_BATCH, timeout_ms);

	if (n <= 0)
		return 0;
	loop->epoll.batch = batch;
	loop->epoll.nbatch = n;
	for (int i = 0; i < n; i++) {
		struct pcidipc_watch *watch = batch[i].data.ptr;

		if (watch)
			watch->ready(watch, batch[i].events);
	}
	loop->epoll.batch = NULL;
	loop->epoll.nbatch = 0;
	return (unsigned)n;
}

static unsigned epoll_reap(struct pcidipc_loop *loop)
{
	if (loop->epoll.turns++ % LOOP_KERNEL_TURNS)
		return 0;
	return handle(loop, 0);
}

static unsigned epoll_glance(struct pcidipc_loop *loop)
{
	if (++loop->epoll.glances % GLANCES)
		return 0;
	return handle(loop, 0);
}

static void epoll_sleep(struct pcidipc_loop *loop, uint64_t ns)
{
	uint64_t ms = (ns + 999999) / 1000000;

	loop->epoll.turns = 0;
	handle(loop, ns == LOOP_FOREVER ? -1 : ms > 1000000 ? 1000000 : (int)ms);
}

const struct loop_backend loop_backend_epoll = {
	.name = "epoll",
	.init = epoll_init,
	.fini = epoll_fini,
	.add = epoll_add,
	.change = epoll_change,
	.remove = epoll_remove,
	.reap = epoll_reap,
	.glance = epoll_glance,
	.sleep = epoll_sleep,
};
