/* SPDX-License-Identifier: MIT */
/* A client of a disk, with a pool of its own; and processes that are clients. */
#ifndef TESTS_QEMU_CLIENT_H
#define TESTS_QEMU_CLIENT_H

#include <liburing.h>
#include <pcidipc/disk.h>
#include <sys/types.h>
#include <tests/unit/random.h>

struct client {
	struct pcidipc_blockdev *dev;
	struct pcidipc_consumer *consumer;
	struct pcidipc_pool *pool;
	uint16_t index;
	unsigned char *base; /* of the pool */
	const struct ringabi_block_info *info;
};

/* 0 or -errno; the client is empty then. */
int client_open(struct client *client, const char *name, uint32_t open_flags, uint64_t pool_bytes);
void client_close(struct client *client);

/* Calls: buffers are offsets in the pool. The result of the CQE, or -errno. */
int client_read(struct client *client, uint64_t addr, uint32_t bytes, uint64_t off);
int client_write(struct client *client, uint64_t addr, uint32_t bytes, uint64_t off);
int client_call(struct client *client, const struct io_uring_sqe *sqe);
/* The next CQE's result; its user_data goes to *user_data unless NULL. */
int client_reap(struct client *client, uint64_t *user_data);

/*
 * Work on bytes [first, first + bytes) of the disk, which is a client's own: random writes at
 * `depth`, each followed by a read of the same place that must give what was written. Contents of a
 * block come from its place and its round.
 */
struct work {
	const char *disk;
	uint64_t first, bytes;
	uint32_t depth, largest;     /* bytes of one request at most */
	uint32_t rounds;	     /* requests; 0: for ever */
	uint64_t pool_bytes, stride; /* where buffers lie: every `stride` bytes */
	uint32_t seed;
	volatile uint32_t *progress; /* shared memory, or NULL: rounds done */
};
/* 0, or -errno: -EBADMSG when data is not what was written. */
int work_run(const struct work *work);
/* The same on a connection that the caller has. */
int work_on(struct client *client, const struct work *work);
/* The same in a process of its own; its exit status is 0 or the errno. */
pid_t work_fork(const struct work *work);
/* Wait for it: 0 or the errno; -1: it was killed. */
int work_wait(pid_t pid);
/* One page that forked processes share. */
volatile uint32_t *shared_words(void);

#endif
