/* SPDX-License-Identifier: MIT */
/*
 * From a checked block request to SCSI commands: split at what one command may carry, one after the
 * other, tried again where that may help.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "target.h"

#define MOST_TRIES 5	/* of one command, for attentions, aborts and mended transports */
#define MOST_PAUSES 300 /* while its unit is busy or becomes ready */

/* In pcidipc_block_io.driver. */
struct progress {
	struct scsi_command c;
	struct pcidipc_block_io *io;
	struct pcidipc_list link; /* lun->parked */
	uint64_t lba, blocks;	  /* still to be done */
	uint32_t now;		  /* blocks of the command in flight */
	uint32_t generation;	  /* of the medium that it is meant for */
	uint32_t covers;	  /* a flush: lun->written when it went out */
	struct pcidipc_segment own;
	struct pcidipc_buf *list; /* of an UNMAP */
	uint16_t tries, pauses;
	bool flush; /* the last command, for force unit access */
};

enum verdict { DONE, AGAIN, PAUSE, FAIL };

uint32_t lun_io_bytes(void)
{
	return sizeof(struct progress);
}

static struct lun *lun_of(const struct progress *p)
{
	return p->io->disk->driver;
}

static struct transport *transport_of(const struct progress *p)
{
	return lun_of(p)->target->transport;
}

/* ---- the next command ---- */

static uint32_t at_most(uint64_t blocks, uint64_t most)
{
	return (uint32_t)(blocks < most ? blocks : most);
}

static void fill_rw(struct progress *p, bool write)
{
	struct lun *lun = lun_of(p);
	bool fua = p->io->fua && lun->fua;

	p->now = at_most(p->blocks, lun->most_blocks);
	p->c.cdb = write ? scsi_write(p->lba, p->now, fua) : scsi_read(p->lba, p->now, fua);
	p->c.to_device = write;
	p->c.data.bytes = p->now * lun->capacity.block_bytes;
}

static void own_data(struct progress *p, const struct pcidipc_buf *buf, uint32_t bytes)
{
	p->own = (struct pcidipc_segment){buf->offset, bytes};
	p->c.data = (struct usb_data){&p->own, 0, bytes, lun_of(p)->target->link->pool_index};
	p->c.to_device = true;
}

static void fill_write_same(struct progress *p, bool unmap)
{
	struct lun *lun = lun_of(p);

	p->now = at_most(p->blocks, lun->limits.write_same_blocks);
	p->c.cdb = scsi_write_same_16(p->lba, p->now, unmap);
	own_data(p, lun->target->zeroes, lun->capacity.block_bytes);
}

static int fill_discard(struct progress *p)
{
	struct lun *lun = lun_of(p);

	if (!lun->limits.unmap) {
		fill_write_same(p, true);
		return 0;
	}
	if (!p->list)
		p->list = pcidipc_pool_alloc(lun->target->link->pool, SCSI_UNMAP_LIST_BYTES, 64);
	if (!p->list)
		return -ENOMEM;
	p->now = at_most(p->blocks, lun->limits.unmap_blocks);
	scsi_unmap_list(pcidipc_buf_ptr(p->list), p->lba, p->now);
	p->c.cdb = scsi_unmap(SCSI_UNMAP_LIST_BYTES);
	own_data(p, p->list, SCSI_UNMAP_LIST_BYTES);
	return 0;
}

static void fill_flush(struct progress *p)
{
	p->now = 0;
	p->covers = lun_of(p)->written;
	p->c.cdb = scsi_synchronize_cache(lun_of(p)->sync16);
	p->c.to_device = false;
	p->c.data.bytes = 0;
}

static int fill(struct progress *p)
{
	const struct lun *lun = lun_of(p);

	if (p->flush || p->io->kind == PCIDIPC_BLOCK_FLUSH) {
		fill_flush(p);
		return 0;
	}
	switch (p->io->kind) {
	case PCIDIPC_BLOCK_READ:
	case PCIDIPC_BLOCK_WRITE:
		fill_rw(p, p->io->kind == PCIDIPC_BLOCK_WRITE);
		return 0;
	case PCIDIPC_BLOCK_ZERO: /* deallocated blocks may read as something else */
		fill_write_same(p, p->io->unmap && lun->limits.reads_zero);
		return 0;
	case PCIDIPC_BLOCK_DISCARD:
		return fill_discard(p);
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- what became of it ---- */

static bool flushes(const struct progress *p)
{
	return p->flush || p->io->kind == PCIDIPC_BLOCK_FLUSH;
}

/* Its medium is not the one any more that it was meant for. */
static bool outlived(const struct progress *p)
{
	return p->generation != lun_of(p)->generation;
}

static bool wanted(const struct scsi_command *c)
{
	return !outlived(c->arg);
}

static void complete(struct progress *p, int res)
{
	struct lun *lun = lun_of(p);

	if (!res && flushes(p) && lun->lost_writes) {
		lun->lost_writes = false;
		res = -EIO;
	}
	if (p->list)
		pcidipc_buf_free(p->list);
	p->list = NULL;
	pcidipc_block_complete(p->io, res);
}

static bool data_whole(const struct progress *p)
{
	return p->c.moved == p->c.data.bytes;
}

/* 04h: busy with itself, or stopped by itself, unless somebody has to come and help (04h/03h). */
static enum verdict not_ready(struct lun *lun, const struct scsi_sense *s, int *error)
{
	*error = scsi_error(SCSI_CHECK_CONDITION, s, false);
	if (s->asc == 0x04 && s->ascq == 0x02)
		lun_wake(lun);
	if (s->asc == 0x04 && s->ascq != 0x03)
		return PAUSE;
	lun_look_again(lun);
	return FAIL;
}

static enum verdict illegal(struct progress *p, const struct scsi_sense *s, int *error)
{
	struct lun *lun = lun_of(p);

	*error = scsi_error(SCSI_CHECK_CONDITION, s, p->c.to_device);
	if (s->asc == 0x21 || scsi_unit_denied(s)) /* 21h: the LBA is out of range */
		lun_look_again(lun);
	if (scsi_unit_denied(s)) /* it may stand for another medium */
		return lun->identity.removable ? FAIL : AGAIN;
	if (p->io->kind > PCIDIPC_BLOCK_WRITE || p->flush)
		return FAIL;
	if (*error == -EOPNOTSUPP)
		*error = -EIO;
	if (!p->io->fua || !lun->fua)
		return FAIL;
	pcidipc_notice("%s: it refuses force unit access: flushes will follow instead",
		       lun->disk.name);
	lun->fua = false;
	return AGAIN;
}

static void say(const struct progress *p, const struct scsi_sense *s)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: command %#x at block %llu: %s (asc %#x, ascq %#x)",
				p->io->disk->name, p->c.cdb.byte[0], (unsigned long long)p->lba,
				scsi_sense_text(s->key), s->asc, s->ascq);
}

static enum verdict check_condition(struct progress *p, int *error)
{
	struct scsi_sense s = scsi_parse_sense(p->c.sense, p->c.sense_bytes);
	struct lun *lun = lun_of(p);

	*error = scsi_error(SCSI_CHECK_CONDITION, &s, p->c.to_device);
	if (!s.valid || s.deferred) /* about an earlier command: this one was not begun */
		return AGAIN;
	if (s.key != SENSE_UNIT_ATTENTION && s.key > SENSE_RECOVERED_ERROR)
		say(p, &s);
	switch (s.key) {
	case SENSE_NO_SENSE:
	case SENSE_RECOVERED_ERROR:
		*error = -EIO;
		return data_whole(p) ? DONE : AGAIN;
	case SENSE_NOT_READY:
		return not_ready(lun, &s, error);
	case SENSE_ILLEGAL_REQUEST:
		return illegal(p, &s, error);
	case SENSE_UNIT_ATTENTION:
		*error = -EIO;
		return AGAIN;
	case SENSE_ABORTED_COMMAND:
		return s.asc == 0x10 ? FAIL : AGAIN; /* 10h: protection information is wrong */
	case SENSE_DATA_PROTECT:
		lun_look_again(lun);
		return FAIL;
	default:
		return FAIL;
	}
}

static enum verdict judge(struct progress *p, int *error)
{
	*error = p->c.error == -EPROTO || p->c.error == -ESTALE ? -EIO : p->c.error;
	if (p->c.error)
		return p->c.error == -EPROTO ? AGAIN : FAIL;
	*error = -EIO;
	switch (p->c.status) {
	case SCSI_GOOD:
	case SCSI_CONDITION_MET:
		return data_whole(p) ? DONE : AGAIN;
	case SCSI_CHECK_CONDITION:
		return check_condition(p, error);
	case SCSI_BUSY:
	case SCSI_TASK_SET_FULL:
		return PAUSE;
	case SCSI_TASK_ABORTED:
		return AGAIN;
	default:
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: command %#x at block %llu: status %#x%s",
					p->io->disk->name, p->c.cdb.byte[0],
					(unsigned long long)p->lba, p->c.status,
					p->c.status == SCSI_RESERVATION_CONFLICT
						? ", another host has reserved the disk"
						: "");
		return FAIL;
	}
}

/* ---- going on ---- */

static void again(struct pcidipc_timer *timer);

static void park(struct progress *p)
{
	struct lun *lun = lun_of(p);

	if (pcidipc_list_empty(&lun->parked))
		pcidipc_timer_set(lun->target->loop, &lun->again, lun->target->pause_ns, again);
	pcidipc_list_append(&lun->parked, &p->link);
}

static void step_on(struct progress *p)
{
	uint32_t block = lun_of(p)->capacity.block_bytes;

	p->tries = p->pauses = 0;
	p->lba += p->now;
	p->blocks -= p->now;
	if (p->io->kind <= PCIDIPC_BLOCK_WRITE)
		p->c.data.skip += (uint64_t)p->now * block;
}

/* Writes that must be on stable media, by a unit that cannot say so of single ones. */
static bool needs_flush(const struct progress *p)
{
	const struct lun *lun = lun_of(p);

	return p->io->kind == PCIDIPC_BLOCK_WRITE && p->io->fua && !lun->fua && !p->flush &&
	       lun->disk.info.flags & RINGABI_BLOCK_VOLATILE_CACHE;
}

static int send(struct progress *p)
{
	int ret = outlived(p) ? -EIO : fill(p);

	if (!ret)
		transport_submit(transport_of(p), &p->c);
	return ret;
}

static void count(struct progress *p)
{
	struct lun *lun = lun_of(p);

	if (flushes(p))
		lun->flushed = p->covers;
	else if (p->io->kind != PCIDIPC_BLOCK_READ && !(p->io->fua && lun->fua))
		lun->written++;
}

/* 1: the request is complete. */
static int next(struct progress *p)
{
	count(p);
	if (outlived(p)) /* who knows which medium it has reached */
		return -EIO;
	step_on(p);
	if (!p->blocks && !needs_flush(p))
		return 1;
	p->flush = !p->blocks;
	return send(p);
}

static void command_done(struct scsi_command *c)
{
	struct progress *p = c->arg;
	int error = 0, ret = 0;

	switch (judge(p, &error)) {
	case DONE:
		ret = next(p);
		break;
	case AGAIN:
		ret = ++p->tries < MOST_TRIES ? send(p) : error;
		break;
	case PAUSE:
		if (++p->pauses < MOST_PAUSES)
			park(p);
		else
			ret = error;
		break;
	case FAIL:
		ret = error;
	}
	if (ret)
		complete(p, ret > 0 ? 0 : ret);
	else
		transport_flush(transport_of(p));
}

static void again(struct pcidipc_timer *timer)
{
	struct lun *lun = pcidipc_container_of(timer, struct lun, again);

	pcidipc_list_for_each_safe(p, after, &lun->parked, struct progress, link) {
		int ret;

		pcidipc_list_remove(&p->link);
		ret = send(p);
		if (ret)
			complete(p, ret);
	}
	transport_flush(lun->target->transport);
}

/* ---- beginning, hurrying ---- */

int lun_io_start(struct pcidipc_block_io *io)
{
	struct progress *p = (void *)io->driver;
	struct lun *lun = io->disk->driver;
	int ret;

	memset(p, 0, offsetof(struct progress, c.sense));
	p->c.done = command_done;
	p->c.wanted = wanted;
	p->c.arg = p;
	p->generation = lun->generation;
	p->c.lun = lun->number;
	p->io = io;
	p->link = (struct pcidipc_list){0};
	p->lba = io->lba;
	p->blocks = io->blocks;
	p->now = 0;
	p->list = NULL;
	p->tries = p->pauses = 0;
	p->flush = false;
	if (io->kind <= PCIDIPC_BLOCK_WRITE) {
		p->c.data.segments = io->segments;
		p->c.data.pool = lun_io_pool(io);
	}
	p->c.link = (struct pcidipc_list){0};
	ret = send(p);
	return ret ? ret : PCIDIPC_PENDING;
}

int lun_io_cancel(struct pcidipc_block_io *io)
{
	struct progress *p = (void *)io->driver;

	if (io->kind >= PCIDIPC_BLOCK_HEALTH)
		return -EALREADY;
	if (p->link.next) {
		pcidipc_list_remove(&p->link);
		complete(p, -ECANCELED);
		return 0;
	}
	return transport_cancel(transport_of(p), &p->c);
}
