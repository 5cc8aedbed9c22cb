/* SPDX-License-Identifier: MIT */
/* The executor's turn: kernel events, timers, pollers, tasks, deferred calls; then spin, arm and
 * sleep. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loop_internal.h"
#include "probes.h"

static bool want_epoll(unsigned flags)
{
	const char *forced = getenv("PCIDIPC_LOOP");

	return (flags & PCIDIPC_LOOP_EPOLL) || (forced && !strcmp(forced, "epoll"));
}

int pcidipc_loop_create(unsigned flags, struct pcidipc_loop **out)
{
	struct pcidipc_loop *loop = calloc(1, sizeof(*loop));
	int ret = -ENOSYS;

	if (!loop)
		return -ENOMEM;
	pcidipc_list_init(&loop->timers);
	pcidipc_list_init(&loop->pollers);
	pcidipc_list_init(&loop->deferred);
	spin_init(&loop->spin);
	if (!want_epoll(flags)) {
		loop->backend = &loop_backend_uring;
		ret = loop->backend->init(loop);
	}
	if (ret) {
		loop->backend = &loop_backend_epoll;
		ret = loop->backend->init(loop);
	}
	if (ret)
		free(loop);
	else
		*out = loop;
	return ret;
}

void pcidipc_loop_destroy(struct pcidipc_loop *loop)
{
	if (!loop)
		return;
	loop_free_tasks(loop);
	loop->backend->fini(loop);
	free(loop);
}

const char *pcidipc_loop_backend(const struct pcidipc_loop *loop)
{
	return loop->backend->name;
}

int loop_ring_fd(const struct pcidipc_loop *loop)
{
	return loop->backend == &loop_backend_uring ? loop->uring.ring.ring_fd : -1;
}

uint64_t pcidipc_loop_now(const struct pcidipc_loop *loop)
{
	struct pcidipc_loop *l = (struct pcidipc_loop *)loop;

	if (!l->now)
		l->now = clock_ns();
	return l->now;
}

/* ---- watches ---- */

int pcidipc_watch_add(struct pcidipc_loop *loop, struct pcidipc_watch *watch, int fd,
		      unsigned events, void (*ready)(struct pcidipc_watch *, unsigned))
{
	int ret;

	watch->ready = ready;
	watch->fd = fd;
	watch->events = events;
	watch->slot = NULL;
	watch->loop = loop;
	ret = loop->backend->add(loop, watch);
	if (ret)
		watch->loop = NULL;
	return ret;
}

void pcidipc_watch_change(struct pcidipc_watch *watch, unsigned events)
{
	if (!watch->loop || watch->events == events)
		return;
	watch->events = events;
	watch->loop->backend->change(watch->loop, watch);
}

void pcidipc_watch_remove(struct pcidipc_watch *watch)
{
	if (!watch->loop)
		return;
	watch->loop->backend->remove(watch->loop, watch);
	watch->loop = NULL;
}

/* ---- timers ---- */

static struct pcidipc_timer *timer_of(struct pcidipc_list *link)
{
	return pcidipc_container_of(link, struct pcidipc_timer, link);
}

void pcidipc_timer_set(struct pcidipc_loop *loop, struct pcidipc_timer *timer, uint64_t ns,
		       void (*fire)(struct pcidipc_timer *))
{
	struct pcidipc_list *at;

	pcidipc_timer_cancel(timer);
	at = loop->timers.next; /* not before: it may have been this timer */
	timer->fire = fire;
	timer->loop = loop;
	timer->when = clock_ns() + ns;
	while (at != &loop->timers && timer_of(at)->when <= timer->when)
		at = at->next;
	pcidipc_list_insert_before(at, &timer->link);
}

void pcidipc_timer_cancel(struct pcidipc_timer *timer)
{
	if (timer->link.next)
		pcidipc_list_remove(&timer->link);
}

static unsigned run_timers(struct pcidipc_loop *loop)
{
	unsigned n = 0;

	while (!pcidipc_list_empty(&loop->timers)) {
		struct pcidipc_timer *timer = timer_of(loop->timers.next);

		if (timer->when > pcidipc_loop_now(loop))
			break;
		pcidipc_list_remove(&timer->link);
		timer->fire(timer);
		n++;
	}
	return n;
}

static uint64_t next_timeout(struct pcidipc_loop *loop)
{
	uint64_t now, when;

	if (pcidipc_list_empty(&loop->timers))
		return LOOP_FOREVER;
	now = clock_ns();
	when = timer_of(loop->timers.next)->when;
	return when > now ? when - now : 0;
}

/* ---- pollers ---- */

void pcidipc_poller_add(struct pcidipc_loop *loop, struct pcidipc_poller *poller)
{
	poller->loop = loop;
	pcidipc_list_insert_before(&loop->pollers, &poller->link);
}

void pcidipc_poller_remove(struct pcidipc_poller *poller)
{
	if (!poller->link.next)
		return;
	if (poller->loop->next_poller == &poller->link)
		poller->loop->next_poller = poller->link.next;
	pcidipc_list_remove(&poller->link);
}

static struct pcidipc_poller *take_next_poller(struct pcidipc_loop *loop)
{
	struct pcidipc_list *link = loop->next_poller;

	if (link == &loop->pollers)
		return NULL;
	loop->next_poller = link->next;
	return pcidipc_container_of(link, struct pcidipc_poller, link);
}

static unsigned run_pollers(struct pcidipc_loop *loop)
{
	struct pcidipc_poller *poller;
	unsigned n = 0;

	loop->next_poller = loop->pollers.next;
	while ((poller = take_next_poller(loop)))
		n += poller->poll(poller);
	return n;
}

static bool arm_pollers(struct pcidipc_loop *loop)
{
	struct pcidipc_poller *poller;

	loop->next_poller = loop->pollers.next;
	while ((poller = take_next_poller(loop)))
		if (poller->arm && !poller->arm(poller))
			return false;
	return true;
}

static void disarm_pollers(struct pcidipc_loop *loop)
{
	struct pcidipc_poller *poller;

	loop->next_poller = loop->pollers.next;
	while ((poller = take_next_poller(loop)))
		if (poller->disarm)
			poller->disarm(poller);
}

/* ---- deferred calls ---- */

void pcidipc_defer(struct pcidipc_loop *loop, struct pcidipc_deferred *deferred,
		   void (*call)(struct pcidipc_deferred *))
{
	if (deferred->link.next)
		return;
	deferred->loop = loop;
	deferred->call = call;
	pcidipc_list_insert_before(&loop->deferred, &deferred->link);
}

void pcidipc_defer_cancel(struct pcidipc_deferred *deferred)
{
	if (deferred->link.next)
		pcidipc_list_remove(&deferred->link);
}

static unsigned run_deferred(struct pcidipc_loop *loop)
{
	unsigned n = 0;

	while (!pcidipc_list_empty(&loop->deferred)) {
		struct pcidipc_deferred *deferred =
			pcidipc_container_of(loop->deferred.next, struct pcidipc_deferred, link);

		pcidipc_list_remove(&deferred->link);
		deferred->call(deferred);
		n++;
	}
	return n;
}

/* ---- the turn ---- */

static unsigned do_work(struct pcidipc_loop *loop)
{
	unsigned n;

	loop->now = 0;
	n = loop->backend->reap(loop);
	if (!(loop->turn++ % LOOP_KERNEL_TURNS))
		n += run_timers(loop);
	n += run_pollers(loop);
	n += loop_run_tasks(loop);
	n += run_deferred(loop);
	return n;
}

static bool spin_work(void *arg)
{
	struct pcidipc_loop *loop = arg;

	return run_pollers(loop) || loop->backend->glance(loop) || loop->stopping;
}

/* All are asked: they tell their peers where we are. */
static unsigned who_is_awaited(struct pcidipc_loop *loop)
{
	struct pcidipc_poller *poller;
	uint32_t cpu = spin_cpu();
	unsigned who = 0;

	loop->next_poller = loop->pollers.next;
	while ((poller = take_next_poller(loop)))
		who |= poller->awaits ? poller->awaits(poller, cpu) : PCIDIPC_AWAITED_DEVICE;
	return who;
}

static bool spin_for(struct pcidipc_loop *loop, unsigned who)
{
	switch (spin_how(who)) {
	case SPIN_UNTIL:
		return spin_until(&loop->spin, spin_work, loop);
	case SPIN_BESIDE:
		return spin_beside(&loop->spin, spin_work, loop);
	default:
		return false;
	}
}

static bool quiet(struct pcidipc_loop *loop)
{
	return !loop->stopping && !loop->ready_first && pcidipc_list_empty(&loop->deferred);
}

static void go_to_sleep(struct pcidipc_loop *loop)
{
	uint64_t before;

	if (arm_pollers(loop) && quiet(loop)) {
		before = clock_ns();
		probe_sleep(loop);
		loop->backend->sleep(loop, next_timeout(loop));
		probe_awake(loop);
		spin_slept(&loop->spin, clock_ns() - before);
	}
	disarm_pollers(loop);
	loop->now = 0;
	loop->turn = 0; /* look at the timers in the next turn */
}

void pcidipc_loop_turn(struct pcidipc_loop *loop, bool may_sleep)
{
	if (do_work(loop) || !may_sleep || !quiet(loop))
		return;
	if (spin_for(loop, who_is_awaited(loop)))
		return;
	go_to_sleep(loop);
}

int pcidipc_loop_run(struct pcidipc_loop *loop)
{
	loop->stopping = false;
	while (!loop->stopping)
		pcidipc_loop_turn(loop, true);
	return loop->code;
}

void pcidipc_loop_stop(struct pcidipc_loop *loop, int code)
{
	loop->stopping = true;
	loop->code = code;
}
