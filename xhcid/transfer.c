/* SPDX-License-Identifier: MIT */
/* Transfer descriptors: from segments to TRBs (xHCI 1.2, 4.11), and what their events say. */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>

#include "xhcid.h"

/* ---- making ---- */

bool transfer_ready(struct stream *s, uint16_t n)
{
	const struct endpoint *ep = s->endpoint;

	return !ep->wanted && !ep->serving && ring_reserve(&s->ring, n);
}

/* An empty ring whose free part is in two: the controller must be told to begin elsewhere. */
void transfer_make_room(struct stream *s)
{
	struct endpoint *ep = s->endpoint;

	if (s->first || ep->wanted || ep->serving)
		return;
	s->cramped = true;
	ep->wanted = true;
	endpoint_service_soon(ep);
}

static uint32_t up_to_boundary(uint64_t iova, uint64_t left)
{
	uint64_t most = TRB_MOST_BYTES - (iova & (TRB_MOST_BYTES - 1));

	return (uint32_t)(left < most ? left : most);
}

unsigned transfer_count(const struct pcidipc_segment *segments, unsigned n, bool zero_packet)
{
	unsigned count = zero_packet;

	for (unsigned i = 0; i < n; i++) {
		uint64_t first = segments[i].iova / TRB_MOST_BYTES;
		uint64_t last = (segments[i].iova + segments[i].bytes - 1) / TRB_MOST_BYTES;

		count += segments[i].bytes ? (unsigned)(last - first) + 1 : 1;
	}
	return count;
}

/* TD Size (4.11.2.4): how many packets come after this TRB. */
uint32_t transfer_packets_left(uint32_t packet, uint32_t bytes, uint32_t done)
{
	uint32_t total = (bytes + packet - 1) / packet, sent = done / packet;
	uint32_t left = done == bytes ? 0 : total - sent;

	return (left < 31 ? left : 31) << 17;
}

void transfer_write(struct stream *s, const struct pcidipc_segment *segments, unsigned n,
		    uint32_t bytes, bool zero_packet)
{
	const struct endpoint_info *info = &s->endpoint->info;
	uint32_t flags = TRB_TYPE(TRB_NORMAL) | (info->address & 0x80 ? TRB_ISP : 0), done = 0;
	uint16_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t iova = segments[i].iova, left = segments[i].bytes;

		do {
			uint32_t piece = up_to_boundary(iova, left);
			bool last = done + piece == bytes && i + 1 == n && left == piece;

			done += piece;
			ring_write(&s->ring, at++, iova,
				   piece | transfer_packets_left(info->packet, bytes, done),
				   flags | (!last	  ? TRB_CHAIN
					    : zero_packet ? 0
							  : TRB_IOC));
			iova += piece;
			left -= piece;
		} while (left);
	}
	if (zero_packet) /* a TD of its own, which ends ours */
		ring_write(&s->ring, at, 0, 0, TRB_TYPE(TRB_NORMAL) | TRB_IOC);
}

/*
 * QEMU's controller looks for further TRBs while it is still telling the device that the last
 * transfer is over, and its stick then takes the request for a status too early and never answers
 * it. What comes after a register was read it sees when it is done with that.
 */
static void let_settle(struct stream *s)
{
	struct controller *c = s->endpoint->device->controller;

	if (c->looks_ahead && s->just_finished)
		pcidipc_read32(&c->bar, c->op + OP_USBSTS);
	s->just_finished = false;
}

void transfer_queue(struct stream *s, struct td *td, uint16_t n, uint32_t timeout_ms)
{
	struct controller *c = s->endpoint->device->controller;

	td->next = NULL;
	td->cycle = s->ring.cycle;
	td->count = n;
	td->cancel = 0;
	td->moved = 0;
	td->timed = timeout_ms;
	let_settle(s);
	td->first = ring_commit(&s->ring, n);
	if (s->first)
		s->last->next = td;
	else
		s->first = td;
	s->last = td;
	s->endpoint->toggle_clean = false;
	if (td->timed) {
		uint64_t ticks = (uint64_t)timeout_ms * 1000000 / c->tick_ns;

		td->deadline =
			c->clock + 1 + (uint32_t)(ticks < INT32_MAX / 2 ? ticks : INT32_MAX / 2);
		c->timed++;
		watchdog_start(c);
	}
	transfer_ring(s);
}

/* ---- doorbells: rung in the order in which transfers were queued, which a class driver may count
 * on ---- */

void transfer_ring(struct stream *s)
{
	struct controller *c = s->endpoint->device->controller;

	if (s->ringing)
		return;
	s->ringing = true;
	s->ring_next = NULL;
	if (c->to_ring)
		c->to_ring_last->ring_next = s;
	else
		c->to_ring = s;
	c->to_ring_last = s;
}

void transfer_flush(struct controller *c)
{
	while (c->to_ring) {
		struct stream *s = c->to_ring;
		struct endpoint *ep = s->endpoint;

		c->to_ring = s->ring_next;
		s->ringing = false;
		if (c->dead || !s->first || ep->wanted || ep->serving)
			continue; /* who serves it rings when it is done */
		pcidipc_write32(&c->bar, c->doorbells + 4ull * ep->device->slot,
				ep->dci | (uint32_t)s->id << 16);
	}
}

/* ---- completing ---- */

void transfer_forget(struct stream *s, struct td *td)
{
	struct controller *c = s->endpoint->device->controller;
	struct td **at = &s->first, *before = NULL;

	while (*at != td) {
		before = *at;
		at = &before->next;
	}
	*at = td->next;
	if (s->last == td)
		s->last = before;
	c->timed -= td->timed;
}

static void finish(struct stream *s, struct td *td, int res)
{
	uint16_t end = (uint16_t)(td->first + td->count);

	transfer_forget(s, td);
	s->just_finished = s->endpoint->info.address & 0x80 && !s->id;
	s->ring.dequeue = s->stale >= 0 ? (uint16_t)s->stale : end;
	td->done(td, res);
	if (s->parked_first)
		request_resume(s);
}

static bool contains(const struct td *td, int index)
{
	return (uint16_t)(index - td->first) < td->count;
}

/* What was moved up to and with the TRB at `index`, of which `left` was not. */
static uint32_t moved_until(const struct stream *s, const struct td *td, int index, uint32_t left)
{
	uint32_t sum = 0;

	for (int i = td->first + td->control; i <= index; i++) /* the setup packet is not data */
		sum += le32toh(s->ring.trbs[i].status) & TRB_LENGTH_MASK;
	sum = left < sum ? sum - left : 0;
	return sum < td->bytes ? sum : td->bytes;
}

static void control_event(struct stream *s, struct td *td, int index, uint32_t left)
{
	if (index < td->first + td->count - 1) { /* a short data stage; the status stage follows */
		td->moved = moved_until(s, td, index, left);
		td->shortened = true;
		return;
	}
	finish(s, td, (int)(td->shortened ? td->moved : td->bytes));
}

static void success(struct stream *s, struct td *td, int index, uint32_t left, unsigned code)
{
	int last = td->first + td->count - 1;

	if (td->control) {
		if (index == last || code == CC_SHORT_PACKET)
			control_event(s, td, index, left);
	} else if (index == last) {
		finish(s, td, (int)(left < td->bytes ? td->bytes - left : 0));
	} else if (code == CC_SHORT_PACKET) {
		/* The last TRB has IOC: its event may come too, and is not another's (4.10.1.1). */
		s->stale = last;
		finish(s, td, (int)moved_until(s, td, index, left));
	}
}

/* The endpoint has stopped, with an error at this TD. */
static void failure(struct stream *s, struct td *td, unsigned code)
{
	struct endpoint *ep = s->endpoint;

	pcidipc_log_ratelimited(code == CC_STALL ? PCIDIPC_DEBUG : PCIDIPC_INFO,
				"%s: %s: endpoint %#x: %s", ep->device->controller->address,
				ep->device->path, ep->info.address, completion_name(code));
	if (ep->dci != 1)
		ep->halted = true;
	if (ep->dci != 1 || !td)
		endpoint_cancel(ep, NULL, -ECANCELED);
	if (td)
		td->cancel = (int16_t)completion_error(code);
	ep->wanted = true;
	endpoint_service_soon(ep);
}

/* By itself: an error that names no transfer of ours stops the endpoint all the same. */
static bool has_stopped(const struct endpoint *ep)
{
	unsigned state = endpoint_state(ep);

	return state == EP_HALTED || state == EP_ERROR;
}

static struct stream *stream_of(struct endpoint *ep, uint64_t address)
{
	uint64_t offset = address - ep->streams[0].ring.iova;
	uint64_t bytes = (uint64_t)ep->entries * TRB_BYTES;
	uint64_t n = ep->nstreams ? ep->nstreams : 1;

	return offset < n * bytes ? &ep->streams[offset / bytes] : NULL;
}

/* One that the controller left out: it works in order, so it does not touch that any more. */
static void lose_before(struct stream *s, const struct td *td)
{
	while (s->first != td) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: endpoint %#x: a transfer's end was "
					"not told",
					s->endpoint->device->path, s->endpoint->info.address);
		finish(s, s->first, -EIO);
	}
}

static void stream_event(struct stream *s, int index, const struct trb *event)
{
	unsigned code = event->status >> 24;
	struct td *td = s->first;

	if (index == s->stale) {
		s->stale = -1;
		if (code == CC_SUCCESS || code == CC_SHORT_PACKET)
			return;
	}
	while (td && !contains(td, index))
		td = td->next;
	if (code != CC_SUCCESS && code != CC_SHORT_PACKET && (td || has_stopped(s->endpoint))) {
		failure(s, td, code);
		return;
	}
	if (!td) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: endpoint %#x: an event (%s) for TRB %d, which is in "
					"no transfer: ignored",
					s->endpoint->device->path, s->endpoint->info.address,
					completion_name(code), index);
		return;
	}
	s->stale = -1;
	lose_before(s, td);
	success(s, td, index, event->status & 0xffffff, code);
}

static bool only_news(unsigned code)
{
	return code == CC_STOPPED || code == CC_STOPPED_LENGTH || code == CC_STOPPED_SHORT ||
	       code == CC_RING_UNDERRUN || code == CC_RING_OVERRUN;
}

void transfer_event(struct controller *c, const struct trb *event)
{
	struct device *dev = c->slots[TRB_SLOT_OF(event->control)];
	struct endpoint *ep = dev ? dev->endpoints[TRB_DCI_OF(event->control)] : NULL;
	struct stream *s;
	int index;

	if (only_news(event->status >> 24))
		return;
	s = ep ? stream_of(ep, event->parameter) : NULL;
	index = s ? ring_index(&s->ring, event->parameter) : -1;
	if (index >= 0 && !(event->control & TRB_EVENT_DATA)) {
		stream_event(s, index, event);
		return;
	}
	if (ep && has_stopped(ep)) {
		failure(&ep->streams[0], NULL, event->status >> 24);
		return;
	}
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: slot %u: endpoint %u: an event (%s) at %#llx, which is in no "
				"ring of its: ignored",
				c->address, TRB_SLOT_OF(event->control), TRB_DCI_OF(event->control),
				completion_name(event->status >> 24),
				(unsigned long long)event->parameter);
}
