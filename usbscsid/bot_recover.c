/* SPDX-License-Identifier: MIT */
/* Bulk-Only: what is not usual (6.7, figure 2) and what is worse (5.3.4). */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "bot_state.h"

#define SKIPPED_TICKS 2 /* until a CSW in place of the data is believed */

#define MOST_STOPS 1000
#define STOP_NS 1000000u

#define REQUEST_RESET 0xff /* 3.1 */
#define TO_INTERFACE 0x21

/*
 * Nothing stays queued on either pipe. A chain that goes on meanwhile moves from one to the other,
 * so both are stopped until nothing is left: each round takes back what it has moved to.
 */
static int quiesce(struct bot *b)
{
	struct usb_link *link = b->t.link;
	int ret = 0;

	for (unsigned i = 0; b->t.transfers && !ret; i++) {
		if (i)
			pcidipc_task_sleep(STOP_NS);
		ret = i < MOST_STOPS ? link->ops->stop(link, b->pipes.in.endpoint, 0) : -EPROTO;
		if (!ret)
			ret = link->ops->stop(link, b->pipes.out.endpoint, 0);
	}
	if (ret == -ENODEV) /* then the link ends them all */
		transport_drain(&b->t);
	return ret;
}

/* 5.3.4: Bulk-Only Mass Storage Reset, then clear both endpoints' halts. */
int bot_mass_storage_reset(struct bot *b)
{
	struct usb_link *link = b->t.link;
	const struct usb_setup setup = {
		.type = TO_INTERFACE, .request = REQUEST_RESET, .index = link->interface};
	int ret = link->ops->control(link, &setup, NULL, BOT_CONTROL_MS);

	if (ret >= 0)
		ret = link->ops->clear_halt(link, b->pipes.in.endpoint);
	if (!ret)
		ret = link->ops->clear_halt(link, b->pipes.out.endpoint);
	return ret;
}

/* What a command that is being taken back completes with: the device is done with its buffer. */
static void fail_current(struct bot *b)
{
	struct scsi_command *c = b->current;

	if (c)
		bot_complete(b, transport_overdue(&b->t, c) ? -ETIMEDOUT : -EPROTO);
}

static const char *state(int res)
{
	return res == NOT_YET ? "not sent" : res == UNDER_WAY ? "under way" : "done";
}

static int reset_recovery(struct bot *b)
{
	int ret;

	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"command %#x, %u bytes: reset recovery; CBW %s (%d), data %s (%d), "
				"CSW %s (%d)",
				b->now->wire->cbw[15], b->now->length, state(b->now->cbw_res),
				b->now->cbw_res, state(b->now->data_res), b->now->data_res,
				state(b->now->csw_res), b->now->csw_res);
	ret = quiesce(b);

	b->t.recoveries++;
	b->ahead = false; /* if it was that which the device did not like */
	if (!ret)
		ret = bot_mass_storage_reset(b);
	if (ret && ret != -ENODEV) {
		pcidipc_warn("Bulk-Only reset recovery failed (%s): resetting the device",
			     strerror(-ret));
		ret = transport_reset(&b->t);
		transport_drain(&b->t);
	}
	fail_current(b);
	return ret;
}

static int ask_csw_again(struct bot *b)
{
	struct pcidipc_completion done = {0};

	b->now->csw.timeout_ms = (uint32_t)(b->t.limit * b->t.tick_ns / 1000000) + 1;
	b->now->csw.then = b->now->csw.expect = false;
	memset(b->now->wire->csw, 0, sizeof(b->now->wire->csw));
	if (bot_transfer(b, &b->now->csw, &b->now->csw_res))
		return -EIO;
	b->csw_again = &done;
	b->t.link->ops->flush(b->t.link);
	return pcidipc_await(&done);
}

/* Figure 2: the CSW, if it was not read yet, and once more after a stall; some devices send an
 * empty packet before it. */
static int read_csw(struct bot *b)
{
	struct usb_link *link = b->t.link;
	int res = b->now->csw_res;

	if (res == NOT_YET)
		res = ask_csw_again(b);
	if (res == -EPIPE) {
		if (link->ops->clear_halt(link, b->pipes.in.endpoint))
			return -EPROTO;
		res = ask_csw_again(b);
	} else if (res == 0) {
		res = ask_csw_again(b);
	}
	return res;
}

/* Can this be mended without a reset: the data was stalled, or the CSW? Clears the halt. */
static int clear_stalls(struct bot *b)
{
	struct usb_link *link = b->t.link;

	if (b->now->cbw_res != CBW_BYTES)
		return -EPROTO;
	if (b->now->data_res == -EPIPE) {
		if (b->t.transfers && quiesce(b))
			return -EPROTO;
		b->now->csw_res = NOT_YET;
		return link->ops->clear_halt(link, b->now->data.endpoint);
	}
	if (b->now->length && !bot_there(b->now->data_res))
		return -EPROTO;
	return b->now->csw_res == -EPIPE || b->now->csw_res == 0 ? 0 : -EPROTO;
}

/* From here on it goes the usual way again, REQUEST SENSE included. */
static int end_by_csw(struct bot *b)
{
	struct csw csw;

	return read_csw(b) != CSW_BYTES || bot_check_csw(b, &csw) ? -EPROTO : bot_finish(b, &csw);
}

static int mend(struct bot *b)
{
	if (transport_overdue(&b->t, b->current) || clear_stalls(b))
		return -EPROTO;
	return end_by_csw(b);
}

/* The CSW does not come, and what came as data may have been that (a client's memory is not looked
 * into): then the command has failed, and the device is ready to say why. */
static bool perhaps_skipped(const struct bot *b)
{
	return !b->sensing && bot_reads(b->now) && b->now->data_res == CSW_BYTES &&
	       b->now->length > CSW_BYTES;
}

/*
 * All is there but the CSW. A device that was asked for it while it was still ending its command
 * may have overlooked that (QEMU's does, when the transfer is queued at the wrong moment), so it is
 * asked anew; but late, for a write may take long, and QEMU's gives one up whose CSW nobody wants
 * any more. Early only where the CSW may have come already.
 */
bool bot_look(struct transport *t)
{
	struct bot *b = bot_of(t);
	uint32_t patience;

	if (!b->current || b->nudged || b->now->csw_res != UNDER_WAY ||
	    !bot_there(b->now->cbw_res) || (b->now->length && !bot_there(b->now->data_res)))
		return false;
	patience = perhaps_skipped(b) ? SKIPPED_TICKS : t->limit / 2;
	b->nudge = t->clock - b->csw_clock >= patience;
	return b->nudge;
}

static int nudge(struct bot *b)
{
	b->nudge = false;
	b->nudged = true;
	if (quiesce(b))
		return -EPROTO;
	if (b->now->csw_res == -ECANCELED && bot_skipped_data(b)) {
		bot_take_skipped(b);
	} else if (b->now->csw_res == -ECANCELED && perhaps_skipped(b)) {
		b->current->status = SCSI_CHECK_CONDITION;
		return bot_begin_sense(b);
	} else if (b->now->csw_res == -ECANCELED) {
		b->now->csw_res = NOT_YET;
	}
	return end_by_csw(b);
}

/* Nothing of the current command has failed, so those behind it may begin while we look. */
static bool goes_on(const struct bot *b)
{
	const struct bot_slot *s = b->now;

	return s != &b->slot[b->count - 1] && !bot_bad(s->cbw_res) && !bot_bad(s->data_res) &&
	       !bot_bad(s->csw_res);
}

static bool all_there(const struct bot_slot *s)
{
	return s->cbw_res == CBW_BYTES && (!s->length || bot_there(s->data_res)) &&
	       s->csw_res == CSW_BYTES;
}

/*
 * What the device has ended until the chain was stopped has ended, and a CSW that tells of a
 * failure has the usual consequence: nothing behind it has begun. The first one that has not ended
 * is the command to recover, -EPROTO: the device may be in the middle of it, or have its CBW.
 */
static int catch_up(struct bot *b)
{
	struct csw csw;

	while (all_there(b->now)) {
		if (bot_check_csw(b, &csw))
			return -EPROTO;
		if (csw.status != CSW_PASSED || b->now == &b->slot[b->count - 1])
			return bot_finish(b, &csw);
		bot_finish(b, &csw);
		b->now++;
		b->current = b->now->command;
	}
	return -EPROTO;
}

static bool gone(const struct bot *b)
{
	return b->now->cbw_res == -ENODEV || b->now->data_res == -ENODEV ||
	       b->now->csw_res == -ENODEV;
}

static int recover(struct bot *b)
{
	int ret = 0;

	b->broken = true;
	if (gone(b)) {
		quiesce(b);
		transport_drain(&b->t);
		bot_complete(b, -ENODEV);
		return -ENODEV;
	}
	if (goes_on(b))
		ret = quiesce(b);
	if (!ret && all_there(b->now))
		ret = catch_up(b);
	else if (!ret)
		ret = b->nudge && !transport_overdue(&b->t, b->current) ? nudge(b) : mend(b);
	if (ret && b->current)
		ret = reset_recovery(b);
	if (ret == -ENODEV && b->current)
		bot_complete(b, -ENODEV);
	return ret;
}

int bot_recover(struct transport *t)
{
	struct bot *b = bot_of(t);
	int ret = b->current ? recover(b) : 0;

	bot_settle(b);
	return ret;
}
