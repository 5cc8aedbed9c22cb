/* SPDX-License-Identifier: MIT */
/* Transfers for whoever watches them: packets as Linux's usbmon makes them, into buffers that the
 * watcher has handed in. */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>
#include <time.h>

#include "xhcid.h"

#define LINGER_NS 50000000u /* from the first packet in a buffer until it goes out */

/* ---- buffers ---- */

static struct pcidipc_request *take(struct capture *cap)
{
	struct pcidipc_request *rq = cap->first;

	cap->first = rq->next;
	if (!cap->first)
		cap->last = NULL;
	return rq;
}

static void send_first(struct capture *cap)
{
	struct pcidipc_request *rq = take(cap);
	int32_t used = (int32_t)cap->used;

	cap->used = 0;
	rq->big[0] = cap->lost;
	pcidipc_timer_cancel(&cap->timer);
	pcidipc_complete(rq, used);
}

static void linger_over(struct pcidipc_timer *timer)
{
	struct capture *cap = pcidipc_container_of(timer, struct capture, timer);

	if (cap->first && cap->used)
		send_first(cap);
}

static void *room(struct controller *c, uint32_t bytes)
{
	struct capture *cap = &c->capture;
	void *at;

	if (cap->first && cap->used + bytes > cap->first->sqe.len)
		send_first(cap);
	if (!cap->first || pcidipc_request_map(cap->first, cap->first->sqe.buf_index,
					       cap->first->sqe.addr + cap->used, bytes, &at)) {
		cap->lost++;
		return NULL;
	}
	if (!cap->used)
		pcidipc_timer_set(c->loop, &cap->timer, LINGER_NS, linger_over);
	cap->used += bytes;
	return at;
}

/* ---- packets ---- */

uint64_t capture_id(struct controller *c, const struct device *dev)
{
	struct capture *cap = &c->capture;

	return cap->slot && cap->slot != dev->slot ? 0 : ++cap->next;
}

static uint8_t transfer_type(const struct packet *p)
{
	return p->endpoint->type == LIBUSB_TRANSFER_TYPE_INTERRUPT ? 1
	       : p->endpoint->type == LIBUSB_TRANSFER_TYPE_BULK	   ? 3
								   : 2;
}

static void put_setup(struct ringabi_usb_packet *h, const struct setup *s)
{
	const uint8_t raw[8] = {s->type,
				s->request,
				(uint8_t)s->value,
				(uint8_t)(s->value >> 8),
				(uint8_t)s->index,
				(uint8_t)(s->index >> 8),
				(uint8_t)s->length,
				(uint8_t)(s->length >> 8)};

	memcpy(h->setup, raw, sizeof(raw));
	h->flag_setup = 0;
}

static struct ringabi_usb_packet header(struct controller *c, const struct packet *p,
					uint32_t captured)
{
	struct timespec now;
	struct ringabi_usb_packet h = {
		.id = p->id,
		.type = (uint8_t)p->type,
		.transfer = transfer_type(p),
		.endpoint = (uint8_t)((p->endpoint->address & 15) | (p->in ? 0x80 : 0)),
		.device = p->device->slot,
		.bus = c->ports[p->device->root_port].major,
		.flag_setup = '-',
		.flag_data = captured ? 0
			     : p->in  ? '<'
				      : '>',
		.status = p->type == 'S' ? -EINPROGRESS : p->status,
		.length = p->length,
		.len_cap = captured,
		.interval = p->endpoint->interval,
	};

	clock_gettime(CLOCK_REALTIME, &now);
	h.seconds = now.tv_sec;
	h.microseconds = (int32_t)(now.tv_nsec / 1000);
	if (p->setup && p->type == 'S')
		put_setup(&h, p->setup);
	return h;
}

void capture_packet(struct controller *c, const struct packet *p)
{
	struct ringabi_usb_packet h;
	uint32_t bytes = 0, left;
	unsigned char *at;

	if (!c->capturing)
		return;
	for (unsigned i = 0; i < p->ndata; i++)
		bytes += (uint32_t)p->data[i].bytes;
	left = bytes < c->capture.data ? bytes : c->capture.data;
	h = header(c, p, left);
	at = room(c, (uint32_t)sizeof(h) + ((left + 7) & ~7u));
	if (!at)
		return;
	memcpy(at, &h, sizeof(h));
	at += sizeof(h);
	for (unsigned i = 0; i < p->ndata && left; i++) {
		uint32_t part = p->data[i].bytes < left ? (uint32_t)p->data[i].bytes : left;

		memcpy(at, p->data[i].at, part);
		at += part;
		left -= part;
	}
}

/* ---- requests ---- */

static int begin(struct controller *c, struct pcidipc_request *rq,
		 const struct ringabi_usb_arg *arg)
{
	struct capture *cap = &c->capture;

	if (arg->streams && (arg->streams > MAX_SLOTS || !c->slots[arg->streams]))
		return -ENODEV;
	*cap = (struct capture){.session = rq->session,
				.slot = (uint8_t)arg->streams,
				.data = arg->value < RINGABI_USB_CAPTURE_DATA
						? arg->value
						: RINGABI_USB_CAPTURE_DATA};
	c->capturing = true;
	return 0;
}

int capture_request(struct pcidipc_request *rq, struct controller *c)
{
	struct capture *cap = &c->capture;
	struct ringabi_usb_arg arg;
	void *at;
	int ret;

	memcpy(&arg, rq->sqe.cmd, sizeof(arg));
	if (rq->sqe.len < RINGABI_USB_CAPTURE_MIN || rq->sqe.len > INT32_MAX || rq->sqe.addr % 8)
		return -EINVAL;
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, rq->sqe.len, &at);
	if (!ret && c->capturing && cap->session != rq->session)
		ret = -EBUSY;
	if (!ret && !c->capturing)
		ret = begin(c, rq, &arg);
	if (ret)
		return ret;
	rq->next = NULL;
	if (cap->last)
		cap->last->next = rq;
	else
		cap->first = rq;
	cap->last = rq;
	return PCIDIPC_PENDING;
}

int capture_end(struct controller *c, struct pcidipc_session *session)
{
	if (!c->capturing || c->capture.session != session)
		return -EINVAL;
	c->capturing = false;
	while (c->capture.first)
		send_first(&c->capture);
	return 0;
}

void capture_session_close(struct controller *c, struct pcidipc_session *session)
{
	capture_end(c, session);
	if (c->capture.session == session)
		c->capture.session = NULL;
}
