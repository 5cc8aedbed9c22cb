/* SPDX-License-Identifier: MIT */
/*
 * What a unit says besides the answer to a command: that its medium is another one, that it was
 * reset, that earlier writes have failed. It is told once, to whoever comes first: a client's
 * request, a look at the unit, pass-through.
 */
#include <pcidipc/log.h>

#include "target.h"

static struct lun *find(const struct target *t, uint8_t number)
{
	for (unsigned i = 0; i < t->nluns; i++)
		if (t->lun[i]->number == number)
			return t->lun[i];
	return NULL;
}

/* Acknowledged ones: the next flush fails, once. */
static void lose_writes(struct lun *lun, const char *why)
{
	lun->lost_writes = true;
	pcidipc_log_ratelimited(PCIDIPC_ERROR, "%s: data that was written may be lost: %s",
				lun->disk.name, why);
}

/* At once, so that nothing that was asked of the old medium is sent to the next one. */
static void change_medium(struct lun *lun)
{
	lun->generation++;
	lun->medium = false;
	lun->disk.info.flags |= RINGABI_BLOCK_NO_MEDIUM;
}

static bool medium_changed(const struct lun *lun, const struct scsi_sense *s)
{
	if (s->key == SENSE_UNIT_ATTENTION)
		return s->asc == 0x28;
	return s->key == SENSE_NOT_READY && s->asc == 0x3a && lun->medium;
}

/* A reset, or loss of power: it may have cost it what lay in its cache only. */
static void lose_cache(struct lun *lun)
{
	if (lun->written == lun->flushed || !(lun->disk.info.flags & RINGABI_BLOCK_VOLATILE_CACHE))
		return;
	lun->flushed = lun->written;
	lose_writes(lun, "the device was reset");
}

void target_was_reset(struct transport *transport)
{
	const struct target *t = transport->user;

	for (unsigned i = 0; t && i < t->nluns; i++)
		lose_cache(t->lun[i]);
}

void target_heed(struct transport *transport, const struct scsi_command *c)
{
	struct scsi_sense s = scsi_parse_sense(c->sense, c->sense_bytes);
	struct lun *lun = find(transport->user, c->lun);

	if (!lun || !s.valid)
		return;
	if (s.deferred) {
		if (s.key > SENSE_RECOVERED_ERROR)
			lose_writes(lun, scsi_sense_text(s.key));
		return;
	}
	if (s.key == SENSE_UNIT_ATTENTION && s.asc == 0x29) /* power on, or reset */
		lose_cache(lun);
	if (s.key == SENSE_UNIT_ATTENTION && s.asc == 0x3f && s.ascq == 0x0e)
		pcidipc_notice("%s: it has other LUNs now: they become disks when it is plugged in "
			       "again",
			       lun->target->label);
	if (medium_changed(lun, &s)) {
		change_medium(lun);
		lun_look_again(lun);
	} else if (scsi_unit_changed(&s)) {
		lun_look_again(lun);
	}
}

/* ---- waking ---- */

static void wake_task(void *arg)
{
	struct lun *lun = arg;

	lun_wait_ready(lun->target, lun->number);
	lun->waking = false;
}

void lun_wake(struct lun *lun)
{
	if (!lun->waking)
		lun->waking = !pcidipc_spawn(lun->target->loop, wake_task, lun);
}
