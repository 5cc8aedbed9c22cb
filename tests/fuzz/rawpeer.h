/* SPDX-License-Identifier: MIT */
/* The hostile consumer of the fuzz targets: a channel and a ring's memory, and no library between it and them. */
#ifndef RAWPEER_H
#define RAWPEER_H

#include <pcidipc/ring.h>

#include "fuzz.h"

struct rawpeer {
	int channel;
	uint32_t interface;
	uint32_t tag;
	uint32_t unanswered; /* messages sent before the session's answers were read */
	struct ringabi_ring *ring; /* mapped, or NULL */
	size_t ring_bytes;
};

/* Returns the producer's end of a new channel. */
int rawpeer_connect(struct rawpeer *peer, uint32_t interface);
void rawpeer_close(struct rawpeer *peer);
/* Read what came, map the ring if there is one among it. False: the producer hung up. */
bool rawpeer_read(struct rawpeer *peer);

/* As the ABI wants them. */
void rawpeer_hello(struct rawpeer *peer, uint32_t open_flags);
void rawpeer_attach_ring(struct rawpeer *peer, uint32_t sq, uint32_t cq);
void rawpeer_attach_pool(struct rawpeer *peer, uint32_t index, unsigned fd, uint64_t bytes);
/* Put an SQE behind the published tail and publish it. */
void rawpeer_push(struct rawpeer *peer, const struct io_uring_sqe *sqe);
/* The same without publishing: `nth` behind the tail. */
void rawpeer_put(struct rawpeer *peer, uint32_t nth, const struct io_uring_sqe *sqe);
void rawpeer_publish(struct rawpeer *peer, uint32_t count);
/* Take every CQE. */
void rawpeer_reap(struct rawpeer *peer);
/* An index or flag, whichever the input says, gets a value that it says. */
void rawpeer_scribble(struct rawpeer *peer, struct fuzz_input *in);

#endif
