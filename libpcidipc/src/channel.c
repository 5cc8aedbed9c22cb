/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pcidipc/channel.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CHANNEL_TYPE (SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define WAKES_AT_ONCE 16 /* a peer may send them faster than we read: others want their turn */

union fd_control {
	char bytes[CMSG_SPACE(sizeof(int) * RINGABI_MSG_MAX_FDS)];
	struct cmsghdr align;
};

int pcidipc_channel_pair(int ends[2])
{
	return socketpair(AF_UNIX, CHANNEL_TYPE, 0, ends) ? -errno : 0;
}

int pcidipc_channel_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, CHANNEL_TYPE, 0);
	if (fd < 0)
		return -errno;
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

int pcidipc_channel_send(int channel, const struct ringabi_msg *msg, const int *fds, unsigned nfds)
{
	union fd_control control;
	struct iovec iov = {.iov_base = (void *)msg, .iov_len = msg->size};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds > RINGABI_MSG_MAX_FDS)
		return -EINVAL;
	if (nfds) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	if (sendmsg(channel, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

int pcidipc_channel_reply(int channel, const struct ringabi_msg *asked, struct ringabi_msg *reply,
			  size_t bytes, int result, const int *fds, unsigned nfds)
{
	int ret;

	reply->type = asked->type | RINGABI_MSG_REPLY;
	reply->size = (uint32_t)bytes;
	reply->tag = asked->tag;
	reply->result = result;
	ret = pcidipc_channel_send(channel, reply, fds, result ? 0 : nfds);
	if (ret)
		shutdown(channel, SHUT_RDWR);
	return ret;
}

void pcidipc_channel_wake(int channel)
{
	struct ringabi_msg wake = {.type = RINGABI_MSG_WAKE, .size = sizeof(wake)};

	/* EAGAIN: the socket is full of messages that wake just as well. EPIPE: seen as a hang-up.
	 */
	(void)!send(channel, &wake, sizeof(wake), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Everything that came, so that nothing leaks when a peer sends more than it may. */
static void collect_fds(struct msghdr *header, struct pcidipc_packet *packet)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (packet->nfds < RINGABI_MSG_MAX_FDS)
				packet->fds[packet->nfds++] = fd;
			else
				close(fd);
		}
	}
}

static int receive_one(int channel, struct pcidipc_packet *packet)
{
	union fd_control control;
	struct iovec iov = {.iov_base = packet->bytes, .iov_len = sizeof(packet->bytes)};
	struct msghdr header = {.msg_iov = &iov,
				.msg_iovlen = 1,
				.msg_control = &control,
				.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(channel, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	packet->nfds = 0;
	/* Told once, when the other side closed without having read all; what it sent before is
	 * still there. */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(channel, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return 0;
		return errno == ECONNRESET ? -EPIPE : -errno;
	}
	collect_fds(&header, packet);
	if (!n) { /* hung up; or a packet of nothing, which may carry fds all the same */
		pcidipc_packet_close(packet);
		return -EPIPE;
	}
	if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)n < sizeof(packet->msg) ||
	    packet->msg.size != (size_t)n) {
		pcidipc_packet_close(packet);
		return -EPROTO;
	}
	return 1;
}

int pcidipc_channel_receive(int channel, struct pcidipc_packet *packet, int *woken)
{
	for (int i = 0; i < WAKES_AT_ONCE; i++) {
		int ret = receive_one(channel, packet);

		if (ret <= 0 || packet->msg.type != RINGABI_MSG_WAKE)
			return ret;
		pcidipc_packet_close(packet);
		if (woken) {
			*woken = 1;
			return 0; /* mostly there is no more, and asking is a system call */
		}
	}
	return 0;
}

void pcidipc_packet_close(struct pcidipc_packet *packet)
{
	for (unsigned i = 0; i < packet->nfds; i++)
		if (packet->fds[i] >= 0)
			close(packet->fds[i]);
	packet->nfds = 0;
}

int pcidipc_packet_take_fd(struct pcidipc_packet *packet, unsigned index)
{
	int fd;

	if (index >= packet->nfds || packet->fds[index] < 0)
		return -EBADF;
	fd = packet->fds[index];
	packet->fds[index] = -1;
	return fd;
}

/* A message of the ABI: its size, the size of its reply, and how many fds they may carry. */
struct message {
	size_t bytes, reply_bytes;
	unsigned fds, reply_fds;
};

#define MESSAGE(name, nfds) .bytes = sizeof(struct ringabi_##name), .fds = (nfds)
#define ASKS(name, nfds, nreply)                                                   \
	MESSAGE(name, nfds), .reply_bytes = sizeof(struct ringabi_##name##_reply), \
			     .reply_fds = (nreply)

static const struct message *message_of(unsigned type)
{
	static const struct message messages[] = {
		[RINGABI_MSG_WAKE] = {MESSAGE(msg, 0)},
		[RINGABI_MSG_HELLO] = {ASKS(hello, 0, 0)},
		[RINGABI_MSG_ATTACH_RING] = {ASKS(attach_ring, 0, 1)},
		[RINGABI_MSG_ATTACH_POOL] = {ASKS(attach_pool, 1, 0)},
		[RINGABI_MSG_ALLOC_VECTORS] = {ASKS(alloc_vectors, 0, RINGABI_MSG_MAX_FDS)},
		[RINGABI_MSG_MAP_REGION] = {ASKS(map_region, 0, 1)},
		[RINGABI_MSG_PUBLISH] = {ASKS(publish, 0, 2)},
		[RINGABI_MSG_ANNOUNCE] = {MESSAGE(announce, 0),
					  .reply_bytes = sizeof(struct ringabi_msg)},
		[RINGABI_MSG_ADOPT] = {MESSAGE(adopt, 1)},
		[RINGABI_MSG_EVENT] = {MESSAGE(event, 0)},
	};

	return type < sizeof(messages) / sizeof(messages[0]) ? &messages[type] : NULL;
}

size_t pcidipc_msg_bytes(unsigned type, int reply)
{
	const struct message *m = message_of(type);

	if (!m)
		return 0;
	return reply ? m->reply_bytes : m->bytes;
}

const char *pcidipc_packet_fault(const struct pcidipc_packet *packet)
{
	bool reply = packet->msg.type & RINGABI_MSG_REPLY;
	const struct message *m = message_of(packet->msg.type & ~RINGABI_MSG_REPLY);

	if (!m || packet->msg.size != (reply ? m->reply_bytes : m->bytes))
		return "is no message of the ABI";
	if (packet->nfds > (reply ? m->reply_fds : m->fds) ||
	    (reply && packet->msg.result && packet->nfds))
		return "carries file descriptors that it must not";
	return NULL;
}
