/* SPDX-License-Identifier: MIT */
/* The life of a session: made when a consumer connects, ended when it goes, gone when its last
 * request is complete. */
#include <pcidipc/log.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pci_internal.h"
#include "probes.h"
#include "scheme_internal.h"
#include "spin.h"

/* Differs from process to process, also when a pid comes again. */
uint64_t scheme_generation(void)
{
	static uint64_t generation;

	if (!generation)
		generation = clock_ns() ^ (uint64_t)getpid() << 48;
	return generation;
}

void *pcidipc_session_priv(struct pcidipc_session *s)
{
	return s->priv;
}

struct pcidipc_scheme *pcidipc_session_scheme(struct pcidipc_session *s)
{
	return s->scheme;
}

struct pcidipc_loop *pcidipc_session_loop(struct pcidipc_session *s)
{
	return s->loop;
}

uint32_t pcidipc_session_flags(const struct pcidipc_session *s)
{
	return s->flags;
}

uint32_t pcidipc_session_open_flags(const struct pcidipc_session *s)
{
	return s->open_flags;
}

int pcidipc_session_channel(const struct pcidipc_session *s)
{
	return s->channel;
}

int pcidipc_session_pid(const struct pcidipc_session *s)
{
	return s->pid;
}

unsigned pcidipc_session_uid(const struct pcidipc_session *s)
{
	return s->user->uid;
}

void pcidipc_session_stats(const struct pcidipc_session *s, struct pcidipc_session_stats *stats)
{
	*stats = (struct pcidipc_session_stats){.sqes = s->ring.sq_head,
						.cqes = s->ring.cq_tail,
						.wakes = s->wakes,
						.pending = s->pending};
	for (uint32_t i = 0; i < RINGABI_MAX_POOLS; i++)
		stats->pools += s->pools[i] != NULL;
}

/* ---- the ring ---- */

void session_publish(struct pcidipc_session *s)
{
	if (!s->ringed || s->ending)
		return;
	if (s->ring.cq_tail != s->ring.cq_tail_told)
		probe_publish(s, s->ring.cq_tail_told, s->ring.cq_tail);
	if (!pcidipc_ring_publish_cq(&s->ring))
		return;
	probe_session_wake(s);
	s->wakes++;
	pcidipc_channel_wake(s->channel);
}

static void publish_deferred(struct pcidipc_deferred *deferred)
{
	struct pcidipc_session *s = pcidipc_container_of(deferred, struct pcidipc_session, publish);

	if (s->scheme->flush) /* a completion may have set the next of a chain going */
		s->scheme->flush(s);
	session_publish(s);
}

/* Once at the end of the turn, however many requests complete in it. */
void session_publish_soon(struct pcidipc_session *s)
{
	pcidipc_defer(s->loop, &s->publish, publish_deferred);
}

static unsigned poll_session(struct pcidipc_poller *poller)
{
	struct pcidipc_session *s = pcidipc_container_of(poller, struct pcidipc_session, poller);
	unsigned n;

	if (pcidipc_ring_sq_idle(&s->ring))
		return 0; /* most of many sessions, most of the time */
	n = order_take(s, SESSION_BUDGET);
	if (s->ring.error) {
		pcidipc_warn("%s: pid %d: a ring index ran past what is outstanding; disconnected",
			     s->scheme->name, s->pid);
		pcidipc_session_end(s, s->ring.error);
		return 1;
	}
	if (n) {
		if (s->scheme->flush)
			s->scheme->flush(s);
		session_publish(s);
	}
	return n;
}

static bool arm_session(struct pcidipc_poller *poller)
{
	struct pcidipc_session *s = pcidipc_container_of(poller, struct pcidipc_session, poller);

	session_publish(s);
	pcidipc_set_need_wakeup(&s->ring.map.shared->producer_need_wakeup);
	return !pcidipc_producer_ring_ready(&s->ring);
}

static void disarm_session(struct pcidipc_poller *poller)
{
	struct pcidipc_session *s = pcidipc_container_of(poller, struct pcidipc_session, poller);

	pcidipc_clear_need_wakeup(&s->ring.map.shared->producer_need_wakeup);
}

static unsigned session_awaits(struct pcidipc_poller *poller, uint32_t cpu)
{
	struct pcidipc_session *s = pcidipc_container_of(poller, struct pcidipc_session, poller);
	struct ringabi_ring *shared = s->ring.map.shared;

	return spin_elsewhere(cpu, &shared->producer_cpu, &shared->consumer_cpu)
		       ? PCIDIPC_AWAITED_ELSEWHERE
		       : PCIDIPC_AWAITED_HERE;
}

static void free_requests(struct pcidipc_session *s)
{
	if (s->requests)
		munmap(s->requests, s->nrequests * s->request_stride);
	s->requests = NULL;
	s->free_first = NULL;
	s->nrequests = s->nused = 0;
}

/* Zero pages from the kernel, used as requests are: a shallow client of a deep ring costs little.
 */
static int make_requests(struct pcidipc_session *s, uint32_t n)
{
	void *p;

	s->request_stride =
		(sizeof(struct pcidipc_request) + s->scheme->request_bytes + 63) & ~63ul;
	p = mmap(NULL, n * s->request_stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	s->requests = p;
	s->nrequests = n;
	return 0;
}

int session_make_ring(struct pcidipc_session *s, uint32_t sq, uint32_t cq, int *fd)
{
	int ret;

	if (sq > s->scheme->max_sq_entries || cq > s->scheme->max_cq_entries)
		return -EINVAL;
	ret = pcidipc_producer_ring_create(&s->ring, sq, cq, s->scheme->ring_features, fd);
	if (ret)
		return ret;
	ret = make_requests(s, cq);
	if (ret) {
		pcidipc_producer_ring_unmap(&s->ring);
		free_requests(s);
		close(*fd);
		*fd = -1;
		return ret;
	}
	s->ringed = true;
	s->poller.poll = poll_session;
	s->poller.arm = arm_session;
	s->poller.disarm = disarm_session;
	s->poller.awaits = session_awaits;
	pcidipc_poller_add(s->loop, &s->poller);
	return 0;
}

/* ---- beginning ---- */

void session_prepare_scheme(struct pcidipc_scheme *scheme)
{
	if (!scheme->sessions.next)
		pcidipc_list_init(&scheme->sessions);
	if (!scheme->max_sq_entries)
		scheme->max_sq_entries = SCHEME_ENTRIES;
	if (!scheme->max_cq_entries)
		scheme->max_cq_entries = 2 * scheme->max_sq_entries;
	if (!scheme->max_sessions)
		scheme->max_sessions = SCHEME_SESSIONS;
	if (scheme->pci)
		pci_forward_pools(scheme);
}

/* Half, so that there is always room for another user. */
struct pcidipc_users *scheme_users(struct pcidipc_scheme *scheme)
{
	if (scheme->users)
		return scheme->users;
	scheme->own_users.max_sessions = (scheme->max_sessions + 1) / 2;
	return &scheme->own_users;
}

static int peer_pid(int channel)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);

	return getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &cred, &n) ? 0 : cred.pid;
}

int pcidipc_session_create(struct pcidipc_loop *loop, struct pcidipc_scheme *scheme, int channel,
			   uint32_t session_flags, struct pcidipc_session **out)
{
	size_t bytes = (sizeof(struct pcidipc_session) + scheme->session_bytes + 63) & ~63ul;
	struct pcidipc_session *s = aligned_alloc(64, bytes);
	int ret = -ENOMEM;

	if (!s)
		goto fail;
	memset(s, 0, bytes);
	session_prepare_scheme(scheme);
	s->scheme = scheme;
	s->loop = loop;
	s->channel = channel;
	s->flags = session_flags;
	s->pid = peer_pid(channel);
	s->user = users_enter(scheme_users(scheme), users_peer(channel));
	if (!s->user)
		goto fail;
	ret = pcidipc_watch_add(loop, &s->watch, channel, EPOLLIN, control_ready);
	if (ret)
		goto fail;
	pcidipc_list_insert_before(&scheme->sessions, &s->link);
	scheme->nsessions++;
	if (out)
		*out = s;
	return 0;
fail:
	if (s && s->user)
		users_leave(s->user);
	free(s);
	close(channel);
	return ret;
}

static uint32_t hello_ms(const struct pcidipc_session *s)
{
	return s->scheme->hello_ms ? s->scheme->hello_ms : PCIDIPC_HELLO_MS;
}

static void hello_overdue(struct pcidipc_timer *timer)
{
	struct pcidipc_session *s = pcidipc_container_of(timer, struct pcidipc_session, hello);

	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: pid %d: no hello within %u ms, the limit; disconnected",
				s->scheme->name, s->pid, hello_ms(s));
	pcidipc_session_end(s, -ETIMEDOUT);
}

/* Who connects and is silent would keep others out: there are only so many connections. */
void session_expect_hello(struct pcidipc_session *s)
{
	pcidipc_timer_set(s->loop, &s->hello, hello_ms(s) * 1000000ull, hello_overdue);
}

/* ---- the end ---- */

/* Something ended: let those who wait look again. */
void session_wake_quiet(struct pcidipc_session *s)
{
	struct quiet_waiter *w = s->quiet;

	s->quiet = NULL;
	while (w) {
		struct quiet_waiter *next = w->next;

		pcidipc_post(&w->woken, 0);
		w = next;
	}
}

/* Task. */
static void await_change(struct pcidipc_session *s)
{
	struct quiet_waiter w = {.next = s->quiet};

	s->quiet = &w;
	pcidipc_await(&w.woken);
}

static bool is_detach(const struct pcidipc_request *rq)
{
	return rq->sqe.opcode == IORING_OP_URING_CMD && rq->sqe.cmd_op == RINGABI_CMD_POOL_DETACH;
}

/*
 * What must end before `detach` takes its pool away: all that is older, and what is newer than it
 * but was begun before its turn came, which a chain may have delayed. Two that detach do not wait
 * for each other: the newer one waits for the older.
 */
static bool in_the_way(const struct pcidipc_request *rq, const struct pcidipc_request *detach,
		       uint64_t turn)
{
	if (rq->state == REQUEST_FREE || rq->order == detach->order)
		return false;
	if (rq->order < detach->order)
		return true;
	return rq->order < turn && !is_detach(rq) &&
	       (rq->state == REQUEST_DRIVER || rq->state == REQUEST_PARKED);
}

static bool any_in_the_way(const struct pcidipc_session *s, const struct pcidipc_request *detach,
			   uint64_t turn)
{
	for (uint32_t i = 0; i < s->nused; i++)
		if (in_the_way(session_request(s, i), detach, turn))
			return true;
	return false;
}

/* Task. Until nobody who had the right to uses the pool that this request detaches. */
void session_await_users(struct pcidipc_session *s, const struct pcidipc_request *detach)
{
	uint64_t turn = s->next_order;

	while (any_in_the_way(s, detach, turn))
		await_change(s);
}

static void await_quiet(struct pcidipc_session *s)
{
	while (s->pending || s->control_busy)
		await_change(s);
}

static void cancel_pending(struct pcidipc_session *s)
{
	if (!s->scheme->cancel)
		return;
	for (uint32_t i = 0; i < s->nused; i++)
		if (session_request(s, i)->state == REQUEST_DRIVER)
			s->scheme->cancel(session_request(s, i));
}

static void end_task(void *arg)
{
	struct pcidipc_session *s = arg;

	cancel_pending(s);
	await_quiet(s);
	reach_detach_all(s);
	if (s->opened && s->scheme->close)
		s->scheme->close(s);
	pcidipc_defer_cancel(&s->publish);
	pcidipc_list_remove(&s->link);
	s->scheme->nsessions--;
	users_leave(s->user);
	pcidipc_producer_ring_unmap(&s->ring);
	close(s->channel);
	free_requests(s);
	probe_session_close(s);
	free(s);
}

void pcidipc_session_end(struct pcidipc_session *s, int error)
{
	if (s->ending)
		return;
	pcidipc_debug("%s: session with pid %d ends: %s", s->scheme->name, s->pid,
		      strerror(-error));
	probe_session_end(s, error);
	s->ending = true;
	s->error = error;
	pcidipc_timer_cancel(&s->hello);
	pcidipc_watch_remove(&s->watch);
	pcidipc_poller_remove(&s->poller);
	/* Deaf, but not closed: the consumer sees the end when the device is done with its buffers.
	 */
	shutdown(s->channel, SHUT_RD);
	control_drop(s);
	order_drop_waiting(s);
	session_wake_quiet(s);
	if (pcidipc_spawn(s->loop, end_task, s))
		pcidipc_err("%s: no memory to end a session: it stays", s->scheme->name);
}

void pcidipc_scheme_end_sessions(struct pcidipc_scheme *scheme)
{
	session_prepare_scheme(scheme);
	pcidipc_list_for_each(s, &scheme->sessions, struct pcidipc_session, link)
		pcidipc_session_end(s, -ESHUTDOWN);
	while (scheme->nsessions)
		pcidipc_task_sleep(1000000);
}

/* ---- events ---- */

void pcidipc_session_event(struct pcidipc_session *s, uint32_t event)
{
	struct ringabi_event m = {.msg = {.type = RINGABI_MSG_EVENT, .size = sizeof(m)},
				  .event = event};

	if (s->opened && !s->ending)
		pcidipc_channel_send(s->channel, &m.msg, NULL, 0);
}

void pcidipc_scheme_event(struct pcidipc_scheme *scheme, uint32_t event)
{
	session_prepare_scheme(scheme);
	pcidipc_list_for_each(s, &scheme->sessions, struct pcidipc_session, link)
		pcidipc_session_event(s, event);
}

uint32_t pcidipc_scheme_sessions(const struct pcidipc_scheme *scheme)
{
	return scheme->nsessions;
}
