/* SPDX-License-Identifier: MIT */
/* Steps of the targets whose hostile side is a consumer by hand. */
#ifndef FUZZPEER_H
#define FUZZPEER_H

#include "../unit/rawpeer.h"
#include "fuzz.h"

extern struct rawpeer peer;

/* An SQE of any bytes, pushed. */
void step_any(struct fuzz_input *in);
/* One of the indices and flags moves by a little, or becomes anything. */
void step_scribble(struct fuzz_input *in);
/* Attach a pool, which may be none. */
void step_pool(struct fuzz_input *in);
/* Push one to eight SQEs at once, as a chain is published. */
void push_batch(struct fuzz_input *in, void (*fill)(struct fuzz_input *, struct io_uring_sqe *));

#endif
