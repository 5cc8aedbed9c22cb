// SPDX-License-Identifier: MIT
/* The stick's Bulk-Only Transport. */
#include "stick.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static uint32_t le32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return le32toh(value);
}

static void put_le32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, 4);
}

static uint32_t length(const struct stick *s)
{
	return le32_at(s->cbw + 8);
}

static bool to_host(const struct stick *s)
{
	return s->cbw[12] & 0x80;
}

void stick_bot_reset(struct stick *s)
{
	s->phase = STICK_CBW;
}

/* The device asks for its data, or has done what it was told. */
static void perform(struct stick *s)
{
	unsigned lun = s->cbw[13];

	if (lun >= s->luns) {
		s->answer = (struct scsi_answer){.status = SCSI_CHECK_CONDITION};
		s->unit[0].key = SENSE_ILLEGAL_REQUEST;
		s->unit[0].asc = 0x25;
	} else {
		s->answer = unit_execute(&s->unit[lun], s->cbw + 15, s->out, s->out_got, s->in,
					 s->luns);
	}
	s->csw_status = s->answer.status != SCSI_GOOD;
	if (to_host(s) && s->answer.in_bytes > length(s))
		s->answer.in_bytes = length(s);
}

static void take_cbw(struct stick *s, struct usb_transfer *x)
{
	if (x->data.bytes != 31 || stick_copy(s, x, s->cbw, 31, false) != 31 ||
	    le32_at(s->cbw) != 0x43425355) {
		stick_halt(s, STICK_OUT, x, -EPIPE);
		return;
	}
	s->commands++;
	s->now = stick_fault_of(s, s->cbw[15]);
	if (s->now == FAULT_STALL_CBW) {
		stick_halt(s, STICK_OUT, x, -EPIPE);
		return;
	}
	s->out_got = 0;
	s->stalls = 0;
	s->stops_then = s->stops;
	s->residue = length(s);
	s->phase = length(s) ? STICK_DATA : STICK_CSW;
	if (to_host(s) || !length(s))
		perform(s);
	stick_answer(s, x, 31);
}

static void take_data(struct stick *s, struct usb_transfer *x)
{
	uint32_t n = s->now == FAULT_STALL_DATA || s->now == FAULT_STALL_DATA_LYING
			     ? x->data.bytes / 2
			     : x->data.bytes;

	s->out_got = stick_copy(s, x, s->out, n, false);
	s->residue = length(s) - s->out_got;
	s->phase = STICK_CSW;
	if (n < x->data.bytes) {
		s->csw_status = 0;
		if (s->now == FAULT_STALL_DATA_LYING)
			s->residue = 0;
		stick_halt(s, STICK_OUT, x, -EPIPE);
		return;
	}
	perform(s);
	stick_answer(s, x, (int)s->out_got);
}

static uint32_t put_csw(struct stick *s, struct usb_transfer *x, uint32_t tag, uint32_t residue,
			uint8_t status, uint32_t bytes)
{
	uint8_t w[13];

	put_le32(w, s->now == FAULT_SIGNATURE ? 0x53425356 : 0x53425355);
	put_le32(w + 4, tag);
	put_le32(w + 8, residue);
	w[12] = status;
	return stick_copy(s, x, w, bytes, true);
}

static void skip_data(struct stick *s, struct usb_transfer *x)
{
	struct scsi_unit *u = &s->unit[s->cbw[13]];

	u->key = SENSE_ILLEGAL_REQUEST;
	u->asc = 0x24;
	s->phase = STICK_CBW;
	stick_answer(s, x, (int)put_csw(s, x, le32_at(s->cbw + 4), length(s), 1, 13));
}

static void give_data(struct stick *s, struct usb_transfer *x)
{
	uint32_t n = s->answer.in_bytes;
	bool half = s->now == FAULT_STALL_DATA || s->now == FAULT_STALL_DATA_LYING ||
		    s->now == FAULT_SHORT_DATA || s->now == FAULT_FULL_LENGTH;

	if (s->now == FAULT_SKIP_DATA) {
		skip_data(s, x);
		return;
	}
	n = stick_copy(s, x, s->in, half ? n / 2 : n, true);
	s->residue = length(s) - n;
	s->phase = STICK_CSW;
	if (s->now == FAULT_STALL_DATA_LYING)
		s->residue = 0;
	if (s->now == FAULT_STALL_DATA || s->now == FAULT_STALL_DATA_LYING)
		stick_halt(s, STICK_IN, x, -EPIPE);
	else if (s->now == FAULT_BABBLE)
		stick_halt(s, STICK_IN, x, -EOVERFLOW);
	else if (s->now == FAULT_TRANSACTION)
		stick_halt(s, STICK_IN, x, -EPROTO);
	else
		stick_answer(s, x, s->now == FAULT_FULL_LENGTH ? (int)x->data.bytes : (int)n);
}

static void give_csw(struct stick *s, struct usb_transfer *x)
{
	uint32_t n = s->now == FAULT_SHORT_CSW ? 12 : 13;

	if (s->now == FAULT_STALL_CSW || s->now == FAULT_STALL_CSW_TWICE) {
		if (++s->stalls <= (s->now == FAULT_STALL_CSW ? 1u : 2u)) {
			stick_halt(s, STICK_IN, x, -EPIPE);
			return;
		}
	}
	if (s->now == FAULT_LOST_STALL && !s->stalls++) {
		stick_halt(s, STICK_IN, x, -EPIPE);
		return;
	}
	if (s->now == FAULT_EMPTY_CSW && !s->stalls++) {
		stick_answer(s, x, 0);
		return;
	}
	n = put_csw(s, x, le32_at(s->cbw + 4) + (s->now == FAULT_TAG),
		    s->now == FAULT_RESIDUE ? length(s) + 1 : s->residue,
		    s->now == FAULT_PHASE    ? 2
		    : s->now == FAULT_STATUS ? 3
					     : s->csw_status,
		    n);
	s->phase = STICK_CBW;
	stick_answer(s, x, (int)n);
}

static bool loses_csw(const struct stick *s)
{
	return s->now == FAULT_NO_CSW ||
	       ((s->now == FAULT_LOST_CSW || s->now == FAULT_LOST_STALL) &&
		s->stops == s->stops_then);
}

bool stick_run_bot(struct stick *s)
{
	struct usb_transfer *out = stick_head(s, STICK_OUT, 0), *in = stick_head(s, STICK_IN, 0);

	if (s->phase == STICK_CBW && out)
		take_cbw(s, out);
	else if (s->phase != STICK_CBW && s->now == FAULT_SILENT)
		return false;
	else if (s->phase == STICK_CSW && loses_csw(s))
		return false;
	else if (s->phase == STICK_DATA && !to_host(s) && out)
		take_data(s, out);
	else if (s->phase == STICK_DATA && to_host(s) && in)
		give_data(s, in);
	else if (s->phase == STICK_CSW && in)
		give_csw(s, in);
	else
		return false;
	return true;
}
