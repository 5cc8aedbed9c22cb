// SPDX-License-Identifier: MIT
/* The stick's USB side: descriptors, control requests, pipes and their halts. */
#include "stick.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <pcidipc/task.h>

#include "../../usbscsid/pipes.h"

static struct stick *stick_of(struct usb_link *link)
{
	return pcidipc_container_of(link, struct stick, link);
}

void stick_misbehave(struct stick *s, enum stick_fault fault, unsigned times, uint8_t opcode)
{
	s->fault = fault;
	s->times = times;
	s->opcode = opcode;
}

enum stick_fault stick_fault_of(struct stick *s, uint8_t opcode)
{
	if (!s->times || (s->opcode != 0xff && s->opcode != opcode))
		return FAULT_NONE;
	s->times--;
	return s->fault;
}

/* ---- memory ---- */

uint32_t stick_copy(struct stick *s, struct usb_transfer *x, uint8_t *bytes, uint32_t n,
		    bool to_host)
{
	struct ringabi_usb_segment piece[RINGABI_USB_MAX_SEGMENTS];
	int pieces = usb_data_pieces(&x->data, piece, RINGABI_USB_MAX_SEGMENTS);
	uint32_t done = 0;

	for (int i = 0; i < pieces && done < n; i++) {
		uint32_t part = piece[i].len < n - done ? piece[i].len : n - done;
		unsigned pool = piece[i].buf_index;

		if (pool >= STICK_POOLS || !s->base[pool] ||
		    piece[i].addr + piece[i].len > s->pool_bytes[pool]) {
			s->reads_outside++;
			return done;
		}
		if (to_host)
			memcpy(s->base[pool] + piece[i].addr, bytes + done, part);
		else
			memcpy(bytes + done, s->base[pool] + piece[i].addr, part);
		done += part;
	}
	return done;
}

/* ---- pipes ---- */

bool stick_chains = true;

static void late(struct pcidipc_timer *timer);

static void queue(struct stick *s, struct usb_transfer *x)
{
	if (s->phase == STICK_CBW && x->endpoint == STICK_IN)
		s->ahead++;
	s->early += s->phase != STICK_CBW && x->endpoint == STICK_OUT && x->data.bytes == 31;
	pcidipc_list_append(&s->pipe[x->endpoint].queue, &x->link);
	if (x->timeout_ms)
		pcidipc_timer_set(s->link.loop, &s->late, x->timeout_ms * 1000000ull, late);
	stick_run_soon(s);
}

static bool as_expected(const struct stick *s, const struct usb_transfer *x, int res)
{
	const uint8_t *at = s->base[0] + x->data.segments->iova + x->data.skip;

	return (uint32_t)res == x->data.bytes &&
	       !memcmp(at, at + RINGABI_USB_MAX_EXPECTED, x->data.bytes);
}

/* What stands behind it in its chain begins, or ends. */
void stick_answer(struct stick *s, struct usb_transfer *x, int res)
{
	struct usb_transfer *held = x->native;
	bool goes_on = res >= 0 && (!x->expect || as_expected(s, x, res));

	x->native = NULL;
	pcidipc_list_remove(&x->link);
	x->done(x, res);
	if (held && goes_on)
		queue(s, held);
	while (held && !goes_on) {
		struct usb_transfer *next = held->native;

		held->native = NULL;
		held->done(held, -ECANCELED);
		held = next;
	}
}

struct usb_transfer *stick_head(struct stick *s, uint8_t endpoint, uint16_t stream)
{
	if (s->pipe[endpoint].halted)
		return NULL;
	pcidipc_list_for_each(x, &s->pipe[endpoint].queue, struct usb_transfer, link)
		if (x->stream == stream)
			return x;
	return NULL;
}

static void late(struct pcidipc_timer *timer)
{
	struct stick *s = pcidipc_container_of(timer, struct stick, late);

	for (unsigned i = 0; i < 256; i++)
		pcidipc_list_for_each_safe(x, after, &s->pipe[i].queue, struct usb_transfer, link)
			if (x->timeout_ms)
				stick_answer(s, x, -ETIMEDOUT);
}

static void cancel(struct stick *s, uint8_t endpoint, int stream, int error)
{
	pcidipc_list_for_each_safe(x, after, &s->pipe[endpoint].queue, struct usb_transfer, link)
		if (stream < 0 || x->stream == stream)
			stick_answer(s, x, error);
}

void stick_halt(struct stick *s, uint8_t endpoint, struct usb_transfer *x, int error)
{
	s->pipe[endpoint].halted = true;
	stick_answer(s, x, error);
	cancel(s, endpoint, -1, -ECANCELED);
}

static void run(struct pcidipc_deferred *deferred)
{
	struct stick *s = pcidipc_container_of(deferred, struct stick, run);

	if (s->gone) {
		for (unsigned i = 0; i < 256; i++)
			cancel(s, (uint8_t)i, -1, -ENODEV);
		return;
	}
	while (s->alternate ? stick_run_uas(s) : stick_run_bot(s))
		;
}

void stick_run_soon(struct stick *s)
{
	pcidipc_defer(s->link.loop, &s->run, run);
}

static int submit(struct usb_link *link, struct usb_transfer *x)
{
	struct stick *s = stick_of(link);

	if (s->gone)
		return -ENODEV;
	if (s->pipe[x->endpoint].halted)
		return -EPIPE;
	x->native = NULL;
	if (s->opener) {
		s->opener->native = x;
		s->chained++;
		s->expecting += s->opener->expect;
	} else {
		queue(s, x);
	}
	s->opener = x->then ? x : NULL;
	return 0;
}

static void flush(struct usb_link *link)
{
	stick_of(link)->opener = NULL;
}

static void stopped(struct pcidipc_timer *timer)
{
	struct stick *s = pcidipc_container_of(timer, struct stick, stopping);

	for (unsigned i = 0; i < 8; i++) {
		struct stick_stop at = s->stop[i];

		s->stop[i].set = false;
		if (at.set)
			cancel(s, at.endpoint, at.stream ? at.stream : -1, -ECANCELED);
	}
}

static void stop_later(struct stick *s, uint8_t endpoint, uint16_t stream)
{
	unsigned i = 0;

	for (; s->stop[i].set; i++) {
		if (s->stop[i].endpoint == endpoint && s->stop[i].stream == stream)
			return; /* it is being stopped */
		if (i == 7)
			abort();
	}
	s->stop[i] = (struct stick_stop){endpoint, stream, true};
	pcidipc_timer_set(s->link.loop, &s->stopping, 5000000, stopped);
}

static int stop(struct usb_link *link, uint8_t endpoint, uint16_t stream)
{
	struct stick *s = stick_of(link);

	s->stops++;
	if (s->gone)
		return -ENODEV;
	pcidipc_task_yield();
	for (unsigned i = 0; i < s->stop_steps && stick_run_bot(s); i++)
		;
	if (s->slow_stop)
		stop_later(s, endpoint, stream);
	else
		cancel(s, endpoint, stream ? stream : -1, -ECANCELED);
	return 0;
}

static int clear_halt(struct usb_link *link, uint8_t endpoint)
{
	struct stick *s = stick_of(link);

	s->clears++;
	if (s->gone)
		return -ENODEV;
	pcidipc_task_yield();
	cancel(s, endpoint, -1, -ECANCELED);
	s->pipe[endpoint].halted = false;
	return 0;
}

static void reset_pipes(struct stick *s)
{
	for (unsigned i = 0; i < 256; i++) {
		cancel(s, (uint8_t)i, -1, -ECANCELED);
		s->pipe[i].halted = false;
	}
}

static int reset(struct usb_link *link)
{
	struct stick *s = stick_of(link);

	s->port_resets++;
	if (s->gone)
		return -ENODEV;
	pcidipc_task_yield();
	if (s->others_reset) {
		s->others_reset--;
		return -ECANCELED;
	}
	reset_pipes(s);
	if (s->port_reset_fails)
		return -EIO;
	stick_bot_reset(s);
	stick_uas_reset(s);
	for (unsigned i = 0; i < s->luns && !s->quiet_reset; i++)
		unit_attention(&s->unit[i], 0x29, 0);
	return 0;
}

/* ---- descriptors and control requests ---- */

static const uint8_t device_descriptor[18] = {18,   1,	  0x00, 0x03, 0, 0, 0, 9, 0xf4,
					      0x46, 0x01, 0x00, 0,    0, 1, 2, 3, 1};

static void put(uint8_t *d, unsigned *n, const uint8_t *from)
{
	memcpy(d + *n, from, from[0]);
	*n += from[0];
}

static void put_uas_pipe(uint8_t *d, unsigned *n, uint8_t endpoint, uint8_t id, bool streams)
{
	put(d, n, (const uint8_t[]){7, 5, endpoint, 2, 0, 4, 0});
	put(d, n, (const uint8_t[]){6, 0x30, 15, streams ? 4 : 0, 0, 0});
	put(d, n, (const uint8_t[]){4, 0x24, id, 0});
}

static unsigned configuration(const struct stick *s, uint8_t *d)
{
	unsigned n = 0;

	put(d, &n, (const uint8_t[]){9, 2, 0, 0, 1, 1, 0, 0x80, 50});
	if (s->has_bot) {
		put(d, &n, (const uint8_t[]){9, 4, 0, 0, 2, 8, 6, 0x50, 0});
		put(d, &n, (const uint8_t[]){7, 5, STICK_IN, 2, 0, 4, 0});
		put(d, &n, (const uint8_t[]){6, 0x30, 15, 0, 0, 0});
		put(d, &n, (const uint8_t[]){7, 5, STICK_OUT, 2, 0, 4, 0});
		put(d, &n, (const uint8_t[]){6, 0x30, 15, 0, 0, 0});
	}
	if (s->has_uas) {
		put(d, &n, (const uint8_t[]){9, 4, 0, 1, 4, 8, 6, 0x62, 0});
		put_uas_pipe(d, &n, STICK_COMMAND, 1, false);
		put_uas_pipe(d, &n, STICK_STATUS, 2, s->streams);
		put_uas_pipe(d, &n, STICK_DATA_IN, 3, s->streams);
		put_uas_pipe(d, &n, STICK_DATA_OUT, 4, s->streams);
	}
	d[2] = (uint8_t)n;
	return n;
}

static int descriptor(struct usb_link *link, unsigned type, unsigned index, void *to, size_t room)
{
	static const uint8_t serial[] = {10, 3, 'A', 0, 'B', 0, '1', 0, '2', 0};
	uint8_t d[256];
	unsigned n;

	if (stick_of(link)->gone)
		return -ENODEV;
	if (type == 1) {
		n = sizeof(device_descriptor);
		memcpy(d, device_descriptor, n);
	} else if (type == 2) {
		n = configuration(stick_of(link), d);
	} else if (type == 3 && index == 3) {
		n = sizeof(serial);
		memcpy(d, serial, n);
	} else {
		return -ENOENT;
	}
	n = n < room ? n : (unsigned)room;
	memcpy(to, d, n);
	return (int)n;
}

static int configure(struct usb_link *link, unsigned alternate, unsigned streams)
{
	struct stick *s = stick_of(link);

	s->configures++;
	if (s->gone)
		return -ENODEV;
	if (alternate > 1 || (alternate == 1 && !s->has_uas))
		return -EINVAL;
	if (alternate == 1 && s->refuses_uas)
		return -EIO;
	s->alternate = alternate;
	s->streams_granted = s->streams && alternate ? streams < 16 ? streams : 16 : 0;
	return (int)s->streams_granted;
}

static int control(struct usb_link *link, const struct usb_setup *setup, void *answer, uint32_t ms)
{
	struct stick *s = stick_of(link);

	(void)ms;
	if (s->gone)
		return -ENODEV;
	pcidipc_task_yield();
	if (setup->type == 0xa1 && setup->request == 0xfe) {
		if (s->stalls_max_lun)
			return -EPIPE;
		*(uint8_t *)answer = s->max_lun_lie ? s->max_lun_lie : (uint8_t)(s->luns - 1);
		return 1;
	}
	if (setup->type != 0x21 || setup->request != 0xff || setup->length || setup->value)
		return -EPIPE;
	s->resets++;
	if (s->reset_fails)
		return -EPIPE;
	stick_bot_reset(s);
	return 0;
}

/* ---- pools ---- */

static int pool_attach(struct usb_link *link, struct pcidipc_pool_view *view)
{
	(void)view;
	stick_of(link)->pools_attached++;
	return 0;
}

static int pool_map(struct usb_link *link, struct pcidipc_pool_view *view, uint64_t offset,
		    uint64_t bytes)
{
	(void)view, (void)offset, (void)bytes;
	stick_of(link)->pools_mapped++;
	return 0;
}

static void pool_detach(struct usb_link *link, struct pcidipc_pool_view *view)
{
	(void)view;
	stick_of(link)->pools_detached++;
}

static void close_link(struct usb_link *link)
{
	(void)link;
}

static const struct usb_link_ops ops = {
	.descriptor = descriptor,
	.configure = configure,
	.control = control,
	.clear_halt = clear_halt,
	.stop = stop,
	.reset = reset,
	.submit = submit,
	.flush = flush,
	.pool_attach = pool_attach,
	.pool_map = pool_map,
	.pool_detach = pool_detach,
	.close = close_link,
};

void stick_create(struct stick *s, struct pcidipc_loop *loop)
{
	memset(s, 0, sizeof(*s));
	s->link = (struct usb_link){.ops = &ops,
				    .loop = loop,
				    .vendor = 0x46f4,
				    .product = 1,
				    .configuration = 1,
				    .speed = RINGABI_USB_SPEED_SUPER,
				    .most_bytes = RINGABI_USB_MAX_BYTES,
				    .chains = stick_chains};
	if (pcidipc_pool_create(4u << 20, 0, &s->link.pool))
		abort();
	s->base[0] = pcidipc_pool_base(s->link.pool);
	s->pool_bytes[0] = pcidipc_pool_bytes(s->link.pool);
	s->luns = 1;
	s->has_bot = true;
	s->in = malloc(MODEL_MOST_IN);
	s->out = malloc(MODEL_MOST_IN);
	if (!s->in || !s->out)
		abort();
	for (unsigned i = 0; i < 256; i++)
		pcidipc_list_init(&s->pipe[i].queue);
	for (unsigned i = 0; i < STICK_LUNS; i++)
		unit_init(&s->unit[i], 100000 + i, 512);
}

void stick_destroy(struct stick *s)
{
	pcidipc_defer_cancel(&s->run);
	pcidipc_timer_cancel(&s->late);
	pcidipc_timer_cancel(&s->stopping);
	for (unsigned i = 0; i < STICK_LUNS; i++)
		unit_free(&s->unit[i]);
	stick_uas_reset(s);
	pcidipc_pool_destroy(s->link.pool);
	free(s->in);
	free(s->out);
}

void stick_unplug(struct stick *s)
{
	s->gone = true;
	stick_run_soon(s);
	if (s->link.lost)
		s->link.lost(&s->link, -ENODEV);
}
