// SPDX-License-Identifier: MIT
#include "rawpeer.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void rawpeer_init(struct rawpeer *peer, int channel, uint32_t interface)
{
	*peer = (struct rawpeer){.channel = channel, .interface = interface, .ring_fd = -1};
}

void rawpeer_close(struct rawpeer *peer)
{
	if (peer->channel >= 0)
		close(peer->channel);
	peer->channel = -1;
	if (peer->ring)
		munmap(peer->ring, peer->ring_bytes);
	peer->ring = NULL;
	if (peer->ring_fd >= 0)
		close(peer->ring_fd);
	peer->ring_fd = -1;
}

static void map_ring(struct rawpeer *peer, int fd)
{
	struct stat st;
	void *p;

	if (peer->ring || fstat(fd, &st) || !st.st_size)
		return;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return;
	peer->ring = p;
	peer->ring_bytes = (size_t)st.st_size;
	peer->ring_fd = dup(fd);
}

int rawpeer_read(struct rawpeer *peer)
{
	struct pcidipc_packet packet;
	int ret;

	while ((ret = pcidipc_channel_receive(peer->channel, &packet, NULL)) > 0) {
		uint32_t type = packet.msg.type;

		if (packet.msg.size !=
		    pcidipc_msg_bytes(type & ~RINGABI_MSG_REPLY, type & RINGABI_MSG_REPLY))
			ret = -EPROTO;
		if (type == (RINGABI_MSG_ATTACH_RING | RINGABI_MSG_REPLY) && packet.nfds)
			map_ring(peer, packet.fds[0]);
		peer->answers += !!(type & RINGABI_MSG_REPLY);
		pcidipc_packet_close(&packet);
		if (ret < 0)
			break;
	}
	return ret;
}

int rawpeer_await(struct rawpeer *peer)
{
	struct pollfd p = {.fd = peer->channel, .events = POLLIN};

	poll(&p, 1, -1);
	return rawpeer_read(peer);
}

static void send_msg(struct rawpeer *peer, struct ringabi_msg *msg, uint32_t type, size_t bytes,
		     const int *fd)
{
	msg->type = type;
	msg->size = (uint32_t)bytes;
	msg->tag = ++peer->tag;
	pcidipc_channel_send(peer->channel, msg, fd, fd ? 1 : 0);
}

void rawpeer_hello(struct rawpeer *peer, uint32_t open_flags)
{
	struct ringabi_hello m = {.magic = RINGABI_CHANNEL_MAGIC,
				  .version_major = RINGABI_VERSION_MAJOR,
				  .version_minor = RINGABI_VERSION_MINOR,
				  .interface = peer->interface,
				  .open_flags = open_flags};

	send_msg(peer, &m.msg, RINGABI_MSG_HELLO, sizeof(m), NULL);
}

void rawpeer_attach_ring(struct rawpeer *peer, uint32_t sq, uint32_t cq)
{
	struct ringabi_attach_ring m = {.sq_entries = sq, .cq_entries = cq};

	send_msg(peer, &m.msg, RINGABI_MSG_ATTACH_RING, sizeof(m), NULL);
}

void rawpeer_attach_pool(struct rawpeer *peer, uint32_t index, int fd, uint64_t bytes)
{
	struct ringabi_attach_pool m = {.index = index, .bytes = bytes};

	send_msg(peer, &m.msg, RINGABI_MSG_ATTACH_POOL, sizeof(m), &fd);
}

/* The header is the producer's, but this process is the consumer: what it wrote there first is
 * still there. */
static struct io_uring_sqe *slot(struct rawpeer *peer, uint32_t index)
{
	char *sqes = (char *)peer->ring + RINGABI_HEADER_BYTES;

	return (struct io_uring_sqe *)(void *)sqes + (index & (peer->ring->sq_entries - 1));
}

void rawpeer_put(struct rawpeer *peer, uint32_t nth, const struct io_uring_sqe *sqe)
{
	if (peer->ring)
		*slot(peer, peer->ring->sq_tail + nth) = *sqe;
}

void rawpeer_publish(struct rawpeer *peer, uint32_t count)
{
	if (peer->ring)
		pcidipc_store_release(&peer->ring->sq_tail, peer->ring->sq_tail + count);
}

void rawpeer_push(struct rawpeer *peer, const struct io_uring_sqe *sqe)
{
	rawpeer_put(peer, 0, sqe);
	rawpeer_publish(peer, 1);
}

void rawpeer_reap(struct rawpeer *peer)
{
	if (peer->ring)
		pcidipc_store_release(&peer->ring->cq_head, peer->ring->cq_tail);
}

void rawpeer_scribble(struct rawpeer *peer, unsigned which, bool absolute, uint32_t value)
{
	uint32_t *words;

	if (!peer->ring)
		return;
	/* Lines 1 to 6 of the header. */
	words = (uint32_t *)(void *)((char *)peer->ring + (1 + which % 6) * RINGABI_LINE);
	if (absolute)
		*words = value;
	else
		*words += value;
}
