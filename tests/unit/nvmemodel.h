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
#define MODEL_HELD 128
#define MODEL_HOLD 0x100u
#define MODEL_NSIDS 3000

struct model_queue {
	struct nvme_sqe *sq;
	struct nvme_cqe *cq;
	uint32_t entries, head, tail, cq_tail;
	uint32_t cq_head; /* as far as it was told */
	bool phase, exists;
};

static struct model {
	uint32_t cc, csts, aqa;
	uint64_t asq, acq, cap;
	bool stuck_ready, stuck_abort, gone, master;
	bool hold_io, hold_admin, refuse_abort, heals; /* heals: a reset ends hold_io */
	uint16_t hold_opcode;			       /* admin: only this one, + MODEL_HOLD */
	bool slow_ready;			       /* CSTS.RDY does not come by itself */
	void (*at_status)(void);		       /* CSTS is read */
	bool mute;				       /* interrupts are lost */
	unsigned vectors_most, grant; /* 0: as asked for; 1 pair more than `grant` */
	uint8_t acl;
	struct model_queue queue[MODEL_QUEUES];
	struct nvme_sqe held[MODEL_HELD], events[MODEL_HELD];
	uint16_t held_queue[MODEL_HELD];
	unsigned nheld, nevents;
	unsigned aborts, aborts_held, aborts_worst; /* sent; unanswered now, and at most */
	unsigned enables, flrs, io_commands, creates, deletes, logs[256];
	struct nvme_sqe last;	     /* I/O */
	struct nvme_dsm_range range; /* of the last DSM */
	uint32_t all_of;	     /* and of all cdw12 of I/O */
	uint16_t answer;	     /* status of the next Get Log Page */
	uint8_t warnings;
	uint32_t nsids[MODEL_NSIDS];
	uint32_t odd_below; /* namespaces below have a block size that cannot be driven */
	uint64_t blocks;
	/* Shadow doorbells, where offered: commands run when model_poll looks, or when a doorbell
	 * is written because the controller said that it sleeps. */
	bool offers_dbbuf, awake;
	volatile uint32_t *shadow, *event;
	unsigned doorbells, cq_doorbells; /* of I/O queues */
	unsigned overruns;		  /* completions that found their queue full */
	/* Called in the middle of masking and unmasking. */
	void (*at_mask)(void), (*at_unmask)(bool before);
	unsigned masks, unmasks;
	uint8_t lbads, mdts;
	int irq[2];
	uint32_t kind;		/* of interrupts; 0: MSI-X */
	unsigned vectors, lost; /* allocated now; interrupts that had no vector to go to */
	bool masked[2], pending[2];
} m;

static void model_interrupt(unsigned vector)
{
	uint64_t one = 1;

	if (m.vectors_most == 1)
		vector = 0;
	if (m.mute)
		return;
	if (vector >= m.vectors)
		m.lost++;
	else if (m.masked[vector])
		m.pending[vector] = true;
	else if (write(m.irq[vector], &one, sizeof(one)) != sizeof(one))
		abort();
}

static void model_complete(unsigned qid, uint16_t cid, uint16_t status, uint32_t result)
{
	struct model_queue *q = &m.queue[qid];
	struct nvme_cqe *cqe = &q->cq[q->cq_tail];

	if (m.shadow && qid)
		m.event[2 * qid + 1] = q->cq_head = m.shadow[2 * qid + 1];
	m.overruns += (q->cq_tail + 1) % q->entries == q->cq_head;
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
		id->acl = m.acl;
		id->oacs = htole16(m.offers_dbbuf ? 1u << 8 : 0);
		id->vwc = 1;
		id->oaes = htole32(1u << 8);
		id->oncs = htole16(0xc);
		memcpy(id->sn, "\x01serial", 7);
	} else if (sqe->cdw10 == NVME_IDENTIFY_CNS_NS) {
		struct nvme_id_ns *id = to;

		id->nsze = htole64(m.blocks);
		id->lbaf[0].ds = sqe->nsid < m.odd_below ? 63 : m.lbads;
		id->dlfeat = 1u << 3;
	} else {
		uint32_t *list = to;

		for (unsigned i = 0, n = 0; n < 1024 && i < MODEL_NSIDS && m.nsids[i]; i++)
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

static int model_abort(const struct nvme_sqe *sqe, uint32_t *result)
{
	m.aborts++;
	if (++m.aborts_held > m.aborts_worst)
		m.aborts_worst = m.aborts_held;
	*result = 1;
	for (unsigned i = 0; i < m.nheld && !m.refuse_abort; i++)
		if (m.held[i].cid == sqe->cdw10 >> 16 && m.held_queue[i] == (sqe->cdw10 & 0xffff)) {
			*result = 0;
			model_complete(m.held_queue[i], m.held[i].cid, NVME_SC_ABORT_REQ, 0);
			m.held[i] = m.held[--m.nheld];
			m.held_queue[i] = m.held_queue[m.nheld];
		}
	if (m.stuck_abort)
		return -1;
	m.aborts_held--;
	return 0;
}

static void model_log(const struct nvme_sqe *sqe)
{
	struct nvme_smart_log *log = (void *)(uintptr_t)sqe->prp1;

	m.logs[sqe->cdw10 & 0xff]++;
	if ((sqe->cdw10 & 0xff) != NVME_LOG_LID_SMART)
		return;
	memset(log, 0, sizeof(*log));
	log->critical_warning = m.warnings;
	log->temperature[0] = 300 & 0xff;
	log->temperature[1] = 300 >> 8;
	log->avail_spare = 90;
	log->spare_thresh = 10;
	log->percent_used = 120;
	log->data_units_read[0] = 3;
	log->data_units_written[15] = 1; /* more than 64 bits */
	log->host_reads[1] = 1;
	log->host_writes[0] = 5;
	log->power_cycles[0] = 6;
	log->power_on_hours[0] = 7;
	log->unsafe_shutdowns[0] = 8;
	log->media_errors[0] = 9;
	log->num_err_log_entries[0] = 10;
}

/* Status; the result in *result. -1: no answer yet. */
static int model_admin(const struct nvme_sqe *sqe, uint32_t *result)
{
	switch (sqe->opcode) {
	case nvme_admin_identify:
		return model_identify(sqe), 0;
	case nvme_admin_create_cq:
	case nvme_admin_create_sq:
		m.creates++;
		if ((sqe->cdw10 & 0xffff) >= MODEL_QUEUES)
			abort();
		return model_create(sqe, sqe->opcode == nvme_admin_create_cq), 0;
	case nvme_admin_set_features:
		*result = sqe->cdw10 == NVME_FEAT_FID_NUM_QUEUES ? m.grant << 16 | m.grant : 0;
		return 0;
	case nvme_admin_get_log_page:
		return model_log(sqe), m.answer;
	case nvme_admin_delete_sq:
	case nvme_admin_delete_cq:
		m.deletes++;
		return 0;
	case nvme_admin_dbbuf:
		m.shadow = (void *)(uintptr_t)sqe->prp1;
		m.event = (void *)(uintptr_t)sqe->prp2;
		return 0;
	case nvme_admin_async_event:
		m.events[m.nevents++] = *sqe;
		return -1;
	case nvme_admin_abort_cmd:
		return model_abort(sqe, result);
	default:
		return 0;
	}
}

static void model_note(const struct nvme_sqe *sqe)
{
	m.last = *sqe;
	m.all_of &= le32toh(sqe->cdw12);
	if (sqe->opcode == nvme_cmd_dsm)
		memcpy(&m.range, (void *)(uintptr_t)le64toh(sqe->prp1), sizeof(m.range));
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
		if (qid)
			model_note(&sqe);
		if (qid ? m.hold_io : m.hold_admin || m.hold_opcode == (MODEL_HOLD | sqe.opcode)) {
			if (m.nheld == MODEL_HELD)
				abort();
			m.held_queue[m.nheld] = (uint16_t)qid;
			m.held[m.nheld++] = sqe;
			continue;
		}
		status = qid ? 0 : model_admin(&sqe, &result);
		if (status >= 0)
			model_complete(qid, sqe.cid, (uint16_t)status, result);
	}
}

static inline void model_answer_held(unsigned i, uint16_t status)
{
	uint16_t queue = m.held_queue[i], cid = m.held[i].cid;

	m.held[i] = m.held[--m.nheld];
	m.held_queue[i] = m.held_queue[m.nheld];
	model_complete(queue, cid, status, 0);
}

/* Look at the shadow doorbells of a queue. A controller that goes to sleep says from where on it
 * wants to hear of more; one that stays awake asks for what is half a queue away. */
static void model_poll(unsigned qid)
{
	struct model_queue *q = &m.queue[qid];

	q->tail = m.shadow[2 * qid];
	model_run(qid);
	m.event[2 * qid] = m.awake ? (q->tail + q->entries / 2) % q->entries : q->tail;
}

static inline void model_event(uint32_t result)
{
	struct nvme_sqe sqe = m.events[--m.nevents];

	model_complete(0, sqe.cid, 0, result);
}

static void model_configure(uint32_t value)
{
	m.cc = value;
	if (!(value & 1) && !m.stuck_ready) {
		m.csts = 0;
		m.nheld = m.nevents = m.aborts_held = 0;
		m.shadow = m.event = NULL;
		m.hold_io = m.hold_io && !m.heals;
		memset(m.queue, 0, sizeof(m.queue));
	} else if (value & 1 && !(m.csts & 1)) {
		m.enables++;
		m.queue[0] = (struct model_queue){.sq = (void *)(uintptr_t)m.asq,
						  .cq = (void *)(uintptr_t)m.acq,
						  .entries = (m.aqa & 0xfff) + 1,
						  .phase = true};
		m.csts = !m.slow_ready;
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
		if (m.at_status)
			m.at_status();
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
	else if (offset >= 0x1000 && m.csts & 1 && doorbell & 1) {
		m.cq_doorbells += doorbell > 1;
		m.queue[doorbell / 2].cq_head = (uint32_t)value;
	} else if (offset >= 0x1000 && m.csts & 1) {
		m.doorbells += doorbell > 1;
		m.queue[doorbell / 2].tail = (uint32_t)value;
		if (m.shadow && doorbell > 1)
			model_poll(doorbell / 2);
		else
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
	m.vectors = 0;
	model_configure(0);
	return 0;
}

int pcidipc_pci_alloc_vectors(struct pcidipc_pci *pci, unsigned least, unsigned most,
			      struct pcidipc_vectors *v)
{
	(void)pci;
	(void)least;
	if (m.vectors_most && most > m.vectors_most)
		most = m.vectors_most;
	v->count = m.vectors = most;
	v->kind = m.kind ? m.kind : RINGABI_IRQ_MSIX;
	memset(m.masked, 0, sizeof(m.masked));
	memset(m.pending, 0, sizeof(m.pending));
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
	m.masks++;
	m.masked[vector] = true;
	if (m.at_mask)
		m.at_mask();
}

void pcidipc_pci_unmask(struct pcidipc_pci *pci, unsigned vector)
{
	bool fire;

	(void)pci;
	m.unmasks++;
	if (m.at_unmask)
		m.at_unmask(true);
	m.masked[vector] = false;
	fire = m.pending[vector];
	m.pending[vector] = false;
	if (fire)
		model_interrupt(vector);
	if (m.at_unmask)
		m.at_unmask(false);
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
static struct share model_share; /* of the session that asks, where the request names none */
#define model_pair model_share.pair

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
	return s ? (void *)s : &model_share;
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
	struct asked *a = (void *)(uintptr_t)pcidipc_block_request(io)->sqe.user_data;

	if (a->done)
		abort();
	a->done = true;
	a->enabled_then = m.csts & 1;
	a->res = res;
}

#endif
