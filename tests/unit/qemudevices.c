// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <string.h>

#include "qemudevices.h"

void edu_start(struct pcid_function *f, uint64_t iova, unsigned bytes, bool to_memory)
{
	mmio_write(f, 0, EDU_SOURCE, 8, to_memory ? EDU_BUFFER : iova);
	mmio_write(f, 0, EDU_TARGET, 8, to_memory ? iova : EDU_BUFFER);
	mmio_write(f, 0, EDU_COUNT, 8, bytes);
	mmio_write(f, 0, EDU_COMMAND, 8, EDU_RUN | (to_memory ? EDU_TO_MEMORY : 0));
}

void edu_await(struct pcid_function *f)
{
	unsigned i = 0;

	while (mmio_read(f, 0, EDU_COMMAND, 8) & EDU_RUN)
		if (++i == MANY_READS)
			break;
	CU_ASSERT_NOT_EQUAL(i, MANY_READS);
}

void edu_copy(struct pcid_function *f, uint64_t iova, unsigned bytes, bool to_memory)
{
	edu_start(f, iova, bytes, to_memory);
	edu_await(f);
}

static int nvme_await_ready(struct pcid_function *f)
{
	for (unsigned i = 0; i < MANY_READS; i++)
		if (mmio_read(f, 0, NVME_CSTS, 4) & 1)
			return 0;
	return -ETIMEDOUT;
}

void nvme_open(struct nvme *n, struct pcid_function *f)
{
	*n = (struct nvme){.f = f, .phase = 1};
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL_FATAL(claim_function(f), 0);
	CU_ASSERT_EQUAL_FATAL(memory_attach(&n->m, f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&n->m.pool, 0, MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(f, 1, &n->irqs), 0);
	mmio_write(f, 0, NVME_AQA, 4, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	mmio_write(f, 0, NVME_ASQ, 8, n->m.pool.iova);
	mmio_write(f, 0, NVME_ACQ, 8, n->m.pool.iova + 4096);
	mmio_write(f, 0, NVME_CC, 4, 6u << 16 | 4u << 20 | 1);
	CU_ASSERT_EQUAL(nvme_await_ready(f), 0);
}

void nvme_close(struct nvme *n)
{
	int ret = ops()->reset(n->f);

	CU_ASSERT(!ret || ret == -ENODEV);
	close_irqs(&n->irqs);
	memory_detach(&n->m);
	ops()->release(n->f);
}

void nvme_identify(struct nvme *n, uint64_t prp)
{
	uint32_t *sqe = (uint32_t *)(n->m.bytes + 64 * n->tail);

	memset(sqe, 0, 64);
	sqe[0] = 6 | n->tail << 16;
	memcpy(&sqe[6], &prp, sizeof(prp));
	sqe[10] = 1; /* the controller */
	n->tail = (n->tail + 1) % NVME_ENTRIES;
	mmio_write(n->f, 0, NVME_SQ0, 4, n->tail);
}

unsigned nvme_status(struct nvme *n)
{
	volatile uint16_t *status = (volatile uint16_t *)(n->m.bytes + 4096 + 16 * n->head + 14);
	unsigned i = 0;

	while ((*status & 1) != n->phase && i++ < MANY_READS)
		mmio_read(n->f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(*status & 1, n->phase);
	n->head = (n->head + 1) % NVME_ENTRIES;
	n->phase ^= !n->head;
	mmio_read(n->f, 0, NVME_CSTS, 4); /* what it does after the CQE is done then, too */
	mmio_write(n->f, 0, NVME_SQ0 + 4, 4, n->head);
	return *status >> 1;
}

static void nvme_create(struct nvme *n, unsigned opcode, uint64_t prp, uint32_t cdw11)
{
	uint32_t *sqe = (uint32_t *)(n->m.bytes + 64 * n->tail);

	memset(sqe, 0, 64);
	sqe[0] = opcode | n->tail << 16;
	memcpy(&sqe[6], &prp, sizeof(prp));
	sqe[10] = (NVME_ENTRIES - 1) << 16 | 1;
	sqe[11] = cdw11;
	n->tail = (n->tail + 1) % NVME_ENTRIES;
	mmio_write(n->f, 0, NVME_SQ0, 4, n->tail);
	CU_ASSERT_EQUAL(nvme_status(n), 0);
}

/* Read block 0 to `count` pages from `prp` on, a command each. */
void nvme_read_pages(struct nvme *n, uint64_t prp, unsigned count)
{
	nvme_create(n, 5, n->m.pool.iova + NVME_IO_CQ, 1);
	nvme_create(n, 1, n->m.pool.iova + NVME_IO_SQ, 1 << 16 | 1);
	for (unsigned i = 0; i < count; i++, prp += NVME_READ_BYTES) {
		uint32_t *sqe = (uint32_t *)(n->m.bytes + NVME_IO_SQ + 64 * i);

		memset(sqe, 0, 64);
		sqe[0] = 2 | i << 16;
		sqe[1] = 1;
		memcpy(&sqe[6], &prp, sizeof(prp));
		sqe[12] = NVME_READ_BYTES / 512 - 1;
	}
	mmio_write(n->f, 0, NVME_SQ1, 4, count);
}
