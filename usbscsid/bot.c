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

/* `more`: others are to follow, if all went well. */
static int send_csw(struct bot_slot *s, bool more)
{
	s->csw.timeout_ms = 0;
	s->csw.then = s->csw.expect = more;
	memset(s->wire->csw, 0, sizeof(s->wire->csw));
	return bot_transfer(s->bot, &s->csw, &s->csw_res);
}

/* Not behind what may be the CSW itself: bot_skipped_data. */
static bool may_chain(const struct bot_slot *s)
{
	const struct usb_link *link = s->bot->t.link;

	return link->chains && s->length && s->data.data.pool != link->pool_index;
}

/* And the CSW behind it, where the link begins it for us when the data is there. */
static int send_data(struct bot_slot *s, bool more)
{
	struct bot *b = s->bot;
	int ret;

	s->data.endpoint = bot_reads(s) ? b->pipes.in.endpoint : b->pipes.out.endpoint;
	s->data.then = may_chain(s);
	ret = bot_transfer(b, &s->data, &s->data_res);
	if (ret || !s->data.then)
		return ret;
	ret = send_csw(s, more);
	if (ret)
		b->t.link->ops->flush(b->t.link); /* nothing else may come to stand behind it */
	return ret;
}

static void put_le32(uint8_t *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

/* 5.1. The wire's memory is the device's to write, so nothing of it is read back. */
static void fill_cbw(struct bot_slot *s, const struct scsi_cdb *cdb)
{
	uint8_t *w = s->wire->cbw;

	memset(w, 0, CBW_BYTES);
	put_le32(w, CBW_SIGNATURE);
	put_le32(w + 4, s->tag);
	put_le32(w + 8, s->length);
	w[12] = bot_reads(s) ? 0x80 : 0;
	w[13] = s->command->lun & BOT_MOST_LUN;
	w[14] = cdb->bytes;
	memcpy(w + 15, cdb->byte, cdb->bytes);
}

/* 5.2: all moved, and nothing to tell. */
static void fill_good_csw(struct bot_slot *s)
{
	uint8_t *w = s->wire->good_csw;

	memset(w, 0, CSW_BYTES);
	put_le32(w, CSW_SIGNATURE);
	put_le32(w + 4, s->tag);
}

static void prepare_slot(struct bot_slot *s, const struct scsi_cdb *cdb,
			 const struct usb_data *data)
{
	s->tag = ++s->bot->tag;
	s->length = data->bytes;
	s->data.data = *data;
	s->cbw_res = s->data_res = s->csw_res = NOT_YET;
	s->cbw.then = false;
	fill_cbw(s, cdb);
	fill_good_csw(s);
}

/* Wrapper and data go out together: the device takes them in this order anyway. The CSW begins when
 * the data is there: QEMU's stick loses one that begins earlier. */
static int send_slot(struct bot_slot *s, bool more)
{
	struct bot *b = s->bot;
	int ret = bot_transfer(b, &s->cbw, &s->cbw_res);

	if (!ret && s->length && (b->ahead || !bot_reads(s)))
		ret = send_data(s, more);
	return ret;
}

/* Behind another one's CSW. */
static int send_behind(struct bot_slot *s, bool more)
{
	int ret;

	s->cbw.then = may_chain(s);
	ret = bot_transfer(s->bot, &s->cbw, &s->cbw_res);
	return ret || !s->cbw.then ? ret : send_data(s, more);
}

static int send_all(struct bot *b)
{
	int ret = send_slot(&b->slot[0], b->count > 1);

	for (unsigned i = 1; i < b->count && !ret; i++)
		ret = send_behind(&b->slot[i], i + 1 < b->count);
	return ret;
}

static void bot_flush(struct transport *t)
{
	struct bot *b = bot_of(t);

	if (!b->count || b->sent)
		return;
	b->sent = true;
	b->broken = b->nudge = b->nudged = false;
	b->now = b->slot;
	b->current = b->now->command;
	t->depth = 0;
	if (!send_all(b))
		return;
	t->link->ops->flush(t->link); /* as above */
	transport_trouble(t);
}

/* It goes out with the flush; what cannot have others behind it is the last. */
static int bot_send(struct transport *t, struct scsi_command *c)
{
	struct bot *b = bot_of(t);
	struct bot_slot *s = &b->slot[b->count++];

	s->command = c;
	prepare_slot(s, &c->cdb, &c->data);
	if (s != b->slot)
		transport_give_no_time(t, c);
	if (!b->ahead || !may_chain(s))
		t->depth = 0;
	return 0;
}

int bot_begin_sense(struct bot *b)
{
	bool all = b->t.long_sense >> (b->current->lun & BOT_MOST_LUN) & 1;
	uint8_t room = all ? SCSI_SENSE_BYTES : SCSI_SHORT_SENSE_BYTES;
	struct scsi_cdb cdb = scsi_request_sense(room);
	struct usb_data data = {&b->sense_at, 0, room, b->t.link->pool_index};

	b->sensing = true;
	b->nudge = b->nudged = false;
	memset(b->memory->sense, 0, sizeof(b->memory->sense));
	prepare_slot(b->now, &cdb, &data);
	return send_slot(b->now, false);
}

/* The next one is the device's now. */
static void go_on(struct bot *b)
{
	b->current = NULL;
	if (b->broken || b->now == &b->slot[b->count - 1])
		return;
	b->now++;
	b->current = b->now->command;
	b->nudge = b->nudged = false;
	transport_give_time(&b->t, b->current);
}

void bot_complete(struct bot *b, int error)
{
	struct scsi_command *c = b->current;

	b->now->command = NULL;
	b->sensing = false;
	go_on(b);
	transport_complete(&b->t, c, error);
}

void bot_settle(struct bot *b)
{
	if (!b->sent || b->current || b->t.transfers)
		return;
	while (b->count) {
		struct bot_slot *s = &b->slot[--b->count];

		if (s->command)
			transport_put_back(&b->t, s->command);
		s->command = NULL;
	}
	b->sent = false;
	b->t.depth = BOT_BATCH;
	if (!pcidipc_list_empty(&b->t.waiting))
		transport_pump_later(&b->t);
}

/* What both sides agree on. After a stall the transfer's own count is not known. */
static uint32_t bytes_moved(const struct bot_slot *s, const struct csw *csw)
{
	uint32_t said = s->length - csw->residue;

	if (!s->length)
		return 0;
	if (s->data_res < 0)
		return csw->residue ? said : 0;
	return (uint32_t)s->data_res < said ? (uint32_t)s->data_res : said;
}

static void take_sense(struct bot *b, uint32_t moved)
{
	struct scsi_command *c = b->current;

	c->sense_bytes = (uint8_t)(moved < SCSI_SENSE_BYTES ? moved : SCSI_SENSE_BYTES);
	memcpy(c->sense, b->memory->sense, c->sense_bytes);
	bot_complete(b, 0);
}

/* A good CSW ends the command, or makes us ask why it failed. -EPROTO: reset recovery. */
int bot_finish(struct bot *b, const struct csw *csw)
{
	struct scsi_command *c = b->current;
	uint32_t moved = bytes_moved(b->now, csw);

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
	const struct bot_slot *s = b->now;
	const char *why;
	int ret = csw_parse(s->wire->csw, s->csw_res < 0 ? 0 : (size_t)s->csw_res, s->tag,
			    s->length, csw, &why);

	if (!ret && csw->status == CSW_PHASE_ERROR) {
		why = "it reports a phase error";
		ret = -EPROTO;
	}
	if (ret)
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "command %#x: its CSW is of no use: %s",
					b->current->cdb.byte[0], why);
	if (ret || csw->status || csw->residue)
		b->broken = true;
	return ret;
}

static const uint8_t *own_data(const struct bot *b)
{
	const struct usb_data *d = &b->now->data.data;

	return (uint8_t *)pcidipc_pool_base(b->t.link->pool) + d->segments->iova + d->skip;
}

/* Some devices skip the data of a command that they refuse, and send its CSW at once. It is seen in
 * memory of our own only. */
bool bot_skipped_data(const struct bot *b)
{
	const struct bot_slot *s = b->now;
	const char *why;
	struct csw csw;

	if (!b->current || !bot_reads(s) || s->data_res != CSW_BYTES || s->length <= CSW_BYTES ||
	    s->data.data.pool != b->t.link->pool_index)
		return false;
	return !csw_parse(own_data(b), CSW_BYTES, s->tag, s->length, &csw, &why);
}

void bot_take_skipped(struct bot *b)
{
	memcpy(b->now->wire->csw, own_data(b), CSW_BYTES);
	b->now->data_res = 0;
	b->now->csw_res = CSW_BYTES;
}

/* A transfer is done: go on. */
static int advance(struct bot *b)
{
	struct bot_slot *s = b->now;
	struct csw csw;

	if (bot_bad(s->cbw_res) || bot_bad(s->data_res) || bot_bad(s->csw_res) ||
	    (bot_there(s->cbw_res) && s->cbw_res != CBW_BYTES))
		return -EPROTO;
	if (!bot_there(s->cbw_res))
		return 0;
	if (s->length && s->data_res == NOT_YET)
		return send_data(s, false);
	if (s->length && !bot_there(s->data_res))
		return 0;
	if (s->csw_res == NOT_YET)
		return send_csw(s, false);
	if (!bot_there(s->csw_res))
		return 0;
	if (bot_check_csw(b, &csw))
		return -EPROTO;
	return bot_finish(b, &csw);
}

/* Of those behind the current command nothing can be done before it is. */
static bool out_of_turn(const struct bot_slot *s, int res)
{
	return s > s->bot->now && bot_there(res);
}

static void transfer_done(struct bot_slot *s, int *which, int res)
{
	struct bot *b = s->bot;

	*which = res;
	b->csw_clock = b->t.clock;
	transport_transfer_done(&b->t);
	if (!b->t.recovering && b->current && (out_of_turn(s, res) || (s == b->now && advance(b))))
		transport_trouble(&b->t);
	bot_settle(b);
	b->t.link->ops->flush(b->t.link);
}

static void cbw_done(struct usb_transfer *x, int res)
{
	struct bot_slot *s = pcidipc_container_of(x, struct bot_slot, cbw);

	transfer_done(s, &s->cbw_res, res);
}

static void data_done(struct usb_transfer *x, int res)
{
	struct bot_slot *s = pcidipc_container_of(x, struct bot_slot, data);
	struct bot *b = s->bot;

	s->data_res = res;
	if (s == b->now && bot_skipped_data(b)) {
		if (s->csw_res == UNDER_WAY) { /* that one has to be taken back */
			b->nudge = true;
			transport_trouble(&b->t);
		} else {
			bot_take_skipped(b);
		}
	}
	transfer_done(s, &s->data_res, s->data_res);
}

static void csw_done(struct usb_transfer *x, int res)
{
	struct bot_slot *s = pcidipc_container_of(x, struct bot_slot, csw);
	struct pcidipc_completion *again = s == s->bot->now ? s->bot->csw_again : NULL;

	if (again)
		s->bot->csw_again = NULL;
	transfer_done(s, &s->csw_res, res);
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

	if (b->buf)
		pcidipc_buf_free(b->buf);
	for (unsigned i = 0; i < BOT_BATCH; i++)
		if (b->slot[i].data.list)
			pcidipc_buf_free(b->slot[i].data.list);
	free(b);
}

static const struct transport_ops ops = {.name = "usb-bot",
					 .send = bot_send,
					 .flush = bot_flush,
					 .look = bot_look,
					 .recover = bot_recover,
					 .destroy = bot_destroy};

static struct pcidipc_segment place(const struct bot *b, const void *where, uint32_t bytes)
{
	uint64_t at = (uint64_t)((const uint8_t *)where - (uint8_t *)b->memory);

	return (struct pcidipc_segment){b->buf->offset + at, bytes};
}

static void prepare(struct bot *b, struct bot_slot *s)
{
	uint16_t pool = b->t.link->pool_index;

	s->bot = b;
	s->wire = &b->memory->wire[s - b->slot];
	s->cbw_at = place(b, s->wire->cbw, CBW_BYTES);
	s->csw_at = place(b, s->wire->csw, CSW_BYTES);
	s->cbw.data = (struct usb_data){&s->cbw_at, 0, CBW_BYTES, pool};
	s->csw.data = (struct usb_data){&s->csw_at, 0, CSW_BYTES, pool};
	s->cbw.endpoint = b->pipes.out.endpoint;
	s->csw.endpoint = b->pipes.in.endpoint;
	s->cbw.done = cbw_done;
	s->data.done = data_done;
	s->csw.done = csw_done;
}

static int allocate(struct bot *b)
{
	struct pcidipc_pool *pool = b->t.link->pool;

	b->buf = pcidipc_pool_alloc(pool, sizeof(*b->memory), 64);
	if (!b->buf)
		return -ENOMEM;
	b->memory = pcidipc_buf_ptr(b->buf);
	b->sense_at = place(b, b->memory->sense, SCSI_SENSE_BYTES);
	for (unsigned i = 0; i < BOT_BATCH; i++) {
		b->slot[i].data.list = pcidipc_pool_alloc(pool, LINK_LIST_BYTES, 64);
		if (!b->slot[i].data.list)
			return -ENOMEM;
		prepare(b, &b->slot[i]);
	}
	return 0;
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
	b->pipes = *pipes;
	b->ahead = true;
	b->now = b->slot;
	b->tag = first_tag();
	transport_init(&b->t, &ops, link);
	b->t.depth = BOT_BATCH;
	ret = allocate(b);
	if (!ret)
		ret = start_anew(b);
	if (ret) {
		bot_destroy(&b->t);
		return ret;
	}
	b->t.most_luns = get_max_lun(link);
	*t = &b->t;
	return 0;
}
