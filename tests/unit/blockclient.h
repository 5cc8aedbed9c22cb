/* SPDX-License-Identifier: MIT */
/* A client of the ramdisk for the tests of block serving: a disk opened and a pool attached. */
#ifndef BLOCKCLIENT_H
#define BLOCKCLIENT_H

#include <sys/uio.h>

#include "ramdisk.h"
#include "random.h"

struct client {
	struct pcidipc_blockdev *dev;
	struct pcidipc_consumer *consumer;
	struct pcidipc_pool *pool;
	unsigned char *base;
	uint16_t index;
};

#define CLIENT_POOL (64u << 20)

int client_open(struct client *client, const char *name, uint32_t open_flags);
void client_close(struct client *client);

/* Requests as a hostile client would write them: filled in, not sent. */
struct io_uring_sqe sqe_rw(const struct client *client, bool write, uint64_t addr, uint32_t bytes,
			   uint64_t off);
struct io_uring_sqe sqe_command(const struct client *client, uint32_t cmd_op, uint64_t addr,
				uint32_t len);
struct io_uring_sqe sqe_of(uint8_t opcode);
int client_call(struct client *client, struct io_uring_sqe sqe);
/* A buffer in the pool. */
struct iovec piece(uint64_t addr, uint64_t bytes);
/* READV or WRITEV of `n`, which are put into the pool at `at`; NULL: of what is there. */
int client_vector(struct client *client, bool write, uint64_t at, const struct iovec *iov,
		  uint32_t n, uint64_t off);
/* Put it in the SQ under `user_data`, to be submitted. */
void client_queue(struct client *client, struct io_uring_sqe sqe, uint64_t user_data);
/* Submit, wait for one CQE and check whose it is. Its res. */
int client_reap(struct client *client, uint64_t *user_data);

#endif
