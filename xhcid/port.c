/* SPDX-License-Identifier: MIT */
/*
 * Ports, of the controller and of hubs alike: what is plugged in is enumerated, what is pulled out
 * goes. One task for a port at a time; what happens meanwhile makes it look again.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "xhcid.h"

#define MS 1000000u
#define DEBOUNCE_STEP (25 * MS)
#define DEBOUNCE_STEPS 4 /* TATTDB, 100 ms of a steady connection (USB 2.0, 7.1.7.3) */
#define DEBOUNCE_MOST 60
#define RESET_STEP (1 * MS)
#define RESET_STEPS 1000
#define RECOVERY (10 * MS) /* TRSTRCY */
#define TRIES 3
#define ATTACH_BURST 8 /* then one in so many ticks */
#define ATTACH_TICKS 100
#define LOG_BURST 10
#define LOG_TICKS 100

static int port_state(struct port *port, struct port_state *state)
{
	return port->hub ? hub_port_state(port, state) : rootport_state(port, state);
}

static const char *where(const struct port *port)
{
	return port->hub ? port->hub->path : port->controller->address;
}

static bool over(const struct port *port)
{
	const struct controller *c = port->controller;

	return c->dead || c->stopping || (port->hub && port->hub->gone);
}

/* ---- not all the time ---- */

bool pace_allows(struct pace *pace, uint64_t now, uint64_t step, unsigned burst)
{
	if (pace->due < now)
		pace->due = now;
	if (pace->due - now > (burst - 1) * step)
		return false;
	pace->due += step;
	return true;
}

bool port_may_log(struct port *port)
{
	struct controller *c = port->controller;

	return pace_allows(&port->lines, pcidipc_loop_now(c->loop), LOG_TICKS * c->tick_ns,
			   LOG_BURST);
}

static bool may_attach(struct port *port)
{
	struct controller *c = port->controller;

	return pace_allows(&port->attaches, pcidipc_loop_now(c->loop), ATTACH_TICKS * c->tick_ns,
			   ATTACH_BURST);
}

/* ---- attaching ---- */

static int debounce(struct port *port)
{
	struct port_state state = {0};
	unsigned steady = 0;
	int ret = 0;

	for (unsigned i = 0; i < DEBOUNCE_MOST && steady < DEBOUNCE_STEPS && !ret; i++) {
		pcidipc_task_sleep(DEBOUNCE_STEP);
		ret = over(port) ? -ENODEV : port_state(port, &state);
		if (!ret && !state.connected)
			ret = -ENODEV;
		steady = state.connect_changed ? 0 : steady + 1;
	}
	return ret;
}

/* It has been attached again and again: not now, and only if it stays. */
static int await_turn(struct port *port)
{
	struct port_state state;
	int ret = 0;

	if (may_attach(port))
		return 0;
	port_log(port, PCIDIPC_WARNING,
		 "%s: port %u: what is plugged in comes and goes: it has to stay for a while",
		 where(port), port->number);
	do {
		pcidipc_task_sleep(DEBOUNCE_STEP);
		ret = over(port) ? -ENODEV : port_state(port, &state);
		if (!ret && (!state.connected || state.connect_changed))
			ret = -ENODEV;
	} while (!ret && !may_attach(port));
	return ret;
}

static int await_reset(struct port *port, struct port_state *state)
{
	for (unsigned i = 0; i < RESET_STEPS; i++) {
		int ret;

		pcidipc_task_sleep(RESET_STEP);
		ret = over(port) ? -ENODEV : port_state(port, state);
		if (ret)
			return ret;
		if (!state->connected)
			return -ENODEV;
		if (state->enabled && !state->resetting)
			return 0;
	}
	pcidipc_warn("%s: port %u does not end its reset", where(port), port->number);
	return -ETIMEDOUT;
}

int port_reset(struct port *port, uint8_t *speed)
{
	struct port_state state;
	int ret = port_state(port, &state);

	if (!ret)
		ret = port->hub ? hub_port_reset(port, state.inactive)
				: rootport_reset(port, state.inactive);
	if (!ret)
		ret = await_reset(port, &state);
	if (ret)
		return ret;
	pcidipc_task_sleep(RECOVERY);
	*speed = state.speed;
	return 0;
}

/* From the reset to the address nothing else may have address 0. */
static int create(struct port *port)
{
	struct controller *c = port->controller;
	uint8_t speed;
	int ret;

	pcidipc_task_lock(&c->enumeration);
	ret = over(port) ? -ENODEV : port_reset(port, &speed);
	port->replugged = false; /* debounced, and a link may come up anew by a warm reset */
	if (!ret)
		ret = device_create(port, speed, &port->device);
	pcidipc_task_unlock(&c->enumeration);
	return ret;
}

static int settle(struct port *port)
{
	int ret = debounce(port);

	return ret ? ret : await_turn(port);
}

static void attach(struct port *port)
{
	bool settled = false;
	int ret = 0;

	for (unsigned i = 0; i < TRIES && !over(port); i++) {
		if (!settled)
			ret = settle(port);
		settled = settled || !ret;
		if (!ret)
			ret = create(port);
		if (!ret)
			ret = enumerate(port->device);
		if (!ret || ret == -ENODEV)
			break;
		port_remove_device(port);
		pcidipc_task_sleep(RECOVERY);
		ret = 0;
	}
	if (!ret && port->device)
		return;
	port_remove_device(port);
	if (over(port))
		return;
	if (ret == -ENODEV) { /* it may be there again, and its hub have nothing more to tell */
		port->changed = true;
		return;
	}
	port_log(port, PCIDIPC_WARNING, "%s: the device at port %u is not usable", where(port),
		 port->number);
	port->given_up = true;
}

void port_remove_device(struct port *port)
{
	struct device *dev = port->device;

	port->device = NULL;
	if (dev)
		device_destroy(dev);
}

/* ---- what happens ---- */

static void look_at_current(struct port *port, const struct port_state *state)
{
	if (state->overcurrent == port->overcurrent) {
		if (state->overcurrent_changed && !state->overcurrent)
			port_log(port, PCIDIPC_WARNING, "%s: port %u: overcurrent, over already",
				 where(port), port->number);
	} else {
		port_log(port, PCIDIPC_WARNING, "%s: port %u: %s", where(port), port->number,
			 state->overcurrent ? "overcurrent: it is off" : "no overcurrent any more");
	}
	port->overcurrent = state->overcurrent;
	if (!state->overcurrent && !state->powered) {
		if (port->hub)
			hub_port_power(port);
		else
			rootport_power(port);
	}
}

static const char *why_gone(const struct port *port, const struct port_state *state)
{
	if (!state->connected)
		return "unplugged";
	if (state->overcurrent)
		return "its port is off: overcurrent";
	if (state->connect_changed)
		return "unplugged and plugged in again";
	if (state->inactive)
		return "its link has failed";
	if (!state->enabled)
		return "its port was disabled because of an error";
	return port->again ? "it has to be enumerated anew" : NULL;
}

/* A link that failed before anything was seen there sees nothing until it is reset warmly. */
static void revive(struct port *port)
{
	if (port->revived >= TRIES)
		return;
	port->revived++;
	if (port->hub)
		hub_port_reset(port, true);
	else
		rootport_reset(port, true);
}

static void look(struct port *port)
{
	struct port_state state;
	const char *why;

	if (port_state(port, &state)) {
		if (port->again)
			port_remove_device(port);
		port->again = false;
		return;
	}
	state.connect_changed = port->replugged;
	port->replugged = false;
	if (port->hub && !state.connected && state.connect_changed)
		port->changed = true; /* it may have come between the look and its change's end */
	look_at_current(port, &state);
	if (state.config_error)
		port_log(port, PCIDIPC_WARNING, "%s: port %u: the link could not be configured",
			 where(port), port->number);
	why = why_gone(port, &state);
	if (port->device && why) {
		port_log(port, PCIDIPC_NOTICE, "%s: %s: %s", port->controller->address,
			 port->device->path, why);
		port_remove_device(port);
	}
	port->again = false;
	if (!state.connected || state.connect_changed)
		port->given_up = false;
	if (!state.connected && state.inactive)
		revive(port);
	else
		port->revived = 0;
	if (state.connected && !state.overcurrent && !port->device && !port->given_up)
		attach(port);
}

static void port_task(void *arg)
{
	struct port *port = arg;

	while ((port->changed || port->again) && !over(port)) {
		port->changed = false;
		look(port);
	}
	port->busy = false;
}

void port_changed(struct port *port)
{
	port->changed = true;
	if (port->busy || over(port))
		return;
	port->busy = !pcidipc_spawn(port->controller->loop, port_task, port);
	if (!port->busy)
		watchdog_starved(port->controller);
}

void port_retry(struct port *port)
{
	if ((port->changed || port->again) && !port->busy)
		port_changed(port);
}

void ports_retry(struct controller *c)
{
	for (unsigned i = 1; i <= c->nports; i++)
		port_retry(&c->ports[i]);
	for (unsigned i = 1; i <= MAX_SLOTS; i++)
		if (c->slots[i] && c->slots[i]->hub)
			hub_retry(c->slots[i]);
}

void ports_start(struct controller *c)
{
	for (unsigned i = 1; i <= c->nports; i++)
		if (c->ports[i].major) {
			if (c->hcc & HCC_PPC)
				rootport_power(&c->ports[i]);
			port_changed(&c->ports[i]);
		}
}

void ports_stop(struct controller *c)
{
	for (unsigned i = 1; i <= c->nports; i++) {
		while (c->ports[i].busy)
			pcidipc_task_sleep(MS);
		port_remove_device(&c->ports[i]);
	}
}
