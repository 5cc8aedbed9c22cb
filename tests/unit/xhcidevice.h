/* SPDX-License-Identifier: MIT */
/* What is plugged into the model of an xHCI controller, and its transfers. Part of xhcimodel.h. */
#ifndef XHCIDEVICE_H
#define XHCIDEVICE_H

#include "xhcimodel.h"

static const uint8_t model_stick_config[] = {
	9, 2, 32,   0, 1,  1, 0, 0x80, 50, /* configuration */
	9, 4, 0,    0, 2,  8, 6, 0x50, 0,  /* Bulk-Only */
	7, 5, 0x81, 2, 64, 0, 0,	   /* IN */
	7, 5, 0x02, 2, 64, 0, 0,	   /* OUT */
};
static const uint8_t model_super_config[] = {
	9, 2, 44,   0, 1, 1, 0, 0x80, 50,		/* configuration */
	9, 4, 0,    0, 2, 8, 6, 0x50, 0,		/* Bulk-Only */
	7, 5, 0x81, 2, 0, 4, 0, 6,    0x30, 3, 0, 0, 0, /* IN, bursts of 4 */
	7, 5, 0x02, 2, 0, 4, 0, 6,    0x30, 3, 0, 0, 0, /* OUT */
};
/* Two settings: one translator for all ports, one for each. */
static const uint8_t model_hub_config[] = {
	9, 2, 41, 0, 1, 1, 0, 0xe0, 0,				/* configuration */
	9, 4, 0,  0, 1, 9, 0, 1,    0, 7, 5, 0x81, 3, 1, 0, 12, /* status change */
	9, 4, 0,  1, 1, 9, 0, 2,    0, 7, 5, 0x81, 3, 1, 0, 12,
};
static const uint8_t model_single_config[] = {
	9, 2, 25, 0, 1, 1, 0, 0xe0, 0,				/* configuration */
	9, 4, 0,  0, 1, 9, 0, 0,    0, 7, 5, 0x81, 3, 1, 0, 12, /* status change */
};
static const uint8_t model_super_hub_config[] = {
	9, 2, 31,   0,	  1, 1, 0, 0xe0, 0,		   /* configuration */
	9, 4, 0,    0,	  1, 9, 0, 0,	 0,		   /* interface */
	7, 5, 0x81, 0x13, 2, 0, 8, 6,	 0x30, 0, 0, 2, 0, /* status change */
};
/* Sublink speeds: 1 is SuperSpeed, 2 SuperSpeedPlus, in either direction. */
static const uint8_t model_bos[] = {
	5,    15, 33, 0, 1,				   /* BOS */
	28,   16, 10, 0, 3,    0, 0, 0, 0,    0,    0,	0, /* four sublink speed attributes */
	0x31, 0,  5,  0, 0xb1, 0, 5, 0, 0x32, 0x40, 10, 0, 0xb2, 0x40, 10, 0,
};
static const uint8_t model_hub_descriptor[] = {9, 0x29, MODEL_HUB_PORTS, 0x29, 0, 1, 0, 0, 0xff};
static const uint8_t model_super_hub_descriptor[] = {12, 0x2a, MODEL_HUB_PORTS, 0, 0, 1, 0, 0, 0, 0,
						     0,	 0};

static unsigned model_speed(unsigned slot)
{
	return le32toh(*model_output(slot, 0)) >> 20 & 15;
}

static bool model_is_hub(unsigned slot)
{
	return m.slot[slot].is_hub || model_speed(slot) == SPEED_HIGH;
}

static bool model_is_super(unsigned slot)
{
	return model_speed(slot) >= SPEED_SUPER;
}

static const uint8_t *model_device_descriptor(unsigned slot)
{
	static uint8_t raw[18];
	unsigned speed = model_speed(slot);
	const uint8_t device[18] = {18, 1, 0, 2, 0, 0, 0, 64, 0xcd, 0xab, 1, 0, 0, 1, 0, 0, 0, 1};

	memcpy(raw, device, sizeof(raw));
	if (model_is_hub(slot)) {
		raw[4] = 9;
		raw[6] = m.single_tt ? 1 : 2;
	}
	if (speed >= SPEED_SUPER) {
		raw[2] = 0x20;
		raw[3] = 3;
		raw[7] = 9;
	}
	if (m.packet0)
		raw[7] = m.packet0;
	return raw;
}

static void model_reply(struct model_slot *s, const void *reply, unsigned bytes)
{
	unsigned length = s->setup[6] | s->setup[7] << 8;

	s->reply = reply;
	s->reply_bytes = bytes < length ? bytes : length;
}

static void model_get_descriptor(unsigned slot)
{
	struct model_slot *s = &m.slot[slot];
	bool super = model_is_super(slot);

	if (s->setup[0] == 0xa0 && super)
		model_reply(s, model_super_hub_descriptor, sizeof(model_super_hub_descriptor));
	else if (s->setup[0] == 0xa0)
		model_reply(s, model_hub_descriptor, sizeof(model_hub_descriptor));
	else if (s->setup[3] == 1)
		model_reply(s, model_device_descriptor(slot), 18);
	else if (s->setup[3] == 15 && super)
		model_reply(s, model_bos, sizeof(model_bos));
	else if (s->setup[3] != 2)
		s->stall = true;
	else if (model_is_hub(slot) && super)
		model_reply(s, model_super_hub_config, sizeof(model_super_hub_config));
	else if (model_is_hub(slot) && (m.single_tt || model_speed(slot) != SPEED_HIGH))
		model_reply(s, model_single_config, sizeof(model_single_config));
	else if (model_is_hub(slot))
		model_reply(s, model_hub_config, sizeof(model_hub_config));
	else if (m.config_reply)
		model_reply(s, m.config_reply, m.config_bytes);
	else if (super)
		model_reply(s, model_super_config, sizeof(model_super_config));
	else
		model_reply(s, model_stick_config, sizeof(model_stick_config));
}

/* A hub's ports. */
static void model_port_request(unsigned slot)
{
	static uint32_t status[2];
	struct model_slot *s = &m.slot[slot];
	uint32_t *port = &s->hub[s->setup[4] <= MODEL_HUB_PORTS ? s->setup[4] : 0];
	unsigned feature = s->setup[2];

	if (s->setup[1] == 0) {
		status[0] = htole32(*port);
		status[1] = htole32(m.sublink); /* of the extended status */
		model_reply(s, status, feature == 2 ? 8 : 4);
	} else if (s->setup[1] == 1 && feature >= 16 && feature < 32) {
		*port &= ~(1u << feature);
	} else if (s->setup[1] == 3 && feature == 8) {
		*port |= model_is_super(slot) ? 1u << 9 : 1u << 8;
	} else if (s->setup[1] == 3 && feature == 4 && *port & 1) {
		*port |= 2 | 1u << 20;
	}
}

/* The hub itself. */
static void model_hub_request(unsigned slot)
{
	static uint32_t status;
	struct model_slot *s = &m.slot[slot];

	if (s->setup[0] & 0x80) {
		status = htole32(s->hub[0]);
		model_reply(s, &status, 4);
	} else if (s->setup[1] == 1 && s->setup[2] < 2) {
		s->hub[0] &= ~(1u << (16 + s->setup[2]));
	} else if (s->setup[1] == 12) {
		s->hub_depth = s->setup[2] + 1u;
	}
}

static void model_setup(unsigned slot, const struct trb *trb)
{
	struct model_slot *s = &m.slot[slot];

	memcpy(s->setup, &trb->parameter, 8);
	s->reply = NULL;
	s->reply_bytes = 0;
	s->stall = false;
	if (s->setup[1] == 6 && s->setup[0] & 0x80)
		model_get_descriptor(slot);
	else if ((s->setup[0] & 0x7f) == 0x23)
		model_port_request(slot);
	else if ((s->setup[0] & 0x7f) == 0x20)
		model_hub_request(slot);
}

/* ---- transfers ---- */

static struct trb *model_next_trb(struct model_endpoint *ep, uint64_t *at)
{
	for (unsigned links = 0; links < 64; links++) {
		struct trb *trb = model_at(ep->dequeue, 16);
		uint32_t control = le32toh(__atomic_load_n(&trb->control, __ATOMIC_ACQUIRE));

		if ((control & 1) != ep->cycle)
			return NULL;
		*at = ep->dequeue;
		if (TRB_TYPE_OF(control) != TRB_LINK)
			return trb;
		ep->dequeue = le64toh(trb->parameter);
		ep->cycle ^= !!(control & TRB_TOGGLE);
	}
	return NULL;
}

static uint32_t model_length(const struct trb *trb)
{
	uint32_t bytes = le32toh(trb->status) & TRB_LENGTH_MASK;
	uint64_t iova = le64toh(trb->parameter);

	if (bytes && iova >> 16 != (iova + bytes - 1) >> 16)
		m.crossings++;
	return bytes;
}

static void model_halt(unsigned slot, unsigned dci, uint64_t at, unsigned code)
{
	model_set_state(slot, dci, EP_HALTED);
	model_transfer_event(slot, dci, at, code, 0);
}

/* One TRB of a control transfer. False: the endpoint has stopped. */
static bool model_control_trb(unsigned slot, struct trb *trb, uint64_t at)
{
	struct model_slot *s = &m.slot[slot];
	uint32_t control = le32toh(trb->control), bytes = model_length(trb), moved;

	if (TRB_TYPE_OF(control) == TRB_SETUP) {
		model_setup(slot, trb);
		return true;
	}
	if (s->stall) {
		model_halt(slot, 1, at, CC_STALL);
		return false;
	}
	if (TRB_TYPE_OF(control) == TRB_STATUS) {
		model_transfer_event(slot, 1, at, CC_SUCCESS, 0);
		return true;
	}
	moved = bytes < s->reply_bytes ? bytes : s->reply_bytes;
	if (s->setup[0] & 0x80 && moved)
		memcpy(model_at(le64toh(trb->parameter), moved), s->reply, moved);
	if (moved) {
		s->reply += moved;
		s->reply_bytes -= moved;
	}
	if (s->setup[0] & 0x80 && moved < bytes)
		model_transfer_event(slot, 1, at, CC_SHORT_PACKET, bytes - moved);
	return true;
}

struct model_td {
	uint64_t at[600];
	uint32_t bytes[600];
	uint32_t total;
	unsigned count;
};

/* TD Size (xHCI 1.2, 4.11.2.4) is a matter of counting packets. */
static void model_check_sizes(const struct model_td *td, unsigned packet)
{
	uint32_t done = 0;

	for (unsigned i = 0; i < td->count; i++) {
		const struct trb *trb = model_at(td->at[i], 16);
		uint32_t is = le32toh(trb->status) >> 17 & 31, left;

		done += td->bytes[i];
		left = (td->total + packet - 1) / packet - done / packet;
		left = i + 1 == td->count ? 0 : left < 31 ? left : 31;
		m.td_sizes_wrong += is != left;
	}
}

/* A whole transfer descriptor at the dequeue pointer, or nothing. */
static bool model_take_td(struct model_endpoint *from, struct model_td *td)
{
	struct model_endpoint ep = *from;

	*td = (struct model_td){0};
	for (;;) {
		struct trb *trb = model_next_trb(&ep, &td->at[td->count]);

		if (!trb || td->count == 599)
			return false;
		td->bytes[td->count] = model_length(trb);
		td->total += td->bytes[td->count++];
		ep.dequeue += 16;
		if (!(le32toh(trb->control) & TRB_CHAIN))
			break;
	}
	*from = ep;
	return true;
}

static void model_move(unsigned dci, const struct model_td *td, uint32_t bytes)
{
	for (unsigned i = 0; i < td->count && dci & 1; i++) {
		uint32_t part = bytes < td->bytes[i] ? bytes : td->bytes[i];
		const struct trb *trb = model_at(td->at[i], 16);

		if (part)
			memset(model_at(le64toh(trb->parameter), part), 0x5a, part);
		bytes -= part;
	}
}

static void model_short(unsigned slot, unsigned dci, const struct model_td *td)
{
	uint32_t bytes = td->total > m.short_by ? td->total - m.short_by : 0;
	unsigned i = 0, last = td->count - 1;

	model_move(dci, td, bytes);
	while (i < last && bytes >= td->bytes[i])
		bytes -= td->bytes[i++];
	model_transfer_event(slot, dci, td->at[i], CC_SHORT_PACKET, td->bytes[i] - bytes);
	if (i != last && m.tells_both)
		model_transfer_event(slot, dci, td->at[last], CC_SHORT_PACKET, td->bytes[last]);
}

static bool model_bulk(unsigned slot, unsigned dci)
{
	struct model_endpoint before = m.slot[slot].endpoint[dci];
	unsigned packet = le32toh(model_output(slot, dci)[1]) >> 16;
	struct model_td td;

	if (!model_has_room()) {
		m.blocked_slot = slot;
		m.blocked_dci = dci;
		return false;
	}
	if (m.holds_bulk || !model_take_td(&m.slot[slot].endpoint[dci], &td))
		return false;
	m.transfers++;
	model_check_sizes(&td, packet ? packet : 1);
	if (m.bulk_code) {
		m.slot[slot].endpoint[dci] = before;
		model_halt(slot, dci, td.at[0], m.bulk_code);
		m.bulk_code = 0;
		return false;
	}
	if (m.short_by) {
		model_short(slot, dci, &td);
		return true;
	}
	model_move(dci, &td, td.total);
	model_transfer_event(slot, dci, td.at[td.count - 1], CC_SUCCESS, 0);
	return true;
}

static bool model_interrupt_in(unsigned slot, unsigned dci)
{
	struct model_slot *s = &m.slot[slot];
	struct model_td td;
	uint8_t bits = m.chatty_hub ? 1u << 4 : 0;

	for (unsigned i = 0; i <= MODEL_HUB_PORTS; i++)
		bits |= s->hub[i] >> 16 ? 1u << i : 0;
	if (!bits || !model_take_td(&s->endpoint[dci], &td))
		return false;
	m.statuses++;
	*(uint8_t *)model_at(le64toh(((struct trb *)model_at(td.at[0], 16))->parameter), 1) = bits;
	model_transfer_event(slot, dci, td.at[0], td.total > 1 ? CC_SHORT_PACKET : CC_SUCCESS,
			     td.total - 1);
	return true;
}

static void model_run_endpoint(unsigned slot, unsigned dci)
{
	struct model_endpoint *ep = &m.slot[slot].endpoint[dci];
	struct trb *trb;
	uint64_t at;

	if (!m.slot[slot].enabled || !m.slot[slot].output)
		return;
	if (model_state(slot, dci) == EP_STOPPED)
		model_set_state(slot, dci, EP_RUNNING);
	if (model_state(slot, dci) != EP_RUNNING)
		return;
	while (dci == 1 && !m.no_status && (trb = model_next_trb(ep, &at)))
		if (model_control_trb(slot, trb, at))
			ep->dequeue += 16;
		else
			return;
	while (dci > 1 &&
	       (model_is_hub(slot) ? model_interrupt_in(slot, dci) : model_bulk(slot, dci)))
		;
}

/* A stream's ring is where its context says, and that is where it stays. */
static void model_run_stream(unsigned slot, unsigned dci, unsigned stream)
{
	struct model_endpoint *ep = &m.slot[slot].endpoint[dci];
	uint64_t *context, value;

	if (!m.slot[slot].streams[dci]) {
		model_run_endpoint(slot, dci);
		return;
	}
	context = model_stream(slot, dci, stream);
	value = le64toh(*context);
	if (!stream || (value >> 1 & 7) != 1) {
		m.wild++;
		return;
	}
	*ep = (struct model_endpoint){value & ~15ull, value & 1};
	model_run_endpoint(slot, dci);
	*context = htole64(ep->dequeue | 2 | ep->cycle);
}

/* ---- plugging ---- */

static void model_plug(unsigned port, unsigned speed)
{
	m.portsc[port] |= PORTSC_CONNECTED | PORTSC_CONNECT_CHANGE | speed << 10;
	if (!(m.usbsts & USBSTS_HALTED))
		model_port_event(port);
}

static inline void model_unplug(unsigned port)
{
	m.portsc[port] = PORTSC_POWER | PORTSC_CONNECT_CHANGE;
	model_port_event(port);
}

/* Into the port of a hub. */
static inline void model_plug_hub(unsigned slot, unsigned port, unsigned speed)
{
	if (speed >= SPEED_SUPER)
		m.slot[slot].hub[port] &= ~(15u << 5);
	m.slot[slot].hub[port] |= 1 | 1u << 16 |
				  (speed == SPEED_HIGH	? 1u << 10
				   : speed == SPEED_LOW ? 1u << 9
							: 0);
	model_run_endpoint(slot, 3);
}

static inline void model_unplug_hub(unsigned slot, unsigned port)
{
	m.slot[slot].hub[port] = 1u << 16 | 1u << 8;
	model_run_endpoint(slot, 3);
}

#endif
