/* SPDX-License-Identifier: MIT */
/*
 * What a consumer keeps of its requests so that it can make them again, when its producer has died
 * and a successor is there. Every SQE gets an entry when it is published, and its user_data names
 * that entry until its CQE has come; the program sees its own.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include <linux/io_uring.h>
#include <pcidipc/consumer.h>

struct replay;

/* entries: a power of two. NULL: no memory. */
struct replay *replay_create(uint32_t entries);
void replay_free(struct replay *replay);
/* All are done with, however that went. */
void replay_forget(struct replay *replay);

/* How many more can be kept. */
uint32_t replay_room(const struct replay *replay);
/* About to be published: keep a copy, and let it name that. A chain ends at the last one that is
 * published at once. */
void replay_keep(struct replay *replay, struct io_uring_sqe *sqe, bool last);
/* A CQE has come: give it the program's user_data, and forget the request. False: it names none
 * whose turn it can be. */
bool replay_take(struct replay *replay, struct pcidipc_cqe *cqe);

/* The successor is there. cache_lost: what was acknowledged and not flushed since may be gone, and
 * the next FSYNC shall say so. */
void replay_begin(struct replay *replay, bool cache_lost);
/* How many come next that must be published at once: a chain, or 1; 0: that was all. */
uint32_t replay_chain(const struct replay *replay);
/* Fill in the next one of them, in the order of submission. */
void replay_next(struct replay *replay, struct io_uring_sqe *sqe);

#endif
