/* SPDX-License-Identifier: MIT */
/*
 * A submission queue and its completion queue (NVMe base specification 1.4, 4.1). Single-threaded.
 * All memory is the driver's own.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <nvme/types.h>
#include <pcidipc/pci.h>

#include "prp.h"

#define SQE_BYTES 64
#define CQE_BYTES 16
#define QUEUE_MOST_ENTRIES 1024u /* a command identifier has 12 bits for the slot */

/* What the completion queue holds. */
struct nvme_cqe {
	uint32_t result;
	uint32_t reserved;
	uint16_t sq_head;
	uint16_t sq_id;
	uint16_t cid;
	uint16_t status; /* bit 0: phase */
};

struct nvme_sqe {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid;
	uint32_t cdw2, cdw3;
	uint64_t metadata;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

/* A status that no controller can give (they have 15 bits): what became of a command otherwise. */
#define STATUS_TIMEOUT 0xffffu /* it took too long, and was ended by a reset */
#define STATUS_RESET 0xfffeu   /* ended by a reset for another's sake */
#define STATUS_GONE 0xfffdu    /* the controller is gone, or will not come back */

/* A command in flight. `done` gets the status without its phase, 0 for success. */
struct nvme_command {
	void (*done)(struct nvme_command *command, uint16_t status, uint32_t result);
	void *arg;
	uint32_t started; /* on the queue's clock */
	uint32_t limit;	  /* ticks from then on; 0: it may take for ever */
	uint16_t next_free;
	uint8_t generation; /* 4 bits of the command identifier: a late answer is told from ours */
	bool busy;
	bool aborted; /* an Abort was sent for it */
};

/* One doorbell: a register, and where the controller has shadow doorbells, memory that spares
 * writing it. */
struct nvme_doorbell {
	uint64_t offset; /* in BAR 0 */
	volatile uint32_t *shadow;
	volatile uint32_t *event; /* write the register when passing this */
	uint32_t written;
};

/* What a queue pair is made of. */
struct nvme_queue_params {
	const struct pcidipc_dma *dma;
	const struct pcidipc_mmio *bar;
	const uint32_t *clock; /* ticks, for timeouts */
	uint32_t limit;	       /* ticks, of a command that sets no other */
	uint32_t page;	       /* bytes */
	uint32_t list_bytes;   /* prp_list_bytes */
	unsigned stride;       /* of doorbells, bytes */
	uint16_t id;
	bool lazy;	  /* tell the controller seldom what was taken from the CQ */
	uint16_t entries; /* 2 to QUEUE_MOST_ENTRIES */
};

struct nvme_queue {
	struct nvme_queue_params params;
	struct pcidipc_buf *memory;
	struct nvme_sqe *sq;
	volatile struct nvme_cqe *cq;
	char *lists; /* a PRP list for every command */
	uint64_t sq_iova, cq_iova, lists_iova;
	uint16_t sq_tail, cq_head;
	uint8_t phase;
	bool stopped; /* the controller is not to be told */
	struct nvme_doorbell sq_doorbell, cq_doorbell;
	struct nvme_command *commands;
	uint16_t first_free;
	uint16_t in_flight;
	uint16_t taken; /* from the CQ, since the controller was told */
};

#define NVME_NO_COMMAND 0xffff

int nvme_queue_create(struct nvme_queue *q, const struct nvme_queue_params *params);
/* Nothing may be in flight. */
void nvme_queue_destroy(struct nvme_queue *q);
/* As created: empty, from the first entry on. For a controller that was disabled; nothing may be in
 * flight. */
void nvme_queue_reset(struct nvme_queue *q);
/* Do not touch the controller; start ends it, and tells what was queued meanwhile, whose time
 * begins then. */
void nvme_queue_stop(struct nvme_queue *q);
void nvme_queue_start(struct nvme_queue *q);

/* A free command's slot in the SQ, cleared but for its id, or NULL. nvme_queue_ring tells the
 * controller. */
struct nvme_sqe *nvme_queue_get(struct nvme_queue *q, struct nvme_command **command);
/* Give the slot that was got last back. */
void nvme_queue_unget(struct nvme_queue *q, struct nvme_command *command);
void nvme_queue_ring(struct nvme_queue *q);
/* Take up to `budget` completions. */
unsigned nvme_queue_reap(struct nvme_queue *q, unsigned budget);
/* Tell the controller now of all that was taken, which a lazy queue does seldom. */
void nvme_queue_tell(struct nvme_queue *q);
bool nvme_queue_ready(const struct nvme_queue *q);

/*
 * End every command in flight, those that are over their time with STATUS_TIMEOUT, the others with
 * `status`. Only when the controller can no longer touch their buffers.
 */
void nvme_queue_fail(struct nvme_queue *q, uint16_t status);
/* Is this command in flight for longer than `ticks` or, when 0, than its own limit? It may have
 * begun just before a tick, so one more has to pass. */
bool nvme_command_over(const struct nvme_queue *q, const struct nvme_command *c, uint32_t ticks);

static inline uint16_t nvme_command_slot(const struct nvme_queue *q, const struct nvme_command *c)
{
	return (uint16_t)(c - q->commands);
}
uint16_t nvme_command_id(const struct nvme_queue *q, const struct nvme_command *c);
struct prp_list nvme_command_list(const struct nvme_queue *q, const struct nvme_command *c);

/* Has an index moved from `before` to `now` past the one that the controller wants to hear of? */
bool nvme_doorbell_passes(uint32_t event, uint32_t now, uint32_t before);

#endif
