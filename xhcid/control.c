/* SPDX-License-Identifier: MIT */
/* Control transfers (xHCI 1.2, 4.11.2.2): a Setup, perhaps a Data and a Status Stage. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "xhcid.h"

#define RETRY_NS 1000000u

static uint64_t packet(const struct setup *s)
{
	return s->type | (uint64_t)s->request << 8 | (uint64_t)s->value << 16 |
	       (uint64_t)s->index << 32 | (uint64_t)s->length << 48;
}

/* The first TRB of the data stage is a Data Stage TRB, further ones are Normal. */
static uint16_t write_data(struct stream *s, const struct setup *setup, uint64_t iova, uint16_t at)
{
	bool in = setup->type & 0x80;
	uint32_t left = setup->length, type = TRB_TYPE(TRB_DATA) | (in ? TRB_DIR_IN : 0);

	while (left) {
		uint32_t most = TRB_MOST_BYTES - (uint32_t)(iova & (TRB_MOST_BYTES - 1));
		uint32_t piece = left < most ? left : most;
		uint32_t after = transfer_packets_left(s->endpoint->info.packet, setup->length,
						       setup->length - left + piece);

		ring_write(&s->ring, at++, iova, piece | after,
			   type | (in ? TRB_ISP : 0) | (left > piece ? TRB_CHAIN : 0));
		type = TRB_TYPE(TRB_NORMAL);
		iova += piece;
		left -= piece;
	}
	return at;
}

static uint16_t count(const struct setup *s, uint64_t iova)
{
	if (!s->length)
		return 2;
	return 3 + ((iova & (TRB_MOST_BYTES - 1)) + s->length > TRB_MOST_BYTES);
}

bool control_queue(struct endpoint *ep, const struct setup *setup, uint64_t iova, struct td *td,
		   uint32_t timeout_ms)
{
	struct stream *s = &ep->streams[0];
	bool in = setup->type & 0x80;
	uint16_t n = count(setup, iova), at = 1;

	if (!transfer_ready(s, n))
		return false;
	ring_write(&s->ring, 0, packet(setup), 8,
		   TRB_TYPE(TRB_SETUP) | TRB_IDT |
			   (!setup->length ? 0
			    : in	   ? TRB_TRT_IN
					   : TRB_TRT_OUT));
	at = write_data(s, setup, iova, at);
	ring_write(&s->ring, at, 0, 0,
		   TRB_TYPE(TRB_STATUS) | TRB_IOC | (setup->length && in ? 0 : TRB_DIR_IN));
	td->control = true;
	td->shortened = false;
	td->bytes = setup->length;
	transfer_queue(s, td, n, timeout_ms);
	return true;
}

/* ---- our own ---- */

struct waiter {
	struct td td;
	struct pcidipc_completion done;
};

static void own_done(struct td *td, int res)
{
	pcidipc_post(&pcidipc_container_of(td, struct waiter, td)->done, res);
}

static void watch_own(struct device *dev, const struct setup *setup, const void *data, uint64_t id,
		      char type, int res)
{
	bool in = setup->type & 0x80;
	struct capture_data piece = {data, type == 'C' && res > 0 ? (size_t)res : setup->length};
	struct packet p = {.device = dev,
			   .endpoint = &dev->endpoints[1]->info,
			   .setup = setup,
			   .id = id,
			   .length = (uint32_t)(type == 'S' ? setup->length
						: res > 0   ? res
							    : 0),
			   .status = res < 0 ? res : 0,
			   .type = type,
			   .in = in,
			   .data = &piece,
			   .ndata = data && piece.bytes && in == (type == 'C') && res >= 0};

	capture_packet(dev->controller, &p);
}

static int run(struct device *dev, const struct setup *setup, uint64_t iova, const void *data)
{
	struct controller *c = dev->controller;
	struct waiter w = {.td.done = own_done};
	uint64_t id = 0;
	int ret;

	while (!c->dead && !dev->gone &&
	       !control_queue(dev->endpoints[1], setup, iova, &w.td, CONTROL_TIMEOUT_MS)) {
		transfer_make_room(&dev->endpoints[1]->streams[0]);
		pcidipc_task_sleep(RETRY_NS);
	}
	if (c->dead || dev->gone)
		return -ENODEV;
	if (__builtin_expect(c->capturing, 0))
		id = capture_id(c, dev);
	if (id)
		watch_own(dev, setup, data, id, 'S', 0);
	transfer_flush(c);
	ret = pcidipc_await(&w.done);
	if (id)
		watch_own(dev, setup, data, id, 'C', ret);
	return ret;
}

int control_run(struct device *dev, const struct setup *setup, void *data)
{
	struct pcidipc_buf *buf = NULL;
	int ret;

	if (dev->gone || dev->controller->dead)
		return -ENODEV;
	if (!setup->length)
		return run(dev, setup, 0, NULL);
	buf = pcidipc_pool_alloc(dev->controller->dma.pool, setup->length, 64);
	if (!buf)
		return -ENOMEM;
	if (!(setup->type & 0x80))
		memcpy(pcidipc_buf_ptr(buf), data, setup->length);
	ret = run(dev, setup, pcidipc_dma_iova(&dev->controller->dma, buf), pcidipc_buf_ptr(buf));
	if (setup->type & 0x80 && ret > 0)
		memcpy(data, pcidipc_buf_ptr(buf), (size_t)ret);
	pcidipc_buf_free(buf);
	return ret;
}

int control_get_descriptor(struct device *dev, uint8_t recipient, unsigned type, unsigned index,
			   unsigned language, void *to, unsigned bytes)
{
	struct setup setup = {.type = 0x80 | recipient,
			      .request = LIBUSB_REQUEST_GET_DESCRIPTOR,
			      .value = (uint16_t)(type << 8 | index),
			      .index = (uint16_t)language,
			      .length = (uint16_t)bytes};

	memset(to, 0, bytes);
	return control_run(dev, &setup, to);
}
