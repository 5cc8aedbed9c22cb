/* SPDX-License-Identifier: MIT */
/*
 * An NVMe controller in the test's own process, behind the PCI helpers that nvmed calls, and block
 * serving that hands nvmed requests and notes its answers. For one test program only: it defines
 * functions of the library in their place. IOVAs are addresses. Commands run when their doorbell is
 * written; what a test tells the model to hold stays unanswered.
 */
#ifndef NVMEMODEL_H
#define NVMEMODEL_H

#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../nvmed/nvmed.h"

#define MODEL_QUEUES 8
#define MODEL_HELD 64

struct model_queue {
	struct nvme_sqe *sq;
	struct nvme_cqe *cq;
	uint32_t entries, head, tail, cq_tail;
	bool phase, exists;
};

static struct model {
	uint32_t cc, csts, aqa;
	uint64_t asq, acq, cap;
	bool stuck_ready, stuck_abort, gone, master;
	bool hold_io, hold_admin, refuse_abort, heals; /* heals: a reset ends hold_io */
	struct model_queue queue[MODEL_QUEUES];
	struct nvme_sqe held[MODEL_HELD], events[MODEL_HELD];
	uint16_t held_queue[MODEL_HELD];
	unsigned nheld, nevents;
	unsigned aborts, enables, flrs, io_commands, logs[256];
	uint32_t nsids[1024];
	uint64_t blocks;
	uint8_t lbads, mdts;
	int irq[2];
	bool masked[2], pending[2];
} m;

static void model_interrupt(unsigned vector)
{
	uint64_t one = 1;

	if (m.masked[vector])
		m.pending[vector] = true;
	else if (write(m.irq[vector], &one, sizeof(one)) != sizeof(one))
		abort();
}

static void model_complete(unsigned qid, uint16_t cid, uint16_t status, uint32_t result)
{
	struct model_queue *q = &m.queue[qid];
	struct nvme_cqe *cqe = &q->cq[q->cq_tail];

	cqe->result = htole32(result);
	cqe->cid = cid;
	cqe->sq_id = (uint16_t)qid;
	__atomic_store_n(&cqe->status, htole16((uint16_t)(status << 1 | q->phase)),
			 __ATOMIC_RELEASE);
	if (++q->cq_tail == q->entries) {
		q->cq_tail = 0;
		q->phase = !q->phase;
	}
	model_interrupt(qid != 0);
}

static void model_identify(const struct nvme_sqe *sqe)
{
	void *to = (void *)(uintptr_t)sqe->prp1;

	memset(to, 0, 4096);
	if (sqe->cdw10 == NVME_IDENTIFY_CNS_CTRL) {
		struct nvme_id_ctrl *id = to;

		id->sqes = 0x66;
		id->cqes = 0x44;
		id->mdts = m.mdts;
		id->aerl = 3;
		id->oaes = htole32(1u << 8);
		id->oncs = htole16(0xc);
		memcpy(id->sn, "\x01serial", 7);
	} else if (sqe->cdw10 == NVME_IDENTIFY_CNS_NS) {
		struct nvme_id_ns *id = to;

		id->nsze = htole64(m.blocks);
		id->lbaf[0].ds = m.lbads;
	} else {
		uint32_t *list = to;

		for (unsigned i = 0, n = 0; i < 1024 && m.nsids[i]; i++)
			if (m.nsids[i] > sqe->nsid)
				list[n++] = m.nsids[i];
	}
}

static void model_create(const struct nvme_sqe *sqe, bool cq)
{
	struct model_queue *q = &m.queue[sqe->cdw10 & 0xffff];

	if (cq)
		*q = (struct model_queue){.cq = (void *)(uintptr_t)sqe->prp1,
					  .entries = (sqe->cdw10 >> 16) + 1,
					  .phase = true};
	else
		q->sq = (void *)(uintptr_t)sqe->prp1;
	q->exists = !cq;
}

/* Status; the result in *result. -1: no answer yet. */
static int model_admin(const struct nvme_sqe *sqe, uint32_t *result)
{
	switch (sqe->opcode) {
	case nvme_admin_identify:
		return model_identify(sqe), 0;
	case nvme_admin_create_cq:
	case nvme_admin_create_sq:
		if ((sqe->cdw10 & 0xffff) >= MODEL_QUEUES)
			abort();
		return model_create(sqe, sqe->opcode == nvme_admin_create_cq), 0;
	case nvme_admin_set_features:
		*result = sqe->cdw10 == NVME_FEAT_FID_NUM_QUEUES ? 1 << 16 | 1 : 0;
		return 0;
	case nvme_admin_get_log_page:
		m.logs[sqe->cdw10 & 0xff]++;
		return 0;
	case nvme_admin_async_event:
		m.events[m.nevents++] = *sqe;
		return -1;
	case nvme_admin_abort_cmd:
		m.aborts++;
		*result = 1;
		for (unsigned i = 0; i < m.nheld && !m.refuse_abort; i++)
			if (m.held[i].cid == sqe->cdw10 >> 16) {
				*result = 0;
				model_complete(m.held_queue[i], m.held[i].cid, NVME_SC_ABORT_REQ,
					       0);
				m.held[i] = m.held[--m.nheld];
			}
		return m.stuck_abort ? -1 : 0;
	default:
		return 0;
	}
}

static void model_run(unsigned qid)
{
	struct model_queue *q = &m.queue[qid];

	while (q->head != q->tail) {
		struct nvme_sqe sqe = q->sq[q->head];
		uint32_t result = 0;
		int status;

		q->head = (q->head + 1) % q->entries;
		m.io_commands += qid != 0;
		if (qid ? m.hold_io : m.hold_admin) {
			m.held_queue[m.nheld] = (uint16_t)qid;
			m.held[m.nheld++ % MODEL_HELD] = sqe;
			continue;
		}
		status = qid ? 0 : model_admin(&sqe, &result);
		if (status >= 0)
			model_complete(qid, sqe.cid, (uint16_t)status, result);
	}
}

static void model_answer_held(unsigned i, uint16_t status)
{
	model_complete(m.held_queue[i], m.held[i].cid, status, 0);
	m.held[i] = m.held[--m.nheld];
}

static void model_event(uint32_t result)
{
	struct nvme_sqe sqe = m.events[--m.nevents];

	model_complete(0, sqe.cid, 0, result);
}

static void model_configure(uint32_t value)
{
	m.cc = value;
	if (!(value & 1) && !m.stuck_ready) {
		m.csts = 0;
		m.nheld = m.nevents = 0;
		m.hold_io = m.hold_io && !m.heals;
		memset(m.queue, 0, sizeof(m.queue));
	} else if (value & 1 && !(m.csts & 1)) {
		m.enables++;
		m.queue[0] = (struct model_queue){.sq = (void *)(uintptr_t)m.asq,
						  .cq = (void *)(uintptr_t)m.acq,
						  .entries = (m.aqa & 0xfff) + 1,
						  .phase = true};
		m.csts = 1;
	}
	if (value & 1u << 14)
		m.csts |= 2u << 2;
}

/* ---- the PCI helpers ---- */

static const struct pcidipc_pci_info model_info = {.address = "model"};

const struct pcidipc_pci_info *pcidipc_pci_info(const struct pcidipc_pci *pci)
{
	(void)pci;
	return &model_info;
}

uint64_t pcidipc_mmio_read_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width)
{
	(void)mmio;
	(void)width;
	if (m.gone)
		return UINT64_MAX;
	switch (offset) {
	case 0x00:
		return (uint32_t)m.cap;
	case 0x04:
		return m.cap >> 32;
	case 0x1c:
		return m.csts;
	default:
		return 0;
	}
}

static void model_address(uint64_t *reg, uint64_t value, bool high)
{
	*reg = high ? (*reg & UINT32_MAX) | value << 32 : (*reg & ~(uint64_t)UINT32_MAX) | value;
}

void pcidipc_mmio_write_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width,
			     uint64_t value)
{
	unsigned doorbell = (unsigned)(offset - 0x1000) / 4;

	(void)mmio;
	(void)width;
	if (m.gone)
		return;
	if (offset == 0x14)
		model_configure((uint32_t)value);
	else if (offset == 0x24)
		m.aqa = (uint32_t)value;
	else if (offset == 0x28 || offset == 0x2c)
		model_address(&m.asq, value, offset == 0x2c);
	else if (offset == 0x30 || offset == 0x34)
		model_address(&m.acq, value, offset == 0x34);
	else if (offset >= 0x1000 && m.csts & 1 && !(doorbell & 1)) {
		m.queue[doorbell / 2].tail = (uint32_t)value;
		model_run(doorbell / 2);
	}
}

int pcidipc_pci_map(struct pcidipc_pci *pci, unsigned region, struct pcidipc_mmio *mmio)
{
	*mmio = (struct pcidipc_mmio){.bytes = 0x2000, .pci = pci, .region = region};
	return 0;
}

int pcidipc_pci_enable(struct pcidipc_pci *pci, bool decode, bool master)
{
	(void)pci;
	(void)decode;
	m.master = master;
	return 0;
}

int pcidipc_pci_reset(struct pcidipc_pci *pci)
{
	(void)pci;
	m.flrs++;
	m.stuck_ready = false;
	model_configure(0);
	return 0;
}

int pcidipc_pci_alloc_vectors(struct pcidipc_pci *pci, unsigned least, unsigned most,
			      struct pcidipc_vectors *v)
{
	(void)pci;
	(void)least;
	v->count = most;
	for (unsigned i = 0; i < most; i++)
		v->fds[i] = m.irq[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return 0;
}

int pcidipc_vector_ack(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

void pcidipc_pci_mask(struct pcidipc_pci *pci, unsigned vector)
{
	(void)pci;
	m.masked[vector] = true;
}

void pcidipc_pci_unmask(struct pcidipc_pci *pci, unsigned vector)
{
	(void)pci;
	m.masked[vector] = false;
	if (m.pending[vector])
		model_interrupt(vector);
	m.pending[vector] = false;
}

int pcidipc_dma_create(struct pcidipc_pci *pci, uint64_t bytes, struct pcidipc_dma *dma)
{
	int ret = pcidipc_pool_create(bytes, 0, &dma->pool);

	(void)pci;
	dma->iova = (uintptr_t)pcidipc_pool_base(dma->pool);
	return ret;
}

int pcidipc_pci_pool_attach(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool)
{
	return (void)pci, (void)pool, 0;
}

int pcidipc_pci_pool_map(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool, uint64_t offset,
			 uint64_t bytes)
{
	return (void)pci, (void)pool, (void)offset, (void)bytes, 0;
}

void pcidipc_pci_pool_detach(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool)
{
	(void)pci, (void)pool;
}

int pcidipc_pci_publish(struct pcidipc_pci *pci, const char *kind, const char *suffix,
			struct pcidipc_service *service)
{
	(void)pci;
	snprintf(service->name, sizeof(service->name), "%s/nvme0%s", kind, suffix);
	return 0;
}

int pcidipc_pci_unpublish(struct pcidipc_pci *pci, struct pcidipc_service *service)
{
	return (void)pci, (void)service, 0;
}

/* ---- block serving ---- */

static unsigned disks_served, disks_removed, disks_changed;
static struct pair *model_pair; /* of the one session */

int pcidipc_disk_serve(struct pcidipc_loop *l, struct pcidipc_disk *disk, int fd, int admin_fd)
{
	(void)l, (void)fd, (void)admin_fd, (void)disk;
	disks_served++;
	return 0;
}

void pcidipc_disk_remove(struct pcidipc_disk *disk)
{
	(void)disk;
	disks_removed++;
}

void pcidipc_disk_changed(struct pcidipc_disk *disk)
{
	(void)disk;
	disks_changed++;
}

void *pcidipc_block_session_priv(struct pcidipc_session *s)
{
	(void)s;
	return &model_pair;
}

/* A request and what became of it. `enabled_then`: was the controller ready when it completed? */
struct asked {
	int res;
	bool done, enabled_then;
	struct pcidipc_request *rq;
	struct pcidipc_block_io *io;
};

void pcidipc_block_complete(struct pcidipc_block_io *io, int res)
{
	struct asked *a = (void *)(uintptr_t)io->passthrough.iova;

	if (a->done)
		abort();
	a->done = true;
	a->enabled_then = m.csts & 1;
	a->res = res;
}

#endif
