/* SPDX-License-Identifier: MIT */
#include "transport.h"

#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>

#define MOST_RESETS 100 /* tries, a tick apart */

/* ---- sending ---- */

static void tick(struct pcidipc_timer *timer);

static void start_ticking(struct transport *t)
{
	if (t->ticking)
		return;
	t->ticking = true;
	pcidipc_timer_set(t->link->loop, &t->timer, t->tick_ns, tick);
}

void transport_give_time(struct transport *t, struct scsi_command *c)
{
	c->deadline = t->clock + (c->limit ? c->limit : t->limit) + 1;
}

void transport_give_no_time(struct transport *t, struct scsi_command *c)
{
	c->deadline = t->clock + INT32_MAX; /* ticks: years */
}

static void send(struct transport *t, struct scsi_command *c)
{
	int ret;

	t->in_flight++;
	c->error = 0;
	c->status = c->sense_bytes = 0;
	c->moved = 0;
	transport_give_time(t, c);
	pcidipc_list_append(&t->running, &c->link);
	start_ticking(t);
	ret = t->ops->send(t, c);
	if (ret > 0) {
		t->in_flight--;
		pcidipc_list_remove(&c->link);
		pcidipc_list_append(&t->waiting, &c->link);
	}
	if (ret)
		transport_trouble(t);
}

static bool may_send(const struct transport *t)
{
	return !t->paused && !t->dead && t->in_flight < t->depth;
}

static struct scsi_command *first(struct pcidipc_list *list)
{
	return pcidipc_list_empty(list)
		       ? NULL
		       : pcidipc_container_of(list->next, struct scsi_command, link);
}

/* What waits goes out, or ends. */
static void pump(struct pcidipc_deferred *deferred)
{
	struct transport *t = pcidipc_container_of(deferred, struct transport, pump);
	struct scsi_command *c;

	while (may_send(t) && (c = first(&t->waiting))) {
		pcidipc_list_remove(&c->link);
		if (!c->wanted || c->wanted(c)) {
			send(t, c);
			continue;
		}
		c->error = -ESTALE;
		c->done(c);
	}
	while (t->dead && (c = first(&t->waiting))) {
		pcidipc_list_remove(&c->link);
		c->error = -ENODEV;
		c->done(c);
	}
	transport_flush(t);
	if (t->dead && !t->in_flight && !t->told && !t->recovering) {
		t->told = true;
		if (t->lost)
			t->lost(t);
	}
}

void transport_pump_later(struct transport *t)
{
	pcidipc_defer(t->link->loop, &t->pump, pump);
}

void transport_submit(struct transport *t, struct scsi_command *c)
{
	if (may_send(t) && pcidipc_list_empty(&t->waiting)) {
		send(t, c);
		return;
	}
	pcidipc_list_append(&t->waiting, &c->link);
	if (t->dead)
		transport_pump_later(t);
}

void transport_flush(struct transport *t)
{
	if (t->ops->flush)
		t->ops->flush(t);
	t->link->ops->flush(t->link);
}

void transport_complete(struct transport *t, struct scsi_command *c, int error)
{
	pcidipc_list_remove(&c->link);
	t->in_flight--;
	c->error = error;
	if (__builtin_expect(c->sense_bytes && t->heed, 0))
		t->heed(t, c);
	c->done(c);
	if (t->dead || !pcidipc_list_empty(&t->waiting))
		transport_pump_later(t);
}

void transport_put_back(struct transport *t, struct scsi_command *c)
{
	t->in_flight--;
	pcidipc_list_remove(&c->link);
	pcidipc_list_insert_before(t->waiting.next, &c->link);
}

int transport_cancel(struct transport *t, struct scsi_command *command)
{
	pcidipc_list_for_each(c, &t->waiting, struct scsi_command, link) {
		if (c != command)
			continue;
		pcidipc_list_remove(&c->link);
		c->error = -ECANCELED;
		c->done(c);
		return 0;
	}
	return -EALREADY;
}

/* ---- time ---- */

static void tick(struct pcidipc_timer *timer)
{
	struct transport *t = pcidipc_container_of(timer, struct transport, timer);
	bool late = false;

	t->clock++;
	t->ticking = false;
	pcidipc_list_for_each(c, &t->running, struct scsi_command, link)
		late = late || transport_overdue(t, c);
	if (!t->recovering && t->in_flight && t->ops->look)
		late = t->ops->look(t) || late;
	if (late && !t->recovering)
		transport_trouble(t);
	if (t->in_flight)
		start_ticking(t);
}

/* ---- recovery ---- */

int transport_reset(struct transport *t)
{
	int ret = t->link->ops->reset(t->link);

	for (unsigned i = 0; i < MOST_RESETS && ret == -ECANCELED; i++) {
		pcidipc_task_sleep(t->tick_ns);
		ret = t->link->ops->reset(t->link);
	}
	if (t->was_reset)
		t->was_reset(t);
	return ret;
}

static void recover_task(void *arg)
{
	struct transport *t = arg;
	int ret = 0;

	while (t->again && !ret) {
		t->again = false;
		ret = t->ops->recover(t);
	}
	t->recovering = false;
	t->paused = false;
	t->failure = ret == -ENODEV ? 0 : ret;
	if (ret)
		transport_die(t);
	transport_pump_later(t);
}

void transport_trouble(struct transport *t)
{
	t->again = true;
	t->paused = true;
	if (t->recovering)
		return;
	t->recovering = true;
	if (pcidipc_spawn(t->link->loop, recover_task, t)) {
		t->recovering = false;
		pcidipc_err("usbscsid: no memory for recovery: the device is given up");
		transport_die(t);
	}
}

void transport_die(struct transport *t)
{
	t->dead = true;
	transport_pump_later(t);
}

/* ---- transfers ---- */

int transport_transfer(struct transport *t, struct usb_transfer *transfer)
{
	int ret = t->link->ops->submit(t->link, transfer);

	if (!ret)
		t->transfers++;
	return ret;
}

void transport_transfer_done(struct transport *t)
{
	struct pcidipc_completion *drained = t->drained;

	if (--t->transfers || !drained)
		return;
	t->drained = NULL;
	pcidipc_post(drained, 0);
}

void transport_drain(struct transport *t)
{
	struct pcidipc_completion drained = {0};

	if (!t->transfers)
		return;
	t->drained = &drained;
	pcidipc_await(&drained);
}

/* ---- one command and its answer ---- */

static void post(struct scsi_command *c)
{
	pcidipc_post(c->arg, 0);
}

int transport_execute(struct transport *t, struct scsi_command *c)
{
	struct pcidipc_completion completion = {0};

	c->done = post;
	c->arg = &completion;
	transport_submit(t, c);
	transport_flush(t);
	pcidipc_await(&completion);
	return c->error;
}

/* ---- beginning and end ---- */

void transport_init(struct transport *t, const struct transport_ops *ops, struct usb_link *link)
{
	t->ops = ops;
	t->link = link;
	t->tick_ns = TRANSPORT_TICK_NS;
	t->limit = TRANSPORT_LIMIT * TRANSPORT_TICKS;
	pcidipc_list_init(&t->running);
	pcidipc_list_init(&t->waiting);
}

void transport_destroy(struct transport *t)
{
	pcidipc_timer_cancel(&t->timer);
	pcidipc_defer_cancel(&t->pump);
	t->ops->destroy(t);
}
