/* SPDX-License-Identifier: MIT */
/*
 * Time: a clock that ticks while something with a limit is under way, and much more slowly while
 * there are devices, whose transfers need not have one. Transfers over theirs are ended by stopping
 * their endpoint; commands by aborting them (xHCI 1.2, 4.6.1.2); a controller that does not even
 * abort, or has stopped, is given up.
 */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>

#include "xhcid.h"

#define STEP_NS 1000000u
#define ABORT_TICKS 50
#define SLOW_TICKS 10 /* between two looks at a controller with nothing to be timed */

/*
 * Both halves must hold a pointer that can be gone on from: the controller may stop between the two
 * writes, and takes the second one then.
 */
static void write_abort(struct controller *c)
{
	unsigned index = c->commands.dequeue % COMMAND_ENTRIES;

	while (!c->waiting[index])
		index = (index + 1) % COMMAND_ENTRIES;
	controller_write64(c, c->op + OP_CRCR,
			   ring_address(&c->commands, (uint16_t)index) | CRCR_ABORT |
				   (le32toh(c->commands.trbs[index].control) & CRCR_CYCLE));
}

static void abort_commands(struct controller *c)
{
	uint64_t end = pcidipc_loop_now(c->loop) + ABORT_TICKS * c->tick_ns;
	unsigned before = c->ncommands;
	uint32_t crcr;

	pcidipc_warn("%s: a command does not end: aborting it", c->address);
	c->aborting = true;
	write_abort(c);
	while ((crcr = pcidipc_read32(&c->bar, c->op + OP_CRCR)) & CRCR_RUNNING) {
		if (crcr == UINT32_MAX || c->dead || pcidipc_loop_now(c->loop) >= end)
			break;
		pcidipc_task_sleep(STEP_NS);
	}
	while (!(crcr & CRCR_RUNNING) && c->ncommands == before && !c->dead &&
	       pcidipc_loop_now(c->loop) < end)
		pcidipc_task_sleep(STEP_NS); /* its event */
	c->aborting = false;
	if (c->dead)
		return;
	if (crcr & CRCR_RUNNING || c->ncommands == before) {
		controller_lost(c, 1);
		return;
	}
	for (unsigned i = 0; i < COMMAND_ENTRIES; i++)
		if (c->waiting[i])
			c->waiting[i]->started = c->clock;
	if (c->ncommands)
		pcidipc_write32(&c->bar, c->doorbells, 0);
}

static bool command_over(const struct controller *c)
{
	for (unsigned i = 0; c->ncommands && i < COMMAND_ENTRIES; i++)
		if (c->waiting[i] && c->clock - c->waiting[i]->started > COMMAND_LIMIT)
			return true;
	return false;
}

static void look_task(void *arg)
{
	struct controller *c = arg;
	uint32_t status = controller_status(c);

	events_reap(c, EVENT_ENTRIES); /* an interrupt may have been lost */
	if (status == UINT32_MAX) {
		controller_lost(c, 1);
	} else if (!c->stopping &&
		   status & (USBSTS_SYSTEM_ERROR | USBSTS_CONTROLLER_ERROR | USBSTS_HALTED)) {
		pcidipc_err("%s: it has stopped: USBSTS %#x", c->address, status);
		controller_lost(c, 1);
	} else if (command_over(c)) {
		abort_commands(c);
	}
	c->looking = false;
}

/* ---- transfers ---- */

static bool over(const struct controller *c, const struct td *td)
{
	return td->timed && !td->cancel && (int32_t)(c->clock - td->deadline) > 0;
}

static void look_at_endpoint(struct controller *c, struct endpoint *ep)
{
	bool any = ep->wanted && !ep->serving;

	for (unsigned i = 0; i < (ep->nstreams ? ep->nstreams : 1u); i++)
		for (struct td *td = ep->streams[i].first; td; td = td->next)
			if (over(c, td)) {
				td->cancel = -ETIMEDOUT;
				any = true;
			}
	if (any) {
		ep->wanted = true;
		endpoint_service_soon(ep);
	}
}

static void look_at_transfers(struct controller *c)
{
	for (unsigned i = 1; i <= MAX_SLOTS; i++)
		for (unsigned dci = 1; c->slots[i] && dci < MAX_DCI; dci++)
			if (c->slots[i]->endpoints[dci])
				look_at_endpoint(c, c->slots[i]->endpoints[dci]);
}

static bool has_devices(const struct controller *c)
{
	for (unsigned i = 1; i <= MAX_SLOTS; i++)
		if (c->slots[i])
			return true;
	return false;
}

static void tick(struct pcidipc_timer *timer);

static void watch_slowly(struct controller *c)
{
	c->watching = c->slowly = true;
	pcidipc_timer_set(c->loop, &c->watchdog, SLOW_TICKS * c->tick_ns, tick);
}

static void tick(struct pcidipc_timer *timer)
{
	struct controller *c = pcidipc_container_of(timer, struct controller, watchdog);
	bool starved;

	c->clock++;
	c->watching = false;
	if (c->dead)
		return;
	starved = c->starved;
	c->starved = false;
	if (c->timed || starved)
		look_at_transfers(c);
	if (starved)
		ports_retry(c);
	if (!c->looking)
		c->looking = !pcidipc_spawn(c->loop, look_task, c);
	if (c->timed || c->ncommands || c->starved)
		watchdog_start(c);
	else if (has_devices(c))
		watch_slowly(c);
}

void watchdog_start(struct controller *c)
{
	if ((c->watching && !c->slowly) || c->dead)
		return;
	c->watching = true;
	c->slowly = false;
	pcidipc_timer_set(c->loop, &c->watchdog, c->tick_ns, tick);
}

void watchdog_starved(struct controller *c)
{
	c->starved = true;
	watchdog_start(c);
}
