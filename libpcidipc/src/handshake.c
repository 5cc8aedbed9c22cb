/* SPDX-License-Identifier: MIT */
/* The consumer's side of the channel: hello, ring, pools, questions and what arrives unasked. */
#include <fcntl.h>
#include <pcidipc/log.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consumer_internal.h"
#include "probes.h"

#define KEPT_MAX                                                                                  \
	256 /* events and the like that a program has not taken: the other side must not fill our \
	       memory */

/* 0, or -ETIMEDOUT. ns 0: no limit. */
int consumer_wait_readable(int fd, uint64_t ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n;

	do {
		n = poll(&p, 1, ns ? (int)((ns + 999999) / 1000000) : -1);
	} while (n < 0 && errno == EINTR);
	return n ? 0 : -ETIMEDOUT;
}

void consumer_wait_channel(struct pcidipc_consumer *c)
{
	uint64_t now = c->reconnecting ? clock_ns() : 0;

	if (!c->reconnecting) {
		consumer_wait_readable(c->channel, 0);
	} else if (now >= c->give_up_at ||
		   consumer_wait_readable(c->channel, c->give_up_at - now)) {
		pcidipc_warn("%s: the new driver does not answer", c->path);
		consumer_fail(c, -EPROTO);
	}
}

/* Seen at once, not when it is delivered: the connection's end may come right behind it. */
static void note_removal(struct pcidipc_consumer *c, const struct pcidipc_packet *packet)
{
	const struct ringabi_event *event = (const void *)packet->bytes;

	if (packet->msg.type == RINGABI_MSG_EVENT && event->event == RINGABI_EVENT_REMOVED)
		c->removed = true;
}

static bool keep(struct pcidipc_consumer *c, struct pcidipc_packet *packet)
{
	struct kept_packet *kept = c->nkept < KEPT_MAX ? malloc(sizeof(*kept)) : NULL;

	if (!kept)
		return false;
	c->nkept++;
	kept->packet = *packet;
	kept->next = NULL;
	if (c->kept_last)
		c->kept_last->next = kept;
	else
		c->kept_first = kept;
	c->kept_last = kept;
	if (c->loop) /* read by a call that blocks, perhaps: then no watch will tell of it */
		pcidipc_defer(c->loop, &c->deliver, c->deliver.call);
	return true;
}

static int send_all(int channel, const struct ringabi_msg *msg, const int *fds, unsigned nfds)
{
	struct pollfd p = {.fd = channel, .events = POLLOUT};
	int ret;

	while ((ret = pcidipc_channel_send(channel, msg, fds, nfds)) == -EAGAIN)
		poll(&p, 1, -1);
	return ret == -EPIPE ? -ENOTCONN : ret;
}

/* Send what may be sent. Not left to the askers: a task may resume when its consumer is no more. */
static void send_asks(struct pcidipc_consumer *c)
{
	struct ask **p = &c->asks;

	while (*p && c->unanswered < MAX_UNANSWERED) {
		struct ask *ask = *p;
		int ret = ask->sent ? 0 : send_all(c->channel, ask->request, ask->fds, ask->nfds);

		if (ret) {
			*p = ask->next;
			pcidipc_post(&ask->answered, ret);
			continue;
		}
		c->unanswered += !ask->sent;
		ask->sent = true;
		p = &ask->next;
	}
}

static bool answer_ask(struct pcidipc_consumer *c, struct pcidipc_packet *packet)
{
	for (struct ask **p = &c->asks; *p; p = &(*p)->next) {
		struct ask *ask = *p;

		if (ask->tag != packet->msg.tag || !ask->sent ||
		    packet->msg.type != (ask->request->type | RINGABI_MSG_REPLY))
			continue;
		*p = ask->next;
		c->unanswered--;
		*ask->reply = *packet;
		pcidipc_post(&ask->answered, 0);
		send_asks(c);
		return true;
	}
	return false;
}

/* A reply that was asked for; an event, or a child's channel, of which not too many may wait to be
 * taken. */
static const char *fault_of(struct pcidipc_consumer *c, struct pcidipc_packet *packet)
{
	const char *fault = pcidipc_packet_fault(packet);

	if (fault)
		return fault;
	if (packet->msg.result > 0)
		return "has a result above 0";
	if (packet->msg.type & RINGABI_MSG_REPLY)
		return answer_ask(c, packet) ? NULL : "answers no question";
	if (packet->msg.type != RINGABI_MSG_EVENT && packet->msg.type != RINGABI_MSG_ADOPT)
		return "is not for a consumer";
	note_removal(c, packet);
	return keep(c, packet) ? NULL : "is one more than may wait to be taken";
}

static int take_packet(struct pcidipc_consumer *c, struct pcidipc_packet *packet)
{
	const char *fault = fault_of(c, packet);

	if (!fault)
		return 0;
	pcidipc_err("channel: message type %#x of %u bytes with %u fds %s", packet->msg.type,
		    packet->msg.size, packet->nfds, fault);
	pcidipc_packet_close(packet);
	return -EPROTO;
}

/* Read what there is, up to a wake-up; unasked messages are kept for consumer_deliver_kept. */
void consumer_read_channel(struct pcidipc_consumer *c)
{
	struct pcidipc_packet packet;
	int ret, woken;

	while ((ret = pcidipc_channel_receive(c->channel, &packet, &woken)) > 0) {
		ret = take_packet(c, &packet);
		if (ret)
			break;
	}
	if (ret < 0)
		consumer_fail(c, ret == -EPROTO ? -EPROTO : -ENOTCONN);
}

static void deliver(struct pcidipc_consumer *c, struct pcidipc_packet *packet)
{
	if (packet->msg.type == RINGABI_MSG_EVENT && c->event) {
		const struct ringabi_event *event = (const void *)packet->bytes;

		c->event(c, event->event, c->event_arg);
	} else if (packet->msg.type == RINGABI_MSG_ADOPT && c->adopt) {
		const struct ringabi_adopt *adopt = (const void *)packet->bytes;
		int fd = pcidipc_packet_take_fd(packet, 0);

		if (fd >= 0)
			c->adopt(c, adopt->child, fd, c->adopt_arg);
	}
	pcidipc_packet_close(packet);
}

void consumer_deliver_kept(struct pcidipc_consumer *c)
{
	while (c->kept_first) {
		struct kept_packet *kept = c->kept_first;

		c->kept_first = kept->next;
		if (!c->kept_first)
			c->kept_last = NULL;
		c->nkept--;
		deliver(c, &kept->packet);
		free(kept);
	}
}

void consumer_fail_asks(struct pcidipc_consumer *c, int error)
{
	c->unanswered = 0;
	while (c->asks) {
		struct ask *ask = c->asks;

		c->asks = ask->next;
		pcidipc_post(&ask->answered, error);
	}
}

/* Outside a task: block, and let only this ask's answer have an effect; the rest is kept. */
static int block_for(struct pcidipc_consumer *c, struct ask *ask)
{
	while (!ask->answered.done) {
		if (c->lost_producer) {
			consumer_wait(c);
			continue;
		}
		consumer_wait_channel(c);
		consumer_read_channel(c);
	}
	return ask->answered.res;
}

int pcidipc_consumer_ask(struct pcidipc_consumer *c, struct ringabi_msg *request, const int *fds,
			 unsigned nfds, struct pcidipc_packet *reply)
{
	struct ask ask = {
		.tag = ++c->next_tag, .request = request, .fds = fds, .nfds = nfds, .reply = reply};
	struct ask **last = &c->asks;
	int ret;

	if (pcidipc_consumer_error(c))
		return pcidipc_consumer_error(c);
	reply->nfds = 0;
	request->tag = ask.tag;
	request->result = 0;
	while (*last)
		last = &(*last)->next;
	*last = &ask;
	send_asks(c);
	/* While it reconnects no watch would resume a task. */
	ret = c->watch.loop && pcidipc_in_task() ? pcidipc_await(&ask.answered)
						 : block_for(c, &ask);
	c->ask_lost = ret == -ENOTCONN;
	if (ret)
		return ret;
	ret = reply->msg.result;
	if (ret)
		pcidipc_packet_close(reply);
	return ret;
}

/* ---- hello ---- */

int consumer_send_hello(struct pcidipc_consumer *c, int channel)
{
	struct ringabi_hello hello = {
		.msg = {.type = RINGABI_MSG_HELLO, .size = sizeof(hello)},
		.magic = RINGABI_CHANNEL_MAGIC,
		.version_major = RINGABI_VERSION_MAJOR,
		.version_minor = RINGABI_VERSION_MINOR,
		.interface = c->params.interface,
		.open_flags = c->params.open_flags,
	};

	return send_all(channel, &hello.msg, NULL, 0);
}

static uint32_t lower_power(uint32_t wanted, uint32_t most)
{
	while (wanted > most && wanted > RINGABI_MIN_ENTRIES)
		wanted /= 2;
	return wanted;
}

/* The answer to hello says what the ring may be. */
int consumer_check_hello(struct pcidipc_consumer *c, const struct pcidipc_packet *reply)
{
	const struct ringabi_hello_reply *r = (const void *)reply->bytes;

	if (reply->msg.type != (RINGABI_MSG_HELLO | RINGABI_MSG_REPLY) ||
	    pcidipc_packet_fault(reply))
		return -EPROTO;
	if (r->msg.result)
		return r->msg.result < 0 ? r->msg.result : -EPROTO;
	if (r->version_major != RINGABI_VERSION_MAJOR || r->interface != c->params.interface)
		return -EPROTONOSUPPORT;
	if (r->ring_features & ~RINGABI_RING_CQE32)
		return -EPROTONOSUPPORT;
	if (r->max_sq_entries < RINGABI_MIN_ENTRIES || r->max_cq_entries < RINGABI_MIN_ENTRIES)
		return -EPROTO;
	c->params.sq_entries = lower_power(c->params.sq_entries, r->max_sq_entries);
	c->params.cq_entries = lower_power(c->params.cq_entries, r->max_cq_entries);
	c->max_pools = r->max_pools < RINGABI_MAX_POOLS ? r->max_pools : RINGABI_MAX_POOLS;
	c->ring_features = r->ring_features;
	c->generation = r->generation;
	return 0;
}

static int hello(struct pcidipc_consumer *c)
{
	struct pcidipc_packet reply;
	int resets = 0, ret;

	/* Whoever turns us away may have answered and hung up before we spoke: its answer is still
	 * to be read. */
	consumer_send_hello(c, c->channel);
	for (;;) {
		ret = pcidipc_channel_receive(c->channel, &reply, NULL);
		if (ret > 0) {
			ret = consumer_check_hello(c, &reply);
			pcidipc_packet_close(&reply);
			return ret;
		}
		if (ret < 0 && (ret != -EPIPE || resets++))
			return ret == -EPIPE ? -ENOTCONN : ret;
		if (!ret)
			consumer_wait_readable(c->channel, 0);
	}
}

int consumer_attach_ring(struct pcidipc_consumer *c)
{
	struct ringabi_attach_ring request = {
		.msg = {.type = RINGABI_MSG_ATTACH_RING, .size = sizeof(request)},
		.sq_entries = c->params.sq_entries,
		.cq_entries = c->params.cq_entries,
	};
	struct pcidipc_packet reply;
	int ret = pcidipc_consumer_ask(c, &request.msg, NULL, 0, &reply);

	if (ret)
		return ret;
	ret = reply.nfds == 1
		      ? pcidipc_consumer_ring_attach(&c->ring, reply.fds[0], c->ring_features)
		      : -EPROTO;
	pcidipc_packet_close(&reply);
	if (!ret && (c->ring.map.sq_entries != c->params.sq_entries ||
		     c->ring.map.cq_entries != c->params.cq_entries))
		return -EPROTO;
	if (!ret)
		probe_consumer_open(c, c->path);
	return ret;
}

int consumer_setup(struct pcidipc_consumer *c, int channel)
{
	int ret;

	c->channel = channel;
	ret = hello(c);
	return ret ? ret : consumer_attach_ring(c);
}

/* ---- pools ---- */

static int free_pool_index(struct pcidipc_consumer *c)
{
	for (int i = 0; i < (int)c->max_pools; i++)
		if (c->pools[i].fd < 0)
			return i;
	return -ENOSPC;
}

int consumer_send_pool(struct pcidipc_consumer *c, uint32_t index, int fd, uint64_t bytes,
		       uint64_t *iova)
{
	struct ringabi_attach_pool request = {
		.msg = {.type = RINGABI_MSG_ATTACH_POOL, .size = sizeof(request)},
		.index = index,
		.bytes = bytes,
	};
	struct pcidipc_packet reply;
	int ret = pcidipc_consumer_ask(c, &request.msg, &fd, 1, &reply);

	if (!ret && iova)
		*iova = ((const struct ringabi_attach_pool_reply *)(const void *)reply.bytes)->iova;
	if (!ret)
		pcidipc_packet_close(&reply);
	return ret;
}

int pcidipc_consumer_attach_pool_fd(struct pcidipc_consumer *c, int fd, uint64_t bytes,
				    uint16_t *index, uint64_t *iova)
{
	int i = free_pool_index(c);
	int ret;

	if (i < 0)
		return i;
	c->pools[i].fd = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* taken now: the ask below may await */
	if (c->pools[i].fd < 0)
		return -errno;
	c->pools[i].bytes = bytes;
	ret = consumer_send_pool(c, (uint32_t)i, fd, bytes, iova);
	if (ret == -ENOTCONN && c->replay && !c->error && c->ask_lost) {
		ret = 0; /* asked again, with all that were attached, of the successor */
		if (iova)
			*iova = 0;
	}
	if (ret) {
		close(c->pools[i].fd);
		c->pools[i].fd = -1;
		return ret;
	}
	*index = (uint16_t)i;
	return 0;
}

int pcidipc_consumer_attach_pool(struct pcidipc_consumer *c, struct pcidipc_pool *pool,
				 uint16_t *index)
{
	return pcidipc_consumer_attach_pool_fd(c, pcidipc_pool_fd(pool), pcidipc_pool_bytes(pool),
					       index, NULL);
}

int pcidipc_consumer_detach_pool(struct pcidipc_consumer *c, uint16_t index)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = RINGABI_CMD_POOL_DETACH,
				   .buf_index = index};
	int ret;

	if (index >= RINGABI_MAX_POOLS || c->pools[index].fd < 0)
		return -ENXIO;
	ret = pcidipc_call(c, &sqe, NULL);
	if (ret == -EAGAIN ||
	    ret == -ENOMEM) /* not asked, or not done: the producer has it still */
		return ret;
	close(c->pools[index].fd);
	c->pools[index].fd = -1;
	return ret;
}
