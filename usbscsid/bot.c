/* SPDX-License-Identifier: MIT */
/*
 * USB Mass Storage Class Bulk-Only Transport, revision 1.0: a command wrapper (CBW), data, a status
 * wrapper (CSW), for one command at a time.
 *
 * The usual way of a command is made of callbacks. Whatever is not usual is the recovery task's:
 * stalls as in figure 2 (6.7), and reset recovery (5.3.4) for all that is worse.
 */
#include "bot.h"

#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "transport.h"

#define REQUEST_RESET 0xff	 /* 3.1 */
#define REQUEST_GET_MAX_LUN 0xfe /* 3.2 */
#define TO_INTERFACE 0x21
#define FROM_INTERFACE 0xa1
#define CONTROL_MS 5000
#define MOST_LUN 15

struct bot {
	struct transport t;
	struct bot_pipes pipes;
	struct pcidipc_buf *memory;
	struct wire *wire;
	struct usb_transfer cbw, data, csw;
	int cbw_res, data_res, csw_res;
	struct pcidipc_segment cbw_at, csw_at, sense_at;
	struct scsi_command *current;
	struct pcidipc_completion *csw_again; /* the recovery task waits for the CSW */
	uint32_t tag;
	uint32_t length;    /* dCBWDataTransferLength */
	bool sensing;	    /* the command failed, this is our REQUEST SENSE for it */
	uint32_t csw_clock; /* when its transfer was queued, or the data came */
	bool nudge;	    /* the recovery task is to queue the CSW's transfer anew */
	bool nudged;	    /* it did, for this command */
	bool ahead;	    /* send the data transfer of a command that reads along with its CBW */
};

/* What the device reads and writes of our own. */
struct wire {
	uint8_t cbw[64];
	uint8_t csw[64];
	uint8_t sense[128];
};

static struct bot *bot_of(struct transport *t)
{
	return pcidipc_container_of(t, struct bot, t);
}

/* ---- the usual way ---- */

static bool reads(const struct bot *b)
{
	return b->sensing || !b->current->to_device;
}

static int transfer(struct bot *b, struct usb_transfer *x, int *res)
{
	int ret = transport_transfer(&b->t, x);

	*res = ret ? ret : UNDER_WAY;
	return ret;
}

static int send_csw(struct bot *b)
{
	b->csw.timeout_ms = 0;
	memset(b->wire->csw, 0, sizeof(b->wire->csw));
	return transfer(b, &b->csw, &b->csw_res);
}

/* And the CSW behind it, where the link begins it for us when the data is there. Not behind what
 * may be the CSW itself: skipped_data. */
static int send_data(struct bot *b)
{
	struct usb_link *link = b->t.link;
	int ret;

	b->data.endpoint = reads(b) ? b->pipes.in.endpoint : b->pipes.out.endpoint;
	b->data.then = link->chains && b->data.data.pool != link->pool_index;
	ret = transfer(b, &b->data, &b->data_res);
	if (ret || !b->data.then)
		return ret;
	ret = send_csw(b);
	if (ret)
		link->ops->flush(link); /* nothing else may come to stand behind the data */
	return ret;
}

static void put_le32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

/* 5.1. The wire's memory is the device's to write, so nothing of it is read back. */
static void fill_cbw(struct bot *b, const struct scsi_cdb *cdb)
{
	uint8_t *w = b->wire->cbw;

	memset(w, 0, CBW_BYTES);
	put_le32(w, CBW_SIGNATURE);
	put_le32(w + 4, ++b->tag);
	put_le32(w + 8, b->length);
	w[12] = reads(b) ? 0x80 : 0;
	w[13] = b->current->lun & MOST_LUN;
	w[14] = cdb->bytes;
	memcpy(w + 15, cdb->byte, cdb->bytes);
}

/* Wrapper and data go out together: the device takes them in this order anyway. The CSW begins when
 * the data is there: QEMU's stick loses one that begins earlier. */
static int begin(struct bot *b, const struct scsi_cdb *cdb, const struct usb_data *data)
{
	int ret;

	b->length = data->bytes;
	b->data.data = *data;
	b->cbw_res = b->data_res = b->csw_res = NOT_YET;
	b->nudge = b->nudged = false;
	fill_cbw(b, cdb);
	ret = transfer(b, &b->cbw, &b->cbw_res);
	if (!ret && b->length && (b->ahead || !reads(b)))
		ret = send_data(b);
	return ret;
}

static int bot_send(struct transport *t, struct scsi_command *c)
{
	struct bot *b = bot_of(t);

	b->current = c;
	b->sensing = false;
	return begin(b, &c->cdb, &c->data);
}

static int begin_sense(struct bot *b)
{
	bool all = b->t.long_sense >> (b->current->lun & MOST_LUN) & 1;
	uint8_t room = all ? SCSI_SENSE_BYTES : SCSI_SHORT_SENSE_BYTES;
	struct scsi_cdb cdb = scsi_request_sense(room);
	struct usb_data data = {&b->sense_at, 0, room, b->t.link->pool_index};

	b->sensing = true;
	memset(b->wire->sense, 0, sizeof(b->wire->sense));
	return begin(b, &cdb, &data);
}

static void complete(struct bot *b, int error)
{
	struct scsi_command *c = b->current;

	b->current = NULL;
	b->sensing = false;
	transport_complete(&b->t, c, error);
}

/* What both sides agree on. After a stall the transfer's own count is not known. */
static uint32_t bytes_moved(const struct bot *b, const struct csw *csw)
{
	uint32_t said = b->length - csw->residue;

	if (!b->length)
		return 0;
	if (b->data_res < 0)
		return csw->residue ? said : 0;
	return (uint32_t)b->data_res < said ? (uint32_t)b->data_res : said;
}

static void take_sense(struct bot *b, uint32_t moved)
{
	struct scsi_command *c = b->current;

	c->sense_bytes = (uint8_t)(moved < SCSI_SENSE_BYTES ? moved : SCSI_SENSE_BYTES);
	memcpy(c->sense, b->wire->sense, c->sense_bytes);
	complete(b, 0);
}

/* A good CSW ends the command, or makes us ask why it failed. -EPROTO: reset recovery. */
static int finish(struct bot *b, const struct csw *csw)
{
	struct scsi_command *c = b->current;
	uint32_t moved = bytes_moved(b, csw);

	if (b->sensing) {
		take_sense(b, csw->status == CSW_PASSED ? moved : 0);
		return 0;
	}
	c->moved = moved;
	if (csw->status == CSW_PASSED) {
		c->status = SCSI_GOOD;
		complete(b, 0);
		return 0;
	}
	c->status = SCSI_CHECK_CONDITION;
	return begin_sense(b);
}

static int check_csw(struct bot *b, struct csw *csw)
{
	const char *why;
	int ret = csw_parse(b->wire->csw, b->csw_res < 0 ? 0 : (size_t)b->csw_res, b->tag,
			    b->length, csw, &why);

	if (!ret && csw->status == CSW_PHASE_ERROR) {
		why = "it reports a phase error";
		ret = -EPROTO;
	}
	if (ret)
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "command %#x: its CSW is of no use: %s",
					b->current->cdb.byte[0], why);
	return ret;
}

static bool bad(int res)
{
	return res < 0 && res != NOT_YET && res != UNDER_WAY;
}

static bool there(int res)
{
	return res >= 0;
}

static const uint8_t *own_data(const struct bot *b)
{
	const struct usb_data *d = &b->data.data;

	return (uint8_t *)pcidipc_pool_base(b->t.link->pool) + d->segments->iova + d->skip;
}

/* Some devices skip the data of a command that they refuse, and send its CSW at once. It is seen in
 * memory of our own only. */
static bool skipped_data(const struct bot *b)
{
	const struct usb_data *d = &b->data.data;
	const char *why;
	struct csw csw;

	if (!b->current || !reads(b) || b->data_res != CSW_BYTES || b->length <= CSW_BYTES ||
	    d->pool != b->t.link->pool_index)
		return false;
	return !csw_parse(own_data(b), CSW_BYTES, b->tag, b->length, &csw, &why);
}

static void take_skipped(struct bot *b)
{
	memcpy(b->wire->csw, own_data(b), CSW_BYTES);
	b->data_res = 0;
	b->csw_res = CSW_BYTES;
}

/* A transfer is done: go on. */
static int advance(struct bot *b)
{
	struct csw csw;

	if (bad(b->cbw_res) || bad(b->data_res) || bad(b->csw_res) ||
	    (there(b->cbw_res) && b->cbw_res != CBW_BYTES))
		return -EPROTO;
	if (!there(b->cbw_res))
		return 0;
	if (b->length && b->data_res == NOT_YET)
		return send_data(b);
	if (b->length && !there(b->data_res))
		return 0;
	if (b->csw_res == NOT_YET)
		return send_csw(b);
	if (!there(b->csw_res))
		return 0;
	if (check_csw(b, &csw))
		return -EPROTO;
	return finish(b, &csw);
}

static void transfer_done(struct bot *b, int *which, int res)
{
	*which = res;
	b->csw_clock = b->t.clock;
	transport_transfer_done(&b->t);
	if (b->t.recovering || !b->current)
		return;
	if (advance(b))
		transport_trouble(&b->t);
	b->t.link->ops->flush(b->t.link);
}

static void cbw_done(struct usb_transfer *x, int res)
{
	struct bot *b = pcidipc_container_of(x, struct bot, cbw);

	transfer_done(b, &b->cbw_res, res);
}

static void data_done(struct usb_transfer *x, int res)
{
	struct bot *b = pcidipc_container_of(x, struct bot, data);

	b->data_res = res;
	if (skipped_data(b) && b->csw_res == UNDER_WAY) { /* that one has to be taken back */
		b->nudge = true;
		transport_trouble(&b->t);
	} else if (skipped_data(b)) {
		take_skipped(b);
	}
	transfer_done(b, &b->data_res, b->data_res);
}

static void csw_done(struct usb_transfer *x, int res)
{
	struct bot *b = pcidipc_container_of(x, struct bot, csw);
	struct pcidipc_completion *again = b->csw_again;

	b->csw_again = NULL;
	transfer_done(b, &b->csw_res, res);
	if (again)
		pcidipc_post(again, res);
}

/* ---- what is not usual (task) ---- */

/* Nothing stays queued on either pipe. */
static int quiesce(struct bot *b)
{
	struct usb_link *link = b->t.link;
	int ret;

	if (!b->t.transfers)
		return 0;
	ret = link->ops->stop(link, b->pipes.in.endpoint, 0);
	if (!ret)
		ret = link->ops->stop(link, b->pipes.out.endpoint, 0);
	if (!ret || ret == -ENODEV) /* then the link ends them all */
		transport_drain(&b->t);
	return ret;
}

/* 5.3.4: Bulk-Only Mass Storage Reset, then clear both endpoints' halts. */
static int mass_storage_reset(struct bot *b)
{
	struct usb_link *link = b->t.link;
	const struct usb_setup setup = {
		.type = TO_INTERFACE, .request = REQUEST_RESET, .index = link->interface};
	int ret = link->ops->control(link, &setup, NULL, CONTROL_MS);

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
		complete(b, transport_overdue(&b->t, c) ? -ETIMEDOUT : -EPROTO);
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
				b->wire->cbw[15], b->length, state(b->cbw_res), b->cbw_res,
				state(b->data_res), b->data_res, state(b->csw_res), b->csw_res);
	ret = quiesce(b);

	b->t.recoveries++;
	b->ahead = false; /* if it was that which the device did not like */
	if (!ret)
		ret = mass_storage_reset(b);
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

	b->csw.timeout_ms = (uint32_t)(b->t.limit * b->t.tick_ns / 1000000) + 1;
	memset(b->wire->csw, 0, sizeof(b->wire->csw));
	if (transfer(b, &b->csw, &b->csw_res))
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
	int res = b->csw_res;

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

	if (b->cbw_res != CBW_BYTES)
		return -EPROTO;
	if (b->data_res == -EPIPE) {
		if (b->t.transfers && quiesce(b))
			return -EPROTO;
		b->csw_res = NOT_YET;
		return link->ops->clear_halt(link, b->data.endpoint);
	}
	if (b->length && !there(b->data_res))
		return -EPROTO;
	return b->csw_res == -EPIPE || b->csw_res == 0 ? 0 : -EPROTO;
}

/* From here on it goes the usual way again, REQUEST SENSE included. */
static int end_by_csw(struct bot *b)
{
	struct csw csw;

	return read_csw(b) != CSW_BYTES || check_csw(b, &csw) ? -EPROTO : finish(b, &csw);
}

static int mend(struct bot *b)
{
	if (transport_overdue(&b->t, b->current) || clear_stalls(b))
		return -EPROTO;
	return end_by_csw(b);
}

/*
 * All is there but the CSW. A device that was asked for it while it was still ending its command
 * may have overlooked that (QEMU's does, when the transfer is queued at the wrong moment). Asking
 * anew does no harm.
 */
static bool bot_look(struct transport *t)
{
	struct bot *b = bot_of(t);

	if (!b->current || b->nudged || b->csw_res != UNDER_WAY || !there(b->cbw_res) ||
	    (b->length && !there(b->data_res)) || t->clock - b->csw_clock < 2)
		return false;
	b->nudge = true;
	return true;
}

/* The CSW does not come, and what came as data may have been that (a client's memory is not looked
 * into): then the command has failed, and the device is ready to say why. */
static bool perhaps_skipped(const struct bot *b)
{
	return !b->sensing && reads(b) && b->data_res == CSW_BYTES && b->length > CSW_BYTES;
}

static int nudge(struct bot *b)
{
	b->nudge = false;
	b->nudged = true;
	if (quiesce(b))
		return -EPROTO;
	if (b->csw_res == -ECANCELED && skipped_data(b)) {
		take_skipped(b);
	} else if (b->csw_res == -ECANCELED && perhaps_skipped(b)) {
		b->current->status = SCSI_CHECK_CONDITION;
		return begin_sense(b);
	} else if (b->csw_res == -ECANCELED) {
		b->csw_res = NOT_YET;
	}
	return end_by_csw(b);
}

static bool gone(const struct bot *b)
{
	return b->cbw_res == -ENODEV || b->data_res == -ENODEV || b->csw_res == -ENODEV;
}

static int bot_recover(struct transport *t)
{
	struct bot *b = bot_of(t);
	int ret;

	if (!b->current)
		return 0;
	if (gone(b)) {
		quiesce(b);
		transport_drain(t);
		complete(b, -ENODEV);
		return -ENODEV;
	}
	ret = b->nudge && !transport_overdue(t, b->current) ? nudge(b) : mend(b);
	if (ret && b->current)
		ret = reset_recovery(b);
	if (ret == -ENODEV && b->current)
		complete(b, -ENODEV);
	return ret;
}

/* ---- beginning and end ---- */

/* 3.2: devices with one LUN may stall it. */
static unsigned get_max_lun(struct usb_link *link)
{
	const struct usb_setup setup = {.type = FROM_INTERFACE,
					.request = REQUEST_GET_MAX_LUN,
					.index = link->interface,
					.length = 1};
	uint8_t most = 0;
	int ret = link->ops->control(link, &setup, &most, CONTROL_MS);

	if (ret == 1 && most <= MOST_LUN)
		return most + 1u;
	if (ret == 1)
		pcidipc_warn("Get Max LUN says %u, the limit is %u: one LUN is taken", most,
			     MOST_LUN);
	return 1;
}

static void bot_destroy(struct transport *t)
{
	struct bot *b = bot_of(t);

	if (b->memory)
		pcidipc_buf_free(b->memory);
	if (b->data.list)
		pcidipc_buf_free(b->data.list);
	free(b);
}

static const struct transport_ops ops = {.name = "usb-bot",
					 .send = bot_send,
					 .look = bot_look,
					 .recover = bot_recover,
					 .destroy = bot_destroy};

static void place(struct bot *b, struct usb_transfer *x, struct pcidipc_segment *at,
		  const void *where, uint32_t bytes, uint8_t endpoint)
{
	at->iova = b->memory->offset + (uint64_t)((const uint8_t *)where - (uint8_t *)b->wire);
	at->bytes = bytes;
	if (!x)
		return;
	x->data = (struct usb_data){at, 0, bytes, b->t.link->pool_index};
	x->endpoint = endpoint;
}

static void prepare(struct bot *b)
{
	place(b, &b->cbw, &b->cbw_at, b->wire->cbw, CBW_BYTES, b->pipes.out.endpoint);
	place(b, &b->csw, &b->csw_at, b->wire->csw, CSW_BYTES, b->pipes.in.endpoint);
	place(b, NULL, &b->sense_at, b->wire->sense, SCSI_SENSE_BYTES, 0);
	b->cbw.done = cbw_done;
	b->data.done = data_done;
	b->csw.done = csw_done;
}

/* Whoever drove it before us may have ended in the middle of a command: a wrapper would be taken
 * for the rest of that one's data. A device that refuses the reset is hoped to be at its start. */
static int start_anew(struct bot *b)
{
	int ret = mass_storage_reset(b);

	if (ret && ret != -ENODEV)
		pcidipc_info("Bulk-Only reset at the start: %s", strerror(-ret));
	return ret == -ENODEV ? ret : 0;
}

/* Never one that a driver before us has used lately: there are less than 2^20 commands a second. */
static uint32_t first_tag(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)now.tv_sec << 20 | (uint32_t)now.tv_nsec >> 10;
}

int bot_create(struct usb_link *link, const struct bot_pipes *pipes, struct transport **t)
{
	struct bot *b;
	int ret = link->ops->configure(link, pipes->alternate, 0);

	if (ret < 0)
		return ret;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->memory = pcidipc_pool_alloc(link->pool, sizeof(*b->wire), 64);
	b->data.list = pcidipc_pool_alloc(link->pool, LINK_LIST_BYTES, 64);
	if (!b->memory || !b->data.list) {
		bot_destroy(&b->t);
		return -ENOMEM;
	}
	b->wire = pcidipc_buf_ptr(b->memory);
	b->pipes = *pipes;
	b->ahead = true;
	transport_init(&b->t, &ops, link);
	b->t.depth = 1;
	b->tag = first_tag();
	prepare(b);
	ret = start_anew(b);
	if (ret) {
		bot_destroy(&b->t);
		return ret;
	}
	b->t.most_luns = get_max_lun(link);
	*t = &b->t;
	return 0;
}
