/* SPDX-License-Identifier: MIT */
/* The channel beside a ring (ringabi/channel.h): packets and file descriptors. None of these ever
 * blocks. */
#ifndef PCIDIPC_CHANNEL_H
#define PCIDIPC_CHANNEL_H

#include <ringabi/channel.h>
#include <stddef.h>

/* A received packet. The fds are the receiver's: take them (set to -1) or close them with
 * packet_close. */
struct pcidipc_packet {
	union {
		struct ringabi_msg msg;
		unsigned char bytes[RINGABI_MSG_MAX_BYTES];
	};
	int fds[RINGABI_MSG_MAX_FDS];
	unsigned nfds;
};

/* Two connected ends, non-blocking, close-on-exec. */
int pcidipc_channel_pair(int ends[2]);
/* Connect to a service's socket. -ENOENT, -ECONNREFUSED, -EACCES, -EAGAIN (its backlog is full). */
int pcidipc_channel_connect(const char *path);

/* Send a message and fds (which stay the caller's). -EAGAIN: full; -EPIPE: the other side is gone.
 */
int pcidipc_channel_send(int channel, const struct ringabi_msg *msg, const int *fds, unsigned nfds);
/*
 * Answer `asked` with a message whose msg.type, tag and result are filled in here. A channel that
 * does not take it (full of what the asker has not read, or too many fds on their way) is shut
 * down: the asker would wait for ever.
 */
int pcidipc_channel_reply(int channel, const struct ringabi_msg *asked, struct ringabi_msg *reply,
			  size_t bytes, int result, const int *fds, unsigned nfds);
/* Wake the side at the other end. A full socket counts as woken. */
void pcidipc_channel_wake(int channel);

/*
 * Receive one packet. 1; 0: nothing there; -EPIPE: the other side is gone; -EPROTO: truncated, or
 * msg.size is not the packet's size. WAKE packets are swallowed and counted as nothing there; after
 * some of them 0 is returned although more may follow, which poll tells. With `woken` (may be NULL)
 * that is so after one, and *woken is set to 1: for who waits for readiness anyway.
 */
int pcidipc_channel_receive(int channel, struct pcidipc_packet *packet, int *woken);
void pcidipc_packet_close(struct pcidipc_packet *packet);
/* Take fd number `index` out of the packet, or -EBADF. */
int pcidipc_packet_take_fd(struct pcidipc_packet *packet, unsigned index);

/* What a packet of `type` must measure; 0: no such type. `reply`: as a reply. */
size_t pcidipc_msg_bytes(unsigned type, int reply);
/* What is wrong with a packet's type, size or number of fds (for a log line after its type), or
 * NULL. */
const char *pcidipc_packet_fault(const struct pcidipc_packet *packet);

#endif
