/* SPDX-License-Identifier: MIT */
/*
 * Endpoints: their rings, and how the controller is stopped on one (xHCI 1.2, 4.6.8 to 4.6.10), so
 * that what is to end there can end. A transfer is completed only when the controller is known not
 * to work on it any more.
 */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "xhcid.h"

#define BULK_ENTRIES 1024
#define SMALL_ENTRIES 64
#define DEVICE_RING_BYTES (4u << 20)
#define TRIES 4
#define WAIT_NS 1000000u

static unsigned rings(const struct endpoint *ep)
{
	return ep->nstreams ? ep->nstreams : 1;
}

/* ---- making ---- */

static uint16_t entries(const struct endpoint *ep)
{
	return ep->info.type == LIBUSB_TRANSFER_TYPE_BULK && ep->dci > 1 ? BULK_ENTRIES
									 : SMALL_ENTRIES;
}

/* The stream context array (6.2.4): entry 0 is none. */
static void fill_contexts(struct endpoint *ep)
{
	uint64_t *array = ep->contexts ? pcidipc_buf_ptr(ep->contexts) : NULL;

	if (!array)
		return;
	memset(array, 0, 32u * ep->nstreams);
	for (unsigned i = 0; i < ep->nstreams; i++) /* SCT 1: a primary stream's transfer ring */
		array[2 * (i + 1)] = htole64(ep->streams[i].ring.iova | 1u << 1 | 1);
}

void endpoint_reset_rings(struct endpoint *ep)
{
	size_t bytes = (size_t)ep->entries * TRB_BYTES;
	uint64_t iova = pcidipc_dma_iova(&ep->device->controller->dma, ep->rings);
	char *base = pcidipc_buf_ptr(ep->rings);

	for (unsigned i = 0; i < rings(ep); i++) {
		ring_init(&ep->streams[i].ring, base + i * bytes, iova + i * bytes, ep->entries);
		ep->streams[i].stale = -1;
	}
	fill_contexts(ep);
	ep->toggle_clean = true;
}

static size_t ring_bytes(const struct endpoint *ep)
{
	return (size_t)rings(ep) * ep->entries * TRB_BYTES;
}

/* Streams take much, and other devices need some too. */
static bool within_budget(const struct endpoint *ep)
{
	size_t bytes = ring_bytes(ep);

	for (unsigned i = 1; i < MAX_DCI; i++)
		if (ep->device->endpoints[i])
			bytes += ring_bytes(ep->device->endpoints[i]);
	for (const struct endpoint *kept = ep->device->kept; kept; kept = kept->next)
		bytes += ring_bytes(kept);
	if (bytes <= DEVICE_RING_BYTES)
		return true;
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: %s: endpoint %#x with %u streams: rings of %zu bytes, the "
				"limit for a device is %u",
				ep->device->controller->address, ep->device->path, ep->info.address,
				ep->nstreams, bytes, DEVICE_RING_BYTES);
	return false;
}

static int make_memory(struct endpoint *ep)
{
	struct pcidipc_pool *pool = ep->device->controller->dma.pool;
	size_t bytes = (size_t)ep->entries * TRB_BYTES;

	if (!within_budget(ep))
		return -ENOSPC;

	ep->streams = calloc(rings(ep), sizeof(*ep->streams));
	ep->rings = pcidipc_pool_alloc(pool, rings(ep) * bytes, bytes); /* no 64 KiB crossed */
	if (ep->nstreams) {
		ep->contexts = pcidipc_pool_alloc(pool, 32u * ep->nstreams, 4096);
		if (!ep->contexts)
			return -ENOMEM;
	}
	return ep->streams && ep->rings ? 0 : -ENOMEM;
}

int endpoint_create(struct device *dev, uint8_t dci, const struct endpoint_info *info,
		    unsigned streams, struct endpoint **out)
{
	struct endpoint *ep = calloc(1, sizeof(*ep));
	int ret;

	if (!ep)
		return -ENOMEM;
	ep->device = dev;
	ep->dci = dci;
	ep->info = *info;
	ep->nstreams = (uint16_t)streams;
	ep->entries = entries(ep);
	ret = make_memory(ep);
	if (ret) {
		endpoint_destroy(ep);
		return ret;
	}
	for (unsigned i = 0; i < rings(ep); i++) {
		ep->streams[i].endpoint = ep;
		ep->streams[i].id = (uint16_t)(streams ? i + 1 : 0);
	}
	endpoint_reset_rings(ep);
	*out = ep;
	return 0;
}

/* A doorbell that is still to be rung must not outlive its ring. */
static void forget_doorbells(struct endpoint *ep)
{
	struct controller *c = ep->device->controller;
	struct stream **at = &c->to_ring;

	while (*at)
		if ((*at)->endpoint == ep) {
			*at = (*at)->ring_next;
		} else {
			c->to_ring_last = *at;
			at = &(*at)->ring_next;
		}
}

static void retire(struct endpoint *ep)
{
	while (ep->spawned || ep->serving)
		pcidipc_task_sleep(WAIT_NS);
	forget_doorbells(ep);
}

void endpoint_destroy(struct endpoint *ep)
{
	retire(ep);
	if (ep->rings)
		pcidipc_buf_free(ep->rings);
	if (ep->contexts)
		pcidipc_buf_free(ep->contexts);
	free(ep->streams);
	free(ep);
}

void endpoint_keep(struct endpoint *ep)
{
	retire(ep);
	ep->next = ep->device->kept;
	ep->device->kept = ep;
}

uint64_t endpoint_dequeue(const struct endpoint *ep)
{
	if (ep->nstreams)
		return pcidipc_dma_iova(&ep->device->controller->dma, ep->contexts);
	return ep->streams[0].ring.iova | 1;
}

struct stream *endpoint_stream(struct endpoint *ep, uint16_t id)
{
	if (!ep->nstreams)
		return id ? NULL : &ep->streams[0];
	return id && id <= ep->nstreams ? &ep->streams[id - 1] : NULL;
}

/* ---- ending what is in flight ---- */

void endpoint_cancel(struct endpoint *ep, struct stream *only, int error)
{
	for (unsigned i = 0; i < rings(ep); i++) {
		struct stream *s = &ep->streams[i];

		if (only && only != s)
			continue;
		for (struct td *td = s->first; td; td = td->next) {
			if (!td->cancel)
				td->cancel = (int16_t)error;
			ep->wanted = true;
		}
	}
}

static int endpoint_command(struct endpoint *ep, enum trb_type type)
{
	struct device *dev = ep->device;

	return command_run(dev->controller, 0, 0,
			   TRB_TYPE(type) | TRB_SLOT(dev->slot) | TRB_DCI(ep->dci), NULL);
}

/* Until the controller does not work here: it may halt by itself while we ask it to stop. */
static int quiesce(struct endpoint *ep)
{
	int ret = 0;

	for (unsigned i = 0; i < TRIES; i++) {
		unsigned state = endpoint_state(ep);

		if (state == EP_DISABLED || state == EP_ERROR)
			return 0;
		ret = endpoint_command(ep,
				       state == EP_HALTED ? TRB_RESET_ENDPOINT : TRB_STOP_ENDPOINT);
		if (state == EP_HALTED)
			ep->toggle_clean = ret == CC_SUCCESS;
		if (ret == CC_SUCCESS || (ret == CC_CONTEXT_STATE && state == EP_STOPPED &&
					  endpoint_state(ep) == EP_STOPPED))
			return 0;
		if (ret != CC_CONTEXT_STATE)
			break;
	}
	if (ret > 0 && endpoint_state(ep) == EP_DISABLED)
		return 0;
	return ret < 0 ? ret : -EIO;
}

/* Take what is to end off the ring. True: the controller has to be told where to go on. */
static bool take_cancelled(struct stream *s, struct td **out)
{
	struct td *td = s->first, *next, **tail = out;
	struct td *run = NULL; /* the first of those in a row, behind one that stays */
	bool head = false, kept = false;

	for (; td; td = next) {
		next = td->next;
		if (!td->cancel) {
			kept = true;
			run = NULL;
			continue;
		}
		head |= !kept;
		run = run ? run : td;
		if (kept)
			ring_skip(&s->ring, run->first, next ? next->first : s->ring.enqueue,
				  run->cycle);
		transfer_forget(s, td);
		td->next = NULL;
		*tail = td;
		tail = &td->next;
	}
	return head || (!s->first && s->cramped);
}

static int set_dequeue(struct stream *s)
{
	struct endpoint *ep = s->endpoint;
	uint16_t index = s->first ? s->first->first : s->ring.enqueue;
	bool cycle = s->first ? s->first->cycle : s->ring.cycle;
	uint64_t at = ring_address(&s->ring, index) | cycle | (s->id ? 1u << 1 : 0);
	int ret;

	s->ring.dequeue = index;
	s->stale = -1;
	s->cramped = false;
	if (endpoint_state(ep) == EP_DISABLED) /* then the controller has no such pointer */
		return 0;
	ret = command_run(ep->device->controller, at, (uint32_t)s->id << 16,
			  TRB_TYPE(TRB_SET_DEQUEUE) | TRB_SLOT(ep->device->slot) | TRB_DCI(ep->dci),
			  NULL);
	if (ret == CC_SUCCESS || (ret > 0 && endpoint_state(ep) == EP_DISABLED))
		return 0;
	return ret < 0 ? ret : -EIO;
}

static int serve_stream(struct stream *s)
{
	struct td *ended = NULL;
	int ret = take_cancelled(s, &ended) ? set_dequeue(s) : 0;

	if (ret < 0 && !s->endpoint->device->controller->dead)
		controller_lost(s->endpoint->device->controller, 1);
	while (ended) {
		struct td *td = ended;

		ended = td->next;
		td->done(td, td->cancel);
	}
	return ret;
}

static int serve(struct endpoint *ep)
{
	struct controller *c = ep->device->controller;
	int ret = quiesce(ep);

	if (ret && !c->dead) {
		pcidipc_err("%s: %s: endpoint %#x cannot be stopped", c->address, ep->device->path,
			    ep->info.address);
		controller_lost(c, 1);
	}
	for (unsigned i = 0; i < rings(ep) && !ret; i++)
		ret = serve_stream(&ep->streams[i]);
	return ret;
}

static void go_on(struct endpoint *ep)
{
	for (unsigned i = 0; i < rings(ep); i++) {
		struct stream *s = &ep->streams[i];

		if (s->first)
			transfer_ring(s);
		if (s->parked_first)
			request_resume(s);
	}
	transfer_flush(ep->device->controller);
}

int endpoint_service(struct endpoint *ep)
{
	struct controller *c = ep->device->controller;
	int ret = 0;

	pcidipc_task_lock(&ep->lock);
	ep->serving = true;
	while (ep->wanted && !ret && !c->dead) {
		ep->wanted = false;
		ret = serve(ep);
	}
	ep->serving = false;
	if (!ret && !c->dead)
		go_on(ep);
	pcidipc_task_unlock(&ep->lock);
	return c->dead ? -ENODEV : ret;
}

static void service_task(void *arg)
{
	struct endpoint *ep = arg;
	struct device *dev = ep->device;

	do {
		endpoint_service(ep);
	} while (ep->wanted && !dev->controller->dead);
	ep->spawned = false;
	dev->tasks--;
}

void endpoint_service_soon(struct endpoint *ep)
{
	struct controller *c = ep->device->controller;

	if (ep->spawned)
		return;
	if (pcidipc_spawn(c->loop, service_task, ep)) { /* no memory for it now */
		watchdog_starved(c);
		return;
	}
	ep->spawned = true;
	ep->device->tasks++;
}

void endpoint_drain(struct endpoint *ep, int error)
{
	endpoint_cancel(ep, NULL, error);
	for (unsigned i = 0; i < rings(ep); i++)
		request_fail_parked(&ep->streams[i], error);
	ep->wanted = true; /* also when nothing is in flight: whoever serves it is done then */
	endpoint_service(ep);
}

void endpoint_fail(struct endpoint *ep, int error)
{
	for (unsigned i = 0; i < rings(ep); i++) {
		struct stream *s = &ep->streams[i];

		request_fail_parked(s, error);
		while (s->first) {
			struct td *td = s->first;

			transfer_forget(s, td);
			td->done(td, error);
		}
	}
}

int endpoint_clear_halt(struct endpoint *ep)
{
	struct device *dev = ep->device;
	struct setup setup = {.type = LIBUSB_RECIPIENT_ENDPOINT,
			      .request = LIBUSB_REQUEST_CLEAR_FEATURE,
			      .index = ep->info.address};
	int ret;

	ep->halted = true; /* nothing new until all is done */
	endpoint_drain(ep, -ECANCELED);
	ret = ep->toggle_clean ? 0 : endpoint_renew(ep);
	if (!ret)
		ret = control_run(dev, &setup, NULL);
	ep->halted = ret < 0;
	return ret < 0 ? ret : 0;
}
