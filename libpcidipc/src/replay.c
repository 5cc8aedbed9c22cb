/* SPDX-License-Identifier: MIT */
/* The log of requests without a CQE (replay.h). */
#include "replay.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"

#define TAG (0xfeull << 56)
#define NONE UINT32_MAX
#define MOST_TIMES 3	     /* one that kills its driver each time is not made again for ever */
#define NOT_IMPLEMENTED 0xff /* an opcode: whoever gets it does nothing, and says so */

struct entry {
	struct io_uring_sqe sqe; /* with the program's user_data */
	uint32_t generation;	 /* 24 bits: a CQE that comes twice is noticed */
	uint32_t prev, next;	 /* in the order of submission; next of a free one */
	uint64_t chain;		 /* 0: none. Members stand side by side */
	uint64_t acked;		 /* an FSYNC's: writes when it was submitted */
	uint32_t chain_acked;	 /* and since then those of its chain, which come before it */
	int override;		 /* its result, where it is not the producer's to say; 0: it is */
	uint8_t times;		 /* that it was made again */
	bool used;
	bool out;    /* this ring's producer was given it */
	bool broken; /* a member before it has failed */
	bool drain;  /* it, or its chain, waits for all before it */
};

struct replay {
	struct entry *entries;
	uint32_t nentries, nused;
	uint32_t free, first, last;
	uint64_t chain, last_chain; /* the one that the next SQE belongs to, 0: none */
	bool chain_drain;
	uint64_t acked, flushed; /* writes, counted: acknowledged, and of those on the medium */
	bool cache_lost;
	uint32_t cursor; /* of replay_next */
};

static void clear(struct replay *r)
{
	for (uint32_t i = 0; i < r->nentries; i++) {
		r->entries[i].next = i + 1 < r->nentries ? i + 1 : NONE;
		r->entries[i].used = false;
		r->entries[i].generation++;
	}
	r->nused = r->free = 0;
	r->chain = 0;
	r->first = r->last = r->cursor = NONE;
}

struct replay *replay_create(uint32_t entries)
{
	struct replay *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->entries = calloc(entries, sizeof(*r->entries));
	if (!r->entries) {
		free(r);
		return NULL;
	}
	r->nentries = entries;
	clear(r);
	return r;
}

void replay_free(struct replay *r)
{
	if (r)
		free(r->entries);
	free(r);
}

void replay_forget(struct replay *r)
{
	clear(r);
	r->acked = r->flushed = 0;
	r->cache_lost = false;
}

uint32_t replay_room(const struct replay *r)
{
	return r->nentries - r->nused;
}

static uint64_t tag_of(const struct replay *r, uint32_t i)
{
	return TAG | (uint64_t)(r->entries[i].generation & 0xffffff) << 32 | i;
}

/* ---- keeping ---- */

static uint32_t append(struct replay *r)
{
	uint32_t i = r->free;
	struct entry *e = &r->entries[i];

	r->free = e->next;
	r->nused++;
	*e = (struct entry){
		.generation = e->generation, .prev = r->last, .next = NONE, .used = true};
	if (r->last != NONE)
		r->entries[r->last].next = i;
	else
		r->first = i;
	r->last = i;
	return i;
}

static void retire(struct replay *r, uint32_t i)
{
	struct entry *e = &r->entries[i];

	if (e->prev != NONE)
		r->entries[e->prev].next = e->next;
	else
		r->first = e->next;
	if (e->next != NONE)
		r->entries[e->next].prev = e->prev;
	else
		r->last = e->prev;
	if (r->cursor == i)
		r->cursor = e->next;
	e->used = false;
	e->generation++;
	e->next = r->free;
	r->free = i;
	r->nused--;
}

/* Its entry stands for the program's user_data in the producer's hands, so a cancel names that. */
static void aim_cancel(const struct replay *r, struct io_uring_sqe *sqe)
{
	if (sqe->cancel_flags & IORING_ASYNC_CANCEL_ANY)
		return;
	for (uint32_t i = r->first; i != NONE; i = r->entries[i].next)
		if (r->entries[i].sqe.user_data == sqe->addr) {
			sqe->addr = tag_of(r, i);
			return;
		}
}

/* Nobody shall perform it: its CQE comes in its turn, and ends the chain behind it, as any failure.
 */
static void poison(struct io_uring_sqe *sqe)
{
	sqe->opcode = NOT_IMPLEMENTED;
	sqe->flags &= (uint8_t)~IOSQE_CQE_SKIP_SUCCESS;
}

/* One that reports nothing could not be told from one that got lost: but for a chain's last, whose
 * CQE speaks for all before it. */
static int refusal(const struct replay *r, const struct io_uring_sqe *sqe)
{
	if ((sqe->flags & IOSQE_CQE_SKIP_SUCCESS) && !(sqe->flags & CHAIN_LINKS))
		return -EINVAL;
	return sqe->opcode == IORING_OP_FSYNC && r->cache_lost ? -EIO : 0;
}

void replay_keep(struct replay *r, struct io_uring_sqe *sqe, bool last)
{
	uint32_t i = append(r);
	struct entry *e = &r->entries[i];

	if (last)
		sqe->flags &= (uint8_t)~CHAIN_LINKS;
	e->sqe = *sqe;
	e->out = true;
	if (!r->chain)
		r->chain_drain = sqe->flags & IOSQE_IO_DRAIN;
	e->drain = r->chain_drain;
	if ((e->sqe.flags & CHAIN_LINKS) && !r->chain)
		r->chain = ++r->last_chain;
	e->chain = r->chain;
	if (!(e->sqe.flags & CHAIN_LINKS))
		r->chain = 0;
	e->acked = r->acked;
	e->override = refusal(r, &e->sqe);
	sqe->user_data = tag_of(r, i);
	if (e->override)
		poison(sqe);
	else if (sqe->opcode == IORING_OP_ASYNC_CANCEL)
		aim_cancel(r, sqe);
}

/* ---- completions ---- */

static bool same_chain(const struct replay *r, uint32_t i, uint64_t chain)
{
	return i != NONE && chain && r->entries[i].chain == chain;
}

static void note_write(struct replay *r, uint32_t i)
{
	struct entry *e = &r->entries[i];

	r->acked++;
	for (uint32_t j = e->next; same_chain(r, j, e->chain); j = r->entries[j].next)
		r->entries[j].chain_acked++;
}

/* It covers what was acknowledged when it was submitted, and what it waited for. */
static void note_flush(struct replay *r, const struct entry *e)
{
	if (e->drain || r->acked - e->acked == e->chain_acked)
		r->flushed = r->acked;
	else if (e->acked > r->flushed)
		r->flushed = e->acked;
}

static void note_success(struct replay *r, uint32_t i)
{
	const struct io_uring_sqe *sqe = &r->entries[i].sqe;

	switch (sqe->opcode) {
	case IORING_OP_WRITE_FIXED:
	case IORING_OP_WRITEV:
		if (!(sqe->rw_flags & RWF_DSYNC))
			note_write(r, i);
		break;
	case IORING_OP_FALLOCATE:
		note_write(r, i);
		break;
	case IORING_OP_FSYNC:
		note_flush(r, &r->entries[i]);
		break;
	}
}

/* Whatever comes before it in its chain must have been silent, or it could not have its turn. */
static bool has_its_turn(const struct replay *r, uint32_t i)
{
	const struct entry *e = &r->entries[i];

	if (!e->out)
		return false;
	for (uint32_t j = e->prev; same_chain(r, j, e->chain); j = r->entries[j].prev)
		if (!(r->entries[j].sqe.flags & IOSQE_CQE_SKIP_SUCCESS) || r->entries[j].override)
			return false;
	return true;
}

static void retire_before(struct replay *r, uint32_t i)
{
	uint32_t first = i;

	while (same_chain(r, r->entries[first].prev, r->entries[i].chain))
		first = r->entries[first].prev;
	while (first != i) {
		uint32_t next = r->entries[first].next;

		note_success(r, first);
		retire(r, first);
		first = next;
	}
}

/* As in Linux: when the member that failed was to be silent, so are those canceled with it. One
 * that was poisoned was not. */
static void chain_failed(struct replay *r, uint32_t i)
{
	struct entry *e = &r->entries[i];
	bool silent = (e->sqe.flags & IOSQE_CQE_SKIP_SUCCESS) && !e->override;

	while (silent && same_chain(r, e->next, e->chain))
		retire(r, e->next);
	for (uint32_t j = e->next; same_chain(r, j, e->chain); j = r->entries[j].next)
		r->entries[j].broken = true;
}

bool replay_take(struct replay *r, struct pcidipc_cqe *cqe)
{
	uint32_t i = (uint32_t)cqe->user_data;
	struct entry *e;

	if (i >= r->nentries || !r->entries[i].used || tag_of(r, i) != cqe->user_data ||
	    !has_its_turn(r, i))
		return false;
	e = &r->entries[i];
	if (e->override)
		cqe->res = e->override;
	if (e->sqe.opcode == IORING_OP_FSYNC && e->override == -EIO)
		r->cache_lost = false; /* now it was told */
	cqe->user_data = e->sqe.user_data;
	retire_before(r, i);
	if (cqe->res >= 0)
		note_success(r, i);
	if (e->chain && !e->broken && chain_breaks(&e->sqe, cqe->res))
		chain_failed(r, i);
	retire(r, i);
	return true;
}

/* ---- again ---- */

void replay_begin(struct replay *r, bool cache_lost)
{
	r->cursor = r->first;
	for (uint32_t i = r->first; i != NONE; i = r->entries[i].next)
		r->entries[i].out = false;
	if (!cache_lost)
		return;
	r->cache_lost |= r->acked != r->flushed;
	r->flushed = r->acked;
}

/* What has the same effect when it is done twice. A pool that is detached twice was attached anew
 * between. */
static bool repeatable(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_NOP:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE_FIXED:
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
	case IORING_OP_FSYNC:
	case IORING_OP_FALLOCATE:
		return true;
	case IORING_OP_URING_CMD:
		return sqe->cmd_op == RINGABI_CMD_POOL_DETACH;
	default:
		return false;
	}
}

/* 0, or what it gets instead. */
static int again(const struct replay *r, struct entry *e)
{
	if (e->broken)
		return -ECANCELED;
	if (!repeatable(&e->sqe) || ++e->times > MOST_TIMES)
		return -EIO;
	return refusal(r, &e->sqe);
}

uint32_t replay_chain(const struct replay *r)
{
	uint32_t i = r->cursor, n = 0;

	if (i == NONE)
		return 0;
	do {
		n++;
		i = r->entries[i].next;
	} while (same_chain(r, i, r->entries[r->cursor].chain));
	return n;
}

void replay_next(struct replay *r, struct io_uring_sqe *sqe)
{
	uint32_t i = r->cursor;
	struct entry *e = &r->entries[i];

	r->cursor = e->next;
	e->out = true;
	*sqe = e->sqe;
	sqe->user_data = tag_of(r, i);
	if (e->drain && !same_chain(r, e->prev, e->chain)) /* its head may be done */
		sqe->flags |= IOSQE_IO_DRAIN;
	if (!e->override)
		e->override = again(r, e);
	if (e->override)
		poison(sqe);
}
