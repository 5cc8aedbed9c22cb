/* SPDX-License-Identifier: MIT */
/* Control commands, one after the other (tasks). */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "target.h"

#define MOST_ATTENTIONS 8 /* unit attentions in a row */
#define MOST_RETRIES 3
#define MOST_PAUSES 300 /* for a unit that is becoming ready */
#define MOST_DENIALS 3	/* by a unit that there is */

/* ---- what a status stands for ---- */

static int sense_error(const struct scsi_sense *s, bool write)
{
	switch (s->key) {
	case SENSE_NOT_READY:
		return s->asc == 0x3a ? -ENOMEDIUM : -EIO;
	case SENSE_MEDIUM_ERROR:
		return write ? -EIO : -ENODATA;
	case SENSE_ILLEGAL_REQUEST:
		return s->asc == 0x20 || s->asc == 0x24 || s->asc == 0x26 ? -EOPNOTSUPP : -EIO;
	case SENSE_DATA_PROTECT:
		return -EROFS;
	case SENSE_ABORTED_COMMAND:
		return s->asc == 0x10 ? -EBADMSG : -EIO;
	default:
		return -EIO;
	}
}

int scsi_error(uint8_t status, const struct scsi_sense *sense, bool write)
{
	if (status == SCSI_GOOD || status == SCSI_CONDITION_MET)
		return 0;
	if (status == SCSI_CHECK_CONDITION && sense->valid)
		return sense_error(sense, write);
	return -EIO;
}

/* Another medium, or another capacity (SPC-4, annex F). */
bool scsi_unit_changed(const struct scsi_sense *s)
{
	return s->valid && s->key == SENSE_UNIT_ATTENTION &&
	       (s->asc == 0x28 || (s->asc == 0x2a && s->ascq == 0x09));
}

/* ---- one command ---- */

static int once(struct target *t, uint8_t lun, const struct scsi_cdb *cdb, uint32_t room,
		struct scsi_result *result)
{
	struct pcidipc_segment at = {t->scratch->offset, SCRATCH_BYTES};
	struct scsi_command c = {
		.cdb = *cdb, .lun = lun, .data = {&at, 0, room, t->link->pool_index}};
	int ret;

	memset(pcidipc_buf_ptr(t->scratch), 0, room);
	ret = transport_execute(t->transport, &c);
	*result = (struct scsi_result){.status = c.status, .bytes = c.moved};
	if (!ret && c.status == SCSI_CHECK_CONDITION)
		result->sense = scsi_parse_sense(c.sense, c.sense_bytes);
	return ret;
}

/* It says something else first, once; a deferred error is about an earlier command (SPC-4, 4.5.5).
 */
static bool attention(const struct scsi_result *r)
{
	return r->status == SCSI_CHECK_CONDITION &&
	       (r->sense.key == SENSE_UNIT_ATTENTION || r->sense.deferred);
}

static bool busy(const struct scsi_result *r)
{
	return r->status == SCSI_BUSY || r->status == SCSI_TASK_SET_FULL ||
	       r->status == SCSI_TASK_ABORTED ||
	       (r->status == SCSI_CHECK_CONDITION && r->sense.key == SENSE_ABORTED_COMMAND);
}

int lun_execute(struct target *t, uint8_t lun, const struct scsi_cdb *cdb, uint32_t room,
		struct scsi_result *result)
{
	unsigned attentions = 0, retries = 0;
	bool changed = false;

	for (;;) {
		int ret = once(t, lun, cdb, room, result);

		if (ret == -EPROTO && ++retries < MOST_RETRIES)
			continue;
		if (ret)
			return ret;
		changed = changed || (!result->sense.deferred && scsi_unit_changed(&result->sense));
		result->changed = changed;
		if (attention(result) && ++attentions < MOST_ATTENTIONS)
			continue;
		if (!busy(result) || ++retries >= MOST_RETRIES)
			return 0;
		pcidipc_task_sleep(t->pause_ns);
	}
}

int lun_ask(struct target *t, uint8_t lun, const struct scsi_cdb *cdb, void *to, uint32_t room)
{
	struct scsi_result r;
	int ret;

	pcidipc_task_lock(&t->scratch_lock);
	ret = lun_execute(t, lun, cdb, room, &r);
	if (!ret)
		ret = scsi_error(r.status, &r.sense, false);
	if (!ret) {
		if (r.bytes)
			pcidipc_copy_once(to, pcidipc_buf_ptr(t->scratch), r.bytes);
		ret = (int)r.bytes;
	}
	pcidipc_task_unlock(&t->scratch_lock);
	return ret;
}

/* ---- becoming ready ---- */

static int start_unit(struct target *t, uint8_t lun)
{
	struct scsi_cdb cdb = scsi_start_stop_unit(true, false);
	struct scsi_result r;
	int ret = lun_execute(t, lun, &cdb, 0, &r);

	return ret ? ret : scsi_error(r.status, &r.sense, false);
}

/* 0: look again; -EAGAIN: after a pause. */
static int not_ready(struct target *t, uint8_t lun, const struct scsi_sense *s, bool *started)
{
	if (s->asc == 0x3a)
		return -ENOMEDIUM;
	if (s->asc == 0x04 && s->ascq == 0x02 && !*started) { /* it wants to be told */
		*started = true;
		return start_unit(t, lun);
	}
	return s->asc == 0x04 && s->ascq == 0x03 ? -EIO : -EAGAIN;
}

/* Of a unit that has answered INQUIRY. QEMU's Bulk-Only devices say it instead of what is the
 * matter, a unit attention at first, for every unit but the first one. */
bool scsi_unit_denied(const struct scsi_sense *s)
{
	return s->valid && s->key == SENSE_ILLEGAL_REQUEST && s->asc == 0x25;
}

int lun_wait_ready(struct target *t, uint8_t lun)
{
	struct scsi_cdb cdb = scsi_test_unit_ready();
	unsigned denials = 0;
	bool started = false;
	struct scsi_result r;
	int ret;

	for (unsigned pauses = 0; pauses < MOST_PAUSES && !t->stopping;) {
		ret = lun_execute(t, lun, &cdb, 0, &r);
		if (ret || r.status == SCSI_GOOD)
			return ret;
		if (scsi_unit_denied(&r.sense) && ++denials < MOST_DENIALS)
			continue;
		if (r.status != SCSI_CHECK_CONDITION || r.sense.key != SENSE_NOT_READY)
			return scsi_error(r.status, &r.sense, false);
		ret = not_ready(t, lun, &r.sense, &started);
		if (ret && ret != -EAGAIN)
			return ret;
		if (ret)
			pcidipc_task_sleep(t->pause_ns);
		pauses++;
	}
	return -ETIMEDOUT;
}
