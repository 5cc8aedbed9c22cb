/* SPDX-License-Identifier: MIT */
/* A client that reads a disk, at random places or from one end to the other, with a given number of
 * requests in flight. */
#ifndef CLIENT_H
#define CLIENT_H

#include <pcidipc/disk.h>

#include "bench.h"

struct client {
	struct pcidipc_blockdev *dev;
	struct pcidipc_consumer *consumer;
	struct pcidipc_pool *pool;
	struct pcidipc_buf *buffers;
	uint16_t index;
	uint32_t bytes, depth, in_flight;
	uint64_t places; /* on the disk, of `bytes` each */
	uint64_t seed;
	bool sequential; /* false after client_open: at random */
	uint64_t done;	 /* reads completed */
	int error;
};

int client_open(struct client *client, const char *path, uint32_t bytes, uint32_t depth);
void client_close(struct client *client);
/* Send until `depth` are in flight, and wait for one at least. */
int client_step(struct client *client);
/* Wait for what is in flight. */
int client_drain(struct client *client);

/* The same in processes of their own. */
struct client_process {
	struct bench_process process;
	struct client_shared {
		_Alignas(64) _Atomic uint64_t done;
		_Atomic int error;
		_Atomic uint32_t ready;
		char path[160];
		uint32_t bytes, depth;
	} * shared;
};
/* Fork, connect, read once. */
int client_spawn(struct client_process *process, const char *path, uint32_t bytes, uint32_t depth);
void client_kill(struct client_process *process);

#endif
