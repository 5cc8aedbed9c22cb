/* SPDX-License-Identifier: MIT */
/* Hubs (USB 2.0, chapter 11; USB 3.2, chapter 10): their ports, and the endpoint that tells which
 * of them changed. */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "xhcid.h"

#define MS 1000000u
#define MAX_HUB_PORTS 15 /* what a route string can name */
#define MAX_ERRORS 5	 /* in a row, of its status change endpoint; then its ports are asked */
#define ASK_STEPS 10	 /* until then, of ASK_STEP */
#define ASK_STEP (100 * MS)
#define STATUS_BURST 64 /* that it tells at once; then two in STATUS_STEP */
#define STATUS_STEP (10 * MS)
#define BITMAP 64 /* bytes of the status change endpoint that we take */

#define HUB_CLASS 0x20u /* bmRequestType: class request to the hub */
#define PORT_CLASS 0x23u
#define SET_HUB_DEPTH 12
#define PORT_RESET 4
#define PORT_POWER 8
#define BH_PORT_RESET 28
#define C_HUB_LOCAL_POWER 0
#define C_HUB_OVER_CURRENT 1
#define EXT_PORT_STATUS 2
#define C_CONNECTION 16
#define C_ENABLE 17
#define C_SUSPEND 18
#define C_OVER_CURRENT 19
#define C_RESET 20
#define C_LINK_STATE 25
#define C_CONFIG_ERROR 26
#define C_BH_RESET 29

struct hub {
	struct device *device;
	unsigned nports;
	uint8_t think_time;
	uint16_t power_good_ms;
	bool multiple; /* a transaction translator for each port */
	bool stopping;
	struct port ports[MAX_HUB_PORTS + 1];
	struct endpoint *status;
	struct pcidipc_buf *bitmap;
	struct td td;
	unsigned errors;	   /* in a row */
	bool own;		   /* its own status is being read */
	bool unposted, own_unread; /* there was no memory for a task */
	struct pace told;
};

static bool is_super(const struct device *dev)
{
	return dev->speed >= SPEED_SUPER;
}

void hub_fill_slot(const struct device *dev, uint32_t *slot)
{
	const struct hub *hub = dev->hub;

	slot[0] |= htole32(SLOT_HUB | (hub->multiple ? SLOT_MTT : 0));
	slot[1] |= htole32(SLOT_PORTS(hub->nports));
	if (dev->speed == SPEED_HIGH)
		slot[2] |= htole32(SLOT_THINK_TIME(hub->think_time));
}

struct port *hub_port(const struct device *dev, unsigned number)
{
	return dev->hub && number && number <= dev->hub->nports ? &dev->hub->ports[number] : NULL;
}

bool hub_multiple_translators(const struct device *dev)
{
	return dev->hub && dev->hub->multiple;
}

/* ---- ports ---- */

static int port_feature(struct port *port, uint8_t request, uint16_t feature)
{
	struct setup setup = {
		.type = PORT_CLASS, .request = request, .value = feature, .index = port->number};
	int ret = control_run(port->hub, &setup, NULL);

	return ret < 0 ? ret : 0;
}

static int clear_changes(struct port *port, uint16_t change)
{
	static const struct {
		uint8_t bit, feature;
	} usb2[] = {{0, C_CONNECTION},
		    {1, C_ENABLE},
		    {2, C_SUSPEND},
		    {3, C_OVER_CURRENT},
		    {4, C_RESET}},
	  usb3[] = {{0, C_CONNECTION}, {3, C_OVER_CURRENT}, {4, C_RESET},
		    {5, C_BH_RESET},   {6, C_LINK_STATE},   {7, C_CONFIG_ERROR}};
	bool super = is_super(port->hub);
	unsigned n = super ? sizeof(usb3) / sizeof(*usb3) : sizeof(usb2) / sizeof(*usb2);
	int ret = 0;

	for (unsigned i = 0; i < n && !ret; i++) {
		uint8_t bit = super ? usb3[i].bit : usb2[i].bit;

		if (change & 1u << bit)
			ret = port_feature(port, LIBUSB_REQUEST_CLEAR_FEATURE,
					   super ? usb3[i].feature : usb2[i].feature);
	}
	return ret;
}

/* Of a device below a hub that is faster than SuperSpeed (USB 3.2, 10.16.2.6): not all are. */
static uint8_t super_speed_of(struct port *port)
{
	const struct descriptors *d = &port->hub->descriptors;
	struct setup setup = {.type = 0x80 | PORT_CLASS,
			      .value = EXT_PORT_STATUS,
			      .index = port->number,
			      .length = 8};
	uint8_t raw[8];

	if (port->hub->speed != SPEED_SUPER_PLUS ||
	    control_run(port->hub, &setup, raw) != (int)sizeof(raw) ||
	    !descriptor_is_super_plus(d->bos, d->bos_bytes, raw[4] & 15))
		return SPEED_SUPER;
	return SPEED_SUPER_PLUS;
}

static uint8_t speed_of(struct port *port, uint16_t status)
{
	if (is_super(port->hub))
		return status & 2 ? super_speed_of(port) : SPEED_SUPER;
	if (status & 1u << 9)
		return SPEED_LOW;
	return status & 1u << 10 ? SPEED_HIGH : SPEED_FULL;
}

int hub_port_state(struct port *port, struct port_state *state)
{
	struct setup setup = {.type = 0x80 | PORT_CLASS, .index = port->number, .length = 4};
	bool super = is_super(port->hub);
	uint8_t raw[4];
	uint16_t status, change;
	unsigned link;
	int ret = control_run(port->hub, &setup, raw);

	if (ret != (int)sizeof(raw))
		return ret < 0 ? ret : -EPROTO;
	status = descriptor_u16(raw);
	change = descriptor_u16(raw + 2);
	link = status >> 5 & 15;
	*state = (struct port_state){
		.connected = status & 1,
		.enabled = status & 2,
		.overcurrent = status & 8,
		.resetting = status & 16,
		.powered = status & (super ? 1u << 9 : 1u << 8),
		.inactive = super && (link == LINK_INACTIVE || link == LINK_COMPLIANCE),
		.connect_changed = change & 1,
		.enable_changed = !super && change & 2,
		.overcurrent_changed = change & 8,
		.config_error = super && change & 1u << 7,
		.speed = speed_of(port, status),
	};
	if (state->connect_changed) /* it is told once */
		port->replugged = true;
	return change ? clear_changes(port, change) : 0;
}

int hub_port_reset(struct port *port, bool warm)
{
	return port_feature(port, LIBUSB_REQUEST_SET_FEATURE, warm ? BH_PORT_RESET : PORT_RESET);
}

int hub_port_power(struct port *port)
{
	return port_feature(port, LIBUSB_REQUEST_SET_FEATURE, PORT_POWER);
}

/* ---- the status change endpoint ---- */

static void status_done(struct td *td, int res);

static void post_later(struct hub *hub);

static void post(struct hub *hub)
{
	struct stream *s = &hub->status->streams[0];
	struct controller *c = hub->device->controller;
	/* a whole packet, for hubs with more ports than we look at */
	uint32_t packet = hub->status->info.packet, bytes = packet < BITMAP ? packet : BITMAP;
	struct pcidipc_segment segment = {pcidipc_dma_iova(&c->dma, hub->bitmap), bytes};

	if (hub->stopping || hub->device->gone)
		return;
	if (!transfer_ready(s, 1)) { /* it is being served */
		post_later(hub);
		return;
	}
	hub->td = (struct td){.done = status_done, .bytes = bytes};
	transfer_write(s, &segment, 1, bytes, false);
	transfer_queue(s, &hub->td, 1, 0);
	transfer_flush(c);
}

static void look_at_ports(struct hub *hub)
{
	for (unsigned i = 1; i <= hub->nports; i++)
		port_changed(&hub->ports[i]);
}

/* One that tells nothing any more is still asked, now and then. */
static void wait_a_while(struct hub *hub)
{
	if (hub->errors <= MAX_ERRORS) {
		pcidipc_task_sleep(10 * MS * (hub->errors + 1));
		return;
	}
	if (hub->errors == MAX_ERRORS + 1)
		pcidipc_warn("%s: %s: the hub tells nothing of its ports: they are asked",
			     hub->device->controller->address, hub->device->path);
	for (unsigned i = 0; i < ASK_STEPS && !hub->stopping && !hub->device->gone; i++)
		pcidipc_task_sleep(ASK_STEP);
	if (!hub->stopping && !hub->device->gone)
		look_at_ports(hub);
}

static void again_task(void *arg)
{
	struct hub *hub = arg;

	wait_a_while(hub);
	if (!hub->stopping && !hub->device->gone) {
		if (!hub->status->halted || !endpoint_clear_halt(hub->status)) {
			post(hub);
		} else {
			hub->errors++;
			post_later(hub);
		}
	}
	hub->device->tasks--;
}

static void post_later(struct hub *hub)
{
	if (hub->stopping || hub->device->gone)
		return;
	hub->unposted = pcidipc_spawn(hub->device->controller->loop, again_task, hub);
	if (hub->unposted)
		watchdog_starved(hub->device->controller);
	else
		hub->device->tasks++;
}

/* ---- the hub's own changes: power and current of all of it (USB 2.0, 11.24.2.6) ---- */

static void clear_own(struct hub *hub, uint16_t change)
{
	for (uint16_t feature = C_HUB_LOCAL_POWER; feature <= C_HUB_OVER_CURRENT; feature++) {
		struct setup setup = {.type = HUB_CLASS,
				      .request = LIBUSB_REQUEST_CLEAR_FEATURE,
				      .value = feature};

		if (change & 1u << feature)
			control_run(hub->device, &setup, NULL);
	}
}

static void own_task(void *arg)
{
	struct hub *hub = arg;
	struct device *dev = hub->device;
	struct setup setup = {.type = 0x80 | HUB_CLASS, .length = 4};
	uint8_t raw[4];

	if (control_run(dev, &setup, raw) == (int)sizeof(raw)) {
		uint16_t status = descriptor_u16(raw), change = descriptor_u16(raw + 2);

		port_log(dev->port, PCIDIPC_WARNING, "%s: %s: the hub: %s, %s",
			 dev->controller->address, dev->path,
			 status & 2 ? "overcurrent" : "no overcurrent",
			 status & 1 ? "no power of its own" : "its power is good");
		clear_own(hub, change);
		if (change && !hub->stopping) /* they may be without power now */
			look_at_ports(hub);
	}
	hub->own = false;
	dev->tasks--;
}

static void look_at_self(struct hub *hub)
{
	if (hub->own)
		return;
	hub->own = !pcidipc_spawn(hub->device->controller->loop, own_task, hub);
	hub->own_unread = !hub->own;
	hub->device->tasks += hub->own;
	if (hub->own_unread)
		watchdog_starved(hub->device->controller);
}

void hub_retry(struct device *dev)
{
	struct hub *hub = dev->hub;

	if (hub->stopping || dev->gone) /* it waits for its tasks, or has done so */
		return;
	if (hub->unposted)
		post_later(hub);
	if (hub->own_unread)
		look_at_self(hub);
	for (unsigned i = 1; i <= hub->nports; i++)
		port_retry(&hub->ports[i]);
}

static void look_at_bitmap(struct hub *hub)
{
	const uint8_t *raw = pcidipc_buf_ptr(hub->bitmap);
	uint16_t bits = descriptor_u16(raw);

	if (bits & 1)
		look_at_self(hub);
	for (unsigned i = 1; i <= hub->nports; i++)
		if (bits & 1u << i)
			port_changed(&hub->ports[i]);
}

static void status_done(struct td *td, int res)
{
	struct hub *hub = pcidipc_container_of(td, struct hub, td);

	if (res > 0) {
		if (res < 2)
			((uint8_t *)pcidipc_buf_ptr(hub->bitmap))[1] = 0;
		hub->errors = 0;
		look_at_bitmap(hub);
		if (pace_allows(&hub->told, pcidipc_loop_now(hub->device->controller->loop),
				STATUS_STEP, STATUS_BURST))
			post(hub);
		else
			post_later(hub);
	} else if (res != -ENODEV) {
		hub->errors++;
		post_later(hub);
	}
}

/* ---- starting ---- */

static int read_descriptor(struct hub *hub)
{
	struct device *dev = hub->device;
	uint8_t raw[16];
	unsigned type = is_super(dev) ? LIBUSB_DT_SUPERSPEED_HUB : LIBUSB_DT_HUB;
	int ret = control_get_descriptor(dev, HUB_CLASS, type, 0, 0, raw, sizeof(raw));

	if (ret < 7 || raw[1] != type || !raw[2]) {
		pcidipc_warn("%s: %s: the hub descriptor is none", dev->controller->address,
			     dev->path);
		return ret < 0 ? ret : -EPROTO;
	}
	hub->nports = raw[2] < MAX_HUB_PORTS ? raw[2] : MAX_HUB_PORTS;
	hub->think_time = descriptor_u16(raw + 3) >> 5 & 3;
	hub->power_good_ms = (uint16_t)(raw[5] * 2);
	return 0;
}

static int find_status(struct hub *hub)
{
	struct device *dev = hub->device;

	for (unsigned i = 2; i < MAX_DCI; i++) {
		struct endpoint *ep = dev->endpoints[i];

		if (!ep || ep->info.type != LIBUSB_TRANSFER_TYPE_INTERRUPT ||
		    !(ep->info.address & 0x80))
			continue;
		hub->status = ep;
		hub->bitmap = pcidipc_pool_alloc(dev->controller->dma.pool, BITMAP, 64);
		if (!hub->bitmap)
			return -ENOMEM;
		memset(pcidipc_buf_ptr(hub->bitmap), 0, BITMAP);
		return 0;
	}
	return -EPROTO;
}

static int set_depth(struct device *dev)
{
	struct setup setup = {.type = HUB_CLASS, .request = SET_HUB_DEPTH, .value = dev->depth};
	int ret = is_super(dev) ? control_run(dev, &setup, NULL) : 0;

	return ret < 0 ? ret : 0;
}

static void start_ports(struct hub *hub)
{
	for (unsigned i = 1; i <= hub->nports; i++) {
		hub->ports[i] = (struct port){.controller = hub->device->controller,
					      .hub = hub->device,
					      .number = (uint8_t)i,
					      .shown = (uint8_t)i};
		hub_port_power(&hub->ports[i]);
	}
	pcidipc_task_sleep((uint64_t)MS * hub->power_good_ms);
	post(hub);
	look_at_ports(hub);
}

int hub_start(struct device *dev)
{
	struct hub *hub;
	int ret;

	if (dev->depth >= MAX_DEPTH || !dev->ninterfaces) {
		pcidipc_warn("%s: %s: a hub %s", dev->controller->address, dev->path,
			     dev->ninterfaces ? "too many in a row" : "without interface");
		return -EPROTO;
	}
	hub = calloc(1, sizeof(*hub));
	if (!hub)
		return -ENOMEM;
	hub->device = dev;
	ret = read_descriptor(hub);
	dev->hub = hub; /* from here on it is freed with the device */
	hub->multiple = dev->speed == SPEED_HIGH && dev->descriptors.device[6] == 2 &&
			dev->interfaces[0].info.alternates > 1;
	if (!ret)
		ret = interface_configure(&dev->interfaces[0], hub->multiple, 0);
	if (ret >= 0)
		ret = find_status(hub);
	if (!ret)
		ret = set_depth(dev);
	if (!ret)
		start_ports(hub);
	return ret;
}

void hub_stop(struct device *dev)
{
	struct hub *hub = dev->hub;

	hub->stopping = true;
	for (unsigned i = 1; i <= hub->nports; i++) {
		while (hub->ports[i].busy)
			pcidipc_task_sleep(MS);
		port_remove_device(&hub->ports[i]);
	}
}

void hub_free(struct device *dev)
{
	if (dev->hub && dev->hub->bitmap)
		pcidipc_buf_free(dev->hub->bitmap);
	free(dev->hub);
}
