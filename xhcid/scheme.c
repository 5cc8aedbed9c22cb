/* SPDX-License-Identifier: MIT */
/* The USB interface (ringabi/usb.h) for the driver of each interface, which pcid starts when it is
 * announced. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xhcid.h"

#define MAX_ENTRIES 1024

static struct interface *interface_of(struct pcidipc_session *session)
{
	return pcidipc_session_scheme(session)->driver;
}

static struct ringabi_usb_arg arg_of(const struct pcidipc_request *rq)
{
	struct ringabi_usb_arg arg;

	memcpy(&arg, rq->sqe.cmd, sizeof(arg));
	return arg;
}

/* ---- what is known ---- */

unsigned shown_speed(uint8_t speed)
{
	static const uint8_t speeds[] = {[SPEED_FULL] = RINGABI_USB_SPEED_FULL,
					 [SPEED_LOW] = RINGABI_USB_SPEED_LOW,
					 [SPEED_HIGH] = RINGABI_USB_SPEED_HIGH,
					 [SPEED_SUPER] = RINGABI_USB_SPEED_SUPER,
					 [SPEED_SUPER_PLUS] = RINGABI_USB_SPEED_SUPER_PLUS};

	return speeds[speed];
}

static int info(struct pcidipc_request *rq, const struct interface *in)
{
	const uint8_t *d = in->device->descriptors.device;

	rq->big[0] = descriptor_u16(d + 8) | (uint64_t)descriptor_u16(d + 10) << 16 |
		     (uint64_t)descriptor_u16(d + 12) << 32 | (uint64_t)descriptor_u16(d + 2) << 48;
	rq->big[1] = in->info.number | (uint64_t)in->info.alternates << 8 |
		     (uint64_t)in->device->descriptors.config[5] << 16 |
		     (uint64_t)shown_speed(in->device->speed) << 24 |
		     (uint64_t)in->device->address << 32;
	return 0;
}

const uint8_t *find_descriptor(const struct descriptors *d, uint32_t value, size_t *bytes)
{
	unsigned index = value >> 8 & 0xff, language = value >> 16;
	const struct string_descriptor *s;

	switch (value & 0xff) {
	case LIBUSB_DT_DEVICE:
		*bytes = sizeof(d->device);
		return index ? NULL : d->device;
	case LIBUSB_DT_CONFIG:
		*bytes = d->config_bytes;
		return index ? NULL : d->config;
	case LIBUSB_DT_BOS:
		*bytes = d->bos_bytes;
		return index ? NULL : d->bos;
	case LIBUSB_DT_STRING:
		s = descriptors_string(d, index);
		if (!s || (index && language && language != d->language))
			return NULL;
		*bytes = s->raw[0];
		return s->raw;
	default:
		return NULL;
	}
}

static int descriptor(struct pcidipc_request *rq, const struct interface *in)
{
	struct ringabi_usb_arg arg = arg_of(rq);
	size_t bytes = 0;
	const uint8_t *from = find_descriptor(&in->device->descriptors, arg.value, &bytes);
	void *to;
	int ret;

	if (!from)
		return -ENOENT;
	bytes = bytes < rq->sqe.len ? bytes : rq->sqe.len;
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, bytes, &to);
	if (ret)
		return ret;
	memcpy(to, from, bytes);
	return (int)bytes;
}

/* ---- what takes a while: a task for each ---- */

static int stop(struct interface *in, const struct ringabi_usb_arg *arg)
{
	int error;
	struct endpoint *ep = request_endpoint(in, arg->endpoint, &error);
	struct stream *only = NULL;

	if (!ep)
		return error;
	if (arg->stream) {
		only = endpoint_stream(ep, arg->stream);
		if (!only)
			return -ENOENT;
	}
	for (unsigned i = 0; i < (ep->nstreams ? ep->nstreams : 1u); i++)
		if (!only || only == &ep->streams[i])
			request_fail_parked(&ep->streams[i], -ECANCELED);
	endpoint_cancel(ep, only, -ECANCELED);
	return endpoint_service(ep);
}

static int clear_halt(struct interface *in, const struct ringabi_usb_arg *arg)
{
	int error;
	struct endpoint *ep = request_endpoint(in, arg->endpoint, &error);

	return ep ? endpoint_clear_halt(ep) : error;
}

/* It costs all of the device's interfaces what they have set up there. */
static int reset(struct interface *in)
{
	struct device *dev = in->device;

	for (unsigned i = 0; i < dev->ninterfaces; i++)
		if (&dev->interfaces[i] != in && dev->interfaces[i].claimed)
			return -EPERM;
	return device_reset(dev);
}

static int perform(struct pcidipc_request *rq, struct interface *in)
{
	struct ringabi_usb_arg arg = arg_of(rq);
	int ret;

	if (in->device->gone)
		return -ENODEV;
	if (request_canceled(rq)) /* or its driver is gone */
		return -ECANCELED;
	switch (rq->sqe.cmd_op) {
	case RINGABI_USB_CONFIGURE:
		ret = interface_configure(in, arg.value, arg.streams);
		rq->big[0] = ret > 0 ? (uint64_t)ret : 0;
		return ret > 0 ? 0 : ret;
	case RINGABI_USB_CLEAR_HALT:
		return clear_halt(in, &arg);
	case RINGABI_USB_STOP:
		return stop(in, &arg);
	default:
		return reset(in);
	}
}

/* One after the other: each of them changes what the next would work on. */
static void perform_task(void *arg)
{
	struct pcidipc_request *rq = arg;
	struct interface *in = interface_of(rq->session);
	struct device *dev = in->device;
	int ret;

	pcidipc_task_lock(&dev->performing);
	ret = perform(rq, in);
	pcidipc_task_unlock(&dev->performing);
	pcidipc_complete(rq, dev->gone && ret ? -ENODEV : ret);
	dev->tasks--;
}

static int perform_later(struct pcidipc_request *rq, struct interface *in)
{
	int ret;

	memset(rq->priv, 0, request_bytes());
	ret = pcidipc_spawn(in->device->controller->loop, perform_task, rq);
	if (ret)
		return ret;
	in->device->tasks++;
	return PCIDIPC_PENDING;
}

/* ---- requests ---- */

static int request(struct pcidipc_request *rq)
{
	struct interface *in = interface_of(rq->session);

	if (rq->sqe.opcode != IORING_OP_URING_CMD)
		return -EOPNOTSUPP;
	if (rq->sqe.fd || rq->sqe.ioprio || rq->sqe.rw_flags)
		return -EINVAL;
	if (in->device->gone || in->device->controller->dead)
		return -ENODEV;
	switch (rq->sqe.cmd_op) {
	case RINGABI_USB_INFO:
		return info(rq, in);
	case RINGABI_USB_DESCRIPTOR:
		return descriptor(rq, in);
	case RINGABI_USB_CONTROL:
		return request_control(rq, in);
	case RINGABI_USB_TRANSFER:
		return request_transfer(rq, in);
	case RINGABI_USB_CONFIGURE:
	case RINGABI_USB_CLEAR_HALT:
	case RINGABI_USB_STOP:
	case RINGABI_USB_RESET_DEVICE:
		return perform_later(rq, in);
	default:
		return -EOPNOTSUPP;
	}
}

static void flush(struct pcidipc_session *session)
{
	transfer_flush(interface_of(session)->device->controller);
}

/* ---- sessions ---- */

static int open_session(struct pcidipc_session *session, uint32_t open_flags)
{
	struct interface *in = interface_of(session);

	(void)open_flags;
	return in->device->gone || in->device->controller->dead ? -ENODEV : 0;
}

static void close_session(struct pcidipc_session *session)
{
	interface_release(interface_of(session));
	request_session_close(session);
}

static void fill_scheme(struct interface *in)
{
	in->scheme = (struct pcidipc_scheme){
		.name = in->name,
		.interface = RINGABI_INTERFACE_USB,
		.ring_features = RINGABI_RING_CQE32,
		.flags = PCIDIPC_SCHEME_MAP_POOLS | PCIDIPC_SCHEME_DMA,
		.max_pools = RINGABI_MAX_POOLS, /* its clients' among them */
		.max_pool_bytes = UINT64_MAX,	/* the controller's addresses are the limit */
		.max_sq_entries = MAX_ENTRIES,
		.max_cq_entries = 2 * MAX_ENTRIES,
		.max_sessions = 1,
		.request_bytes = request_bytes(),
		.session_bytes = sizeof(void *),
		.driver = in,
		.pci = in->device->controller->pci,
		.open = open_session,
		.request = request,
		.flush = flush,
		.cancel = request_cancel,
		.close = close_session,
	};
}

/* ---- announcing ---- */

void interfaces_make(struct device *dev)
{
	struct interface_info list[MAX_INTERFACES];
	unsigned n =
		descriptor_interfaces(dev->descriptors.config, dev->descriptors.config_bytes, list);

	dev->interfaces = calloc(n ? n : 1, sizeof(*dev->interfaces));
	if (!dev->interfaces)
		return;
	dev->ninterfaces = n;
	for (unsigned i = 0; i < n; i++) {
		struct interface *in = &dev->interfaces[i];

		in->device = dev;
		in->info = list[i];
		snprintf(in->name, sizeof(in->name), "%s:%u.%u", dev->path,
			 dev->descriptors.config[5], list[i].number);
		fill_scheme(in);
	}
}

static void name_for_people(const struct device *dev, char *text, size_t room)
{
	const struct descriptors *d = &dev->descriptors;
	const struct string_descriptor *s =
		d->device[15] ? descriptors_string(d, d->device[15]) : NULL;

	if (s && s->raw[0] > 2)
		descriptor_text(s->raw, text, room);
	else
		snprintf(text, room, "%04x:%04x", descriptor_u16(d->device + 8),
			 descriptor_u16(d->device + 10));
}

static void announce(struct interface *in)
{
	struct device *dev = in->device;
	struct controller *c = dev->controller;
	char name[RINGABI_NAME_BYTES];
	struct pcidipc_child child = {
		.interface = RINGABI_INTERFACE_USB,
		.vendor = descriptor_u16(dev->descriptors.device + 8),
		.product = descriptor_u16(dev->descriptors.device + 10),
		.class_code = in->info.class_code,
		.subclass = in->info.subclass,
		.protocol = in->info.protocol,
		.path = in->name,
		.name = name,
	};
	int ret;

	name_for_people(dev, name, sizeof(name));
	child.number = in->child = ++c->next_child;
	in->announced = true; /* its driver may be there before the answer */
	ret = pcidipc_pci_announce(c->pci, &child);
	if (ret && ret != -ENOENT) {
		pcidipc_warn("%s: %s could not be announced: %s", c->address, in->name,
			     strerror(-ret));
		in->announced = false;
	}
}

void interfaces_announce(struct device *dev)
{
	for (unsigned i = 0; i < dev->ninterfaces && !dev->gone; i++)
		announce(&dev->interfaces[i]);
}

void interfaces_remove(struct device *dev)
{
	struct controller *c = dev->controller;

	for (unsigned i = 0; i < dev->ninterfaces; i++) {
		struct interface *in = &dev->interfaces[i];

		if (!in->announced)
			continue;
		in->announced = false;
		pcidipc_scheme_event(&in->scheme, RINGABI_EVENT_REMOVED);
		pcidipc_pci_child_gone(c->pci, in->child);
		pcidipc_scheme_end_sessions(&in->scheme);
	}
}

static struct interface *find_child(struct controller *c, uint32_t child)
{
	for (unsigned slot = 1; slot <= MAX_SLOTS; slot++)
		for (unsigned i = 0; c->slots[slot] && i < c->slots[slot]->ninterfaces; i++) {
			struct interface *in = &c->slots[slot]->interfaces[i];

			if (in->announced && in->child == child)
				return in;
		}
	return NULL;
}

void interface_adopt(struct controller *c, uint32_t child, int channel)
{
	struct interface *in = find_child(c, child);
	struct pcidipc_session *session;
	int ret;

	if (!in) { /* gone meanwhile */
		close(channel);
		return;
	}
	ret = pcidipc_session_create(c->loop, &in->scheme, channel, 0, &session);
	if (ret)
		pcidipc_warn("%s: its driver could not be joined: %s", in->name, strerror(-ret));
}
