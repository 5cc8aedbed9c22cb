/* SPDX-License-Identifier: MIT */
/* The service usb/xhciN: what is plugged in where, and what moves, for people who want to see. */
#include <errno.h>
#include <pcidipc/driver.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <string.h>

#include "xhcid.h"

#define MAX_ENTRIES 64

static struct controller *controller_of(struct pcidipc_session *session)
{
	return pcidipc_session_scheme(session)->driver;
}

/* ---- ports ---- */

struct listing {
	unsigned char *to; /* the consumer's memory: written, never read */
	uint32_t room, used;
	uint64_t count;
};

static void describe_device(const struct device *dev, struct ringabi_usb_port *out)
{
	out->slot = dev->slot;
	out->speed = (uint8_t)shown_speed(dev->speed);
	out->interfaces = (uint8_t)dev->ninterfaces;
	out->vendor = descriptor_u16(dev->descriptors.device + 8);
	out->product = descriptor_u16(dev->descriptors.device + 10);
	while (hub_port(dev, out->hub_ports + 1u))
		out->hub_ports++;
}

static void describe(const struct port *port, struct ringabi_usb_port *out)
{
	char path[sizeof(out->path)];

	memset(out, 0, sizeof(*out));
	if (port->hub)
		snprintf(path, sizeof(path), "%.18s.%u", port->hub->path, port->number);
	else
		snprintf(path, sizeof(path), "%u-%u", port->major, port->shown);
	memcpy(out->path, path, strlen(path));
	out->flags = (uint8_t)((port->overcurrent ? RINGABI_USB_PORT_OVERCURRENT : 0) |
			       (port->given_up ? RINGABI_USB_PORT_UNUSABLE : 0) |
			       (port->busy ? RINGABI_USB_PORT_BUSY : 0));
	if (port->device && !port->device->gone && port->device->slot)
		describe_device(port->device, out);
}

static void list_port(struct listing *l, const struct port *port)
{
	struct ringabi_usb_port out;

	describe(port, &out);
	l->count++;
	if (l->room - l->used >= sizeof(out)) {
		memcpy(l->to + l->used, &out, sizeof(out));
		l->used += sizeof(out);
	}
	for (unsigned i = 1; i <= out.hub_ports; i++) /* at most MAX_DEPTH hubs in a row */
		list_port(l, hub_port(port->device, i));
}

static int list_ports(struct pcidipc_request *rq, struct controller *c)
{
	struct listing l = {.room = rq->sqe.len};
	void *to;
	int ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, rq->sqe.len, &to);

	if (ret)
		return ret;
	if (l.room > INT32_MAX)
		return -EINVAL;
	l.to = to;
	for (unsigned i = 1; i <= c->nports; i++)
		if (c->ports[i].major)
			list_port(&l, &c->ports[i]);
	rq->big[0] = l.count;
	return (int)l.used;
}

/* ---- descriptors ---- */

static int peek(struct pcidipc_request *rq, struct controller *c)
{
	struct ringabi_usb_arg arg;
	const struct device *dev;
	const uint8_t *from;
	size_t bytes = 0;
	void *to;
	int ret;

	memcpy(&arg, rq->sqe.cmd, sizeof(arg));
	dev = arg.streams <= MAX_SLOTS ? c->slots[arg.streams] : NULL;
	if (!dev || dev->gone || !dev->interfaces) /* or not enumerated yet */
		return -ENODEV;
	from = find_descriptor(&dev->descriptors, arg.value, &bytes);
	if (!from)
		return -ENOENT;
	bytes = bytes < rq->sqe.len ? bytes : rq->sqe.len;
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, bytes, &to);
	if (ret)
		return ret;
	memcpy(to, from, bytes);
	return (int)bytes;
}

/* ---- the scheme ---- */

static int request(struct pcidipc_request *rq)
{
	struct controller *c = controller_of(rq->session);
	bool admin = pcidipc_session_flags(rq->session) & PCIDIPC_SESSION_ADMIN;

	if (rq->sqe.opcode != IORING_OP_URING_CMD)
		return -EOPNOTSUPP;
	if (rq->sqe.fd || rq->sqe.ioprio || rq->sqe.rw_flags)
		return -EINVAL;
	if (c->dead)
		return -ENODEV;
	switch (rq->sqe.cmd_op) {
	case RINGABI_USB_PORTS:
		return list_ports(rq, c);
	case RINGABI_USB_PEEK:
		return peek(rq, c);
	case RINGABI_USB_CAPTURE: /* it shows what is on others' disks */
		return admin ? capture_request(rq, c) : -EPERM;
	case RINGABI_USB_CAPTURE_END:
		return capture_end(c, rq->session);
	default:
		return -EOPNOTSUPP;
	}
}

/* Only a CAPTURE is ever pending. */
static int cancel(struct pcidipc_request *rq)
{
	capture_end(controller_of(rq->session), rq->session);
	return 0;
}

static void close_session(struct pcidipc_session *session)
{
	capture_session_close(controller_of(session), session);
}

int service_publish(struct controller *c)
{
	int ret;

	c->scheme = (struct pcidipc_scheme){
		.interface = RINGABI_INTERFACE_USB,
		.ring_features = RINGABI_RING_CQE32,
		.flags = PCIDIPC_SCHEME_MAP_POOLS,
		.max_sq_entries = MAX_ENTRIES,
		.max_cq_entries = 2 * MAX_ENTRIES,
		.max_sessions = 16,
		.driver = c,
		.request = request,
		.cancel = cancel,
		.close = close_session,
	};
	ret = pcidipc_pci_serve(c->pci, "usb", "", &c->scheme);
	if (ret)
		pcidipc_warn("%s: its service cannot be published: %s", c->address, strerror(-ret));
	return ret;
}
