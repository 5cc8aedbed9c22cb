/* SPDX-License-Identifier: MIT */
/* The interface as xhcid serves it: its ring carries our transfers, and the pools of our clients
 * are forwarded to it, so that the controller reads and writes them. */
#include "link.h"

#include <errno.h>
#include <pcidipc/scheme.h>
#include <pcidipc/usb.h>
#include <stdlib.h>

#define OWN_BYTES (4u << 20)

struct ring_link {
	struct usb_link link;
	struct pcidipc_usb *usb;
};

static struct pcidipc_usb *usb_of(struct usb_link *link)
{
	return pcidipc_container_of(link, struct ring_link, link)->usb;
}

static int descriptor(struct usb_link *link, unsigned type, unsigned index, void *to, size_t room)
{
	return pcidipc_usb_descriptor(usb_of(link), type, index, 0, to, room);
}

static int configure(struct usb_link *link, unsigned alternate, unsigned streams)
{
	return pcidipc_usb_configure(usb_of(link), alternate, streams);
}

static int control(struct usb_link *link, const struct usb_setup *s, void *data,
		   uint32_t timeout_ms)
{
	const struct pcidipc_usb_setup setup = {s->type, s->request, s->value, s->index, s->length};

	return pcidipc_usb_control(usb_of(link), &setup, data, timeout_ms);
}

static int clear_halt(struct usb_link *link, uint8_t endpoint)
{
	return pcidipc_usb_clear_halt(usb_of(link), endpoint);
}

static int stop(struct usb_link *link, uint8_t endpoint, uint16_t stream)
{
	return pcidipc_usb_stop(usb_of(link), endpoint, stream);
}

static int reset(struct usb_link *link)
{
	return pcidipc_usb_reset(usb_of(link));
}

#define MOST_ERRNO 4095

/* More than we asked for cannot have been moved; and what is no errno means something else to the
 * transports. */
static void transfer_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	struct usb_transfer *x = pcidipc_container_of(op, struct usb_transfer, op);
	int res = cqe->res;

	if (res == -EBADMSG && x->expect)
		res = cqe->big[0] <= x->data.bytes ? (int)cqe->big[0] : -EPROTO;
	if ((res > 0 && (uint32_t)res > x->data.bytes) || res < -MOST_ERRNO)
		res = -EPROTO;
	x->done(x, res);
}

static int submit_list(struct usb_link *link, struct usb_transfer *x,
		       struct pcidipc_usb_transfer *t)
{
	int n;

	if (!x->list)
		return -EINVAL;
	n = usb_data_pieces(&x->data, pcidipc_buf_ptr(x->list), RINGABI_USB_MAX_SEGMENTS);
	if (n < 0)
		return n;
	t->index = link->pool_index;
	t->offset = x->list->offset;
	t->bytes = (uint32_t)n;
	return pcidipc_usb_transfer_sg(usb_of(link), t, &x->op);
}

/* Most transfers lie in one segment: no list, no copy. */
static int submit(struct usb_link *link, struct usb_transfer *x)
{
	const struct usb_data *d = &x->data;
	struct pcidipc_usb_transfer t = {.endpoint = x->endpoint,
					 .stream = x->stream,
					 .timeout_ms = x->timeout_ms,
					 .index = d->pool,
					 .linked = x->then,
					 .flags = x->expect ? RINGABI_USB_EXPECT : 0,
					 .bytes = d->bytes,
					 .offset = d->segments->iova + d->skip};

	x->op.done = transfer_done;
	if (d->skip + d->bytes > d->segments->bytes)
		return submit_list(link, x, &t);
	return pcidipc_usb_transfer(usb_of(link), &t, &x->op);
}

static void flush(struct usb_link *link)
{
	pcidipc_submit(pcidipc_usb_consumer(usb_of(link)));
}

static int pool_attach(struct usb_link *link, struct pcidipc_pool_view *view)
{
	return pcidipc_usb_pool_attach(usb_of(link), view);
}

static int pool_map(struct usb_link *link, struct pcidipc_pool_view *view, uint64_t offset,
		    uint64_t bytes)
{
	return pcidipc_usb_pool_map(usb_of(link), view, offset, bytes);
}

static void pool_detach(struct usb_link *link, struct pcidipc_pool_view *view)
{
	pcidipc_usb_pool_detach(usb_of(link), view);
}

static void close_link(struct usb_link *link)
{
	struct ring_link *r = pcidipc_container_of(link, struct ring_link, link);

	pcidipc_usb_close(r->usb);
	if (link->pool)
		pcidipc_pool_destroy(link->pool);
	free(r);
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

/* ---- its end ---- */

static void lose(struct usb_link *link, int error)
{
	void (*lost)(struct usb_link *, int) = link->lost;

	link->lost = NULL;
	if (lost)
		lost(link, error);
}

static void on_event(uint32_t event, void *arg)
{
	if (event == RINGABI_EVENT_REMOVED)
		lose(arg, -ENODEV);
}

static void on_lost(int error, void *arg)
{
	lose(arg, error);
}

/* ---- its beginning ---- */

static int set_up(struct ring_link *r)
{
	const struct pcidipc_usb_info *info = pcidipc_usb_info(r->usb);
	int ret = pcidipc_pool_create(OWN_BYTES, 0, &r->link.pool);

	if (ret)
		return ret;
	r->link.vendor = info->vendor;
	r->link.product = info->product;
	r->link.interface = info->interface;
	r->link.configuration = info->configuration;
	r->link.speed = info->speed;
	r->link.most_bytes = RINGABI_USB_MAX_BYTES;
	r->link.chains = true;
	pcidipc_usb_on_event(r->usb, on_event, on_lost, &r->link);
	return pcidipc_consumer_attach_pool(pcidipc_usb_consumer(r->usb), r->link.pool,
					    &r->link.pool_index);
}

int link_ring_open(struct pcidipc_loop *loop, struct usb_link **link)
{
	struct ring_link *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	r->link.ops = &ops;
	r->link.loop = loop;
	ret = pcidipc_usb_open(loop, &r->usb);
	if (!ret)
		ret = set_up(r);
	if (ret)
		close_link(&r->link);
	else
		*link = &r->link;
	return ret;
}
