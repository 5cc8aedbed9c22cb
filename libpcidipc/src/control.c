/* SPDX-License-Identifier: MIT */
/* The producer's side of the channel: one task per session answers its messages in order. */
#include <pcidipc/log.h>
#include <stdlib.h>
#include <unistd.h>

#include "probes.h"
#include "scheme_internal.h"

static uint16_t lower(uint16_t a, uint16_t b)
{
	return a < b ? a : b;
}

static int refuse_hello(struct pcidipc_session *s, int error, const char *what, uint32_t is,
			uint32_t limit)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: pid %d: hello refused: %s %#x, the limit is %#x (%s)",
				s->scheme->name, s->pid, what, is, limit, strerror(-error));
	return error;
}

static int check_hello(struct pcidipc_session *s, const struct ringabi_hello *m)
{
	if (s->greeted)
		return refuse_hello(s, -EPROTO, "number", 2, 1);
	if (m->magic != RINGABI_CHANNEL_MAGIC)
		return refuse_hello(s, -EPROTO, "magic", m->magic, RINGABI_CHANNEL_MAGIC);
	if (m->version_major != RINGABI_VERSION_MAJOR)
		return refuse_hello(s, -EPROTONOSUPPORT, "major version", m->version_major,
				    RINGABI_VERSION_MAJOR);
	if (m->interface != s->scheme->interface)
		return refuse_hello(s, -EPROTONOSUPPORT, "interface", m->interface,
				    s->scheme->interface);
	if (m->open_flags & ~RINGABI_OPEN_ALL)
		return refuse_hello(s, -EINVAL, "open flags", m->open_flags, RINGABI_OPEN_ALL);
	if (s->scheme->nsessions > s->scheme->max_sessions)
		return refuse_hello(s, -EMFILE, "connection", s->scheme->nsessions,
				    s->scheme->max_sessions);
	return 0;
}

static int answer_hello(struct pcidipc_session *s, const struct pcidipc_packet *packet)
{
	const struct ringabi_hello *m = (const void *)packet->bytes;
	struct ringabi_hello_reply reply = {
		.version_major = RINGABI_VERSION_MAJOR,
		.version_minor = lower(m->version_minor, RINGABI_VERSION_MINOR),
		.interface = s->scheme->interface,
		.ring_features = s->scheme->ring_features,
		.max_sq_entries = s->scheme->max_sq_entries,
		.max_cq_entries = s->scheme->max_cq_entries,
		.max_pools = session_max_pools(s),
		.generation = scheme_generation(),
	};
	int ret = check_hello(s, m);

	if (!ret) {
		pcidipc_timer_cancel(&s->hello);
		s->greeted = true;
		s->open_flags = m->open_flags;
		ret = s->scheme->open ? s->scheme->open(s, m->open_flags) : 0;
		s->opened = !ret;
		if (s->opened)
			probe_session_open(s, s->scheme->name, s->pid);
	}
	pcidipc_channel_reply(s->channel, &packet->msg, &reply.msg, sizeof(reply), ret, NULL, 0);
	return ret;
}

static void answer_attach_ring(struct pcidipc_session *s, const struct pcidipc_packet *packet)
{
	const struct ringabi_attach_ring *m = (const void *)packet->bytes;
	struct ringabi_attach_ring_reply reply = {0};
	uint32_t cq = m->cq_entries ? m->cq_entries : 2 * m->sq_entries;
	int fd = -1, ret = -EALREADY;

	if (!s->ringed)
		ret = session_make_ring(s, m->sq_entries, cq, &fd);
	if (ret)
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: pid %d: ring of %u and %u entries refused (%s); the "
					"limits are %u and %u",
					s->scheme->name, s->pid, m->sq_entries, cq, strerror(-ret),
					s->scheme->max_sq_entries, s->scheme->max_cq_entries);
	reply.bytes = s->ring.map.bytes;
	pcidipc_channel_reply(s->channel, &packet->msg, &reply.msg, sizeof(reply), ret, &fd, 1);
	if (fd >= 0)
		close(fd);
}

static int refuse_pool_fds(struct pcidipc_session *s, unsigned nfds)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: pid %d: a pool with %u file descriptors, it must be 1",
				s->scheme->name, s->pid, nfds);
	return -EBADF;
}

static void answer_attach_pool(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	struct ringabi_attach_pool_reply reply = {0};
	uint64_t iova = 0;
	int ret = packet->nfds == 1
			  ? reach_attach(s, (const void *)packet->bytes, packet->fds[0], &iova)
			  : refuse_pool_fds(s, packet->nfds);

	/* Of use to who steers a device by itself; a disk's client need not know device addresses.
	 */
	reply.iova = s->scheme->interface == RINGABI_INTERFACE_PCI ? iova : 0;
	pcidipc_channel_reply(s->channel, &packet->msg, &reply.msg, sizeof(reply), ret, NULL, 0);
}

static int refuse(struct pcidipc_session *s, const struct pcidipc_packet *packet, const char *why)
{
	pcidipc_log_ratelimited(
		PCIDIPC_WARNING, "%s: pid %d: message type %#x of %u bytes with %u fds %s",
		s->scheme->name, s->pid, packet->msg.type, packet->msg.size, packet->nfds, why);
	return -EPROTO;
}

/* 0, or the error that ends the session. */
static int answer(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	uint32_t type = packet->msg.type;

	if (type == RINGABI_MSG_HELLO)
		return answer_hello(s, packet);
	if (!s->opened)
		return refuse(s, packet, "came before a hello");
	if (type == RINGABI_MSG_ATTACH_RING)
		answer_attach_ring(s, packet);
	else if (type == RINGABI_MSG_ATTACH_POOL)
		answer_attach_pool(s, packet);
	else if (s->scheme->message && type != RINGABI_MSG_ADOPT && type != RINGABI_MSG_EVENT)
		s->scheme->message(s, packet);
	else
		return refuse(s, packet, "is not for this service");
	return 0;
}

static struct queued_packet *next_packet(struct pcidipc_session *s)
{
	struct queued_packet *q = s->packets;

	if (!q)
		return NULL;
	s->packets = q->next;
	if (!s->packets)
		s->packets_last = NULL;
	s->npackets--;
	return q;
}

static void control_task(void *arg)
{
	struct pcidipc_session *s = arg;
	struct queued_packet *q;

	while (!s->ending && (q = next_packet(s))) {
		int ret = answer(s, &q->packet);

		pcidipc_packet_close(&q->packet);
		free(q);
		if (ret && !s->ending)
			pcidipc_session_end(s, ret);
	}
	s->control_busy = false;
	session_wake_quiet(s);
}

void control_drop(struct pcidipc_session *s)
{
	struct queued_packet *q;

	while ((q = next_packet(s))) {
		pcidipc_packet_close(&q->packet);
		free(q);
	}
}

static const char *fault_of(const struct pcidipc_packet *packet)
{
	return packet->msg.type & RINGABI_MSG_REPLY ? "is a reply, but nothing was asked"
						    : pcidipc_packet_fault(packet);
}

/* Checked before it waits, so that fds which no message needs are not held meanwhile. */
static int enqueue(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	const char *fault = fault_of(packet);
	struct queued_packet *q;

	if (fault)
		return refuse(s, packet, fault);
	if (s->npackets >= SESSION_MAX_PACKETS)
		return refuse(s, packet, "is one more than may wait for an answer");
	q = malloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->packet = *packet;
	q->next = NULL;
	if (s->packets_last)
		s->packets_last->next = q;
	else
		s->packets = q;
	s->packets_last = q;
	s->npackets++;
	return 0;
}

void control_ready(struct pcidipc_watch *watch, unsigned events)
{
	struct pcidipc_session *s = pcidipc_container_of(watch, struct pcidipc_session, watch);
	struct pcidipc_packet packet;
	bool refused = false;
	int ret, woken;

	(void)events;
	while ((ret = pcidipc_channel_receive(s->channel, &packet, &woken)) > 0) {
		ret = enqueue(s, &packet);
		if (ret) {
			refused = true;
			pcidipc_packet_close(&packet);
			break;
		}
	}
	if (!ret && s->packets && !s->control_busy) {
		ret = pcidipc_spawn(s->loop, control_task, s);
		s->control_busy = !ret;
	}
	if (ret == -EPROTO && !refused)
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: pid %d: a packet that is no message: its size must be "
					"what it says, %zu to %u bytes, with %u fds at most",
					s->scheme->name, s->pid, sizeof(struct ringabi_msg),
					RINGABI_MSG_MAX_BYTES, RINGABI_MSG_MAX_FDS);
	if (ret < 0)
		pcidipc_session_end(s, ret);
}
