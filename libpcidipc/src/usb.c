/* SPDX-License-Identifier: MIT */
/* The USB interface for a class driver: calls, which move their data through a pool of our own,
 * and transfers. */
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>
#include <pcidipc/usb.h>
#include <stdlib.h>
#include <unistd.h>

#include "consumer_internal.h"
#include "pci_internal.h"

#define USB_ENTRIES 512
#define DATA_BYTES RINGABI_POOL_ALIGN

struct pcidipc_usb {
	struct pcidipc_consumer *consumer;
	struct pcidipc_usb_info info;
	struct pcidipc_pool *data; /* of calls */
	uint16_t data_index;
	bool in_chain; /* the last transfer that was queued is linked to the next */
	void (*event)(uint32_t event, void *arg);
	void (*lost)(int error, void *arg);
	void *arg;
};

/* ---- requests ---- */

static struct io_uring_sqe usb_sqe(uint32_t cmd_op, const void *arg)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};

	sqe.cmd_op = cmd_op;
	memcpy((char *)&sqe + offsetof(struct io_uring_sqe, cmd), arg, RINGABI_CMD_ARG_BYTES);
	return sqe;
}

static int usb_call(struct pcidipc_usb *usb, uint32_t cmd_op, struct ringabi_usb_arg arg,
		    struct pcidipc_cqe *cqe)
{
	struct io_uring_sqe sqe = usb_sqe(cmd_op, &arg);

	return pcidipc_call(usb->consumer, &sqe, cqe);
}

/* A call with data: to the pool before, from it after. */
static int call_with_data(struct pcidipc_usb *usb, struct io_uring_sqe *sqe, void *data,
			  size_t bytes, bool in)
{
	struct pcidipc_buf *buf = pcidipc_pool_alloc(usb->data, bytes ? bytes : 1, 0);
	int ret;

	if (!buf)
		return -ENOMEM;
	if (!in && bytes)
		memcpy(pcidipc_buf_ptr(buf), data, bytes);
	sqe->addr = buf->offset;
	sqe->len = (uint32_t)bytes;
	sqe->buf_index = usb->data_index;
	ret = pcidipc_call(usb->consumer, sqe, NULL);
	if (ret > 0 && (size_t)ret > bytes)
		ret = -EPROTO; /* the other side moved more than there was room for, it says */
	if (in && ret > 0)
		pcidipc_copy_once(data, pcidipc_buf_ptr(buf), (size_t)ret);
	pcidipc_buf_free(buf);
	return ret;
}

int pcidipc_usb_descriptor(struct pcidipc_usb *usb, unsigned type, unsigned index,
			   unsigned language, void *to, size_t room)
{
	struct ringabi_usb_arg arg = {.value = (type & 0xff) | (index & 0xff) << 8 |
					       (language & 0xffff) << 16};
	struct io_uring_sqe sqe = usb_sqe(RINGABI_USB_DESCRIPTOR, &arg);

	return call_with_data(usb, &sqe, to, room < UINT16_MAX ? room : UINT16_MAX, true);
}

int pcidipc_usb_configure(struct pcidipc_usb *usb, unsigned alternate, unsigned streams)
{
	struct ringabi_usb_arg arg = {.value = alternate, .streams = (uint16_t)streams};
	struct pcidipc_cqe cqe = {0};
	int ret = usb_call(usb, RINGABI_USB_CONFIGURE, arg, &cqe);

	if (ret < 0)
		return ret;
	return cqe.big[0] <= streams ? (int)cqe.big[0] : -EPROTO;
}

int pcidipc_usb_control(struct pcidipc_usb *usb, const struct pcidipc_usb_setup *setup, void *data,
			uint32_t timeout_ms)
{
	const uint8_t arg[RINGABI_CMD_ARG_BYTES] = {
		setup->type,
		setup->request,
		(uint8_t)setup->value,
		(uint8_t)(setup->value >> 8),
		(uint8_t)setup->index,
		(uint8_t)(setup->index >> 8),
		(uint8_t)setup->length,
		(uint8_t)(setup->length >> 8),
		(uint8_t)timeout_ms,
		(uint8_t)(timeout_ms >> 8),
		(uint8_t)(timeout_ms >> 16),
		(uint8_t)(timeout_ms >> 24),
	};
	struct io_uring_sqe sqe = usb_sqe(RINGABI_USB_CONTROL, arg);

	return call_with_data(usb, &sqe, data, setup->length, setup->type & 0x80);
}

int pcidipc_usb_clear_halt(struct pcidipc_usb *usb, uint8_t endpoint)
{
	return usb_call(usb, RINGABI_USB_CLEAR_HALT, (struct ringabi_usb_arg){.endpoint = endpoint},
			NULL);
}

int pcidipc_usb_stop(struct pcidipc_usb *usb, uint8_t endpoint, uint16_t stream)
{
	return usb_call(usb, RINGABI_USB_STOP,
			(struct ringabi_usb_arg){.endpoint = endpoint, .stream = stream}, NULL);
}

int pcidipc_usb_reset(struct pcidipc_usb *usb)
{
	return usb_call(usb, RINGABI_USB_RESET_DEVICE, (struct ringabi_usb_arg){0}, NULL);
}

/* ---- transfers ---- */

static int queue_transfer(struct pcidipc_usb *usb, const struct pcidipc_usb_transfer *t,
			  uint8_t flags, struct pcidipc_op *op)
{
	struct ringabi_usb_arg arg = {.endpoint = t->endpoint,
				      .flags = flags,
				      .stream = t->stream,
				      .timeout_ms = t->timeout_ms};
	struct io_uring_sqe *sqe = pcidipc_get_sqe(usb->consumer);
	int ret;

	if (!sqe) { /* publishing half a chain would cut it in two */
		ret = usb->in_chain ? -EAGAIN : pcidipc_submit(usb->consumer);

		sqe = ret ? NULL : pcidipc_get_sqe(usb->consumer);
		if (!sqe)
			return ret ? ret : -EAGAIN;
	}
	*sqe = usb_sqe(RINGABI_USB_TRANSFER, &arg);
	sqe->addr = t->offset;
	sqe->len = t->bytes;
	sqe->buf_index = t->index;
	sqe->flags = t->linked ? IOSQE_IO_LINK : 0;
	ret = pcidipc_sqe_set_op(usb->consumer, sqe, op);
	if (!ret)
		usb->in_chain = t->linked;
	return ret;
}

int pcidipc_usb_transfer(struct pcidipc_usb *usb, const struct pcidipc_usb_transfer *transfer,
			 struct pcidipc_op *op)
{
	return queue_transfer(usb, transfer, transfer->flags & ~RINGABI_USB_SG, op);
}

int pcidipc_usb_transfer_sg(struct pcidipc_usb *usb, const struct pcidipc_usb_transfer *transfer,
			    struct pcidipc_op *op)
{
	return queue_transfer(usb, transfer, transfer->flags | RINGABI_USB_SG, op);
}

/* ---- clients' pools ---- */

int pcidipc_usb_pool_attach(struct pcidipc_usb *usb, struct pcidipc_pool_view *pool)
{
	pool->iova = 0; /* what we call an address is an offset in the pool */
	return pcidipc_consumer_attach_pool_fd(usb->consumer, pool->fd, pool->bytes,
					       &pool->forwarded, NULL);
}

int pcidipc_usb_pool_map(struct pcidipc_usb *usb, struct pcidipc_pool_view *pool, uint64_t offset,
			 uint64_t bytes)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = RINGABI_CMD_POOL_MAP,
				   .addr = offset,
				   .len = (uint32_t)bytes,
				   .buf_index = pool->forwarded};

	return pcidipc_call(usb->consumer, &sqe, NULL);
}

void pcidipc_usb_pool_detach(struct pcidipc_usb *usb, struct pcidipc_pool_view *pool)
{
	pcidipc_consumer_detach_pool(usb->consumer, pool->forwarded);
}

/* ---- connecting ---- */

static void connection_lost(struct pcidipc_consumer *consumer, int error, void *arg)
{
	struct pcidipc_usb *usb = arg;

	(void)consumer;
	if (usb->lost)
		usb->lost(error, usb->arg);
}

static void forward_event(struct pcidipc_consumer *consumer, uint32_t event, void *arg)
{
	struct pcidipc_usb *usb = arg;

	(void)consumer;
	if (usb->event)
		usb->event(event, usb->arg);
}

static int read_info(struct pcidipc_usb *usb)
{
	struct pcidipc_cqe cqe = {0};
	int ret = usb_call(usb, RINGABI_USB_INFO, (struct ringabi_usb_arg){0}, &cqe);

	usb->info = (struct pcidipc_usb_info){
		.vendor = (uint16_t)cqe.big[0],
		.product = (uint16_t)(cqe.big[0] >> 16),
		.device_release = (uint16_t)(cqe.big[0] >> 32),
		.usb_release = (uint16_t)(cqe.big[0] >> 48),
		.interface = (uint8_t)cqe.big[1],
		.alternates = (uint8_t)(cqe.big[1] >> 8),
		.configuration = (uint8_t)(cqe.big[1] >> 16),
		.speed = (uint8_t)(cqe.big[1] >> 24),
		.address = (uint32_t)(cqe.big[1] >> 32),
	};
	return ret < 0 ? ret : 0;
}

static int set_up(struct pcidipc_usb *usb, struct pcidipc_loop *loop, int channel)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_USB,
						 .sq_entries = USB_ENTRIES};
	int ret = pcidipc_consumer_adopt(channel, &params, &usb->consumer);

	if (!ret)
		ret = pcidipc_pool_create(DATA_BYTES, 0, &usb->data);
	if (!ret)
		ret = pcidipc_consumer_attach_pool(usb->consumer, usb->data, &usb->data_index);
	if (!ret)
		ret = read_info(usb);
	if (!ret)
		ret = pcidipc_consumer_attach_loop(usb->consumer, loop, connection_lost, usb);
	if (!ret)
		pcidipc_consumer_on_event(usb->consumer, forward_event, usb);
	return ret;
}

int pcidipc_usb_adopt(struct pcidipc_loop *loop, int channel, struct pcidipc_usb **out)
{
	struct pcidipc_usb *usb = calloc(1, sizeof(*usb));
	int ret;

	if (!usb) {
		close(channel);
		return -ENOMEM;
	}
	ret = set_up(usb, loop, channel);
	if (ret)
		pcidipc_usb_close(usb);
	else
		*out = usb;
	return ret;
}

int pcidipc_usb_open(struct pcidipc_loop *loop, struct pcidipc_usb **usb)
{
	int channel = pcidipc_pci_parent_channel();
	int ret = channel < 0 ? channel : pcidipc_usb_adopt(loop, channel, usb);

	if (!ret && pci_opened())
		(*usb)->consumer->warden = pci_opened()->consumer;
	return ret;
}

void pcidipc_usb_close(struct pcidipc_usb *usb)
{
	if (!usb)
		return;
	pcidipc_consumer_close(usb->consumer);
	if (usb->data)
		pcidipc_pool_destroy(usb->data);
	free(usb);
}

struct pcidipc_consumer *pcidipc_usb_consumer(struct pcidipc_usb *usb)
{
	return usb->consumer;
}

const struct pcidipc_usb_info *pcidipc_usb_info(const struct pcidipc_usb *usb)
{
	return &usb->info;
}

void pcidipc_usb_on_event(struct pcidipc_usb *usb, void (*event)(uint32_t event, void *arg),
			  void (*lost)(int error, void *arg), void *arg)
{
	usb->event = event;
	usb->lost = lost;
	usb->arg = arg;
}
