/* SPDX-License-Identifier: MIT */
/* xhcid's controller on the model: the library's seams, started, asked, ended. For one test
 * program, as the model is. */
#ifndef XHCIRIG_H
#define XHCIRIG_H

#include <pcidipc/driver.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <sys/mman.h>

#include "xhcidevice.h"

/* ---- the PCI helpers ---- */

static const struct pcidipc_pci_info model_info = {.address = "model"};

const struct pcidipc_pci_info *pcidipc_pci_info(const struct pcidipc_pci *pci)
{
	return (void)pci, &model_info;
}

int pcidipc_pci_map(struct pcidipc_pci *pci, unsigned region, struct pcidipc_mmio *mmio)
{
	*mmio = (struct pcidipc_mmio){.bytes = MODEL_BAR, .pci = pci, .region = region};
	return 0;
}

/* What xhcid publishes for people is not what is tested here. */
int pcidipc_pci_serve(struct pcidipc_pci *pci, const char *kind, const char *suffix,
		      struct pcidipc_scheme *scheme)
{
	return (void)pci, (void)kind, (void)suffix, (void)scheme, -EOPNOTSUPP;
}

uint32_t pcidipc_session_flags(const struct pcidipc_session *session)
{
	return (void)session, 0;
}

int pcidipc_pci_enable(struct pcidipc_pci *pci, bool decode, bool master)
{
	(void)pci, (void)decode;
	m.master = master;
	return 0;
}

int pcidipc_pci_alloc_vectors(struct pcidipc_pci *pci, unsigned least, unsigned most,
			      struct pcidipc_vectors *v)
{
	(void)pci, (void)least;
	v->count = most;
	v->kind = RINGABI_IRQ_MSIX;
	v->fds[0] = m.irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return 0;
}

int pcidipc_vector_ack(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

void pcidipc_pci_mask(struct pcidipc_pci *pci, unsigned vector)
{
	(void)pci, (void)vector;
	m.masks++;
	m.masked = true;
}

void pcidipc_pci_unmask(struct pcidipc_pci *pci, unsigned vector)
{
	uint64_t one = 1;

	(void)pci, (void)vector;
	m.masked = false;
	if (m.pending && write(m.irq, &one, sizeof(one)) != sizeof(one))
		abort();
	m.pending = false;
}

/* As pcid does it: before the first pool, and from then on all pools lie below. */
int pcidipc_pci_dma_bits(struct pcidipc_pci *pci, unsigned bits)
{
	(void)pci;
	if (m.memory)
		return -EBUSY;
	m.iova &= (1ull << bits) - 1;
	m.client_iova &= (1ull << bits) - 1;
	return 0;
}

int pcidipc_dma_create(struct pcidipc_pci *pci, uint64_t bytes, struct pcidipc_dma *dma)
{
	int ret = pcidipc_pool_create(bytes, 0, &dma->pool);

	(void)pci;
	dma->iova = m.iova;
	m.memory = (uint8_t *)pcidipc_pool_base(dma->pool);
	return ret;
}

int pcidipc_pci_announce(struct pcidipc_pci *pci, const struct pcidipc_child *child)
{
	(void)pci, (void)child;
	m.announced++;
	return 0;
}

int pcidipc_pci_child_gone(struct pcidipc_pci *pci, uint32_t number)
{
	(void)pci, (void)number;
	m.gone_children++;
	return 0;
}

/* ---- serving: a session is its interface ---- */

static void *model_spare;

struct pcidipc_scheme *pcidipc_session_scheme(struct pcidipc_session *session)
{
	return &((struct interface *)(void *)session)->scheme;
}

void *pcidipc_session_priv(struct pcidipc_session *session)
{
	return (void)session, &model_spare;
}

int pcidipc_session_pid(const struct pcidipc_session *session)
{
	return (void)session, 1;
}

int pcidipc_session_create(struct pcidipc_loop *l, struct pcidipc_scheme *scheme, int channel,
			   uint32_t flags, struct pcidipc_session **session)
{
	return (void)l, (void)scheme, (void)channel, (void)flags, (void)session, -EOPNOTSUPP;
}

void pcidipc_scheme_event(struct pcidipc_scheme *scheme, uint32_t event)
{
	(void)scheme, (void)event;
}

void pcidipc_scheme_end_sessions(struct pcidipc_scheme *scheme)
{
	(void)scheme;
	pcidipc_task_yield();
}

int pcidipc_request_reach(struct pcidipc_request *rq, uint32_t index, uint64_t offset,
			  uint64_t bytes, uint64_t *iova)
{
	(void)rq;
	if (index)
		return -ENXIO;
	*iova = m.client_iova + offset;
	return offset + bytes <= MODEL_CLIENT_BYTES ? 0 : -EFAULT;
}

int pcidipc_request_map(struct pcidipc_request *rq, uint32_t index, uint64_t offset, uint64_t bytes,
			void **address)
{
	(void)rq;
	if (index)
		return -ENXIO;
	*address = m.client + offset;
	return offset + bytes <= MODEL_CLIENT_BYTES ? 0 : -EFAULT;
}

/* A request and what became of it. */
struct asked {
	int res;
	bool done, master_then; /* could the controller still write then? */
	struct pcidipc_request *rq;
};

void pcidipc_complete(struct pcidipc_request *rq, int32_t res)
{
	struct asked *a = (void *)(uintptr_t)rq->sqe.user_data;

	if (a->done)
		abort();
	*a = (struct asked){.res = res, .done = true, .master_then = m.master, .rq = rq};
}

/* ---- asking ---- */

static struct controller *c;
static bool flag;
static int result;

#define UNTIL(condition)                                  \
	do {                                              \
		while (!(condition))                      \
			pcidipc_loop_turn(c->loop, true); \
	} while (0)

static void submit(struct interface *in, struct asked *a, uint32_t op, const void *arg,
		   uint32_t len)
{
	struct pcidipc_request *rq = calloc(1, sizeof(*rq) + request_bytes() + 64);

	*a = (struct asked){.rq = rq};
	rq->session = (void *)in;
	rq->sqe.user_data = (uintptr_t)a;
	rq->sqe.opcode = IORING_OP_URING_CMD;
	rq->sqe.cmd_op = op;
	rq->sqe.len = len;
	memcpy(rq->sqe.cmd, arg, 16);
	a->res = in->scheme.request(rq);
	a->done = a->res != PCIDIPC_PENDING;
	in->scheme.flush((void *)in);
}

static inline void ask(struct interface *in, struct asked *a, uint8_t endpoint, uint32_t len,
		       uint32_t timeout_ms)
{
	const struct ringabi_usb_arg arg = {.endpoint = endpoint, .timeout_ms = timeout_ms};

	submit(in, a, RINGABI_USB_TRANSFER, &arg, len);
}

static bool too_late;

static inline void give_up_waiting(struct pcidipc_timer *timer)
{
	(void)timer;
	too_late = true;
}

/* It comes to that by itself, in ten seconds at most. */
#define SOON(condition)                                                             \
	({                                                                          \
		struct pcidipc_timer timer_ = {0};                                  \
                                                                                    \
		too_late = false;                                                   \
		pcidipc_timer_set(c->loop, &timer_, 10000000000u, give_up_waiting); \
		UNTIL((condition) || too_late);                                     \
		pcidipc_timer_cancel(&timer_);                                      \
		!too_late;                                                          \
	})

static int finish_asked(struct asked *a)
{
	UNTIL(a->done);
	free(a->rq);
	a->rq = NULL;
	return a->res;
}

/* CONFIGURE, CLEAR_HALT, STOP, RESET_DEVICE: and their result. */
static inline int perform(struct interface *in, uint32_t op, uint8_t endpoint)
{
	const struct ringabi_usb_arg arg = {.endpoint = endpoint};
	struct asked a;

	submit(in, &a, op, &arg, 0);
	return finish_asked(&a);
}

/* ---- the rig ---- */

static void start_task(void *arg)
{
	(void)arg;
	result = controller_start(c);
	if (!result)
		ports_start(c);
	flag = true;
}

static void stop_task(void *arg)
{
	(void)arg;
	c->stopping = true;
	ports_stop(c);
	controller_stop(c);
	flag = true;
}

/* Ports 1 and 2: USB 3; 3 and 4: USB 2. */
static void begin(void)
{
	static const uint32_t ext[] = {0x03000402, PROTOCOL_NAME, 0x0201, 0,
				       0x02000002, PROTOCOL_NAME, 0x0203, 0};

	memset(&m, 0, sizeof(m));
	m.cap[0] = MODEL_OP | 0x01200000;
	m.cap[1] = 8 | 1u << 8 | 4u << 24;
	m.cap[2] = 2u << 4;
	m.cap[4] = HCC_AC64 | HCC_PPC | (MODEL_EXT / 4) << 16;
	m.cap[5] = MODEL_DB;
	m.cap[6] = MODEL_RT;
	memcpy(m.ext, ext, sizeof(ext));
	m.usbsts = USBSTS_HALTED;
	m.pagesize = 1;
	m.cycle = true;
	m.iova = 0x240000000;
	m.client_iova = 0x700090000000;
	m.irq = -1;
	m.client = mmap(NULL, MODEL_CLIENT_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c = calloc(1, sizeof(*c));
	c->tick_ns = 1000000;
	c->address = "model";
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &c->loop), 0);
}

static int start(void)
{
	flag = false;
	pcidipc_spawn(c->loop, start_task, NULL);
	UNTIL(flag);
	return result;
}

static inline void finish(void)
{
	flag = false;
	pcidipc_spawn(c->loop, stop_task, NULL);
	UNTIL(flag && !c->looking);
	CU_ASSERT_EQUAL(m.wild, 0);
	CU_ASSERT_EQUAL(m.crossings, 0);
	CU_ASSERT_EQUAL(m.td_sizes_wrong, 0);
	CU_ASSERT_EQUAL(m.written_unready, 0);
	pcidipc_timer_cancel(&c->watchdog);
	if (m.irq >= 0) {
		events_stop(c);
		close(m.irq);
	}
	pcidipc_loop_destroy(c->loop);
	if (c->dma.pool)
		pcidipc_pool_destroy(c->dma.pool);
	munmap(m.client, MODEL_CLIENT_BYTES);
	while (model_spare) {
		void *next = *(void **)model_spare;

		free(model_spare);
		model_spare = next;
	}
	free(c);
}

static inline struct device *device_at(unsigned slot)
{
	return c->slots[slot];
}

/* Of xhcid's own memory. */
static inline uint64_t memory_used(void)
{
	struct pcidipc_pool_stats stats;

	pcidipc_pool_stats(c->dma.pool, &stats);
	return stats.used_bytes;
}

/* A stick on a root port, configured. */
static inline struct interface *stick_at(unsigned port, unsigned speed)
{
	struct device *dev;

	if (start())
		return NULL;
	model_plug(port, speed);
	UNTIL(m.announced == 1);
	dev = c->ports[port].device ? c->ports[port].device : c->slots[1];
	UNTIL(!c->ports[port].busy);
	result = perform(&dev->interfaces[0], RINGABI_USB_CONFIGURE, 0);
	return &dev->interfaces[0];
}

#endif
