/* SPDX-License-Identifier: MIT */
/* A hostile consumer: a channel, a ring's memory, and no library between it and them. For tests and
 * fuzz targets. */
#ifndef RAWPEER_H
#define RAWPEER_H

#include <pcidipc/channel.h>
#include <pcidipc/ring.h>

struct rawpeer {
	int channel;
	uint32_t interface;
	uint32_t tag;
	uint32_t answers;	   /* read so far */
	struct ringabi_ring *ring; /* mapped, or NULL */
	size_t ring_bytes;
	int ring_fd; /* -1: none */
};

/* Over this channel, which it takes over. */
void rawpeer_init(struct rawpeer *peer, int channel, uint32_t interface);
void rawpeer_close(struct rawpeer *peer);
/* Read what came, map the ring if there is one among it. 0; -EPIPE: it hung up; -EPROTO: none of
 * the ABI's messages. */
int rawpeer_read(struct rawpeer *peer);
/* The same, after waiting until there is something to read. */
int rawpeer_await(struct rawpeer *peer);

/* As the ABI wants them. */
void rawpeer_hello(struct rawpeer *peer, uint32_t open_flags);
void rawpeer_attach_ring(struct rawpeer *peer, uint32_t sq, uint32_t cq);
void rawpeer_attach_pool(struct rawpeer *peer, uint32_t index, int fd, uint64_t bytes);
/* Put an SQE behind the published tail and publish it. */
void rawpeer_push(struct rawpeer *peer, const struct io_uring_sqe *sqe);
/* The same without publishing: `nth` behind the tail. */
void rawpeer_put(struct rawpeer *peer, uint32_t nth, const struct io_uring_sqe *sqe);
void rawpeer_publish(struct rawpeer *peer, uint32_t count);
/* Take every CQE. */
void rawpeer_reap(struct rawpeer *peer);
/* One of the indices and flags, the producer's own ones among them, becomes `value`, or moves by
 * it. */
void rawpeer_scribble(struct rawpeer *peer, unsigned which, bool absolute, uint32_t value);

#endif
