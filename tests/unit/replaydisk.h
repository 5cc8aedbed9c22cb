/* SPDX-License-Identifier: MIT */
/*
 * What the tests of replay on the ramdisk share: a client that goes on when the driver is killed
 * and started anew.
 */
#ifndef REPLAYDISK_H
#define REPLAYDISK_H

#include <liburing.h>

#include "disksuite.h"

#define PAGE 4096u

/* As pcid takes a service away and makes it anew. */
void take_service(bool away);

/* A client with replay, of a driver that holds nothing. */
void open_client(struct client *c);
void close_client(struct client *c);
/* Submit what is queued to a driver that holds it, and wait until it has `n` of it. */
void submit_held(struct client *c, unsigned n);
/* Poll, until a new driver has `n` of what the last one had. */
void await_held(struct client *c, unsigned n);
void expect_result(struct client *c, uint64_t user_data, int res);
/* Nothing is in flight, and nothing more completes. */
void expect_silence(struct client *c);

struct io_uring_sqe flagged(struct io_uring_sqe sqe, unsigned flags);
struct io_uring_sqe linked(struct io_uring_sqe sqe, unsigned flags);

#endif
