/* SPDX-License-Identifier: MIT */
/* What a device is: its descriptors, read once, and its configuration. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "xhcid.h"

#define MOST_BOS 4096

static int refuse(struct device *dev, const char *fault)
{
	pcidipc_warn("%s: %s: %s: not usable", dev->controller->address, dev->path, fault);
	return -EPROTO;
}

/* Exactly `bytes` of a descriptor, or an error. */
static int read_exactly(struct device *dev, unsigned type, unsigned index, void *to, unsigned bytes)
{
	int ret = control_get_descriptor(dev, 0, type, index, 0, to, bytes);

	if (ret < 0)
		return ret;
	return (unsigned)ret == bytes ? 0 : refuse(dev, "a descriptor is shorter than it says");
}

/* What each speed allows; only full speed leaves a choice (USB 2.0, 5.5.3; USB 3.2, 9.6.1). */
static bool packet_size_fits(uint8_t speed, unsigned packet)
{
	if (speed == SPEED_FULL)
		return packet == 8 || packet == 16 || packet == 32 || packet == 64;
	return packet == (speed >= SPEED_SUPER ? 512u : speed == SPEED_HIGH ? 64u : 8u);
}

/* bMaxPacketSize0, which is in the first eight bytes (USB 2.0, 9.6.1). */
static int read_packet_size(struct device *dev)
{
	uint8_t raw[8];
	int ret = read_exactly(dev, LIBUSB_DT_DEVICE, 0, raw, sizeof(raw));
	unsigned packet = raw[7];

	if (ret)
		return ret;
	if (dev->speed >= SPEED_SUPER)
		packet = packet < 16 ? 1u << packet : 0;
	if (!packet_size_fits(dev->speed, packet))
		return refuse(dev, "its bMaxPacketSize0 is wrong");
	if (packet == dev->endpoints[1]->info.packet)
		return 0;
	return device_evaluate(dev, packet);
}

static int read_device(struct device *dev)
{
	const char *fault;
	int ret = read_exactly(dev, LIBUSB_DT_DEVICE, 0, dev->descriptors.device,
			       LIBUSB_DT_DEVICE_SIZE);

	if (!ret && descriptor_check_device(dev->descriptors.device, &fault))
		ret = refuse(dev, fault);
	return ret;
}

static int read_config(struct device *dev)
{
	uint8_t head[LIBUSB_DT_CONFIG_SIZE];
	const char *fault;
	int ret = read_exactly(dev, LIBUSB_DT_CONFIG, 0, head, sizeof(head));
	uint16_t total = descriptor_u16(head + 2);

	if (ret)
		return ret;
	if (total < sizeof(head))
		return refuse(dev, "the configuration's wTotalLength is wrong");
	dev->descriptors.config = malloc(total);
	if (!dev->descriptors.config)
		return -ENOMEM;
	ret = read_exactly(dev, LIBUSB_DT_CONFIG, 0, dev->descriptors.config, total);
	if (ret)
		return ret;
	dev->descriptors.config_bytes = total;
	if (descriptor_check_config(dev->descriptors.config, total, &fault))
		return refuse(dev, fault);
	return 0;
}

/* The Binary device Object Store: nothing of ours depends on it. */
static void read_bos(struct device *dev)
{
	uint8_t head[LIBUSB_DT_BOS_SIZE];
	const char *fault;
	uint16_t total;

	if (descriptor_u16(dev->descriptors.device + 2) < 0x201 ||
	    control_get_descriptor(dev, 0, LIBUSB_DT_BOS, 0, 0, head, sizeof(head)) !=
		    (int)sizeof(head))
		return;
	total = descriptor_u16(head + 2);
	if (total < sizeof(head) || total > MOST_BOS)
		return;
	dev->descriptors.bos = malloc(total);
	if (!dev->descriptors.bos ||
	    control_get_descriptor(dev, 0, LIBUSB_DT_BOS, 0, 0, dev->descriptors.bos, total) !=
		    total ||
	    descriptor_check_bos(dev->descriptors.bos, total, &fault)) {
		free(dev->descriptors.bos);
		dev->descriptors.bos = NULL;
		return;
	}
	dev->descriptors.bos_bytes = total;
}

/* ---- strings ---- */

static void read_string(struct device *dev, unsigned index)
{
	struct descriptors *d = &dev->descriptors;
	struct string_descriptor *s = &d->strings[d->nstrings];
	int ret;

	if (d->nstrings == MAX_STRINGS || descriptors_string(d, index))
		return;
	ret = control_get_descriptor(dev, 0, LIBUSB_DT_STRING, index, index ? d->language : 0,
				     s->raw, sizeof(s->raw));
	if (ret < 2 || s->raw[0] < 2 || s->raw[0] > ret || s->raw[1] != LIBUSB_DT_STRING)
		return;
	s->index = (uint8_t)index;
	d->nstrings++;
}

static void read_strings(struct device *dev)
{
	struct descriptors *d = &dev->descriptors;
	struct interface_info list[MAX_INTERFACES];
	unsigned n = descriptor_interfaces(d->config, d->config_bytes, list);

	d->strings = calloc(MAX_STRINGS, sizeof(*d->strings));
	if (!d->strings)
		return;
	if (!d->device[14] && !d->device[15] && !d->device[16])
		return;
	read_string(dev, 0);
	if (!d->nstrings || d->strings[0].raw[0] < 4)
		return;
	d->language = descriptor_u16(d->strings[0].raw + 2);
	for (unsigned i = 14; i <= 16; i++) /* manufacturer, product, serial number */
		if (d->device[i])
			read_string(dev, d->device[i]);
	for (unsigned i = 0; i < n; i++)
		if (list[i].string)
			read_string(dev, list[i].string);
}

/* ---- all of it ---- */

int device_set_configuration(struct device *dev)
{
	struct setup setup = {.request = LIBUSB_REQUEST_SET_CONFIGURATION,
			      .value = dev->descriptors.config[5]};
	int ret = control_run(dev, &setup, NULL);

	return ret < 0 ? ret : 0;
}

static void tell(struct device *dev)
{
	static const char *const speeds[] = {
		[SPEED_LOW] = "low", [SPEED_FULL] = "full", [SPEED_HIGH] = "high"};
	const struct descriptors *d = &dev->descriptors;
	const struct string_descriptor *product = descriptors_string(d, d->device[15]);
	char text[128] = "";

	if (product && d->device[15])
		descriptor_text(product->raw, text, sizeof(text));
	pcidipc_notice("%s: %s: %04x:%04x %s, %s speed, slot %u", dev->controller->address,
		       dev->path, descriptor_u16(d->device + 8), descriptor_u16(d->device + 10),
		       text, dev->speed < SPEED_SUPER ? speeds[dev->speed] : "super", dev->slot);
}

int enumerate(struct device *dev)
{
	int ret = read_packet_size(dev);

	if (!ret)
		ret = read_device(dev);
	if (!ret)
		ret = read_config(dev);
	if (ret)
		return ret;
	read_bos(dev);
	read_strings(dev);
	ret = device_set_configuration(dev);
	if (ret)
		return ret;
	tell(dev);
	interfaces_make(dev);
	if (dev->descriptors.device[4] == LIBUSB_CLASS_HUB)
		return hub_start(dev);
	interfaces_announce(dev);
	return 0;
}
