/* SPDX-License-Identifier: MIT */
/*
 * USB Mass Storage Class Bulk-Only Transport, revision 1.0: a command wrapper (CBW), data, a status
 * wrapper (CSW), for one command at a time.
 *
 * The usual way of a command is made of callbacks. Whatever is not usual is the recovery task's:
 * stalls as in figure 2 (6.7), and reset recovery (5.3.4) for all that is worse.
 */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bot_state.h"

#define REQUEST_GET_MAX_LUN 0xfe /* 3.2 */
#define FROM_INTERFACE 0xa1

/* ---- the usual way ---- */

int bot_transfer(struct bot *b, struct usb_transfer *x, int *res)
{
	int ret = transport_transfer(&b->t, x);

	*res = ret ? ret : UNDER_WAY;
	return ret;
}

static int send_csw(struct bot *b)
{
	b->csw.timeout_ms = 0;
	memset(b->wire->csw, 0, sizeof(b->wire->csw));
	return bot_transfer(b, &b->csw, &b->csw_res);
}

/* And the CSW behind it, where the link begins it for us when the data is there. Not behind what
 * may be the CSW itself: skipped_data. */
static int send_data(struct bot *b)
{
	struct usb_link *link = b->t.link;
	int ret;

	b->data.endpoint = bot_reads(b) ? b->pipes.in.endpoint : b->pipes.out.endpoint;
	b->data.then = link->chains && b->data.data.pool != link->pool_index;
	ret = bot_transfer(b, &b->data, &b->data_res);
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
	w[12] = bot_reads(b) ? 0x80 : 0;
	w[13] = b->current->lun & BOT_MOST_LUN;
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
	ret = bot_transfer(b, &b->cbw, &b->cbw_res);
	if (!ret && b->length && (b->ahead || !bot_reads(b)))
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

int bot_begin_sense(struct bot *b)
{
	bool all = b->t.long_sense >> (b->current->lun & BOT_MOST_LUN) & 1;
	uint8_t room = all ? SCSI_SENSE_BYTES : SCSI_SHORT_SENSE_BYTES;
	struct scsi_cdb cdb = scsi_request_sense(room);
	struct usb_data data = {&b->sense_at, 0, room, b->t.link->pool_index};

	b->sensing = true;
	memset(b->wire->sense, 0, sizeof(b->wire->sense));
	return begin(b, &cdb, &data);
}

void bot_complete(struct bot *b, int error)
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
	bot_complete(b, 0);
}

/* A good CSW ends the command, or makes us ask why it failed. -EPROTO: reset recovery. */
int bot_finish(struct bot *b, const struct csw *csw)
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
		bot_complete(b, 0);
		return 0;
	}
	c->status = SCSI_CHECK_CONDITION;
	return bot_begin_sense(b);
}

int bot_check_csw(struct bot *b, struct csw *csw)
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
bool bot_skipped_data(const struct bot *b)
{
	const struct usb_data *d = &b->data.data;
	const char *why;
	struct csw csw;

	if (!b->current || !bot_reads(b) || b->data_res != CSW_BYTES || b->length <= CSW_BYTES ||
	    d->pool != b->t.link->pool_index)
		return false;
	return !csw_parse(own_data(b), CSW_BYTES, b->tag, b->length, &csw, &why);
}

void bot_take_skipped(struct bot *b)
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
	if (bot_check_csw(b, &csw))
		return -EPROTO;
	return bot_finish(b, &csw);
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
	if (bot_skipped_data(b) && b->csw_res == UNDER_WAY) { /* that one has to be taken back */
		b->nudge = true;
		transport_trouble(&b->t);
	} else if (bot_skipped_data(b)) {
		bot_take_skipped(b);
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

/* ---- beginning and end ---- */

/* 3.2: devices with one LUN may stall it. */
static unsigned get_max_lun(struct usb_link *link)
{
	const struct usb_setup setup = {.type = FROM_INTERFACE,
					.request = REQUEST_GET_MAX_LUN,
					.index = link->interface,
					.length = 1};
	uint8_t most = 0;
	int ret = link->ops->control(link, &setup, &most, BOT_CONTROL_MS);

	if (ret == 1 && most <= BOT_MOST_LUN)
		return most + 1u;
	if (ret == 1)
		pcidipc_warn("Get Max LUN says %u, the limit is %u: one LUN is taken", most,
			     BOT_MOST_LUN);
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
	int ret = bot_mass_storage_reset(b);

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
