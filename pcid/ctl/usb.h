/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pcidctl usb: what its files share. */
#ifndef PCIDCTL_USB_H
#define PCIDCTL_USB_H

#include <pcidipc/consumer.h>
#include <ringabi/usb.h>
#include "ctl.h"

#define USB_MAX_PORTS 4096
#define USB_MAX_DESCRIPTOR 65535

/* A controller's service, and what it told. */
struct usb_bus {
	struct json_object *service;  /* as pcid lists it */
	struct json_object *children; /* interfaces with their drivers, as pcid has them; or NULL */
	struct json_object *function;
	struct pcidipc_consumer *ring;
	struct pcidipc_pool *pool;
	struct pcidipc_buf *buf;
	uint16_t index;
	struct ringabi_usb_port *ports;
	unsigned nports;
	int error; /* it could not be asked */
};

/* ---- usbbus.c ---- */

/* All controllers. CTL_OK or an exit code, reported. */
int usb_find(const struct ctl *ctl, struct json_object **services, struct usb_bus **list,
	     size_t *count);
void usb_free(struct json_object *services, struct usb_bus *list, size_t count);
/* Connect, and read the ports. -errno. admin: to the admin socket. */
int usb_open(struct usb_bus *bus, bool admin);
/* One command with bus->buf, or (`to`) its first bytes copied from there. res or -errno. */
int usb_ask(struct usb_bus *bus, uint32_t cmd_op, const struct ringabi_usb_arg *arg);
/* A descriptor of a device: its bytes, in bus->buf. Bytes or -errno. */
int usb_peek(struct usb_bus *bus, uint8_t slot, unsigned type, unsigned index);
const unsigned char *usb_data(const struct usb_bus *bus);
/* The string descriptor as UTF-8; "" if there is none. Returns text. */
char *usb_string(struct usb_bus *bus, uint8_t slot, unsigned index, char *text, size_t room);
/*
 * The controller and the port that "3-1.4" or "xhci0/3-1.4" names, in those lists. CTL_OK or an
 * exit code, reported. *port: NULL if the name is that of a controller.
 */
int usb_locate(const struct ctl *ctl, const char *name, struct usb_bus *list, size_t count,
	       struct usb_bus **bus, const struct ringabi_usb_port **port);
/* "xhci0" */
const char *usb_bus_name(const struct usb_bus *bus);
const char *usb_speed_name(unsigned speed);
const char *usb_class_name(unsigned class_code, unsigned subclass, unsigned protocol);

/* ---- usbdecode.c ---- */

/* A chain of descriptors as an array of objects. Hostile input: what cannot be is told as such. */
struct json_object *usb_decode(const unsigned char *raw, size_t bytes);

#endif
