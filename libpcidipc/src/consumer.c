/* SPDX-License-Identifier: MIT */
/* The consumer at work: its ring, operations, waiting, and its end. */
#include <pcidipc/log.h>
#include <sys/socket.h>

#include "consumer_internal.h"
#include "probes.h"

#define RECOVER_STEP_NS 5000000u
#define POLLS_PER_LOOK 256 /* in a row that found nothing: a look is a system call */

/* ---- operations ---- */

static uint64_t op_user_data(const struct pcidipc_consumer *c, uint32_t slot)
{
	return OP_TAG | (uint64_t)(c->slots[slot].generation & 0xffffff) << 32 | slot;
}

int pcidipc_sqe_set_op(struct pcidipc_consumer *c, struct io_uring_sqe *sqe, struct pcidipc_op *op)
{
	uint32_t slot = c->reconnecting ? c->nslots : c->free_slot;

	if (slot == OP_NONE || c->slots[slot].op) {
		c->ring.sqe_tail--;
		return -EAGAIN;
	}
	if (slot == c->free_slot)
		c->free_slot = c->slots[slot].next_free;
	c->slots[slot].op = op;
	c->nops++;
	op->slot = slot;
	sqe->user_data = op_user_data(c, slot);
	return 0;
}

void pcidipc_sqe_set_silent(struct pcidipc_consumer *c, struct io_uring_sqe *sqe)
{
	c->silent_used = true;
	sqe->user_data = OP_SILENT;
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

static struct pcidipc_op *take_op(struct pcidipc_consumer *c, uint32_t slot)
{
	struct pcidipc_op *op = c->slots[slot].op;

	c->slots[slot].op = NULL;
	c->nops--;
	c->slots[slot].generation++;
	if (slot < c->nslots) {
		c->slots[slot].next_free = c->free_slot;
		c->free_slot = slot;
	}
	return op;
}

static bool is_op(const struct pcidipc_cqe *cqe)
{
	return (cqe->user_data & OP_TAG_MASK) == OP_TAG;
}

/* Does the CQE name an op in flight? user_data comes from the other side: believed only if the
 * table agrees. */
static bool names_op(const struct pcidipc_consumer *c, const struct pcidipc_cqe *cqe)
{
	uint32_t slot = (uint32_t)cqe->user_data;

	return slot <= c->nslots && c->slots[slot].op && op_user_data(c, slot) == cqe->user_data;
}

static struct pcidipc_op *find_op(struct pcidipc_consumer *c, const struct pcidipc_cqe *cqe)
{
	return names_op(c, cqe) ? take_op(c, (uint32_t)cqe->user_data) : NULL;
}

static void refuse_cqe(struct pcidipc_consumer *c, const struct pcidipc_cqe *cqe)
{
	pcidipc_err("ring: a completion for a request that was never made (user_data %#llx)",
		    (unsigned long long)cqe->user_data);
	c->ring.error = -EPROTO;
}

/* When the device is gone all of them fail until its driver has heard of it: told once. */
static void posted_failed(struct pcidipc_consumer *c, int error)
{
	if (error == -ENODEV && c->told_gone)
		return;
	c->told_gone |= error == -ENODEV;
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "a posted request failed: %s", strerror(-error));
}

static void complete_op(struct pcidipc_consumer *c, const struct pcidipc_cqe *cqe)
{
	struct pcidipc_op *op;

	if (cqe->user_data == OP_SILENT) {
		posted_failed(c, cqe->res);
		return;
	}
	op = find_op(c, cqe);
	if (op) {
		bool outer = c->reaping;

		c->reaping = true; /* no `done` inside a `done` */
		op->done(op, cqe);
		c->reaping = outer;
		return;
	}
	refuse_cqe(c, cqe);
}

static bool backlog_pop(struct pcidipc_consumer *c, struct pcidipc_cqe *cqe)
{
	if (c->backlog_head == c->backlog_tail)
		return false;
	*cqe = c->backlog[c->backlog_head++ & (c->nslots - 1)];
	c->backlog_ops -= is_op(cqe);
	return true;
}

static void backlog_push(struct pcidipc_consumer *c, const struct pcidipc_cqe *cqe)
{
	/* Now: the call that puts it here may be waiting for the one that should have come instead.
	 */
	if (is_op(cqe) && cqe->user_data != OP_SILENT && !names_op(c, cqe)) {
		refuse_cqe(c, cqe);
		return;
	}
	if (c->backlog_tail - c->backlog_head < c->nslots) {
		c->backlog[c->backlog_tail++ & (c->nslots - 1)] = *cqe;
		c->backlog_ops += is_op(cqe);
		return;
	}
	/* The program's fault, or a producer's that completes what nobody asked for. */
	pcidipc_err("ring: %u completions wait for pcidipc_next_cqe, the limit; one more ends the "
		    "connection",
		    c->nslots);
	c->ring.error = -EPROTO;
}

/* What it names is what was made again, and the one call that the connection makes itself. */
static bool names_kept(struct pcidipc_consumer *c, struct pcidipc_cqe *cqe)
{
	if (c->reconnecting && cqe->user_data == op_user_data(c, c->nslots) && names_op(c, cqe))
		return true;
	return replay_take(c->replay, cqe);
}

static bool take_from_ring(struct pcidipc_consumer *c, struct pcidipc_cqe *cqe)
{
	if (!c->ring.map.shared || pcidipc_ring_peek_cqe(&c->ring, cqe) <= 0)
		return false;
	probe_reap(c, cqe->user_data, cqe->res);
	pcidipc_ring_cqe_seen(&c->ring);
	if (!c->replay || names_kept(c, cqe))
		return true;
	refuse_cqe(c, cqe);
	return false;
}

/* Of the backlog this one, which may be a call's that came as the producer was lost. */
static bool backlog_take(struct pcidipc_consumer *c, uint64_t user_data, struct pcidipc_cqe *cqe)
{
	uint32_t left = c->backlog_tail - c->backlog_head;
	struct pcidipc_cqe other;
	bool found = false;

	while (left-- && backlog_pop(c, &other)) {
		if (!found && other.user_data == user_data) {
			*cqe = other;
			found = true;
		} else {
			backlog_push(c, &other);
		}
	}
	return found;
}

static bool take_cqe(struct pcidipc_consumer *c, struct pcidipc_cqe *cqe)
{
	return backlog_pop(c, cqe) || take_from_ring(c, cqe);
}

/* Keep what the producer has published, for later. */
void consumer_drain(struct pcidipc_consumer *c)
{
	struct pcidipc_cqe cqe;

	while (c->slots && take_from_ring(c, &cqe))
		backlog_push(c, &cqe);
}

void consumer_publish(struct pcidipc_consumer *c)
{
	if (!c->ring.map.shared)
		return; /* connecting again has failed */
	if ((c->error || c->lost_producer) && !c->reconnecting)
		return;
	if (c->replay && !c->reconnecting)
		consumer_keep_requests(c);
	if (c->ring.sqe_tail != c->ring.sq_tail)
		probe_submit(c, c->ring.sq_tail, c->ring.sqe_tail);
	if (!pcidipc_ring_publish_sq(&c->ring))
		return;
	probe_consumer_wake(c);
	c->stats.wakes++;
	pcidipc_channel_wake(c->channel);
}

/* Tell the producer of free CQ slots before it runs out of them, though nothing is submitted. */
static void publish_space(struct pcidipc_consumer *c)
{
	if (c->ring.cq_head - c->ring.cq_head_told >= c->ring.map.cq_entries / 2)
		consumer_publish(c);
}

static int check_ring(struct pcidipc_consumer *c)
{
	if (c->ring.error && !c->error && !c->lost_producer)
		consumer_fail(c, c->ring.error);
	return c->error;
}

/* Complete the operations in the backlog; one whole rotation keeps the others in order. */
static int sort_backlog(struct pcidipc_consumer *c)
{
	uint32_t left = c->backlog_tail - c->backlog_head;
	struct pcidipc_cqe cqe;
	int n = 0;

	while (left-- && backlog_pop(c, &cqe)) {
		if (is_op(&cqe)) {
			complete_op(c, &cqe);
			n++;
		} else {
			backlog_push(c, &cqe);
		}
	}
	return n;
}

int pcidipc_consumer_reap(struct pcidipc_consumer *c)
{
	struct pcidipc_cqe cqe;
	int n = 0;

	if (c->reaping)
		return 0;
	c->reaping = true;
	n = sort_backlog(c);
	while (n < (int)c->nslots && take_from_ring(c, &cqe)) {
		if (is_op(&cqe)) {
			complete_op(c, &cqe);
			n++;
		} else {
			backlog_push(c, &cqe); /* liburing-style: theirs to take with next_cqe */
		}
	}
	c->reaping = false;
	publish_space(c);
	check_ring(c);
	return n ? n : c->error;
}

/* Outside a loop: until it is known how the producer ended. */
static void recover_blocking(struct pcidipc_consumer *c)
{
	while (!consumer_recover_step(c))
		consumer_wait_readable(c->successor, RECOVER_STEP_NS);
	consumer_fail(c, c->lost_error);
}

/* ---- as liburing ---- */

/* Beside those that are handed out and not yet kept. */
static uint32_t room_to_keep(struct pcidipc_consumer *c)
{
	/* Entries are free again when their CQE was seen. */
	if (!c->reconnecting && replay_room(c->replay) <= c->ring.sqe_tail - c->kept_tail)
		consumer_drain(c);
	return c->reconnecting ? UINT32_MAX
			       : replay_room(c->replay) - (c->ring.sqe_tail - c->kept_tail);
}

struct io_uring_sqe *pcidipc_get_sqe(struct pcidipc_consumer *c)
{
	struct io_uring_sqe *sqe;

	if (c->error || c->lost_producer || (c->replay && !room_to_keep(c)))
		return NULL;
	sqe = pcidipc_ring_get_sqe(&c->ring);
	if (sqe)
		sqe->user_data = 0; /* it may have been an operation's, which has long ended */
	return sqe;
}

uint32_t pcidipc_sq_space(struct pcidipc_consumer *c)
{
	uint32_t space = c->error || c->lost_producer ? 0 : pcidipc_ring_sq_space(&c->ring);

	return c->replay && room_to_keep(c) < space ? room_to_keep(c) : space;
}

int pcidipc_submit(struct pcidipc_consumer *c)
{
	if (!c->error && !c->lost_producer)
		consumer_publish(c);
	else if (c->replay && !c->loop && !c->error)
		recover_blocking(c);
	return check_ring(c);
}

/* For who polls and never waits: events, and the producer's end, are seen here. */
static void look_at_channel(struct pcidipc_consumer *c)
{
	if (++c->empty_polls % POLLS_PER_LOOK == 0 && !c->error) {
		if (!c->lost_producer)
			consumer_read_channel(c);
		else if (consumer_recover_step(c))
			consumer_fail(c, c->lost_error);
	}
	if (c->kept_first)
		consumer_deliver_kept(c);
}

int pcidipc_next_cqe(struct pcidipc_consumer *c, struct pcidipc_cqe *cqe)
{
	while (take_cqe(c, cqe)) {
		c->empty_polls = 0;
		if (!is_op(cqe)) {
			publish_space(c);
			return 1;
		}
		complete_op(c, cqe);
	}
	consumer_publish(c);
	if (!c->loop)
		look_at_channel(c);
	return check_ring(c);
}

/* Complete the operations among what has come, a call's leavings first, and keep the rest for
 * next_cqe. */
static void sort_all(struct pcidipc_consumer *c)
{
	struct pcidipc_cqe cqe;

	if (c->backlog_ops)
		sort_backlog(c);
	while (take_from_ring(c, &cqe)) {
		if (is_op(&cqe))
			complete_op(c, &cqe);
		else
			backlog_push(c, &cqe);
	}
}

static uint32_t in_ring(struct pcidipc_consumer *c)
{
	int n = c->ring.map.shared ? pcidipc_ring_see_cqes(&c->ring) : 0;

	return n > 0 ? (uint32_t)n : 0;
}

/*
 * Has next_cqe `count` completions to give? Where none in the ring can be an op's, and there are
 * enough, they stay there. Else they are taken out: a full ring would stop the producer.
 */
static bool enough(struct pcidipc_consumer *c, uint32_t count)
{
	if (!c->nops && !c->silent_used &&
	    in_ring(c) + (c->backlog_tail - c->backlog_head) >= count)
		return true;
	sort_all(c);
	return c->backlog_tail - c->backlog_head - c->backlog_ops >= count;
}

int pcidipc_submit_and_wait(struct pcidipc_consumer *c, unsigned count)
{
	int ret = pcidipc_submit(c);

	while (!ret && !enough(c, count)) {
		consumer_wait(c);
		ret = check_ring(c);
	}
	return ret;
}

/* ---- waiting without a loop ---- */

static bool ring_ready(void *arg)
{
	struct pcidipc_consumer *c = arg;

	return pcidipc_consumer_ring_ready(&c->ring);
}

bool consumer_elsewhere(struct pcidipc_consumer *c, uint32_t cpu)
{
	struct ringabi_ring *shared = c->ring.map.shared;

	return spin_elsewhere(cpu, &shared->consumer_cpu, &shared->producer_cpu);
}

/* Until there is a CQE, or the channel says something. Runs no callback. */
void consumer_wait(struct pcidipc_consumer *c)
{
	uint64_t before = 0;
	uint32_t *need;

	if (c->lost_producer) {
		recover_blocking(c);
		return;
	}
	need = &c->ring.map.shared->consumer_need_wakeup;
	consumer_publish(c); /* CQ space may be what the producer waits for */
	if (consumer_elsewhere(c, spin_cpu()) ? spin_until(&c->spin, ring_ready, c)
					      : spin_beside(&c->spin, ring_ready, c))
		return;
	pcidipc_set_need_wakeup(need);
	if (!pcidipc_consumer_ring_ready(&c->ring)) {
		before = clock_ns();
		c->stats.sleeps++;
		probe_sleep(c);
		consumer_wait_channel(c);
		probe_awake(c);
		spin_slept(&c->spin, clock_ns() - before);
	}
	pcidipc_clear_need_wakeup(need);
	if (before || !pcidipc_consumer_ring_ready(&c->ring))
		consumer_read_channel(c); /* the wake too, or the next sleep would end at once */
}

/* ---- calls ---- */

struct call {
	struct pcidipc_op op;
	struct pcidipc_completion done;
	struct pcidipc_cqe cqe;
};

static void call_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	struct call *call = pcidipc_container_of(op, struct call, op);

	call->cqe = *cqe;
	pcidipc_post(&call->done, cqe->res);
}

/* The connection has ended, which completes a call: but not while it is made again. */
static void abandon_call(struct pcidipc_consumer *c, struct call *call)
{
	if (call->done.done)
		return;
	take_op(c, call->op.slot);
	call->cqe.res = c->error;
}

/* Reap this call's CQE only; what else comes is kept. */
static void block_for_call(struct pcidipc_consumer *c, struct call *call, uint64_t user_data)
{
	struct pcidipc_cqe cqe;

	while (!call->done.done) {
		if (!take_from_ring(c, &cqe)) {
			if (check_ring(c)) {
				abandon_call(c, call);
				return;
			}
			consumer_wait(c);
			if (!c->backlog_ops || !backlog_take(c, user_data, &cqe))
				continue;
		}
		if (cqe.user_data == user_data && find_op(c, &cqe)) {
			call->cqe = cqe;
			call->done.done = true;
		} else {
			backlog_push(c, &cqe);
		}
	}
}

static struct io_uring_sqe *wait_for_sqe(struct pcidipc_consumer *c, bool task)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = pcidipc_get_sqe(c)) && !check_ring(c)) {
		consumer_publish(c);
		if (task && c->lost_producer)
			pcidipc_task_sleep(RECOVER_STEP_NS);
		else if (task)
			pcidipc_task_yield();
		else if (c->lost_producer)
			consumer_wait(c);
		else
			sched_yield(); /* the producer frees SQ space as soon as it runs */
		if (!task && !c->lost_producer) {
			consumer_drain(c); /* the producer may wait for CQ slots */
			consumer_read_channel(c);
		}
	}
	return sqe;
}

int pcidipc_call(struct pcidipc_consumer *c, const struct io_uring_sqe *request,
		 struct pcidipc_cqe *cqe)
{
	bool task = c->loop && !c->reconnecting && pcidipc_in_task();
	struct call call = {.op.done = call_done};
	struct io_uring_sqe *sqe = wait_for_sqe(c, task);
	int ret;

	if (!sqe)
		return c->error ? c->error : -ENOTCONN;
	*sqe = *request;
	ret = pcidipc_sqe_set_op(c, sqe, &call.op);
	if (ret)
		return ret;
	consumer_publish(c);
	if (task)
		pcidipc_await(&call.done);
	else
		block_for_call(c, &call, op_user_data(c, call.op.slot));
	if (cqe)
		*cqe = call.cqe;
	if (c->loop && !task && c->backlog_head != c->backlog_tail)
		pcidipc_defer(c->loop, &c->deliver, c->deliver.call);
	return call.cqe.res;
}

/* ---- the end ---- */

static void complete_all(struct pcidipc_consumer *c, int error)
{
	for (uint32_t i = 0; c->slots && i <= c->nslots; i++) {
		struct pcidipc_cqe cqe = {.user_data = OP_TAG, .res = error};

		if (c->slots[i].op) {
			struct pcidipc_op *op = take_op(c, i);

			op->done(op, &cqe);
		}
	}
}

static void finish_failure(struct pcidipc_consumer *c, int error)
{
	if (c->replay)
		replay_forget(c->replay);
	c->kept_tail = c->ring.sqe_tail;
	c->error = error;
	pcidipc_watch_remove(&c->watch);
	consumer_fail_asks(c, error);
	sort_backlog(c);
	complete_all(c, error);
	pcidipc_poller_remove(&c->poller);
	probe_consumer_lost(c, error);
	if (c->loop && c->lost)
		c->lost(c, error, c->lost_arg);
}

static void recover_later(struct pcidipc_timer *timer);

void consumer_recover_in_loop(struct pcidipc_consumer *c)
{
	pcidipc_timer_set(c->loop, &c->retry, 0, recover_later);
}

static void begin_recovery(struct pcidipc_consumer *c, int error)
{
	pcidipc_watch_remove(&c->watch);
	consumer_recover_start(c, error);
	if (c->loop)
		consumer_recover_in_loop(c);
}

/* It is known how the producer ended, and whether it has a successor to go on with. */
static void recovered(struct pcidipc_consumer *c)
{
	bool handed_over = false;
	int ret = c->lost_error;

	pcidipc_timer_cancel(&c->retry);
	if (c->replay && c->successor_ready && ret == -ENOTCONN)
		ret = consumer_resume(c, &handed_over);
	if (ret == -EAGAIN) {
		begin_recovery(c, -ENOTCONN);
	} else if (ret && handed_over) { /* its device may have our buffers */
		begin_recovery(c, -EPROTO);
	} else if (ret) {
		shutdown(c->channel, SHUT_RDWR);
		finish_failure(c, ret);
	}
}

static void recover_later(struct pcidipc_timer *timer)
{
	struct pcidipc_consumer *c = pcidipc_container_of(timer, struct pcidipc_consumer, retry);

	if (consumer_recover_step(c))
		recovered(c);
	else
		pcidipc_timer_set(c->loop, timer, RECOVER_STEP_NS, recover_later);
}

/*
 * The connection is over. Requests complete with `error`, but not before the device is known to be
 * done with their buffers, which takes pcid's word where the producer died (the second call, or
 * recover_later).
 */
void consumer_fail(struct pcidipc_consumer *c, int error)
{
	if (c->error)
		return;
	if (c->reconnecting) {
		c->error = error; /* whoever connects again sees it */
		consumer_fail_asks(c, error);
	} else if (c->lost_producer) {
		recovered(c);
	} else {
		consumer_drain(c); /* what it published before it died counts */
		if ((c->path && c->slots) || c->warden)
			begin_recovery(c, error);
		else
			finish_failure(c, error);
	}
}

void pcidipc_consumer_close(struct pcidipc_consumer *c)
{
	if (!c)
		return;
	pcidipc_watch_remove(&c->watch);
	pcidipc_poller_remove(&c->poller);
	pcidipc_timer_cancel(&c->retry);
	pcidipc_defer_cancel(&c->deliver);
	consumer_fail_asks(c, -ECANCELED);
	c->error = -ECANCELED;
	complete_all(c, -ECANCELED);
	probe_consumer_close(c);
	consumer_free(c);
}
