/* SPDX-License-Identifier: MIT */
/*
 * What the tests of replay on the ramdisk share: a driver that is killed and started anew, and a
 * client that goes on. Each test is run with the driver on either loop.
 */
#ifndef REPLAYDISK_H
#define REPLAYDISK_H

#include <CUnit/CUnit.h>
#include <liburing.h>

#include "blockclient.h"

#define PAGE 4096u

extern struct ramdisk rd;

void kill_driver(void);
void start_driver(enum ramdisk_mode mode);
void restart_driver(void);
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

/* A test program's main. */
int replay_main(const char *name, CU_TestInfo *tests);

#endif
