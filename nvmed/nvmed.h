/* SPDX-License-Identifier: MIT */
/* The controller and its namespaces. */
#ifndef NVMED_H
#define NVMED_H

#include <pcidipc/blockserve.h>
#include <pcidipc/pci.h>
#include <pcidipc/task.h>

#include "prp.h"
#include "queue.h"

#define MAX_NAMESPACES 16
#define MAX_PAIRS 64
#define ADMIN_ENTRIES 32
#define IO_ENTRIES 128
#define DMA_BYTES (64ull << 20)

struct controller {
	struct pcidipc_loop *loop;
	struct pcidipc_pci *pci;
	const char *address;
	struct pcidipc_mmio bar;
	struct pcidipc_dma dma;
	struct pcidipc_vectors vectors;
	uint64_t cap;
	unsigned stride;
	uint32_t max_bytes; /* of one command */
	uint16_t max_pairs;
	uint16_t oncs;
	bool volatile_cache;
	char serial[21], model[41], firmware[9];

	struct nvme_queue admin;
	struct pcidipc_buf *scratch; /* a page for identify and the like */
	struct pcidipc_task_mutex scratch_lock;
	volatile uint32_t *shadow, *event; /* shadow doorbells, or NULL */

	struct pair *pairs[MAX_PAIRS];
	struct pcidipc_task_mutex pairs_lock; /* an identifier is free only when its queues are deleted */
	struct pcidipc_poller poller;
	struct pcidipc_watch admin_irq, io_irq;
	bool io_masked;

	struct namespace *namespaces[MAX_NAMESPACES];
	unsigned nnamespaces;
	bool stopping;
};

/* An I/O queue pair. A session has one of its own while there are any, else it shares. */
struct pair {
	struct controller *controller;
	struct nvme_queue queue;
	unsigned users;
	struct pcidipc_request *parked_first, *parked_last; /* for a command slot */
};

struct namespace
{
	struct controller *controller;
	uint32_t nsid;
	struct pcidipc_disk disk;
	struct pcidipc_service service;
};

/* controller.c (tasks) */
int controller_start(struct controller *c);
void controller_stop(struct controller *c);
/* One admin command: 0, or an errno for its status, which is logged. */
int admin_command(struct controller *c, const struct nvme_sqe *command, uint32_t *result);
int identify(struct controller *c, uint32_t cns, uint32_t nsid, void *to);
int status_error(const struct controller *c, uint16_t status, const char *what);

/* pair.c (tasks) */
int pair_get(struct controller *c, struct pair **pair);
void pair_put(struct pair *pair);
void pairs_start(struct controller *c);

/* command.c */
int command_submit(struct pcidipc_block_io *io);
void command_resume(struct pair *pair);

/* namespace.c (tasks) */
int namespaces_start(struct controller *c);
void namespaces_stop(struct controller *c);

#endif
