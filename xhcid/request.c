/* SPDX-License-Identifier: MIT */
/* TRANSFER and CONTROL: from a class driver's request to a transfer descriptor that names its
 * clients' memory, and back. Nothing here allocates once a session has warmed up. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "xhcid.h"

#define KNOWN_FLAGS \
	(RINGABI_USB_SHORT_NOT_OK | RINGABI_USB_ZERO_PACKET | RINGABI_USB_SG | RINGABI_USB_EXPECT)

/* The pieces of a transfer that has several; kept by the session for the next one. */
struct pieces {
	struct pieces *next;
	struct ringabi_usb_segment raw[RINGABI_USB_MAX_SEGMENTS];
	struct pcidipc_segment segment[RINGABI_USB_MAX_SEGMENTS];
};

/* A request's private memory. */
struct transfer {
	struct td td;
	struct stream *stream;
	struct pieces *pieces;
	struct pcidipc_segment one;
	struct setup setup;
	uint32_t timeout_ms;
	uint32_t bytes;
	uint64_t captured; /* its id, or 0 */
	uint16_t nsegments, count;
	bool short_not_ok, zero_packet, control, parked, scattered;
	bool canceled; /* if it has no transfer */
	bool expects;
	uint8_t expected[RINGABI_USB_MAX_EXPECTED];
};

uint32_t request_bytes(void)
{
	return sizeof(struct transfer);
}

static struct transfer *transfer_of(struct pcidipc_request *rq)
{
	return (void *)rq->priv;
}

static struct pcidipc_request *request_of(struct transfer *t)
{
	return pcidipc_container_of(t, struct pcidipc_request, priv);
}

/* ---- pieces ---- */

static struct pieces **spare(struct pcidipc_session *session)
{
	return pcidipc_session_priv(session);
}

static struct pieces *take_pieces(struct pcidipc_session *session)
{
	struct pieces *p = *spare(session);

	if (!p)
		return malloc(sizeof(*p));
	*spare(session) = p->next;
	return p;
}

static void drop_pieces(struct pcidipc_request *rq)
{
	struct transfer *t = transfer_of(rq);

	if (!t->pieces)
		return;
	t->pieces->next = *spare(rq->session);
	*spare(rq->session) = t->pieces;
	t->pieces = NULL;
}

void request_session_close(struct pcidipc_session *session)
{
	while (*spare(session)) {
		struct pieces *p = *spare(session);

		*spare(session) = p->next;
		free(p);
	}
}

/* ---- completing ---- */

/* Where its data lies in this process. Somebody may have taken a pool of a segment away meanwhile:
 * then it is left out. */
static unsigned locate(struct pcidipc_request *rq, uint32_t bytes, struct capture_data *list)
{
	struct transfer *t = transfer_of(rq);
	struct ringabi_usb_segment one = {rq->sqe.addr, rq->sqe.len, rq->sqe.buf_index, 0};
	const struct ringabi_usb_segment *raw = t->pieces ? t->pieces->raw : &one;
	unsigned n = t->pieces ? rq->sqe.len : !t->scattered, at = 0;

	for (; at < n && bytes; at++) {
		uint32_t part = raw[at].len < bytes ? raw[at].len : bytes;
		void *address;

		if (pcidipc_request_map(rq, raw[at].buf_index, raw[at].addr, part, &address))
			break;
		list[at] = (struct capture_data){address, part};
		bytes -= part;
	}
	return at;
}

static void watch(struct transfer *t, char type, int res)
{
	struct capture_data list[RINGABI_USB_MAX_SEGMENTS];
	struct endpoint *ep = t->stream->endpoint;
	struct packet p = {.device = ep->device,
			   .endpoint = &ep->info,
			   .setup = t->control ? &t->setup : NULL,
			   .id = t->captured,
			   .length = type == 'S' ? t->bytes
				     : res > 0	 ? (uint32_t)res
						 : 0,
			   .status = res < 0 ? res : 0,
			   .type = type,
			   .in = t->control ? t->setup.type & 0x80 : ep->info.address & 0x80,
			   .data = list};

	if (p.in == (type == 'C') && res >= 0)
		p.ndata = locate(request_of(t), p.length, list);
	capture_packet(ep->device->controller, &p);
}

static void watch_start(struct transfer *t)
{
	struct device *dev = t->stream->endpoint->device;

	t->captured = capture_id(dev->controller, dev);
	if (t->captured)
		watch(t, 'S', 0);
}

static bool as_expected(struct pcidipc_request *rq, int res)
{
	const struct transfer *t = transfer_of(rq);
	void *came;

	return (uint32_t)res == t->bytes &&
	       !pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, t->bytes, &came) &&
	       !memcmp(came, t->expected, t->bytes);
}

static void request_done(struct td *td, int res)
{
	struct transfer *t = pcidipc_container_of(td, struct transfer, td);

	if (__builtin_expect(t->captured != 0, 0)) {
		watch(t, 'C', res);
		drop_pieces(request_of(t));
	}
	if (t->expects && res >= 0 && !as_expected(request_of(t), res)) {
		request_of(t)->big[0] = (uint64_t)res;
		res = -EBADMSG;
	}
	if (t->short_not_ok && res >= 0 && (uint32_t)res < t->bytes)
		res = -EREMOTEIO;
	pcidipc_complete(request_of(t), res);
}

/* ---- queueing ---- */

static bool start(struct transfer *t)
{
	struct stream *s = t->stream;

	if (t->control) {
		if (!control_queue(s->endpoint, &t->setup, t->one.iova, &t->td, t->timeout_ms))
			return false;
		if (__builtin_expect(s->endpoint->device->controller->capturing, 0))
			watch_start(t);
		return true;
	}
	if (!transfer_ready(s, t->count))
		return false;
	t->td.control = false;
	t->td.bytes = t->bytes;
	transfer_write(s, t->pieces ? t->pieces->segment : &t->one, t->nsegments, t->bytes,
		       t->zero_packet);
	transfer_queue(s, &t->td, t->count, t->timeout_ms);
	if (__builtin_expect(s->endpoint->device->controller->capturing, 0))
		watch_start(t);
	if (__builtin_expect(!t->captured, 1)) /* else it is shown where the data went */
		drop_pieces(request_of(t));
	return true;
}

static void park(struct stream *s, struct pcidipc_request *rq)
{
	rq->next = NULL;
	transfer_of(rq)->parked = true;
	if (s->parked_last)
		s->parked_last->next = rq;
	else
		s->parked_first = rq;
	s->parked_last = rq;
}

static void unpark(struct stream *s, struct pcidipc_request *rq)
{
	struct pcidipc_request **at = &s->parked_first, *before = NULL;

	while (*at != rq) {
		before = *at;
		at = &before->next;
	}
	*at = rq->next;
	if (s->parked_last == rq)
		s->parked_last = before;
	transfer_of(rq)->parked = false;
	if (!transfer_of(rq)->captured)
		drop_pieces(rq);
}

static int start_or_park(struct pcidipc_request *rq)
{
	struct transfer *t = transfer_of(rq);

	t->parked = false;
	t->td.done = request_done;
	if (t->stream->parked_first || !start(t)) {
		park(t->stream, rq);
		transfer_make_room(t->stream);
	}
	return PCIDIPC_PENDING;
}

void request_resume(struct stream *s)
{
	while (s->parked_first) {
		struct pcidipc_request *rq = s->parked_first;

		if (s->endpoint->halted) {
			request_fail_parked(s, -EPIPE);
			return;
		}
		if (!start(transfer_of(rq))) {
			transfer_make_room(s);
			return;
		}
		unpark(s, rq);
	}
}

void request_fail_parked(struct stream *s, int error)
{
	while (s->parked_first) {
		struct pcidipc_request *rq = s->parked_first;

		unpark(s, rq);
		pcidipc_complete(rq, error);
	}
}

bool request_canceled(struct pcidipc_request *rq)
{
	return transfer_of(rq)->canceled;
}

int request_cancel(struct pcidipc_request *rq)
{
	struct transfer *t = transfer_of(rq);
	struct stream *s = t->stream;

	if (!s) { /* one that changes something: it waits for its turn, or is under way */
		t->canceled = true;
		return -EALREADY;
	}
	if (t->parked) {
		unpark(s, rq);
		pcidipc_complete(rq, -ECANCELED);
		return 0;
	}
	if (!t->td.cancel)
		t->td.cancel = -ECANCELED;
	s->endpoint->wanted = true;
	endpoint_service_soon(s->endpoint);
	return 0;
}

/* ---- checks ---- */

static int refuse(const struct pcidipc_request *rq, int error, const char *what, uint64_t is,
		  uint64_t limit)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: pid %d: %s %llu, it must be at most %llu",
				pcidipc_session_scheme(rq->session)->name,
				pcidipc_session_pid(rq->session), what, (unsigned long long)is,
				(unsigned long long)limit);
	return error;
}

struct endpoint *request_endpoint(struct interface *in, uint8_t address, int *error)
{
	unsigned dci = 2u * (address & 15) + (address >> 7);
	struct endpoint *ep = address & 0x70 || dci < 2 ? NULL : in->device->endpoints[dci];

	*error = !ep ? -ENOENT : ep->owner != in ? -EPERM : 0;
	return *error ? NULL : ep;
}

static int find_stream(struct pcidipc_request *rq, struct interface *in,
		       const struct ringabi_usb_arg *arg)
{
	struct transfer *t = transfer_of(rq);
	int error;
	struct endpoint *ep = request_endpoint(in, arg->endpoint, &error);

	if (!ep)
		return error;
	if (arg->value || arg->streams || arg->reserved || arg->flags & ~KNOWN_FLAGS)
		return -EINVAL;
	t->stream = endpoint_stream(ep, arg->stream);
	if (!t->stream)
		return -ENOENT;
	return in->device->resetting ? -ECANCELED : ep->halted ? -EPIPE : 0;
}

static int copy_pieces(struct pcidipc_request *rq, struct pieces *p)
{
	size_t bytes = rq->sqe.len * sizeof(p->raw[0]);
	void *from;
	int ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, bytes, &from);

	if (!ret)
		pcidipc_copy_once(p->raw, from, bytes);
	return ret;
}

static int add_up(struct pcidipc_request *rq, const struct pieces *p)
{
	struct transfer *t = transfer_of(rq);
	uint64_t total = 0;

	for (uint32_t i = 0; i < rq->sqe.len; i++) {
		if (!p->raw[i].len || p->raw[i].reserved)
			return -EINVAL;
		total += p->raw[i].len;
	}
	if (total > RINGABI_USB_MAX_BYTES)
		return refuse(rq, -EINVAL, "bytes of a transfer:", total, RINGABI_USB_MAX_BYTES);
	t->bytes = (uint32_t)total;
	return 0;
}

static int reach_pieces(struct pcidipc_request *rq, struct pieces *p)
{
	struct transfer *t = transfer_of(rq);
	struct pcidipc_segment *last = NULL;

	t->nsegments = 0;
	for (uint32_t i = 0; i < rq->sqe.len; i++) {
		const struct ringabi_usb_segment *raw = &p->raw[i];
		uint64_t iova = 0;
		int ret = pcidipc_request_reach(rq, raw->buf_index, raw->addr, raw->len, &iova);

		if (ret)
			return ret;
		if (last && last->iova + last->bytes == iova) {
			last->bytes += raw->len;
		} else {
			last = &p->segment[t->nsegments++];
			*last = (struct pcidipc_segment){iova, raw->len};
		}
	}
	return 0;
}

static int resolve_pieces(struct pcidipc_request *rq)
{
	struct transfer *t = transfer_of(rq);
	int ret;

	if (!rq->sqe.len || rq->sqe.len > RINGABI_USB_MAX_SEGMENTS)
		return refuse(rq, -EINVAL, "segments:", rq->sqe.len, RINGABI_USB_MAX_SEGMENTS);
	t->pieces = take_pieces(rq->session);
	if (!t->pieces)
		return -ENOMEM;
	ret = copy_pieces(rq, t->pieces);
	if (!ret)
		ret = add_up(rq, t->pieces);
	if (!ret)
		ret = reach_pieces(rq, t->pieces);
	return ret;
}

static int resolve_one(struct pcidipc_request *rq)
{
	struct transfer *t = transfer_of(rq);

	if (rq->sqe.len > RINGABI_USB_MAX_BYTES)
		return refuse(rq, -EINVAL, "bytes of a transfer:", rq->sqe.len,
			      RINGABI_USB_MAX_BYTES);
	t->bytes = rq->sqe.len;
	t->nsegments = 1;
	t->one = (struct pcidipc_segment){0, rq->sqe.len};
	return pcidipc_request_reach(rq, rq->sqe.buf_index, rq->sqe.addr, rq->sqe.len,
				     &t->one.iova);
}

/* RINGABI_USB_EXPECT: behind the buffer, which is known to lie in the pool. */
static int copy_expected(struct pcidipc_request *rq, const struct ringabi_usb_arg *arg)
{
	struct transfer *t = transfer_of(rq);
	void *from;
	int ret;

	if (!(arg->endpoint & 0x80) || arg->flags & RINGABI_USB_SG || !t->bytes)
		return -EINVAL;
	if (t->bytes > sizeof(t->expected))
		return refuse(rq, -EINVAL, "bytes that are expected:", t->bytes,
			      sizeof(t->expected));
	ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr + sizeof(t->expected),
				  t->bytes, &from);
	if (!ret)
		pcidipc_copy_once(t->expected, from, t->bytes);
	t->expects = !ret;
	return ret;
}

int request_transfer(struct pcidipc_request *rq, struct interface *in)
{
	struct transfer *t = transfer_of(rq);
	struct ringabi_usb_arg arg;
	int ret;

	memset(t, 0, sizeof(*t));
	memcpy(&arg, rq->sqe.cmd, sizeof(arg));
	ret = find_stream(rq, in, &arg);
	if (!ret)
		ret = arg.flags & RINGABI_USB_SG ? resolve_pieces(rq) : resolve_one(rq);
	if (!ret && arg.flags & RINGABI_USB_EXPECT)
		ret = copy_expected(rq, &arg);
	if (ret) {
		drop_pieces(rq);
		return ret;
	}
	t->timeout_ms = arg.timeout_ms;
	t->scattered = arg.flags & RINGABI_USB_SG;
	t->short_not_ok = arg.flags & RINGABI_USB_SHORT_NOT_OK;
	t->zero_packet = arg.flags & RINGABI_USB_ZERO_PACKET && !(arg.endpoint & 0x80) &&
			 t->bytes && t->bytes % t->stream->endpoint->info.packet == 0;
	t->count = (uint16_t)transfer_count(t->pieces ? t->pieces->segment : &t->one, t->nsegments,
					    t->zero_packet);
	if (t->count > ring_most(&t->stream->ring)) {
		drop_pieces(rq);
		return refuse(rq, -EINVAL, "pieces of 64 KiB at most:", t->count,
			      ring_most(&t->stream->ring));
	}
	return start_or_park(rq);
}

/* ---- control ---- */

/* Those that change nothing. By number: the direction bit says nothing where there is no data
 * (USB 2.0, 9.3.1), and devices look at the number alone. */
static bool only_reads(const struct setup *s)
{
	switch (s->request) {
	case LIBUSB_REQUEST_GET_STATUS:
	case LIBUSB_REQUEST_GET_DESCRIPTOR:
	case LIBUSB_REQUEST_GET_CONFIGURATION:
	case LIBUSB_REQUEST_GET_INTERFACE:
	case LIBUSB_REQUEST_SYNCH_FRAME:
		return s->type & 0x80 && s->length;
	default:
		return false;
	}
}

/* What a driver may ask of its device without reaching beyond its interface. */
static bool allowed(const struct interface *in, const struct setup *s)
{
	unsigned recipient = s->type & 0x1f, kind = s->type & 0x60;
	bool standard = kind == LIBUSB_REQUEST_TYPE_STANDARD;
	int error;

	if (standard && !only_reads(s))
		return false; /* CONFIGURE, CLEAR_HALT */
	switch (recipient) {
	case LIBUSB_RECIPIENT_DEVICE:
		return standard || in->device->ninterfaces == 1;
	case LIBUSB_RECIPIENT_INTERFACE:
		return (s->index & 0xff) == in->info.number;
	case LIBUSB_RECIPIENT_ENDPOINT:
		return request_endpoint((struct interface *)in, (uint8_t)s->index, &error);
	default:
		return false;
	}
}

int request_control(struct pcidipc_request *rq, struct interface *in)
{
	struct transfer *t = transfer_of(rq);
	uint8_t raw[RINGABI_CMD_ARG_BYTES];
	int ret = 0;

	memset(t, 0, sizeof(*t));
	memcpy(raw, rq->sqe.cmd, sizeof(raw));
	t->setup = (struct setup){raw[0], raw[1], descriptor_u16(raw + 2), descriptor_u16(raw + 4),
				  descriptor_u16(raw + 6)};
	t->timeout_ms = descriptor_u16(raw + 8) | (uint32_t)descriptor_u16(raw + 10) << 16;
	t->timeout_ms = t->timeout_ms ? t->timeout_ms : CONTROL_TIMEOUT_MS;
	if (rq->sqe.len != t->setup.length || raw[12] | raw[13] | raw[14] | raw[15])
		return -EINVAL;
	if (!allowed(in, &t->setup))
		return -EPERM;
	if (in->device->resetting)
		return -ECANCELED;
	if (t->setup.length)
		ret = pcidipc_request_reach(rq, rq->sqe.buf_index, rq->sqe.addr, rq->sqe.len,
					    &t->one.iova);
	if (ret)
		return ret;
	t->control = true;
	t->bytes = t->setup.length;
	t->stream = &in->device->endpoints[1]->streams[0];
	return start_or_park(rq);
}
