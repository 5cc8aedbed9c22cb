/* SPDX-License-Identifier: MIT */
/* A submission queue and its completion queue (NVMe base specification 4.1). Single-threaded. */
#ifndef QUEUE_H
#define QUEUE_H

#include <nvme/types.h>
#include <pcidipc/pci.h>

#define SQE_BYTES 64
#define CQE_BYTES 16

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

/* A command in flight. `done` gets the status without its phase, 0 for success. */
struct nvme_command {
	void (*done)(struct nvme_command *command, uint16_t status, uint32_t result);
	void *arg;
	uint16_t next_free;
	bool busy;
};

/* One doorbell: a register, and where the controller has shadow doorbells, memory that spares
 * writing it. */
struct nvme_doorbell {
	uint64_t offset; /* in BAR 0 */
	volatile uint32_t *shadow;
	volatile uint32_t *event; /* write the register when passing this */
	uint32_t written;
};

struct nvme_queue {
	const struct pcidipc_mmio *bar;
	uint16_t id;
	uint16_t entries;
	struct pcidipc_buf *memory;
	struct nvme_sqe *sq;
	volatile struct nvme_cqe *cq;
	uint64_t *prp_lists; /* one page per command */
	uint64_t sq_iova, cq_iova, prp_iova;
	uint16_t sq_tail, cq_head;
	uint8_t phase;
	struct nvme_doorbell sq_doorbell, cq_doorbell;
	struct nvme_command *commands;
	uint16_t first_free;
	uint16_t in_flight;
};

#define NVME_NO_COMMAND 0xffff

int nvme_queue_create(struct nvme_queue *q, const struct pcidipc_dma *dma,
		      const struct pcidipc_mmio *bar, uint16_t id, uint16_t entries,
		      unsigned stride);
void nvme_queue_destroy(struct nvme_queue *q);
/* A free command's slot in the SQ, cleared but for its id, or NULL. nvme_queue_ring tells the
 * controller. */
struct nvme_sqe *nvme_queue_get(struct nvme_queue *q, struct nvme_command **command);
/* Give the slot that was got last back. */
void nvme_queue_unget(struct nvme_queue *q, struct nvme_command *command);
void nvme_queue_ring(struct nvme_queue *q);
/* Take up to `budget` completions. */
unsigned nvme_queue_reap(struct nvme_queue *q, unsigned budget);
bool nvme_queue_ready(const struct nvme_queue *q);
static inline uint16_t nvme_command_id(const struct nvme_queue *q, const struct nvme_command *c)
{
	return (uint16_t)(c - q->commands);
}

#endif
