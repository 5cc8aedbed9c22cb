/* SPDX-License-Identifier: MIT */
/* A device and its slot (xHCI 1.2, 4.3): from a port that was reset to an address, and back. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xhcid.h"

#define WAIT_NS 1000000u
#define SET_ADDRESS_NS 2000000u /* USB 2.0, 9.2.6.3 */

/* ---- letting go ---- */

static void free_device(struct device *dev)
{
	for (unsigned i = 1; i < MAX_DCI; i++)
		if (dev->endpoints[i])
			endpoint_destroy(dev->endpoints[i]);
	while (dev->kept) {
		struct endpoint *ep = dev->kept;

		dev->kept = ep->next;
		endpoint_destroy(ep);
	}
	if (dev->output)
		pcidipc_buf_free(dev->output);
	if (dev->input)
		pcidipc_buf_free(dev->input);
	hub_free(dev);
	descriptors_free(&dev->descriptors);
	free(dev->interfaces);
	free(dev);
}

/* True: the controller knows nothing of it any more, or cannot do anything. */
static bool disable_slot(struct device *dev)
{
	struct controller *c = dev->controller;
	uint32_t control = TRB_TYPE(TRB_DISABLE_SLOT) | TRB_SLOT(dev->slot);
	int ret = c->dead ? CC_SUCCESS : command_run(c, 0, 0, control, NULL);

	if (c->slots[dev->slot] == dev)
		c->slots[dev->slot] = NULL;
	if (!c->dead && ret != CC_SUCCESS && ret != CC_SLOT_NOT_ENABLED) {
		command_report(c, "Disable Slot", control, ret);
		return false;
	}
	context_set_slot(dev, 0);
	return true;
}

static void free_kept(struct controller *c, unsigned slot)
{
	struct device *dev = c->kept[slot];

	c->kept[slot] = NULL;
	if (dev)
		free_device(dev);
}

void devices_free_kept(struct controller *c)
{
	for (unsigned slot = 1; slot <= MAX_SLOTS; slot++)
		free_kept(c, slot);
}

/* Before another slot is asked for, with the enumeration's lock: for the sake of memory and slots,
 * of which there may be few. One that gets no answer takes long: the others have their turn later.
 */
static void ask_for_kept(struct controller *c)
{
	for (unsigned i = 0; i < MAX_SLOTS; i++) {
		c->asked = (uint8_t)(c->asked % MAX_SLOTS + 1);
		if (!c->kept[c->asked])
			continue;
		if (!disable_slot(c->kept[c->asked]))
			return;
		free_kept(c, c->asked);
	}
}

/* With what it keeps there is nothing left to work with, and nobody who would lose anything. */
static bool keeps_all(const struct controller *c)
{
	bool any = false;

	for (unsigned slot = 1; slot <= MAX_SLOTS; slot++) {
		if (c->slots[slot])
			return false;
		any |= c->kept[slot] != NULL;
	}
	return any;
}

/* ---- making ---- */

static void place(struct device *dev, struct port *port)
{
	struct device *hub = port->hub;

	if (!hub) {
		dev->root_port = port->number;
		snprintf(dev->path, sizeof(dev->path), "%u-%u", port->major, port->shown);
		return;
	}
	dev->root_port = hub->root_port;
	dev->depth = hub->depth + 1;
	dev->route = hub->route | (uint32_t)(port->number & 15) << (4 * hub->depth);
	snprintf(dev->path, sizeof(dev->path), "%.18s.%u", hub->path, port->number);
	if (dev->speed >= SPEED_HIGH)
		return;
	dev->tt = hub->speed == SPEED_HIGH ? hub : hub->tt;
	dev->tt_port = hub->speed == SPEED_HIGH ? port->number : hub->tt_port;
}

static uint16_t default_packet(uint8_t speed)
{
	return speed >= SPEED_SUPER ? 512 : speed == SPEED_HIGH ? 64 : 8;
}

static int make_memory(struct device *dev)
{
	struct controller *c = dev->controller;
	const struct endpoint_info info = {.packet = default_packet(dev->speed)};

	dev->output = pcidipc_pool_alloc(c->dma.pool, 32u * c->context_bytes, 4096);
	dev->input = pcidipc_pool_alloc(c->dma.pool, 33u * c->context_bytes, 4096);
	if (!dev->output || !dev->input)
		return -ENOMEM;
	memset(pcidipc_buf_ptr(dev->output), 0, 32u * c->context_bytes);
	return endpoint_create(dev, 1, &info, 0, &dev->endpoints[1]);
}

static int enable_slot(struct device *dev)
{
	struct controller *c = dev->controller;
	struct port *root = &c->ports[dev->root_port];
	uint8_t slot = 0;
	int ret = command_run(c, 0, 0, TRB_TYPE(TRB_ENABLE_SLOT) | (uint32_t)root->slot_type << 16,
			      &slot);

	if (ret != CC_SUCCESS) {
		pcidipc_warn("%s: %s: Enable Slot: %s", c->address, dev->path,
			     ret < 0 ? strerror(-ret) : completion_name((unsigned)ret));
		return command_error(ret);
	}
	if (!slot || slot > c->nslots || c->slots[slot]) {
		pcidipc_warn("%s: %s: Enable Slot gave slot %u, of %u, which cannot be", c->address,
			     dev->path, slot, c->nslots);
		return -EPROTO;
	}
	free_kept(c, slot); /* so it has let go of that */
	dev->slot = slot;
	c->slots[slot] = dev;
	context_set_slot(dev, pcidipc_dma_iova(&c->dma, dev->output));
	return 0;
}

int device_address(struct device *dev)
{
	int ret;

	pcidipc_task_lock(&dev->configure_lock);
	input_begin(dev, 0, 3);
	input_slot(dev, 1);
	input_endpoint(dev->endpoints[1]);
	ret = command_check(dev->controller, "Address Device", input_iova(dev),
			    TRB_TYPE(TRB_ADDRESS_DEVICE) | TRB_SLOT(dev->slot));
	pcidipc_task_unlock(&dev->configure_lock);
	if (ret)
		return ret;
	dev->address = context_address(dev);
	pcidipc_task_sleep(SET_ADDRESS_NS);
	return 0;
}

int device_evaluate(struct device *dev, unsigned packet)
{
	int ret;

	dev->endpoints[1]->info.packet = (uint16_t)packet;
	pcidipc_task_lock(&dev->configure_lock);
	input_begin(dev, 0, 2);
	input_endpoint(dev->endpoints[1]);
	ret = command_check(dev->controller, "Evaluate Context", input_iova(dev),
			    TRB_TYPE(TRB_EVALUATE_CONTEXT) | TRB_SLOT(dev->slot));
	pcidipc_task_unlock(&dev->configure_lock);
	return ret;
}

int device_create(struct port *port, uint8_t speed, struct device **out)
{
	struct device *dev = calloc(1, sizeof(*dev));
	int ret;

	if (!dev)
		return -ENOMEM;
	dev->controller = port->controller;
	dev->port = port;
	dev->speed = speed;
	place(dev, port);
	ask_for_kept(dev->controller);
	ret = make_memory(dev);
	if (!ret)
		ret = enable_slot(dev);
	if ((ret == -ENOMEM || ret == -ENOSPC) && keeps_all(dev->controller))
		controller_lost(dev->controller, 1); /* its reset makes it let go */
	if (!ret)
		ret = device_address(dev);
	if (ret)
		device_destroy(dev);
	else
		*out = dev;
	return ret;
}

/* ---- its end ---- */

/* What it has not let go of stays its own: contexts and rings. */
static void give_back_slot(struct device *dev)
{
	struct controller *c = dev->controller;

	if (!dev->slot || disable_slot(dev)) {
		free_device(dev);
		return;
	}
	pcidipc_warn("%s: %s: slot %u stays with the controller", c->address, dev->path, dev->slot);
	c->kept[dev->slot] = dev;
}

/* The lock: an endpoint must not go meanwhile. */
static void drain_all(struct device *dev, int error)
{
	pcidipc_task_lock(&dev->configure_lock);
	for (unsigned i = 1; i < MAX_DCI && dev->slot; i++)
		if (dev->endpoints[i] && !dev->controller->dead)
			endpoint_drain(dev->endpoints[i], error);
	pcidipc_task_unlock(&dev->configure_lock);
}

void device_destroy(struct device *dev)
{
	dev->gone = true;
	if (dev->hub)
		hub_stop(dev);
	drain_all(dev, -ENODEV);
	interfaces_remove(dev);
	while (dev->tasks)
		pcidipc_task_sleep(WAIT_NS);
	give_back_slot(dev);
}

void device_fail(struct device *dev)
{
	dev->gone = true;
	for (unsigned i = 1; i < MAX_DCI; i++)
		if (dev->endpoints[i])
			endpoint_fail(dev->endpoints[i], -ENODEV);
}

/* ---- reset ---- */

static int take_port(struct device *dev)
{
	struct port *port = dev->port;

	while (port->busy && !dev->gone)
		pcidipc_task_sleep(WAIT_NS);
	if (dev->gone)
		return -ENODEV;
	port->busy = true; /* its task looks when we are done */
	return 0;
}

static int reset_slot(struct device *dev)
{
	struct controller *c = dev->controller;
	uint8_t speed;
	int ret;

	pcidipc_task_lock(&c->enumeration);
	ret = port_reset(dev->port, &speed);
	if (!ret && speed != dev->speed)
		ret = -ENODEV;
	if (!ret)
		ret = command_check(c, "Reset Device", 0,
				    TRB_TYPE(TRB_RESET_DEVICE) | TRB_SLOT(dev->slot));
	for (unsigned i = 1; i < MAX_DCI && !ret; i++)
		if (dev->endpoints[i])
			endpoint_reset_rings(dev->endpoints[i]);
	if (!ret)
		ret = device_address(dev);
	pcidipc_task_unlock(&c->enumeration);
	return ret;
}

static int compare(struct device *dev, unsigned type, unsigned index, const uint8_t *was,
		   unsigned bytes)
{
	uint8_t *now = malloc(bytes);
	int ret = now ? control_get_descriptor(dev, 0, type, index,
					       index ? dev->descriptors.language : 0, now, bytes)
		      : -ENOMEM;

	if (ret >= 0)
		ret = (unsigned)ret == bytes && !memcmp(now, was, bytes) ? 0 : -ENODEV;
	free(now);
	return ret;
}

/* It must be the one that it was, by all that it has said. */
static int check_same(struct device *dev)
{
	const struct descriptors *d = &dev->descriptors;
	const struct string_descriptor *serial =
		d->device[16] ? descriptors_string(d, d->device[16]) : NULL;
	int ret = compare(dev, LIBUSB_DT_DEVICE, 0, d->device, sizeof(d->device));

	if (!ret)
		ret = compare(dev, LIBUSB_DT_CONFIG, 0, d->config, d->config_bytes);
	if (!ret && serial)
		ret = compare(dev, LIBUSB_DT_STRING, serial->index, serial->raw, serial->raw[0]);
	return ret;
}

int device_reset(struct device *dev)
{
	struct port *port = dev->port;
	int ret = take_port(dev);

	if (ret)
		return ret;
	dev->resetting = true;
	for (unsigned i = 2; i < MAX_DCI; i++) /* until the controller has them again */
		if (dev->endpoints[i])
			dev->endpoints[i]->halted = true;
	drain_all(dev, -ECANCELED);
	ret = dev->controller->dead ? -ENODEV : reset_slot(dev);
	if (!ret)
		ret = check_same(dev);
	if (!ret)
		ret = device_set_configuration(dev);
	if (!ret)
		ret = device_restore(dev);
	if (!ret && port->replugged) /* another one of the same kind, perhaps */
		ret = -ENODEV;
	dev->resetting = false;
	if (ret) {
		pcidipc_warn("%s: %s: it did not survive a reset: %s", dev->controller->address,
			     dev->path, strerror(-ret));
		port->again = true;
		ret = -ENODEV;
	}
	port->busy = false;
	if (port->changed || port->again)
		port_changed(port);
	return ret;
}
