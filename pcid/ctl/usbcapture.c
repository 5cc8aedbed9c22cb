// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pcidctl usb capture: packets from a controller's driver into a pcapng file (link type 220), as
 * they come. It begins with the descriptors of the devices, as if they were read at that moment:
 * without them a reader would not know what the endpoints are for.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <pcidipc/loop.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "usb.h"

#define BUFFERS 8
#define BUFFER_BYTES (256u << 10)
#define DATA_BYTES 4096u /* of a packet */
#define LINK_TYPE_USB_LINUX_MMAPPED 220
#define HEADER sizeof(struct ringabi_usb_packet)

struct capture;

struct buffer {
	struct pcidipc_op op;
	struct capture *capture;
	struct pcidipc_buf *memory;
};

struct capture {
	const struct ctl *ctl;
	struct usb_bus *bus;
	uint8_t slot;
	FILE *to;
	struct pcidipc_loop *loop;
	struct pcidipc_timer timer;
	struct pcidipc_watch signals;
	struct buffer buffers[BUFFERS];
	struct pcidipc_op end;
	unsigned out; /* buffers that are with the driver */
	bool ending;
	int error; /* of the driver's */
	int write_error;
	uint64_t packets, lost;
	uint64_t id; /* of packets of our own: from the top down */
};

/* ---- pcapng ---- */

struct block {
	uint32_t type, bytes;
};

static void put(struct capture *cap, const void *data, size_t bytes)
{
	if (bytes && !cap->write_error && fwrite(data, 1, bytes, cap->to) != bytes)
		cap->write_error = -errno;
}

static void put_block(struct capture *cap, uint32_t type, const void *fixed, size_t nfixed,
		      const void *data, size_t ndata)
{
	static const char zeroes[4];
	size_t padding = -ndata & 3;
	uint32_t bytes = (uint32_t)(sizeof(struct block) + nfixed + ndata + padding + 4);
	struct block head = {type, bytes};

	put(cap, &head, sizeof(head));
	put(cap, fixed, nfixed);
	put(cap, data, ndata);
	put(cap, zeroes, padding);
	put(cap, &bytes, sizeof(bytes));
}

static void put_beginning(struct capture *cap)
{
	const struct {
		uint32_t magic;
		uint16_t major, minor;
		uint64_t section_bytes;
	} section = {0x1a2b3c4d, 1, 0, UINT64_MAX};
	const struct {
		uint16_t link_type, reserved;
		uint32_t snap;
	} interface = {LINK_TYPE_USB_LINUX_MMAPPED, 0, HEADER + RINGABI_USB_CAPTURE_DATA};

	put_block(cap, 0x0a0d0d0a, &section, sizeof(section), NULL, 0);
	put_block(cap, 1, &interface, sizeof(interface), NULL, 0);
}

/* `packet`: the header, and h->len_cap bytes behind it. */
static void put_packet(struct capture *cap, const struct ringabi_usb_packet *h, const void *packet)
{
	uint64_t us = (uint64_t)h->seconds * 1000000u + (uint32_t)h->microseconds;
	uint32_t captured = HEADER + h->len_cap;
	uint32_t original =
		HEADER + (h->len_cap && h->length > h->len_cap ? h->length : h->len_cap);
	const uint32_t fixed[] = {0, (uint32_t)(us >> 32), (uint32_t)us, captured, original};

	put_block(cap, 6, fixed, sizeof(fixed), packet, captured);
	cap->packets++;
}

/* ---- descriptors that were read before ---- */

static struct ringabi_usb_packet own_header(struct capture *cap,
					    const struct ringabi_usb_port *port, char type)
{
	struct timespec now;
	struct ringabi_usb_packet h = {.id = cap->id,
				       .type = (uint8_t)type,
				       .transfer = 2,
				       .endpoint = 0x80,
				       .device = port->slot,
				       .bus = (uint16_t)atoi((const char *)port->path),
				       .flag_setup = '-',
				       .flag_data = '<'};

	clock_gettime(CLOCK_REALTIME, &now);
	h.seconds = now.tv_sec;
	h.microseconds = (int32_t)(now.tv_nsec / 1000);
	return h;
}

static void put_descriptor(struct capture *cap, const struct ringabi_usb_port *port, uint8_t kind)
{
	static unsigned char packet[HEADER + USB_MAX_DESCRIPTOR];
	struct ringabi_usb_packet h;
	int bytes = usb_peek(cap->bus, port->slot, kind, 0);

	if (bytes <= 0 || bytes > USB_MAX_DESCRIPTOR)
		return;
	cap->id--;
	h = own_header(cap, port, 'S');
	h.flag_setup = 0;
	h.status = -EINPROGRESS;
	h.length = (uint32_t)bytes;
	memcpy(h.setup,
	       (const uint8_t[8]){0x80, 6, 0, kind, 0, 0, (uint8_t)bytes, (uint8_t)(bytes >> 8)},
	       8);
	put_packet(cap, &h, &h);
	h = own_header(cap, port, 'C');
	h.flag_data = 0;
	h.length = h.len_cap = (uint32_t)bytes;
	memcpy(packet, &h, HEADER);
	memcpy(packet + HEADER, usb_data(cap->bus), (size_t)bytes);
	put_packet(cap, &h, packet);
}

static void put_descriptors(struct capture *cap)
{
	for (unsigned i = 0; i < cap->bus->nports; i++) {
		const struct ringabi_usb_port *port = &cap->bus->ports[i];

		if (!port->slot || (cap->slot && cap->slot != port->slot))
			continue;
		put_descriptor(cap, port, 1);
		put_descriptor(cap, port, 2);
	}
}

/* ---- packets ---- */

static void buffer_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe);

static int queue(struct capture *cap, uint32_t cmd_op, struct pcidipc_buf *memory,
		 struct pcidipc_op *op)
{
	const struct ringabi_usb_arg arg = {
		.streams = memory ? cap->slot : 0,
		.value = memory ? DATA_BYTES : 0,
	};
	struct io_uring_sqe *sqe = pcidipc_get_sqe(cap->bus->ring);
	int ret;

	if (!sqe)
		return -EAGAIN;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->cmd_op = cmd_op;
	sqe->addr = memory ? memory->offset : 0;
	sqe->len = memory ? BUFFER_BYTES : 0;
	sqe->buf_index = cap->bus->index;
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, cmd), &arg, sizeof(arg));
	ret = pcidipc_sqe_set_op(cap->bus->ring, sqe, op);
	return ret ? ret : pcidipc_submit(cap->bus->ring);
}

static void end_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	struct capture *cap = pcidipc_container_of(op, struct capture, end);

	(void)cqe;
	if (!cap->out)
		pcidipc_loop_stop(cap->loop, 0);
}

static void end(struct capture *cap)
{
	if (cap->ending)
		return;
	cap->ending = true;
	cap->end.done = end_done;
	if (queue(cap, RINGABI_USB_CAPTURE_END, NULL, &cap->end))
		pcidipc_loop_stop(cap->loop, 0);
}

static void fail(struct capture *cap, int error)
{
	if (!cap->error)
		cap->error = error;
	pcidipc_loop_stop(cap->loop, 0);
}

/* The driver wrote it, and might still: copied before it is looked at. */
static int take_packets(struct capture *cap, const unsigned char *from, uint32_t bytes)
{
	static unsigned char copy[BUFFER_BYTES];
	struct ringabi_usb_packet h;

	memcpy(copy, from, bytes);
	for (uint32_t at = 0; at < bytes;) {
		if (bytes - at < HEADER)
			return -EPROTO;
		memcpy(&h, copy + at, HEADER);
		if (h.len_cap > bytes - at - HEADER)
			return -EPROTO;
		put_packet(cap, &h, copy + at);
		at += HEADER + ((h.len_cap + 7) & ~7u);
	}
	return 0;
}

static int post(struct buffer *buffer)
{
	int ret;

	buffer->op.done = buffer_done;
	ret = queue(buffer->capture, RINGABI_USB_CAPTURE, buffer->memory, &buffer->op);
	buffer->capture->out += !ret;
	return ret;
}

static void buffer_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	struct buffer *buffer = pcidipc_container_of(op, struct buffer, op);
	struct capture *cap = buffer->capture;
	int ret = cqe->res;

	cap->out--;
	if (ret > (int)BUFFER_BYTES)
		ret = -EPROTO;
	if (ret > 0) {
		cap->lost = cqe->big[0];
		ret = take_packets(cap, pcidipc_buf_ptr(buffer->memory), (uint32_t)ret);
		if (!ret && fflush(cap->to) && !cap->write_error)
			cap->write_error = -errno;
	}
	if (ret < 0) {
		fail(cap, ret);
		return;
	}
	if (cap->write_error)
		end(cap);
	if (!cap->ending)
		ret = post(buffer);
	if (ret)
		fail(cap, ret);
	else if (!cap->out)
		pcidipc_loop_stop(cap->loop, 0);
}

/* ---- until when ---- */

static void time_over(struct pcidipc_timer *timer)
{
	end(pcidipc_container_of(timer, struct capture, timer));
}

static void on_signal(struct pcidipc_watch *watch, unsigned events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		end(pcidipc_container_of(watch, struct capture, signals));
}

static int watch_signals(struct capture *cap)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno
		      : pcidipc_watch_add(cap->loop, &cap->signals, fd, EPOLLIN, on_signal);
}

static void lost(struct pcidipc_consumer *consumer, int error, void *arg)
{
	(void)consumer;
	fail(arg, error);
}

static int run(struct capture *cap)
{
	int ret = watch_signals(cap);

	if (!ret)
		ret = pcidipc_consumer_attach_loop(cap->bus->ring, cap->loop, lost, cap);
	for (unsigned i = 0; i < BUFFERS && !ret; i++) {
		struct buffer *buffer = &cap->buffers[i];

		buffer->capture = cap;
		buffer->memory = pcidipc_pool_alloc(cap->bus->pool, BUFFER_BYTES, 4096);
		ret = buffer->memory ? post(buffer) : -ENOMEM;
	}
	if (ret)
		return ret;
	if (cap->ctl->seconds)
		pcidipc_timer_set(cap->loop, &cap->timer, cap->ctl->seconds * 1000000000u,
				  time_over);
	pcidipc_loop_run(cap->loop);
	return cap->error;
}

/* ---- the command ---- */

static const char *error_text(int error)
{
	switch (error) {
	case -EACCES:
		return "only who may use its admin socket may see what moves";
	case -EBUSY:
		return "somebody else captures there";
	case -ENODEV:
		return "it is gone";
	default:
		return strerror(-error);
	}
}

static int open_output(const struct ctl *ctl, FILE **to)
{
	bool standard = !ctl->output || !strcmp(ctl->output, "-");
	int fd;

	if (standard && isatty(STDOUT_FILENO) && !ctl->output)
		return ctl_fail(ctl, CTL_USAGE, -EINVAL,
				"standard output is a terminal: name a file with -o");
	if (standard && ctl->json)
		return ctl_fail(ctl, CTL_USAGE, -EINVAL, "--json needs a file for the packets: -o");
	fd = standard ? dup(STDOUT_FILENO)
		      : open(ctl->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	*to = fd < 0 ? NULL : fdopen(fd, "w");
	return *to ? CTL_OK
		   : ctl_fail(ctl, CTL_FAILED, -errno, "%s: %s", standard ? "-" : ctl->output,
			      strerror(errno));
}

static int report(const struct capture *cap)
{
	struct json_object *o;

	fprintf(stderr, "%" PRIu64 " packets%s", cap->packets, cap->lost ? ", " : "\n");
	if (cap->lost)
		fprintf(stderr, "%" PRIu64 " were lost: they came too fast\n", cap->lost);
	if (!cap->ctl->json)
		return CTL_OK;
	o = json_object_new_object();
	json_object_object_add(o, "packets", json_object_new_uint64(cap->packets));
	json_object_object_add(o, "lost", json_object_new_uint64(cap->lost));
	return ctl_print_json(cap->ctl, o);
}

/* `loop` outlives the connection to the bus, which it drives. */
static int capture(const struct ctl *ctl, struct usb_bus *bus, const struct ringabi_usb_port *port,
		   struct pcidipc_loop *loop)
{
	struct capture cap = {.ctl = ctl, .bus = bus, .slot = port ? port->slot : 0, .loop = loop};
	int ret, code;

	if (port && !port->slot)
		return ctl_fail(ctl, CTL_NOT_FOUND, -ENODEV, "port %s is empty",
				(const char *)port->path);
	code = open_output(ctl, &cap.to);
	if (code)
		return code;
	put_beginning(&cap);
	put_descriptors(&cap);
	ret = run(&cap);
	pcidipc_watch_remove(&cap.signals);
	pcidipc_timer_cancel(&cap.timer);
	if (fclose(cap.to) && !cap.write_error)
		cap.write_error = -errno;
	if (ret)
		return ctl_fail(ctl, CTL_FAILED, ret, "%s: %s", usb_bus_name(bus), error_text(ret));
	if (cap.write_error)
		return ctl_fail(ctl, CTL_FAILED, cap.write_error, "%s: %s",
				ctl->output ? ctl->output : "-", strerror(-cap.write_error));
	return report(&cap);
}

static int choose(const struct ctl *ctl, struct usb_bus *list, size_t count, struct usb_bus **bus,
		  const struct ringabi_usb_port **port)
{
	for (size_t i = 0; i < count; i++)
		usb_open(&list[i], true);
	if (ctl->nargs)
		return usb_locate(ctl, ctl->args[0], list, count, bus, port);
	if (count != 1)
		return ctl_fail(ctl, count ? CTL_USAGE : CTL_NOT_FOUND, count ? -EINVAL : -ENOENT,
				count ? "there are %zu USB controllers: say which, as in xhci0"
				      : "there are %zu USB controllers",
				count);
	*bus = &list[0];
	*port = NULL;
	return CTL_OK;
}

int cmd_usb_capture(struct ctl *ctl)
{
	const struct ringabi_usb_port *port;
	struct json_object *services;
	struct usb_bus *list, *bus;
	struct pcidipc_loop *loop = NULL;
	size_t count;
	int code = usb_find(ctl, &services, &list, &count);

	if (code)
		return code;
	code = choose(ctl, list, count, &bus, &port);
	if (!code && bus->error)
		code = ctl_fail(ctl, CTL_FAILED, bus->error, "%s: %s", usb_bus_name(bus),
				error_text(bus->error));
	if (!code && pcidipc_loop_create(0, &loop))
		code = ctl_fail(ctl, CTL_FAILED, -ENOMEM, "no memory to capture with");
	else if (!code)
		code = capture(ctl, bus, port, loop);
	usb_free(services, list, count);
	pcidipc_loop_destroy(loop);
	return code;
}
