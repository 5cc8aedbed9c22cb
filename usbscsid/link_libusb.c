/* SPDX-License-Identifier: MIT */
/*
 * A device of the kernel's own USB stack, through libusb's asynchronous interface. Its file
 * descriptors are watched by our loop. The kernel copies the data: usbfs knows no other way.
 *
 * What libusb can only do synchronously (claim, alternate settings, clear halt, reset) blocks the
 * loop for as long as the kernel takes. It happens at the start and in recovery only.
 */
#include "link.h"

#include <errno.h>
#include <libusb-1.0/libusb.h>
#include <pcidipc/log.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "pipes.h"

#define OWN_BYTES (4u << 20)
#define MOST_POOLS 1024
#define MOST_BYTES (1u << 20) /* usbfs has 16 MiB for all of its users */
#define MOST_WATCHES 16
#define MOST_STREAM_ENDPOINTS 3

/* One of libusb's fds, watched. */
struct libusb_watch {
	struct pcidipc_watch watch;
	struct libusb_link *of;
};

struct libusb_link {
	struct usb_link link;
	libusb_context *context;
	libusb_device_handle *handle;
	uint8_t *base[MOST_POOLS]; /* 0 is our own */
	struct libusb_watch watch[MOST_WATCHES];
	struct pcidipc_list running; /* struct usb_transfer */
	/* Streams that were allocated, and of which endpoints: a reset frees them. */
	unsigned streams;
	uint8_t stream_endpoint[MOST_STREAM_ENDPOINTS];
	libusb_hotplug_callback_handle leaves;
	bool gone;
};

/* What goes along with a transfer. */
struct native {
	struct libusb_transfer *transfer;
	struct usb_transfer *owner;
	struct libusb_link *of;
	uint8_t *bounce; /* data in more than one segment */
};

static struct libusb_link *libusb_of(struct usb_link *link)
{
	return pcidipc_container_of(link, struct libusb_link, link);
}

static int error_of(int code)
{
	switch (code) {
	case LIBUSB_ERROR_NO_DEVICE:
		return -ENODEV;
	case LIBUSB_ERROR_NOT_FOUND:
		return -ENOENT;
	case LIBUSB_ERROR_PIPE:
		return -EPIPE;
	case LIBUSB_ERROR_TIMEOUT:
		return -ETIMEDOUT;
	case LIBUSB_ERROR_OVERFLOW:
		return -EOVERFLOW;
	case LIBUSB_ERROR_BUSY:
		return -EBUSY;
	case LIBUSB_ERROR_ACCESS:
		return -EACCES;
	case LIBUSB_ERROR_NO_MEM:
		return -ENOMEM;
	case LIBUSB_ERROR_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	default:
		return code < 0 ? -EIO : code;
	}
}

static int status_error(const struct libusb_transfer *t)
{
	switch (t->status) {
	case LIBUSB_TRANSFER_COMPLETED:
		return t->actual_length;
	case LIBUSB_TRANSFER_TIMED_OUT:
		return -ETIMEDOUT;
	case LIBUSB_TRANSFER_CANCELLED:
		return -ECANCELED;
	case LIBUSB_TRANSFER_STALL:
		return -EPIPE;
	case LIBUSB_TRANSFER_NO_DEVICE:
		return -ENODEV;
	case LIBUSB_TRANSFER_OVERFLOW:
		return -EOVERFLOW;
	default:
		return -EPROTO;
	}
}

/* ---- transfers ---- */

static bool one_piece(const struct usb_data *d)
{
	return d->skip + d->bytes <= d->segments->bytes;
}

/* Between the pieces and the bounce buffer. */
static void copy_pieces(struct libusb_link *u, const struct usb_data *d, uint8_t *bounce,
			uint32_t bytes, bool to_pieces)
{
	struct ringabi_usb_segment piece[RINGABI_USB_MAX_SEGMENTS];
	int n = usb_data_pieces(d, piece, RINGABI_USB_MAX_SEGMENTS);

	for (int i = 0; i < n && bytes; i++) {
		uint32_t part = piece[i].len < bytes ? piece[i].len : bytes;
		uint8_t *at = u->base[d->pool] + piece[i].addr;

		memcpy(to_pieces ? at : bounce, to_pieces ? bounce : at, part);
		bounce += part;
		bytes -= part;
	}
}

static void free_native(struct native *n)
{
	if (!n)
		return;
	libusb_free_transfer(n->transfer);
	free(n->bounce);
	free(n);
}

static void cancel_endpoint(struct libusb_link *u, uint8_t endpoint, int stream)
{
	pcidipc_list_for_each(x, &u->running, struct usb_transfer, link)
		if (x->endpoint == endpoint && (stream < 0 || x->stream == stream))
			libusb_cancel_transfer(((struct native *)x->native)->transfer);
}

static void lose(struct libusb_link *u)
{
	if (u->gone)
		return;
	u->gone = true;
	if (u->link.lost)
		u->link.lost(&u->link, -ENODEV);
}

/* As with xhcid: what halts an endpoint cancels what is queued behind it. */
static void LIBUSB_CALL transfer_done(struct libusb_transfer *t)
{
	struct native *n = t->user_data;
	struct usb_transfer *x = n->owner;
	struct libusb_link *u = n->of;
	int res = status_error(t);

	if (res > 0 && n->bounce && x->endpoint & 0x80)
		copy_pieces(u, &x->data, n->bounce, (uint32_t)res, true);
	pcidipc_list_remove(&x->link);
	if (res == -EPIPE || res == -EPROTO || res == -EOVERFLOW)
		cancel_endpoint(u, x->endpoint, -1);
	x->native = NULL;
	free_native(n);
	x->done(x, res);
	if (res == -ENODEV)
		lose(u);
}

static uint8_t *buffer(struct libusb_link *u, struct native *n, const struct usb_transfer *x)
{
	if (one_piece(&x->data))
		return u->base[x->data.pool] + x->data.segments->iova + x->data.skip;
	n->bounce = malloc(x->data.bytes);
	if (n->bounce && !(x->endpoint & 0x80))
		copy_pieces(u, &x->data, n->bounce, x->data.bytes, false);
	return n->bounce;
}

static struct native *make_native(struct libusb_link *u, struct usb_transfer *x)
{
	struct native *n = calloc(1, sizeof(*n));
	uint8_t *data;

	if (!n)
		return NULL;
	n->transfer = libusb_alloc_transfer(0);
	n->owner = x;
	n->of = u;
	data = n->transfer ? buffer(u, n, x) : NULL;
	if (!data) {
		free_native(n);
		return NULL;
	}
	libusb_fill_bulk_transfer(n->transfer, u->handle, x->endpoint, data, (int)x->data.bytes,
				  transfer_done, n, x->timeout_ms);
	if (x->stream) {
		n->transfer->type = LIBUSB_TRANSFER_TYPE_BULK_STREAM;
		libusb_transfer_set_stream_id(n->transfer, x->stream);
	}
	return n;
}

static int submit(struct usb_link *link, struct usb_transfer *x)
{
	struct libusb_link *u = libusb_of(link);
	struct native *n;
	int ret;

	if (u->gone)
		return -ENODEV;
	n = make_native(u, x);
	if (!n)
		return -ENOMEM;
	x->native = n;
	pcidipc_list_append(&u->running, &x->link);
	ret = libusb_submit_transfer(n->transfer);
	if (!ret)
		return 0;
	pcidipc_list_remove(&x->link);
	x->native = NULL;
	free_native(n);
	return error_of(ret);
}

static void flush(struct usb_link *link)
{
	(void)link;
}

/* ---- tasks ---- */

static void LIBUSB_CALL control_done(struct libusb_transfer *t)
{
	pcidipc_post(t->user_data, status_error(t));
}

static int run_control(struct libusb_link *u, uint8_t *packet, uint32_t timeout_ms)
{
	struct libusb_transfer *t = libusb_alloc_transfer(0);
	struct pcidipc_completion done = {0};
	int ret;

	if (!t)
		return -ENOMEM;
	libusb_fill_control_transfer(t, u->handle, packet, control_done, &done, timeout_ms);
	ret = libusb_submit_transfer(t);
	ret = ret ? error_of(ret) : pcidipc_await(&done);
	libusb_free_transfer(t);
	return ret;
}

static int control(struct usb_link *link, const struct usb_setup *s, void *data,
		   uint32_t timeout_ms)
{
	struct libusb_link *u = libusb_of(link);
	uint8_t *packet = calloc(1, LIBUSB_CONTROL_SETUP_SIZE + s->length);
	int ret;

	if (!packet)
		return -ENOMEM;
	libusb_fill_control_setup(packet, s->type, s->request, s->value, s->index, s->length);
	if (!(s->type & 0x80) && s->length)
		memcpy(packet + LIBUSB_CONTROL_SETUP_SIZE, data, s->length);
	ret = u->gone ? -ENODEV : run_control(u, packet, timeout_ms ? timeout_ms : 5000);
	if (ret > 0 && s->type & 0x80)
		memcpy(data, packet + LIBUSB_CONTROL_SETUP_SIZE, (size_t)ret);
	free(packet);
	return ret;
}

static int descriptor(struct usb_link *link, unsigned type, unsigned index, void *to, size_t room)
{
	const struct usb_setup setup = {
		.type = 0x80,
		.request = LIBUSB_REQUEST_GET_DESCRIPTOR,
		.value = (uint16_t)(type << 8 | index),
		.index = type == LIBUSB_DT_STRING ? 0x0409 : 0,
		.length = (uint16_t)(room < UINT16_MAX ? room : UINT16_MAX),
	};

	return control(link, &setup, to, 0);
}

/* The bulk endpoints of an alternate setting that may have streams. */
static int stream_endpoints(struct libusb_link *u, unsigned alternate,
			    uint8_t endpoint[MOST_STREAM_ENDPOINTS])
{
	uint8_t d[4096];
	struct storage_pipes pipes;
	int n = descriptor(&u->link, LIBUSB_DT_CONFIG, 0, d, sizeof(d));

	if (n < 0 || pipes_parse(d, (size_t)n, u->link.interface, &pipes) || !pipes.uas.found ||
	    pipes.uas.alternate != alternate)
		return 0;
	endpoint[0] = pipes.uas.status.endpoint;
	endpoint[1] = pipes.uas.in.endpoint;
	endpoint[2] = pipes.uas.out.endpoint;
	return MOST_STREAM_ENDPOINTS;
}

static int configure(struct usb_link *link, unsigned alternate, unsigned streams)
{
	struct libusb_link *u = libusb_of(link);
	int n, ret;

	u->streams = 0;
	ret = libusb_set_interface_alt_setting(u->handle, link->interface, (int)alternate);
	if (ret)
		return error_of(ret);
	n = streams ? stream_endpoints(u, alternate, u->stream_endpoint) : 0;
	if (!n)
		return 0;
	ret = libusb_alloc_streams(u->handle, streams, u->stream_endpoint, n);
	u->streams = ret > 0 ? (unsigned)ret : 0;
	return error_of(ret);
}

static int clear_halt(struct usb_link *link, uint8_t endpoint)
{
	struct libusb_link *u = libusb_of(link);

	cancel_endpoint(u, endpoint, -1);
	return u->gone ? -ENODEV : error_of(libusb_clear_halt(u->handle, endpoint));
}

static int stop(struct usb_link *link, uint8_t endpoint, uint16_t stream)
{
	struct libusb_link *u = libusb_of(link);

	if (u->gone)
		return -ENODEV;
	cancel_endpoint(u, endpoint, stream ? stream : -1);
	return 0;
}

/* The kernel sets the alternate setting again after a reset, but its streams are gone: all of them
 * have to be there again. */
static int restore_streams(struct libusb_link *u)
{
	int ret;

	if (!u->streams)
		return 0;
	ret = libusb_alloc_streams(u->handle, u->streams, u->stream_endpoint,
				   MOST_STREAM_ENDPOINTS);
	if (ret < 0)
		return error_of(ret);
	return (unsigned)ret == u->streams ? 0 : -EIO;
}

static int reset(struct usb_link *link)
{
	struct libusb_link *u = libusb_of(link);
	int ret;

	pcidipc_list_for_each(x, &u->running, struct usb_transfer, link)
		libusb_cancel_transfer(((struct native *)x->native)->transfer);
	ret = u->gone ? -ENODEV : error_of(libusb_reset_device(u->handle));
	return ret ? ret : restore_streams(u);
}

/* ---- pools: mapped here by the scheme ---- */

static int pool_attach(struct usb_link *link, struct pcidipc_pool_view *view)
{
	struct libusb_link *u = libusb_of(link);

	for (uint16_t i = 1; i < MOST_POOLS; i++)
		if (!u->base[i]) {
			u->base[i] = view->base;
			view->forwarded = i;
			view->iova = 0;
			return view->base ? 0 : -EOPNOTSUPP;
		}
	return -EDQUOT;
}

static int pool_map(struct usb_link *link, struct pcidipc_pool_view *view, uint64_t offset,
		    uint64_t bytes)
{
	(void)link, (void)view, (void)offset, (void)bytes;
	return 0;
}

static void pool_detach(struct usb_link *link, struct pcidipc_pool_view *view)
{
	libusb_of(link)->base[view->forwarded] = NULL;
}

/* ---- libusb's file descriptors in our loop ---- */

static void ready(struct pcidipc_watch *watch, unsigned events)
{
	struct libusb_watch *w = pcidipc_container_of(watch, struct libusb_watch, watch);
	struct timeval now = {0};

	(void)events;
	libusb_handle_events_timeout_completed(w->of->context, &now, NULL);
}

/* poll()'s events are epoll's. */
static void LIBUSB_CALL fd_added(int fd, short events, void *arg)
{
	struct libusb_link *u = arg;

	for (unsigned i = 0; i < MOST_WATCHES; i++) {
		struct libusb_watch *w = &u->watch[i];

		if (w->of)
			continue;
		w->of = u;
		if (pcidipc_watch_add(u->link.loop, &w->watch, fd, (unsigned)events, ready))
			w->of = NULL;
		return;
	}
	pcidipc_err("libusb has more than %u file descriptors", MOST_WATCHES);
}

static void LIBUSB_CALL fd_removed(int fd, void *arg)
{
	struct libusb_link *u = arg;

	for (unsigned i = 0; i < MOST_WATCHES; i++)
		if (u->watch[i].of && u->watch[i].watch.fd == fd) {
			pcidipc_watch_remove(&u->watch[i].watch);
			u->watch[i].of = NULL;
		}
}

static int watch_all(struct libusb_link *u)
{
	const struct libusb_pollfd **fds = libusb_get_pollfds(u->context);

	if (!fds)
		return -ENOMEM;
	for (unsigned i = 0; fds[i]; i++)
		fd_added(fds[i]->fd, fds[i]->events, u);
	libusb_free_pollfds(fds);
	libusb_set_pollfd_notifiers(u->context, fd_added, fd_removed, u);
	if (!libusb_pollfds_handle_timeouts(u->context))
		pcidipc_warn("libusb has no timerfd: its timeouts are late");
	return 0;
}

static void close_link(struct usb_link *link)
{
	struct libusb_link *u = libusb_of(link);

	if (u->leaves)
		libusb_hotplug_deregister_callback(u->context, u->leaves);
	if (u->handle) {
		libusb_release_interface(u->handle, link->interface);
		libusb_close(u->handle);
	}
	for (unsigned i = 0; i < MOST_WATCHES; i++)
		if (u->watch[i].of)
			pcidipc_watch_remove(&u->watch[i].watch);
	if (u->context) {
		libusb_set_pollfd_notifiers(u->context, NULL, NULL, NULL);
		libusb_exit(u->context);
	}
	if (link->pool)
		pcidipc_pool_destroy(link->pool);
	free(u);
}

static const struct usb_link_ops ops = {
	.descriptor = descriptor,
	.configure = configure,
	.control = control,
	.clear_halt = clear_halt,
	.stop = stop,
	.reset = reset,
	.submit = submit,
	.flush = flush,
	.pool_attach = pool_attach,
	.pool_map = pool_map,
	.pool_detach = pool_detach,
	.close = close_link,
};

/* ---- beginning ---- */

static int open_device(struct libusb_link *u, unsigned bus, unsigned address)
{
	libusb_device **list;
	ssize_t n = libusb_get_device_list(u->context, &list);
	int ret = -ENODEV;

	if (n < 0)
		return error_of((int)n);
	for (ssize_t i = 0; i < n && ret == -ENODEV; i++)
		if (libusb_get_bus_number(list[i]) == bus &&
		    libusb_get_device_address(list[i]) == address)
			ret = error_of(libusb_open(list[i], &u->handle));
	libusb_free_device_list(list, 1);
	return ret;
}

/* LIBUSB_SPEED_* are ours. */
static int describe(struct libusb_link *u, int interface)
{
	libusb_device *device = libusb_get_device(u->handle);
	struct libusb_device_descriptor d;
	uint8_t c[4096];
	int n = libusb_get_device_descriptor(device, &d);

	if (n)
		return error_of(n);
	n = libusb_get_descriptor(u->handle, LIBUSB_DT_CONFIG, 0, c, sizeof(c));
	if (n < 0)
		return error_of(n);
	if (interface < 0)
		interface = pipes_find_interface(c, (size_t)n);
	if (interface < 0)
		return interface;
	u->link.vendor = d.idVendor;
	u->link.product = d.idProduct;
	u->link.interface = (uint8_t)interface;
	u->link.configuration = n > 5 ? c[5] : 0;
	u->link.speed = (uint8_t)libusb_get_device_speed(device);
	u->link.most_bytes = MOST_BYTES;
	return 0;
}

/* An idle device has no transfer that would tell. */
static int LIBUSB_CALL left(libusb_context *context, libusb_device *device,
			    libusb_hotplug_event event, void *arg)
{
	struct libusb_link *u = arg;

	(void)context, (void)event;
	if (device == libusb_get_device(u->handle))
		lose(u);
	return 0;
}

static void watch_leaving(struct libusb_link *u)
{
	int ret = libusb_hotplug_register_callback(u->context, LIBUSB_HOTPLUG_EVENT_DEVICE_LEFT, 0,
						   u->link.vendor, u->link.product,
						   LIBUSB_HOTPLUG_MATCH_ANY, left, u, &u->leaves);

	if (ret)
		pcidipc_notice("libusb does not tell when the device is unplugged: an idle disk "
			       "does not notice (%s)",
			       libusb_error_name(ret));
}

static int claim(struct libusb_link *u)
{
	libusb_set_auto_detach_kernel_driver(u->handle, 1);
	return error_of(libusb_claim_interface(u->handle, u->link.interface));
}

static int parse_device(const char *text, unsigned *bus, unsigned *address)
{
	char end;

	return sscanf(text, "%3u:%3u%c", bus, address, &end) == 2 ? 0 : -EINVAL;
}

int link_libusb_open(struct pcidipc_loop *loop, const char *text, int interface,
		     struct usb_link **link)
{
	struct libusb_link *u = calloc(1, sizeof(*u));
	unsigned bus, address;
	int ret = u ? parse_device(text, &bus, &address) : -ENOMEM;

	if (ret) {
		free(u);
		return ret;
	}
	u->link.ops = &ops;
	u->link.loop = loop;
	pcidipc_list_init(&u->running);
	ret = pcidipc_pool_create(OWN_BYTES, 0, &u->link.pool);
	if (!ret) {
		u->base[0] = pcidipc_pool_base(u->link.pool);
		ret = error_of(libusb_init(&u->context));
	}
	if (!ret)
		ret = open_device(u, bus, address);
	if (!ret)
		ret = describe(u, interface);
	if (!ret)
		ret = claim(u);
	if (!ret)
		ret = watch_all(u);
	if (!ret)
		watch_leaving(u);
	if (ret)
		close_link(&u->link);
	else
		*link = &u->link;
	return ret;
}
