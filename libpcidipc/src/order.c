/* SPDX-License-Identifier: MIT */
/*
 * Which request runs when: chains (IOSQE_IO_LINK, IOSQE_IO_HARDLINK), IOSQE_IO_DRAIN, and what a
 * completion sets free. Chains are not gathered first: the head runs as soon as it is taken, and a
 * member that is taken later finds its predecessor waiting, done or failed. So a chain may be
 * longer than what the CQ has room for.
 */
#include <pcidipc/log.h>

#include "chain.h"
#include "probes.h"
#include "scheme_internal.h"

#define KNOWN_FLAGS (CHAIN_LINKS | IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS | IOSQE_ASYNC)

static void push(struct pcidipc_request **first, struct pcidipc_request **last,
		 struct pcidipc_request *rq)
{
	rq->next = NULL;
	if (*last)
		(*last)->next = rq;
	else
		*first = rq;
	*last = rq;
}

static struct pcidipc_request *pop(struct pcidipc_request **first, struct pcidipc_request **last)
{
	struct pcidipc_request *rq = *first;

	if (rq) {
		*first = rq->next;
		if (!*first)
			*last = NULL;
		rq->next = NULL;
	}
	return rq;
}

void order_run(struct pcidipc_session *s, struct pcidipc_request *rq)
{
	rq->state = REQUEST_RUNNABLE;
	push(&s->runnable_first, &s->runnable_last, rq);
}

/* ---- admitting ---- */

/* A chain's head, or a request on its own: now, or behind a drain. */
static void begin(struct pcidipc_session *s, struct pcidipc_request *rq)
{
	bool drain = rq->sqe.flags & IOSQE_IO_DRAIN;

	if (s->draining || s->stalled || (drain && s->live)) {
		rq->state = REQUEST_WAITING;
		rq->flags |= REQUEST_STALLED;
		push(&s->stalled_first, &s->stalled_last, rq);
		s->stalled = true;
		return;
	}
	s->live++;
	s->draining = drain;
	order_run(s, rq);
}

/* A member before it failed: it reports that, unless the one that failed was to be silent. */
static void cancel_member(struct pcidipc_request *rq, bool skip)
{
	rq->flags |= REQUEST_CANCELED | REQUEST_SEVERED;
	rq->flags = (uint8_t)((rq->flags & ~REQUEST_SKIP) | (skip ? REQUEST_SKIP_ALWAYS : 0));
}

/* The next member of the chain whose last SQE was taken before. */
static void join(struct pcidipc_session *s, struct pcidipc_request *rq)
{
	struct pcidipc_request *prev = s->link_prev;

	if (prev) {
		prev->chain = rq;
		rq->state = REQUEST_WAITING;
		rq->flags |= prev->flags & REQUEST_STALLED;
		if (!(rq->flags & REQUEST_STALLED))
			s->live++;
		return;
	}
	s->live++;
	s->draining = s->link_drain; /* over for a moment, when the predecessor was done; nothing
					began since */
	if (s->link_failed)
		cancel_member(rq, s->link_skip);
	order_run(s, rq);
}

static void admit(struct pcidipc_session *s, struct pcidipc_request *rq)
{
	bool linked = s->link_open;

	rq->flags = rq->sqe.flags & IOSQE_CQE_SKIP_SUCCESS ? REQUEST_SKIP : 0;
	if (linked) {
		join(s, rq);
	} else {
		s->link_failed = s->link_skip = false;
		s->link_drain = rq->sqe.flags & IOSQE_IO_DRAIN;
		begin(s, rq);
	}
	s->link_open = rq->sqe.flags & CHAIN_LINKS;
	s->link_prev = s->link_open ? rq : NULL;
}

/* ---- running ---- */

static int check_common(const struct pcidipc_request *rq)
{
	const struct io_uring_sqe *sqe = &rq->sqe;

	if (!(sqe->flags & ~KNOWN_FLAGS) && !sqe->personality)
		return 0;
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: pid %d: opcode %u: flags %#x, only %#x are known; personality "
				"%u, it must be 0",
				rq->session->scheme->name, rq->session->pid, sqe->opcode,
				sqe->flags, KNOWN_FLAGS, sqe->personality);
	return -EINVAL;
}

/* A drain in the middle of a chain: Linux would have moved it to the head, which has begun here. */
static bool misplaced_drain(const struct pcidipc_request *rq)
{
	return (rq->sqe.flags & IOSQE_IO_DRAIN) && !rq->session->draining;
}

static int perform(struct pcidipc_request *rq)
{
	struct pcidipc_session *s = rq->session;

	if (rq->flags & REQUEST_CANCELED)
		return -ECANCELED;
	if ((rq->sqe.flags || rq->sqe.personality) && (check_common(rq) || misplaced_drain(rq)))
		return -EINVAL;
	if (rq->sqe.opcode == IORING_OP_NOP)
		return 0;
	if (rq->sqe.opcode == IORING_OP_ASYNC_CANCEL)
		return order_cancel(rq);
	if (rq->sqe.opcode == IORING_OP_URING_CMD &&
	    rq->sqe.cmd_op >> 8 == RINGABI_INTERFACE_COMMON)
		return reach_command(rq);
	return s->scheme->request(rq);
}

static void run(struct pcidipc_session *s, struct pcidipc_request *rq)
{
	int ret;

	rq->state = REQUEST_DRIVER;
	s->pending++;
	ret = perform(rq);
	if (ret != PCIDIPC_PENDING)
		order_finish(s, rq, ret);
}

/*
 * Run what is runnable. A loop and not a recursion: a completion makes its chain's next member
 * runnable, and a chain can be as long as a hostile consumer likes.
 */
static void run_all(struct pcidipc_session *s)
{
	struct pcidipc_request *rq;

	while ((rq = pop(&s->runnable_first, &s->runnable_last)))
		run(s, rq);
}

void order_pump(struct pcidipc_session *s)
{
	if (s->pumping)
		return;
	s->pumping = true;
	run_all(s);
	s->pumping = false;
}

/* ---- completing ---- */

static void advance_chain(struct pcidipc_session *s, struct pcidipc_request *rq, int32_t res)
{
	struct pcidipc_request *next = rq->chain;
	bool broken = chain_breaks(&rq->sqe, res) || (rq->flags & REQUEST_SEVERED);
	/* As in Linux: when the member that failed was to be silent, so are those canceled with it.
	 */
	bool skip = broken && (rq->flags & (REQUEST_SKIP | REQUEST_SKIP_ALWAYS));

	if (rq == s->link_prev) {
		s->link_prev = NULL;
		s->link_failed = broken;
		s->link_skip = skip;
	}
	if (!next)
		return;
	if (broken)
		cancel_member(next, skip);
	order_run(s, next);
}

/* Everything before it is complete: let stalled heads go, up to the next drain that must wait. */
static void release_stalled(struct pcidipc_session *s)
{
	while (s->stalled && !s->draining) {
		struct pcidipc_request *rq = s->stalled_first;
		bool drain = rq->sqe.flags & IOSQE_IO_DRAIN;

		if (drain && s->live)
			return;
		pop(&s->stalled_first, &s->stalled_last);
		s->stalled = s->stalled_first;
		for (struct pcidipc_request *m = rq; m; m = m->chain) {
			m->flags &= (uint8_t)~REQUEST_STALLED;
			s->live++;
		}
		s->draining = drain;
		order_run(s, rq);
	}
}

static void post(struct pcidipc_session *s, struct pcidipc_request *rq, int32_t res)
{
	bool silent = (rq->flags & REQUEST_SKIP_ALWAYS) || (rq->flags & REQUEST_SKIP && res >= 0);

	if (silent || s->ending)
		pcidipc_ring_skip_cqe(&s->ring);
	else
		pcidipc_ring_post_cqe(&s->ring, rq->sqe.user_data, res, 0, rq->big);
}

static void retire(struct pcidipc_session *s, struct pcidipc_request *rq, int32_t res)
{
	s->pending--;
	post(s, rq, res);
	probe_complete(s, rq->slot, rq->sqe.user_data, res);
	rq->state = REQUEST_FREE;
	rq->next = s->free_first;
	s->free_first = rq;
}

void order_finish(struct pcidipc_session *s, struct pcidipc_request *rq, int32_t res)
{
	retire(s, rq, res);
	if (rq->chain || rq == s->link_prev)
		advance_chain(s, rq, res);
	if (!--s->live)
		s->draining = false;
	if (s->stalled)
		release_stalled(s);
	if (s->quiet)
		session_wake_quiet(s);
}

void pcidipc_complete(struct pcidipc_request *rq, int32_t res)
{
	struct pcidipc_session *s = rq->session;

	order_finish(s, rq, res);
	order_pump(s);
	session_publish_soon(s);
}

/* ---- taking ---- */

/*
 * The request that the next SQE goes into: the one freed last, which is warm, or one that was never
 * used. There is one: as many as the CQ has slots, and each SQE taken holds a slot. It stays free
 * until take_request.
 */
static struct pcidipc_request *next_request(struct pcidipc_session *s)
{
	struct pcidipc_request *rq = s->free_first;

	if (rq)
		return rq;
	rq = session_request(s, s->nused);
	rq->session = s;
	rq->slot = (uint16_t)s->nused++;
	s->free_first = rq;
	return rq;
}

static void take_request(struct pcidipc_session *s, struct pcidipc_request *rq)
{
	s->free_first = rq->next;
	rq->next = NULL;
	rq->chain = NULL;
	rq->order = s->next_order++;
	rq->big[0] = rq->big[1] = 0;
}

/* Most requests: nothing orders them, so they run as they are taken, and no list knows them. */
static bool is_plain(const struct pcidipc_session *s, const struct pcidipc_request *rq)
{
	return !rq->sqe.flags && !s->ordering;
}

static void run_plain(struct pcidipc_session *s, struct pcidipc_request *rq)
{
	rq->flags = 0;
	s->live++;
	run(s, rq);
}

/* A chain ends where its publisher stopped. */
static void end_chain_at_tail(struct pcidipc_session *s)
{
	if (s->ring.sq_head != s->ring.sq_tail)
		return;
	s->link_open = false;
	s->link_prev = NULL;
}

static void take_one(struct pcidipc_session *s)
{
	struct pcidipc_request *rq = next_request(s);

	pcidipc_ring_take_sqe(&s->ring, &rq->sqe);
	take_request(s, rq);
	probe_request(s, rq->slot, rq->sqe.opcode, rq->sqe.user_data);
	if (is_plain(s, rq))
		run_plain(s, rq);
	else
		admit(s, rq);
	if (s->runnable_first)
		run_all(s);
}

/* Take up to `budget` requests out of the SQ and run them. Returns how many were taken. */
unsigned order_take(struct pcidipc_session *s, unsigned budget)
{
	unsigned n = 0;
	int ready;

	if (s->link_open)
		end_chain_at_tail(s);
	ready = pcidipc_ring_sqes(&s->ring);
	if (ready <= 0)
		return 0;
	if (budget > (unsigned)ready)
		budget = (unsigned)ready;
	s->pumping = true;
	while (n < budget && !s->ending) {
		take_one(s);
		n++;
	}
	s->pumping = false;
	return n;
}

/* The session ends: what has not begun never will. */
void order_drop_waiting(struct pcidipc_session *s)
{
	for (uint32_t i = 0; i < s->nused; i++) {
		struct pcidipc_request *rq = session_request(s, i);

		if (rq->state == REQUEST_WAITING || rq->state == REQUEST_RUNNABLE)
			rq->state = REQUEST_FREE;
		if (rq->chain)
			rq->chain = NULL;
	}
	s->runnable_first = s->runnable_last = NULL;
	s->stalled_first = s->stalled_last = NULL;
	s->stalled = false;
	s->link_open = false;
	s->link_prev = NULL;
}
