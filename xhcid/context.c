/* SPDX-License-Identifier: MIT */
/* Device and input contexts (xHCI 1.2, 6.2): what the controller is told of a device. */
#include <endian.h>
#include <string.h>

#include "xhcid.h"

static uint32_t *word(struct pcidipc_buf *buf, const struct controller *c, unsigned context)
{
	return (void *)((char *)pcidipc_buf_ptr(buf) + (size_t)context * c->context_bytes);
}

void context_set_slot(struct device *dev, uint64_t iova)
{
	uint64_t *dcbaa = pcidipc_buf_ptr(dev->controller->dcbaa);

	__atomic_store_n(&dcbaa[dev->slot], htole64(iova), __ATOMIC_RELEASE);
}

uint32_t *input_begin(struct device *dev, uint32_t drop, uint32_t add)
{
	uint32_t *control = pcidipc_buf_ptr(dev->input);

	memset(control, 0, 33u * dev->controller->context_bytes);
	control[0] = htole32(drop);
	control[1] = htole32(add);
	return control;
}

uint64_t input_iova(const struct device *dev)
{
	return pcidipc_dma_iova(&dev->controller->dma, dev->input);
}

static void slot_translator(const struct device *dev, uint32_t *slot)
{
	if (!dev->tt)
		return;
	slot[2] = htole32(dev->tt->slot | (uint32_t)dev->tt_port << 8);
	if (dev->tt->hub && hub_multiple_translators(dev->tt))
		slot[0] |= htole32(SLOT_MTT);
}

void input_slot(struct device *dev, unsigned entries)
{
	uint32_t *slot = word(dev->input, dev->controller, 1);

	slot[0] = htole32(dev->route | SLOT_SPEED(dev->speed) | SLOT_ENTRIES(entries));
	slot[1] = htole32(SLOT_PORT(dev->root_port));
	slot_translator(dev, slot);
	if (dev->hub)
		hub_fill_slot(dev, slot);
}

/* ---- endpoints ---- */

static unsigned log2_of(unsigned n)
{
	return 31u - (unsigned)__builtin_clz(n | 1);
}

static unsigned clamp(unsigned n, unsigned least, unsigned most)
{
	return n < least ? least : n > most ? most : n;
}

/* Interval (6.2.3.6): 125 us << n. */
static unsigned interval(const struct endpoint *ep)
{
	uint8_t b = ep->info.interval, type = ep->info.type;
	bool periodic =
		type == LIBUSB_TRANSFER_TYPE_INTERRUPT || type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS;

	if (!periodic)
		return 0;
	if (ep->device->speed >= SPEED_HIGH)
		return clamp(b, 1, 16) - 1;
	if (type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS)
		return clamp(b, 1, 16) - 1 + 3;
	return clamp(log2_of(8u * clamp(b, 1, 255)), 3, 10);
}

/* EP Type (6.2.3): OUT 1 to 3, control 4, IN 5 to 7. */
static unsigned context_type(const struct endpoint *ep)
{
	if (ep->dci == 1)
		return 4;
	return ep->info.type + (ep->info.address & 0x80 ? 4u : 0);
}

static uint32_t service_bytes(const struct endpoint *ep)
{
	const struct endpoint_info *info = &ep->info;

	if (ep->dci == 1 || info->type == LIBUSB_TRANSFER_TYPE_BULK)
		return 0;
	if (info->interval_bytes)
		return info->interval_bytes;
	return (uint32_t)info->packet * (info->burst + 1u) * (info->mult + 1u);
}

static uint32_t average(const struct endpoint *ep)
{
	if (ep->dci == 1)
		return 8;
	return ep->info.type == LIBUSB_TRANSFER_TYPE_BULK ? 3072 : service_bytes(ep);
}

void input_endpoint(struct endpoint *ep)
{
	uint32_t *w = word(ep->device->input, ep->device->controller, ep->dci + 1u);
	uint32_t payload = service_bytes(ep), burst = ep->info.burst;
	uint64_t dequeue = endpoint_dequeue(ep);

	if (ep->device->speed == SPEED_HIGH && ep->info.type != LIBUSB_TRANSFER_TYPE_BULK)
		burst = ep->info.mult; /* further transactions in a microframe */
	w[0] = htole32(interval(ep) << 16 | payload >> 16 << 24);
	if (ep->device->speed >= SPEED_SUPER)
		w[0] |= htole32((uint32_t)ep->info.mult << 8);
	if (ep->nstreams) /* MaxPStreams: an array of 2 << n, whose first entry is none */
		w[0] |= htole32(log2_of(ep->nstreams) << 10 | EP_LINEAR_STREAMS);
	w[1] = htole32((uint32_t)ep->info.packet << 16 | burst << 8 | context_type(ep) << 3 |
		       (ep->info.type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS ? 0 : EP_ERRORS));
	w[2] = htole32((uint32_t)dequeue);
	w[3] = htole32((uint32_t)(dequeue >> 32));
	w[4] = htole32((payload & 0xffff) << 16 | average(ep));
}

unsigned endpoint_state(const struct endpoint *ep)
{
	const uint32_t *w = word(ep->device->output, ep->device->controller, ep->dci);

	return EP_STATE(le32toh(__atomic_load_n(w, __ATOMIC_ACQUIRE)));
}

uint8_t context_address(const struct device *dev)
{
	const uint32_t *w = word(dev->output, dev->controller, 0);

	return le32toh(__atomic_load_n(w + 3, __ATOMIC_ACQUIRE)) & SLOT_ADDRESS_MASK;
}

/* Context Entries: the highest endpoint that there is. */
unsigned device_entries(const struct device *dev)
{
	unsigned n = 1;

	for (unsigned i = 1; i < MAX_DCI; i++)
		if (dev->endpoints[i])
			n = i;
	return n;
}
