/* SPDX-License-Identifier: MIT */
/*
 * When commands take too long: Abort, then a reset of the controller, then giving it up. The rule
 * all along: a command is completed only when the controller cannot touch its buffer any more,
 * which is when it has answered, is disabled, was reset as a function, or may not master the bus.
 */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <string.h>

#include "nvmed.h"

#define LOOK_AFTER 2 /* ticks: a command this old makes us look at CSTS */

/* ---- how bad it is ---- */

enum trouble { NONE, SLOW, OVER, OVER_ABORTED };

static enum trouble command_trouble(const struct nvme_queue *q, const struct nvme_command *c)
{
	if (nvme_command_over(q, c, 0))
		return c->aborted ? OVER_ABORTED : OVER;
	return nvme_command_over(q, c, LOOK_AFTER) ? SLOW : NONE;
}

static enum trouble queue_trouble(const struct nvme_queue *q, struct nvme_command **worst)
{
	enum trouble most = NONE;

	for (uint16_t i = 0; i + 1 < q->params.entries; i++) {
		enum trouble t = command_trouble(q, &q->commands[i]);

		if (t > most) {
			most = t;
			*worst = &q->commands[i];
		}
	}
	return most;
}

static bool has_timed(const struct nvme_queue *q)
{
	for (uint16_t i = 0; q->in_flight && i + 1 < q->params.entries; i++)
		if (q->commands[i].busy && q->commands[i].limit)
			return true;
	return false;
}

static bool anything_timed(const struct controller *c)
{
	if (c->recovering || has_timed(&c->admin))
		return true;
	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i] && has_timed(&c->pairs[i]->queue))
			return true;
	return false;
}

/* ---- ending what is in flight ---- */

static void stop_queues(struct controller *c)
{
	c->paused = true;
	nvme_queue_stop(&c->admin);
	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i])
			nvme_queue_stop(&c->pairs[i]->queue);
}

static void fail_all(struct controller *c, uint16_t status)
{
	if (c->admin.commands)
		nvme_queue_fail(&c->admin, status);
	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i])
			nvme_queue_fail(&c->pairs[i]->queue, status);
}

/* Make sure of the rule at the top. */
static int silence(struct controller *c)
{
	int ret = controller_disable(c);

	if (!ret || ret == -ENODEV)
		return ret;
	pcidipc_err("%s: cannot be disabled, resetting the function", c->address);
	ret = pcidipc_pci_reset(c->pci);
	if (!ret)
		ret = pcidipc_pci_enable(c->pci, true, true);
	if (!ret)
		ret = controller_renew_vectors(c);
	if (!ret)
		ret = controller_disable(c);
	return ret;
}

void controller_lost(struct controller *c, int code)
{
	if (c->dead)
		return;
	c->dead = true;
	pcidipc_err("%s: the controller is %s", c->address, code ? "given up" : "gone");
	stop_queues(c);
	pcidipc_pci_cut_off(c->pci);
	fail_all(c, STATUS_GONE);
	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i])
			command_resume(c->pairs[i]);
	namespaces_stop(c);
	pcidipc_loop_stop(c->loop, code);
}

/* ---- reset ---- */

static int restore(struct controller *c)
{
	int ret = controller_enable(c);

	if (!ret)
		ret = pairs_restore(c);
	if (ret)
		return ret;
	c->paused = false;
	events_start(c);
	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i])
			command_resume(c->pairs[i]);
	return 0;
}

static void reset(struct controller *c, const char *why)
{
	int ret;

	pcidipc_warn("%s: %s: resetting the controller", c->address, why);
	stop_queues(c);
	c->resets++;
	ret = silence(c);
	if (!ret) {
		fail_all(c, STATUS_RESET);
		if (!c->started) { /* controller_start sees its command fail */
			c->dead = true;
			return;
		}
		ret = restore(c);
	}
	if (ret)
		controller_lost(c, 1);
	else
		pcidipc_warn("%s: works again", c->address);
}

/* ---- abort ---- */

static void abort_done(struct nvme_command *command, uint16_t status, uint32_t result)
{
	struct controller *c = command->arg;

	c->aborts--;
	/* The aborted command itself, if it was, comes back on its own queue. */
	if (status < STATUS_GONE && (status || result & 1))
		pcidipc_warn("%s: Abort: the command was not found or not aborted", c->address);
}

/* Where the controller takes no more Aborts now, or the admin queue is full, the next tick tries
 * again. */
static void send_abort(struct controller *c, struct nvme_queue *q, struct nvme_command *victim)
{
	struct nvme_command *slot;
	struct nvme_sqe *sqe = c->aborts < c->aborts_most ? nvme_queue_get(&c->admin, &slot) : NULL;

	if (!sqe)
		return;
	pcidipc_warn("%s: queue %u: command %#x takes longer than %u ticks: aborting it",
		     c->address, q->params.id, nvme_command_id(q, victim), victim->limit);
	victim->aborted = true;
	victim->started = c->clock;
	c->aborts++;
	sqe->opcode = nvme_admin_abort_cmd;
	sqe->cdw10 = htole32((uint32_t)nvme_command_id(q, victim) << 16 | q->params.id);
	slot->done = abort_done;
	slot->arg = c;
	nvme_queue_ring(&c->admin);
}

/* An interrupt may have been lost: what is already there is not late. */
static void reap_all(struct controller *c)
{
	nvme_queue_reap(&c->admin, ADMIN_ENTRIES);
	for (unsigned i = 0; i < MAX_PAIRS; i++)
		if (c->pairs[i])
			nvme_queue_reap(&c->pairs[i]->queue, IO_ENTRIES);
}

/* One Abort in a tick on each queue. True: no way but a reset. */
static bool look_at_queues(struct controller *c)
{
	struct nvme_command *worst = NULL;

	if (queue_trouble(&c->admin, &worst) >= OVER)
		return true;
	for (unsigned i = 0; i < MAX_PAIRS; i++) {
		struct nvme_queue *q = c->pairs[i] ? &c->pairs[i]->queue : NULL;
		enum trouble t = q ? queue_trouble(q, &worst) : NONE;

		if (t == OVER_ABORTED)
			return true;
		if (t == OVER)
			send_abort(c, q, worst);
	}
	return false;
}

static void look_task(void *arg)
{
	struct controller *c = arg;
	uint32_t csts = controller_status(c);

	reap_all(c);
	if (csts == UINT32_MAX)
		controller_lost(c, 1);
	else if (csts & CSTS_FATAL)
		reset(c, "it reports a fatal error (CSTS.CFS)");
	else if (!c->dead && look_at_queues(c))
		reset(c, "a command does not end");
	c->recovering = false;
}

/* The reset's own admin command does not end: that was the last attempt. */
static void give_up_task(void *arg)
{
	controller_lost(arg, 1);
}

static void tick(struct pcidipc_timer *timer)
{
	struct controller *c = pcidipc_container_of(timer, struct controller, watchdog);
	enum trouble most = c->admin.commands ? NONE : OVER;
	struct nvme_command *worst;

	c->clock++;
	c->watching = false;
	if (c->dead || most)
		return;
	most = queue_trouble(&c->admin, &worst);
	if (c->recovering) {
		if (most >= OVER && !c->admin.stopped)
			pcidipc_spawn(c->loop, give_up_task, c);
	} else {
		for (unsigned i = 0; i < MAX_PAIRS && !most; i++)
			if (c->pairs[i])
				most = queue_trouble(&c->pairs[i]->queue, &worst);
		if (most)
			c->recovering = !pcidipc_spawn(c->loop, look_task, c);
	}
	if (anything_timed(c))
		watchdog_start(c);
}

void watchdog_start(struct controller *c)
{
	if (c->watching)
		return;
	c->watching = true;
	pcidipc_timer_set(c->loop, &c->watchdog, c->tick_ns, tick);
}
