// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The PCI interface over a driver's ring. What is fast is done in the handler: registers, masks.
 * What may take its time goes to the driver's worker task (pciserve_slow.c), so that no driver
 * waits for another one's.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <string.h>

#include "driver.h"

#define MAX_SQ_ENTRIES 1024
#define MAX_CQ_ENTRIES 2048

/* ---- queues of requests ---- */

static struct pcid_pending *pending_of(struct pcidipc_request *rq)
{
	return (void *)rq->priv;
}

static struct pcid_driver *driver_of(struct pcidipc_request *rq)
{
	return pcidipc_session_scheme(rq->session)->driver;
}

void pcid_queue_push(struct pcidipc_queue *queue, struct pcidipc_request *rq)
{
	pending_of(rq)->queue = queue;
	pcidipc_queue_push(queue, rq);
}

struct pcidipc_request *pcid_queue_pop(struct pcidipc_queue *queue)
{
	struct pcidipc_request *rq = pcidipc_queue_pop(queue);

	if (rq)
		pending_of(rq)->queue = NULL;
	return rq;
}

static void queue_remove(struct pcidipc_queue *queue, struct pcidipc_request *rq)
{
	struct pcidipc_request *before = NULL, *at = queue->first;

	while (at && at != rq) {
		before = at;
		at = at->next;
	}
	if (!at)
		return;
	if (before)
		before->next = rq->next;
	else
		queue->first = rq->next;
	if (queue->last == rq)
		queue->last = before;
	pending_of(rq)->queue = NULL;
}

/* ---- refusing ---- */

/* What a driver asked for and may not have. -EAGAIN and -ENODEV are nobody's mistake. */
static int refuse(struct pcid_driver *d, const struct pcidipc_request *rq,
		  const struct ringabi_pci_arg *arg, int error, const char *why)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: request %#x of opcode %u, address %#llx, index %u, width %u: "
				"%s (%s)",
				d->name, rq->sqe.cmd_op, rq->sqe.opcode,
				(unsigned long long)rq->sqe.addr, arg->index, arg->width, why,
				strerror(-error));
	return error;
}

/* ---- facts about the function ---- */

static int do_info(struct pcid_driver *d, struct pcidipc_request *rq,
		   const struct ringabi_pci_arg *arg)
{
	const struct pcid_function *f = d->function ? d->function : d->parent->function;
	uint32_t address = (uint32_t)f->segment << 16 | (uint32_t)f->bus_number << 8 |
			   (uint32_t)f->dev << 3 | f->fn;
	uint32_t class_code =
		(uint32_t)d->id.class_code << 16 | (uint32_t)d->id.subclass << 8 | d->id.interface;

	(void)arg;
	rq->big[0] = d->id.vendor | (uint64_t)d->id.device << 16;
	rq->big[1] = class_code | (uint64_t)address << 32;
	if (d->function) {
		rq->big[0] |= (uint64_t)f->subsystem_vendor << 32 | (uint64_t)f->subsystem_device
									    << 48;
		rq->big[1] |= (uint64_t)f->revision << 24;
	}
	return 0;
}

static int do_find_cap(struct pcid_driver *d, struct pcidipc_request *rq,
		       const struct ringabi_pci_arg *arg)
{
	const struct pcid_function *f = d->function;
	uint32_t nth = arg->index;

	if (arg->value & ~(uint64_t)RINGABI_PCI_CAP_EXTENDED)
		return -EINVAL;
	for (unsigned i = 0; i < f->ncaps; i++) {
		const struct pcid_cap *cap = &f->caps[i];

		if (cap->id != arg->width ||
		    cap->extended != (arg->value & RINGABI_PCI_CAP_EXTENDED) || nth--)
			continue;
		rq->big[0] = cap->offset;
		rq->big[1] = cap->bytes;
		return 0;
	}
	return -ENOENT;
}

/* ---- registers ---- */

int pcid_mmio_allowed(const struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width)
{
	const struct pcid_msix *x = &f->msix;
	uint64_t table_bytes = 16ull * x->count, pba_bytes = (x->count + 63ull) / 64 * 8;

	if (bar >= PCID_BARS || !f->bars[bar].bytes)
		return -ENXIO;
	if (offset > f->bars[bar].bytes || width > f->bars[bar].bytes - offset)
		return -EFAULT;
	if (x->cap && x->bar == bar && offset + width > x->offset &&
	    offset < x->offset + table_bytes)
		return -EFAULT;
	if (x->cap && x->pba_bar == bar && offset + width > x->pba_offset &&
	    offset < x->pba_offset + pba_bytes)
		return -EFAULT;
	return 0;
}

static int check_mmio(struct pcid_driver *d, const struct pcidipc_request *rq,
		      const struct ringabi_pci_arg *arg)
{
	if ((arg->width != 1 && arg->width != 2 && arg->width != 4 && arg->width != 8) ||
	    rq->sqe.addr % arg->width || (arg->width < 8 && arg->value >> 8 * arg->width))
		return -EINVAL;
	if (arg->index < PCID_BARS && d->function->bars[arg->index].io && arg->width > 4)
		return -EINVAL;
	return pcid_mmio_allowed(d->function, arg->index, rq->sqe.addr, arg->width);
}

static void mmio_read_done(struct pcid_read *read, int error, uint64_t value)
{
	struct pcid_pending *p = pcidipc_container_of(read, struct pcid_pending, read);
	struct pcidipc_request *rq =
		pcidipc_container_of((unsigned char *)p, struct pcidipc_request, priv);

	rq->big[0] = error ? 0 : value;
	pcidipc_complete(rq, error);
}

static int do_mmio_read(struct pcid_driver *d, struct pcidipc_request *rq,
			const struct ringabi_pci_arg *arg)
{
	struct pcid_read *read = &pending_of(rq)->read;
	int ret = check_mmio(d, rq, arg);

	if (ret)
		return ret;
	read->done = mmio_read_done;
	ret = d->function->bus->ops->mmio_read(d->function, arg->index, rq->sqe.addr, arg->width,
					       read);
	if (ret)
		return ret;
	d->count.mmio_reads++;
	return PCIDIPC_PENDING;
}

static int do_mmio_write(struct pcid_driver *d, struct pcidipc_request *rq,
			 const struct ringabi_pci_arg *arg)
{
	int ret = check_mmio(d, rq, arg);

	if (!ret)
		ret = d->function->bus->ops->mmio_write(d->function, arg->index, rq->sqe.addr,
							arg->width, arg->value);
	if (!ret)
		d->count.mmio_writes++;
	return ret;
}

/* ---- masks ---- */

static int do_mask(struct pcid_driver *d, struct pcidipc_request *rq,
		   const struct ringabi_pci_arg *arg)
{
	bool masked = rq->sqe.cmd_op == RINGABI_PCI_IRQ_MASK;
	int ret = pcid_irq_mask(d, arg->index, masked);

	if (!ret && masked)
		d->count.masks++;
	else if (!ret)
		d->count.unmasks++;
	return ret;
}

static int do_mask_all(struct pcid_driver *d, struct pcidipc_request *rq,
		       const struct ringabi_pci_arg *arg)
{
	bool masked = rq->sqe.cmd_op == RINGABI_PCI_IRQ_MASK_ALL;
	int ret = pcid_irq_mask_all(d, masked);

	(void)arg;
	if (!ret && masked)
		d->count.masks++;
	else if (!ret)
		d->count.unmasks++;
	return ret;
}

/* ---- DMA ---- */

static int do_dma_bits(struct pcid_driver *d, struct pcidipc_request *rq,
		       const struct ringabi_pci_arg *arg)
{
	if (arg->value < RINGABI_PCI_MIN_DMA_BITS || arg->value > 64)
		return refuse(d, rq, arg, -EINVAL, "its bits of address must be 24 to 64");
	if (!pcidipc_list_empty(&d->pools))
		return refuse(d, rq, arg, -EBUSY, "a pool is attached already");
	d->function->dma_bits = (uint8_t)arg->value;
	return 0;
}

/* ---- services and children ---- */

static int do_unpublish(struct pcid_driver *d, struct pcidipc_request *rq,
			const struct ringabi_pci_arg *arg)
{
	(void)rq;
	return pcid_service_unpublish(d, arg->index);
}

static int do_child_gone(struct pcid_driver *d, struct pcidipc_request *rq,
			 const struct ringabi_pci_arg *arg)
{
	(void)rq;
	return pcid_child_gone(d, arg->index);
}

/* What a process says of itself, at a time when it is still its library that speaks. */
static int do_confine(struct pcid_driver *d, struct pcidipc_request *rq,
		      const struct ringabi_pci_arg *arg)
{
	if (arg->value & ~(uint64_t)RINGABI_PCI_LOCKS)
		return refuse(d, rq, arg, -EINVAL, "there are no such locks");
	if (d->confined)
		return -EALREADY;
	d->confined = true;
	d->locks = (uint32_t)arg->value;
	return 0;
}

int pcid_check_confined(const struct pcid_driver *d, const char *what)
{
	if (d->confined || d->stanza->sandbox == PCID_SANDBOX_NO)
		return 0;
	pcidipc_log_ratelimited(PCIDIPC_ERROR,
				"%s: refused to %s: it has not put itself into its sandbox, as "
				"sandbox = \"%s\" demands (a driver connects by pcidipc_pci_open)",
				d->name, what, pcid_sandbox_name(d->stanza->sandbox));
	return -EPERM;
}

static int do_slow(struct pcid_driver *d, struct pcidipc_request *rq,
		   const struct ringabi_pci_arg *arg)
{
	(void)arg;
	return pcid_slow(d, rq);
}

static int do_enable(struct pcid_driver *d, struct pcidipc_request *rq,
		     const struct ringabi_pci_arg *arg)
{
	int ret = arg->value & RINGABI_PCI_ENABLE_MASTER ? pcid_check_confined(d, "enable DMA") : 0;

	return ret ? ret : do_slow(d, rq, arg);
}

/* ---- dispatch ---- */

/* The fields that a request uses; the others must be 0. */
#define USES_ADDR (1u << 0)
#define USES_INDEX (1u << 1)
#define USES_WIDTH (1u << 2)
#define USES_VALUE (1u << 3)
#define ORDERED (1u << 4)   /* keeps its place among registers and masks */
#define CHILD_TOO (1u << 5) /* works without a PCI function */

#define USES_ACCESS (USES_ADDR | USES_WIDTH)

static const struct command {
	int (*run)(struct pcid_driver *, struct pcidipc_request *, const struct ringabi_pci_arg *);
	unsigned flags;
} commands[] = {
	[RINGABI_PCI_INFO & 0xff] = {do_info, CHILD_TOO},
	[RINGABI_PCI_REGION_INFO & 0xff] = {do_slow, USES_INDEX},
	[RINGABI_PCI_CONFIG_READ & 0xff] = {do_slow, USES_ACCESS},
	[RINGABI_PCI_CONFIG_WRITE & 0xff] = {do_slow, USES_ACCESS | USES_VALUE},
	[RINGABI_PCI_FIND_CAP & 0xff] = {do_find_cap, USES_INDEX | USES_WIDTH | USES_VALUE},
	[RINGABI_PCI_ENABLE & 0xff] = {do_enable, USES_VALUE},
	[RINGABI_PCI_IRQ_MASK & 0xff] = {do_mask, USES_INDEX | ORDERED},
	[RINGABI_PCI_IRQ_UNMASK & 0xff] = {do_mask, USES_INDEX | ORDERED},
	[RINGABI_PCI_IRQ_MASK_ALL & 0xff] = {do_mask_all, ORDERED},
	[RINGABI_PCI_IRQ_UNMASK_ALL & 0xff] = {do_mask_all, ORDERED},
	[RINGABI_PCI_MMIO_READ & 0xff] = {do_mmio_read, USES_ACCESS | USES_INDEX | ORDERED},
	[RINGABI_PCI_MMIO_WRITE & 0xff] = {do_mmio_write,
					   USES_ACCESS | USES_INDEX | USES_VALUE | ORDERED},
	[RINGABI_PCI_RESET & 0xff] = {do_slow, 0},
	[RINGABI_PCI_UNPUBLISH & 0xff] = {do_unpublish, USES_INDEX | CHILD_TOO},
	[RINGABI_PCI_CHILD_GONE & 0xff] = {do_child_gone, USES_INDEX},
	[RINGABI_PCI_CONFINE & 0xff] = {do_confine, USES_VALUE | CHILD_TOO},
	[RINGABI_PCI_DMA_BITS & 0xff] = {do_dma_bits, USES_VALUE},
};

static const struct command *find_command(const struct io_uring_sqe *sqe)
{
	unsigned number = sqe->cmd_op & 0xff;

	if (sqe->opcode != IORING_OP_URING_CMD || sqe->cmd_op >> 8 != RINGABI_INTERFACE_PCI ||
	    number >= sizeof(commands) / sizeof(*commands) || !commands[number].run)
		return NULL;
	return &commands[number];
}

struct ringabi_pci_arg pcid_request_arg(const struct pcidipc_request *rq)
{
	struct ringabi_pci_arg arg;

	memcpy(&arg, (const char *)&rq->sqe + offsetof(struct io_uring_sqe, cmd), sizeof(arg));
	return arg;
}

static int check_unused(const struct io_uring_sqe *sqe, const struct ringabi_pci_arg *arg,
			unsigned flags)
{
	if (sqe->fd || sqe->ioprio || sqe->__pad1 || sqe->len || sqe->rw_flags || sqe->buf_index ||
	    sqe->splice_fd_in)
		return -EINVAL;
	if ((sqe->addr && !(flags & USES_ADDR)) || (arg->index && !(flags & USES_INDEX)) ||
	    (arg->width && !(flags & USES_WIDTH)) || (arg->value && !(flags & USES_VALUE)))
		return -EINVAL;
	return 0;
}

static int refuse_ordered(struct pcid_driver *d, const struct pcidipc_request *rq,
			  const struct ringabi_pci_arg *arg, int error)
{
	char why[96];

	if (error == -ERANGE) {
		snprintf(why, sizeof(why), "the function has %u vectors", d->irq.count);
		return refuse(d, rq, arg, error, why);
	}
	if (error == -EINVAL)
		return refuse(d, rq, arg, error,
			      "the width must be 1, 2, 4 or 8 (4 for I/O ports at most), and "
			      "address and value must fit it");
	if (error == -ENXIO)
		return refuse(d, rq, arg, error, "the function has no such region");
	if (error != -EFAULT)
		return error;
	snprintf(why, sizeof(why), "the region has %#llx bytes, without MSI-X's tables",
		 (unsigned long long)d->function->bars[arg->index].bytes);
	return refuse(d, rq, arg, error, why);
}

/* Keep the order: behind parked ones it is parked too. */
static int run_ordered(struct pcid_driver *d, struct pcidipc_request *rq,
		       const struct command *command, const struct ringabi_pci_arg *arg)
{
	int ret = d->parked.first || d->resetting ? -EAGAIN : pcid_irq_settle(d);

	if (!ret)
		ret = command->run(d, rq, arg);

	if (ret != -EAGAIN)
		return ret < 0 ? refuse_ordered(d, rq, arg, ret) : ret;
	pcid_queue_push(&d->parked, rq);
	return PCIDIPC_PENDING;
}

static int serve(struct pcidipc_request *rq)
{
	struct pcid_driver *d = driver_of(rq);
	const struct command *command = find_command(&rq->sqe);
	struct ringabi_pci_arg arg = pcid_request_arg(rq);
	int ret;

	pending_of(rq)->queue = NULL;
	if (!command)
		return refuse(d, rq, &arg, -EOPNOTSUPP, "no request of the PCI interface");
	if (d->quiet) /* the process is dead and its function stopped: it stays so */
		return -ENODEV;
	ret = check_unused(&rq->sqe, &arg, command->flags);
	if (ret)
		return refuse(d, rq, &arg, ret, "a field that it does not use is not 0");
	if (!d->function && !(command->flags & CHILD_TOO))
		return -ENODEV;
	if (command->flags & ORDERED)
		return run_ordered(d, rq, command, &arg);
	return command->run(d, rq, &arg);
}

void pcid_parked_run(struct pcid_driver *d)
{
	if (d->resetting || pcid_irq_settle(d))
		return;
	while (d->parked.first) {
		struct pcidipc_request *rq = d->parked.first;
		struct ringabi_pci_arg arg = pcid_request_arg(rq);
		int ret = d->quiet ? -ENODEV : find_command(&rq->sqe)->run(d, rq, &arg);

		if (ret == -EAGAIN)
			return;
		pcid_queue_pop(&d->parked);
		if (ret != PCIDIPC_PENDING)
			pcidipc_complete(rq, ret);
	}
}

/* Only what waits for its turn can be canceled: the rest is on its way to the device. */
static int cancel(struct pcidipc_request *rq)
{
	struct pcidipc_queue *queue = pending_of(rq)->queue;

	if (rq->sqe.opcode != IORING_OP_URING_CMD || rq->sqe.cmd_op >> 8 != RINGABI_INTERFACE_PCI ||
	    !queue)
		return -EALREADY;
	if (rq->sqe.cmd_op == RINGABI_PCI_IRQ_MASK_ALL ||
	    rq->sqe.cmd_op == RINGABI_PCI_IRQ_UNMASK_ALL)
		pcid_irq_unsettle(driver_of(rq));
	queue_remove(queue, rq);
	pcidipc_complete(rq, -ECANCELED);
	return 0;
}

/* ---- sessions ---- */

static int opened(struct pcidipc_session *session, uint32_t open_flags)
{
	struct pcid_driver *d = pcidipc_session_scheme(session)->driver;

	if (open_flags || d->session)
		return -EINVAL;
	d->session = session;
	if (d->function)
		d->function->dma_bits = 64;
	pcid_driver_wake(d);
	return 0;
}

static void closed(struct pcidipc_session *session)
{
	struct pcid_driver *d = pcidipc_session_scheme(session)->driver;

	d->session = NULL;
	d->session_lost = true;
	pcid_driver_wake(d);
}

void pcid_scheme_init(struct pcid_driver *d)
{
	d->scheme = (struct pcidipc_scheme){
		.name = d->name,
		.interface = RINGABI_INTERFACE_PCI,
		.ring_features = RINGABI_RING_CQE32,
		.flags = PCIDIPC_SCHEME_DMA,
		.max_pools = RINGABI_MAX_POOLS, /* its clients' among them */
		.max_pool_bytes = UINT64_MAX,	/* the domain's addresses are the limit */
		.max_sq_entries = MAX_SQ_ENTRIES,
		.max_cq_entries = MAX_CQ_ENTRIES,
		.max_sessions = 1,
		.request_bytes = sizeof(struct pcid_pending),
		.driver = d,
		.open = opened,
		.request = serve,
		.cancel = cancel,
		.close = closed,
		.pool_attach = pcid_pool_attach,
		.pool_map = pcid_pool_map,
		.pool_detach = pcid_pool_detach,
		.message = pcid_message,
	};
}
