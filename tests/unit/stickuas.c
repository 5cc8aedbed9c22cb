// SPDX-License-Identifier: MIT
/* The stick's USB Attached SCSI, with streams and without. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stick.h"

static bool streams(const struct stick *s)
{
	return s->streams_granted;
}

static uint16_t stream_of(const struct stick *s, uint16_t tag)
{
	return streams(s) ? tag : 0;
}

void stick_uas_reset(struct stick *s)
{
	for (unsigned i = 0; i <= STICK_TAGS; i++) {
		free(s->task[i].out);
		s->task[i] = (struct stick_task){0};
	}
	s->tmf_tag = 0;
}

static void forget(struct stick_task *t)
{
	free(t->out);
	*t = (struct stick_task){0};
}

/* ---- the command pipe ---- */

static unsigned busy(const struct stick *s)
{
	unsigned n = 0;

	for (unsigned i = 1; i <= STICK_TAGS; i++)
		n += s->task[i].busy;
	return n;
}

static void take_command(struct stick *s, const uint8_t *iu)
{
	uint16_t tag = be16_at(iu + 2);
	struct stick_task *t = tag <= STICK_TAGS ? &s->task[tag] : NULL;

	if (!t || !tag || t->busy)
		abort();
	memset(t, 0, sizeof(*t));
	t->busy = true;
	t->lun = iu[9];
	memcpy(t->cdb, iu + 16, 16);
	s->commands++;
	s->now = stick_fault_of(s, t->cdb[0]);
	t->fault = s->now;
	t->wants = t->lun < s->luns ? unit_wants(&s->unit[t->lun], t->cdb) : 0;
	if (t->wants)
		t->out = malloc(t->wants);
	if (busy(s) > s->most_in_flight)
		s->most_in_flight = busy(s);
}

static void take_tmf(struct stick *s, const uint8_t *iu)
{
	uint16_t about = be16_at(iu + 6);

	s->aborts += iu[4] == 0x01;
	s->lun_resets += iu[4] == 0x08;
	if (s->ignores_abort)
		return;
	s->tmf_tag = be16_at(iu + 2);
	s->tmf_answer = 0;
	if (iu[4] == 0x01 && s->refuses_abort)
		s->tmf_answer = 0x05;
	else if (iu[4] == 0x01 && about <= STICK_TAGS)
		forget(&s->task[about]);
	else if (iu[4] == 0x08)
		for (unsigned i = 1; i <= STICK_TAGS; i++)
			if (s->task[i].busy && s->task[i].lun == iu[9])
				forget(&s->task[i]);
}

static bool run_command(struct stick *s)
{
	struct usb_transfer *x = stick_head(s, STICK_COMMAND, 0);
	uint8_t iu[32];
	uint32_t n;

	if (!x)
		return false;
	n = stick_copy(s, x, iu, sizeof(iu) < x->data.bytes ? sizeof(iu) : x->data.bytes, false);
	if (iu[0] == 1 && n == 32)
		take_command(s, iu);
	else if (iu[0] == 5 && n == 16)
		take_tmf(s, iu);
	else
		abort();
	if (iu[0] == 1 && s->now == FAULT_STALL_CBW) {
		forget(&s->task[be16_at(iu + 2)]);
		stick_halt(s, STICK_COMMAND, x, -EPIPE);
		return true;
	}
	stick_answer(s, x, (int)n);
	return true;
}

/* ---- the status pipe ---- */

static bool give_iu(struct stick *s, uint16_t tag, uint8_t *iu, uint32_t bytes)
{
	struct usb_transfer *x = stick_head(s, STICK_STATUS, stream_of(s, tag));

	if (!x)
		return false;
	put_be16(iu + 2, tag);
	stick_answer(s, x, (int)stick_copy(s, x, iu, bytes, true));
	return true;
}

static bool give_ready(struct stick *s, uint16_t tag, bool write)
{
	struct stick_task *t = &s->task[tag];
	uint8_t iu[4] = {write ? 7 : 6};

	if (t->ready_sent)
		return false;
	if (!give_iu(s, tag, iu, 4))
		return false;
	t->ready_sent = t->fault != FAULT_READY_TWICE;
	if (t->fault == FAULT_READY_SILENT)
		t->fault = FAULT_SILENT;
	if (t->fault == FAULT_READY_TWICE)
		t->fault = FAULT_NONE;
	return true;
}

static bool give_sense(struct stick *s, uint16_t tag)
{
	struct stick_task *t = &s->task[tag];
	uint8_t iu[64] = {3};
	uint32_t bytes = 16u + t->answer.sense_bytes;
	uint16_t named = tag;
	struct usb_transfer *x = stick_head(s, STICK_STATUS, stream_of(s, tag));

	if (!x)
		return false;
	iu[6] = t->answer.status;
	put_be16(iu + 14, t->answer.sense_bytes);
	memcpy(iu + 16, t->answer.sense, t->answer.sense_bytes);
	if (t->fault == FAULT_TAG)
		named = 60;
	if (t->fault == FAULT_WRONG_IU)
		iu[0] = 9;
	if (t->fault == FAULT_SHORT_IU)
		bytes = 7;
	if (t->fault == FAULT_RESPONSE)
		memcpy(iu, (uint8_t[8]){4, 0, 0, 0, 0, 0, 0, 2}, 8);
	put_be16(iu + 2, named);
	if (t->fault == FAULT_STALL_CSW) {
		forget(t);
		stick_halt(s, STICK_STATUS, x, -EPIPE);
		return true;
	}
	forget(t);
	stick_answer(s, x, (int)stick_copy(s, x, iu, bytes, true));
	return true;
}

static bool run_tmf(struct stick *s)
{
	uint8_t iu[8] = {4};

	iu[7] = s->tmf_answer;
	if (!s->tmf_tag || !give_iu(s, s->tmf_tag, iu, 8))
		return false;
	s->tmf_tag = 0;
	return true;
}

/* ---- tasks ---- */

static bool move_data(struct stick *s, uint16_t tag, bool out)
{
	struct stick_task *t = &s->task[tag];
	uint8_t endpoint = out ? STICK_DATA_OUT : STICK_DATA_IN;
	struct usb_transfer *x;
	uint32_t n = out ? t->wants : t->answer.in_bytes;

	if (!streams(s) && give_ready(s, tag, out))
		return true;
	x = stick_head(s, endpoint, stream_of(s, tag));
	if (!x)
		return false;
	if (t->fault == FAULT_SHORT_DATA)
		n /= 2;
	t->got = stick_copy(s, x, out ? t->out : t->in, n, !out);
	t->data_done = true;
	if (t->fault == FAULT_STALL_DATA)
		stick_halt(s, endpoint, x, -EPIPE);
	else if (t->fault == FAULT_BABBLE)
		stick_halt(s, endpoint, x, -EOVERFLOW);
	else
		stick_answer(s, x, (int)t->got);
	return true;
}

static void execute(struct stick *s, struct stick_task *t)
{
	static const struct scsi_answer no_lun = {
		.status = SCSI_CHECK_CONDITION,
		.sense = {0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x25},
		.sense_bytes = 18};

	t->executed = true;
	t->answer = t->lun < s->luns
			    ? unit_execute(&s->unit[t->lun], t->cdb, t->out, t->got, s->in, s->luns)
			    : no_lun;
	if (!t->answer.in_bytes)
		return;
	free(t->out);
	t->in = t->out = malloc(t->answer.in_bytes);
	memcpy(t->in, s->in, t->answer.in_bytes);
	t->data_done = false;
}

static bool run_task(struct stick *s, uint16_t tag)
{
	struct stick_task *t = &s->task[tag];

	if (!t->busy || t->fault == FAULT_SILENT)
		return false;
	if (t->fault == FAULT_STATUS && !t->executed) { /* fails before any data */
		t->executed = t->data_done = true;
		t->answer.status = SCSI_CHECK_CONDITION;
		memcpy(t->answer.sense, (uint8_t[18]){0x70, 0, 0x0b, 0, 0, 0, 0, 10}, 18);
		t->answer.sense_bytes = 18;
	}
	if (!t->executed && t->wants && !t->data_done)
		return move_data(s, tag, true);
	if (!t->executed) {
		execute(s, t);
		return true;
	}
	if (t->answer.in_bytes && !t->data_done)
		return move_data(s, tag, false);
	return give_sense(s, tag);
}

/* Without streams there is one data transfer at a time: the first task that has begun goes on. */
static bool run_tasks(struct stick *s)
{
	for (uint16_t i = 1; i <= STICK_TAGS && !streams(s); i++)
		if (s->task[i].busy && s->task[i].ready_sent && s->task[i].fault != FAULT_SILENT)
			return run_task(s, i);
	for (unsigned i = 1; i <= STICK_TAGS; i++)
		if (run_task(s, (uint16_t)(s->in_order ? i : STICK_TAGS + 1 - i)))
			return true;
	return false;
}

bool stick_run_uas(struct stick *s)
{
	return run_command(s) || run_tmf(s) || run_tasks(s);
}
