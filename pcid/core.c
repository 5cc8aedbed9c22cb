// SPDX-License-Identifier: GPL-2.0-or-later
/* The functions on the bus and the drivers for them: matching, what the bus tells, looking up,
 * ending. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "pcid.h"

#define FORGET_POLL_NS 1000000u

void pcid_init(struct pcid *pcid, struct pcidipc_loop *loop, struct pcid_config *config)
{
	pcid->loop = loop;
	pcid->config = config;
	pcid->lock_fd = -1;
	pcid->started_at = pcidipc_loop_now(loop);
	pcidipc_list_init(&pcid->drivers);
}

void pcid_fini(struct pcid *pcid)
{
	while (pcid->numbers) {
		struct pcid_number *n = pcid->numbers;

		pcid->numbers = n->next;
		free(n->stem);
		free(n->where);
		free(n);
	}
	pcid_config_free(pcid->config);
	pcid->config = NULL;
}

void pcid_changed(struct pcid *pcid)
{
	pcidipc_post(&pcid->wake, 0);
}

/* ---- numbers of services ---- */

static bool number_used(struct pcid *pcid, const char *stem, unsigned number)
{
	for (struct pcid_number *n = pcid->numbers; n; n = n->next)
		if (n->number == number && !strcmp(n->stem, stem))
			return true;
	return false;
}

int pcid_number_of(struct pcid *pcid, const char *stem, const char *where)
{
	struct pcid_number *n;

	for (n = pcid->numbers; n; n = n->next)
		if (!strcmp(n->stem, stem) && !strcmp(n->where, where))
			return (int)n->number;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->stem = strdup(stem);
	n->where = strdup(where);
	if (!n->stem || !n->where) {
		free(n->stem);
		free(n->where);
		free(n);
		return -ENOMEM;
	}
	while (number_used(pcid, stem, n->number))
		n->number++;
	n->next = pcid->numbers;
	pcid->numbers = n;
	return (int)n->number;
}

void pcid_number_drop(struct pcid *pcid, const char *stem, const char *where)
{
	for (struct pcid_number **p = &pcid->numbers; *p; p = &(*p)->next) {
		struct pcid_number *n = *p;

		if (strcmp(n->stem, stem) || strcmp(n->where, where))
			continue;
		*p = n->next;
		free(n->stem);
		free(n->where);
		free(n);
		return;
	}
}

/* ---- looking up ---- */

static struct pcid_function *function_at(struct pcidipc_list *link)
{
	return pcidipc_container_of(link, struct pcid_function, link);
}

struct pcid_function *pcid_find_function(struct pcid *pcid, const char *address)
{
	if (!pcid->bus_started)
		return NULL;
	for (struct pcidipc_list *l = pcid->bus->functions.next; l != &pcid->bus->functions;
	     l = l->next)
		if (!strcmp(function_at(l)->address, address))
			return function_at(l);
	return NULL;
}

struct pcid_driver *pcid_find_driver(struct pcid *pcid, const char *where)
{
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		if (!strcmp(d->where, where) && d->state != PCID_GONE)
			return d;
	return NULL;
}

/* ---- matching ---- */

struct pcid_identity pcid_identity_of(const struct pcid_function *f)
{
	return (struct pcid_identity){
		.below = PCID_BELOW_PCI,
		.vendor = f->vendor,
		.device = f->device,
		.class_code = (uint8_t)(f->class_code >> 16),
		.subclass = (uint8_t)(f->class_code >> 8),
		.interface = (uint8_t)f->class_code,
	};
}

static bool match_function(struct pcid *pcid, struct pcid_function *f)
{
	struct pcid_identity id = pcid_identity_of(f);
	struct pcid_stanza *stanza = pcid_match(pcid->config, &id);
	int ret;

	if (!stanza || f->owner || f->gone || pcid->stopping ||
	    (f->bus->ops->offered && !f->bus->ops->offered(f)))
		return false;
	ret = pcid_driver_start(pcid, stanza, f, NULL, NULL);
	if (ret)
		pcidipc_err("%s: no driver: %s", f->address, strerror(-ret));
	return !ret;
}

unsigned pcid_match_all(struct pcid *pcid)
{
	unsigned n = 0;

	if (!pcid->bus_started)
		return 0;
	for (struct pcidipc_list *l = pcid->bus->functions.next; l != &pcid->bus->functions;
	     l = l->next)
		n += match_function(pcid, function_at(l));
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		n += pcid_children_match(d);
	return n;
}

static int configure_bus(struct pcid *pcid)
{
	const struct pcid_vfio_options vfio = {
		.take = pcid->config->vfio_take,
		.shared_groups = pcid->config->vfio_shared_groups,
	};

	return pcid->bus ? pcid_vfio_bus_configure(pcid->bus, &vfio) : 0;
}

int pcid_reload(struct pcid *pcid)
{
	struct pcid_config *config;
	int ret = pcid_config_load(pcid->options.config, &config);

	if (ret) {
		pcidipc_err("the configuration stays as it was: %s", strerror(-ret));
		return ret;
	}
	pcid_config_free(pcid->config);
	pcid->config = config;
	ret = configure_bus(pcid);
	return ret ? ret : (int)pcid_match_all(pcid);
}

/* ---- what the bus tells ---- */

static void let_go(void *arg)
{
	struct pcid_function *f = arg;

	f->bus->ops->release(f);
}

static void forget(void *arg)
{
	struct pcid_function *f = arg;
	struct pcid *pcid = f->bus->core;

	while (pcid->showing)
		pcidipc_task_sleep(FORGET_POLL_NS);
	f->bus->ops->forget(f);
}

/* In a task: the bus may be in the middle of its list. */
static void later(struct pcid *pcid, struct pcid_function *f, void (*fn)(void *))
{
	if (pcidipc_spawn(pcid->loop, fn, f))
		pcidipc_err("%s: no memory to let go of it", f->address);
}

void pcid_function_released(struct pcid *pcid, struct pcid_function *f, bool leaving)
{
	f->owner = NULL;
	if (f->gone)
		later(pcid, f, forget);
	else if (leaving)
		later(pcid, f, let_go);
}

static void function_leaves(struct pcid *pcid, struct pcid_function *f, bool gone)
{
	struct pcid_driver *d = f->owner;

	pcidipc_notice("%s: %s", f->address, gone ? "gone" : "is to be removed");
	if (d)
		pcid_driver_stop(d, PCID_STOP_REMOVED);
	else
		later(pcid, f, gone ? forget : let_go);
}

static void fault(struct pcid_function *f, const struct pcid_fault *what)
{
	struct pcid_driver *d = f->owner;

	pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: the IOMMU refused a %s at IOVA %#llx: %s",
				d ? d->name : f->address, what && what->write ? "write" : "read",
				what ? (unsigned long long)what->iova : 0,
				what && what->reason ? what->reason : "not mapped");
}

static void bus_event(struct pcid_bus *bus, enum pcid_bus_event event, struct pcid_function *f,
		      const struct pcid_fault *what)
{
	struct pcid *pcid = bus->core;

	switch (event) {
	case PCID_FUNCTION_ARRIVED:
		pcidipc_notice("%s: arrived (%04x:%04x)", f->address, f->vendor, f->device);
		if (pcid->bus_started)
			match_function(pcid, f);
		break;
	case PCID_FUNCTION_LEAVING:
		function_leaves(pcid, f, false);
		break;
	case PCID_FUNCTION_GONE:
		function_leaves(pcid, f, true);
		break;
	case PCID_FUNCTION_FAULT:
		fault(f, what);
		break;
	case PCID_BUS_DEAD:
		pcidipc_err("the %s bus is dead: pcid ends", bus->ops->name);
		pcid->exit_code = 1;
		if (pcid->request_stop)
			pcid->request_stop(pcid);
		break;
	}
}

static void bus_writable(struct pcid_bus *bus)
{
	struct pcid *pcid = bus->core;

	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		pcid_parked_run(d);
}

void pcid_take_bus(struct pcid *pcid, struct pcid_bus *bus)
{
	pcid->bus = bus;
	bus->core = pcid;
	bus->event = bus_event;
	bus->writable = bus_writable;
}

/* ---- the end ---- */

void pcid_bus_destroy(struct pcid_bus *bus)
{
	bus->ops->destroy(bus);
}

void pcid_stop_drivers(struct pcid *pcid)
{
	pcid->stopping = true;
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		pcid_driver_stop(d, PCID_STOP_SHUTDOWN);
	while (!pcidipc_list_empty(&pcid->drivers)) {
		pcidipc_await(&pcid->wake);
		pcid->wake = (struct pcidipc_completion){0};
	}
}
