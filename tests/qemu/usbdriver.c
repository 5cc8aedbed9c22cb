// SPDX-License-Identifier: MIT
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/task.h>
#include <pcidipc/usb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "usbdriver.h"

#define POOL_BYTES (64u << 20)
#define DATA_AT (1u << 20) /* before it: CBW, CSW, the pieces */
#define CSW_AT 64u
#define SG_AT 4096u
#define BLOCK 512u
#define PENDING 1 /* no result yet */

struct step {
	uint32_t step, a, b, c;
};

uint32_t usb_fnv(const unsigned char *bytes, size_t n)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

void usb_pattern(unsigned char *bytes, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)((i * 2654435761u + seed) >> 13);
}

/* ---- the driver ---- */

static struct pcidipc_loop *loop;
static struct pcidipc_pci *pci;
static struct pcidipc_usb *usb;
static struct pcidipc_pool *pool;
static uint16_t pool_index;
static uint8_t in, out, status_in, command_out; /* endpoints; the latter two: UAS */
static uint32_t tag;

static unsigned char *at(uint64_t offset)
{
	return (unsigned char *)pcidipc_pool_base(pool) + offset;
}

struct waiting {
	struct pcidipc_op op;
	struct pcidipc_completion done;
};

static void on_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	pcidipc_post(&pcidipc_container_of(op, struct waiting, op)->done, cqe->res);
}

static int queue(struct waiting *w, const struct pcidipc_usb_transfer *t)
{
	memset(w, 0, sizeof(*w));
	w->op.done = on_done;
	return t->flags & RINGABI_USB_SG ? pcidipc_usb_transfer_sg(usb, t, &w->op)
					 : pcidipc_usb_transfer(usb, t, &w->op);
}

static int await(struct waiting *w)
{
	pcidipc_submit(pcidipc_usb_consumer(usb));
	return pcidipc_await(&w->done);
}

/* `bytes` at DATA_AT in `n` pieces of odd sizes and places, in an array at SG_AT. */
static void make_pieces(uint32_t bytes, unsigned n)
{
	struct ringabi_usb_segment *s = (void *)at(SG_AT);
	uint64_t offset = DATA_AT;

	memset(s, 0, n * sizeof(*s));
	for (unsigned i = 0; i < n; i++) {
		uint32_t len = i + 1 < n ? bytes / n / BLOCK * BLOCK + (i & 1 ? 0 : 1024) : bytes;

		s[i] = (struct ringabi_usb_segment){offset, len, pool_index, 0};
		offset += len + 3 * i; /* gaps: each piece begins at another alignment */
		bytes -= len;
	}
}

static uint32_t hash_pieces(unsigned n)
{
	const struct ringabi_usb_segment *s = (void *)at(SG_AT);
	uint32_t hash = 2166136261u;

	for (unsigned i = 0; i < n; i++)
		for (uint32_t k = 0; k < s[i].len; k++)
			hash = (hash ^ at(s[i].addr)[k]) * 16777619u;
	return hash;
}

static void make_cbw(uint32_t bytes, bool read, const unsigned char *cdb, unsigned n)
{
	unsigned char *cbw = at(0);
	uint32_t words[3] = {htole32(0x43425355), htole32(++tag), htole32(bytes)};

	memset(cbw, 0, 31);
	memcpy(cbw, words, sizeof(words));
	cbw[12] = read ? 0x80 : 0;
	cbw[14] = (unsigned char)n;
	memcpy(cbw + 15, cdb, n);
}

static void make_cdb(unsigned char *cdb, bool write, const struct step *s)
{
	memset(cdb, 0, 10);
	cdb[0] = write ? 0x2a : 0x28;
	for (unsigned i = 0; i < 4; i++)
		cdb[2 + i] = (unsigned char)(s->a >> (24 - 8 * i));
	cdb[7] = (unsigned char)(s->b >> 8);
	cdb[8] = (unsigned char)s->b;
}

static struct pcidipc_usb_transfer data_transfer(bool write, uint32_t bytes, unsigned pieces)
{
	struct pcidipc_usb_transfer t = {.endpoint = write ? out : in,
					 .index = pool_index,
					 .bytes = bytes,
					 .offset = DATA_AT};

	if (pieces) {
		make_pieces(bytes, pieces);
		t.flags = RINGABI_USB_SG;
		t.bytes = pieces;
		t.offset = SG_AT;
	}
	return t;
}

/* One command by Bulk-Only Transport: the status, or -errno. */
static int command(const unsigned char *cdb, unsigned n, bool write, uint32_t bytes,
		   unsigned pieces)
{
	struct pcidipc_usb_transfer t = {.endpoint = out, .index = pool_index, .bytes = 31};
	struct waiting first, data, last;
	int ret;

	make_cbw(bytes, !write, cdb, n);
	memset(at(CSW_AT), 0, 13);
	ret = queue(&first, &t);
	if (!ret)
		ret = await(&first);
	if (ret != 31)
		return ret < 0 ? ret : -EPROTO;
	t = data_transfer(write, bytes, pieces);
	ret = bytes ? queue(&data, &t) : 0;
	if (!ret && bytes)
		ret = await(&data);
	if (ret < 0)
		return ret;
	/* Not before: QEMU's stick loses a CSW that is asked for while more than 128 KiB come. */
	t = (struct pcidipc_usb_transfer){
		.endpoint = in, .index = pool_index, .bytes = 13, .offset = CSW_AT};
	ret = queue(&last, &t);
	if (ret)
		return ret;
	ret = await(&last);
	if (ret != 13)
		return ret < 0 ? ret : -EPROTO;
	return memcmp(at(CSW_AT), "USBS", 4) ? -EPROTO : at(CSW_AT)[12];
}

/* The first command after power-on gets a unit attention, which is not what is tested here. */
static int ready(void)
{
	const unsigned char test_unit_ready[6] = {0};
	int ret = 1;

	for (unsigned i = 0; i < 5 && ret == 1; i++)
		ret = command(test_unit_ready, 6, false, 0, 0);
	return ret;
}

static int64_t read_blocks(const struct step *s)
{
	unsigned char cdb[10];
	uint32_t bytes = s->b * BLOCK;
	int ret = ready();

	make_cdb(cdb, false, s);
	if (!ret)
		ret = command(cdb, 10, false, bytes, s->c);
	if (ret)
		return ret < 0 ? ret : -EIO;
	return s->c ? hash_pieces(s->c) : usb_fnv(at(DATA_AT), bytes);
}

static int64_t write_blocks(const struct step *s)
{
	unsigned char cdb[10];
	int ret = ready();

	make_cdb(cdb, true, s);
	usb_pattern(at(DATA_AT), s->b * BLOCK, s->c);
	return ret ? ret : command(cdb, 10, true, s->b * BLOCK, 0);
}

/* ---- UAS: status and data on a stream, whose number is the tag ---- */

static void uas_iu(uint16_t number, const unsigned char *cdb)
{
	unsigned char *iu = at(0);

	memset(iu, 0, 32);
	iu[0] = 1;
	iu[2] = (unsigned char)(number >> 8);
	iu[3] = (unsigned char)number;
	memcpy(iu + 16, cdb, 10);
}

static int uas_command(const unsigned char *cdb, uint32_t bytes, unsigned pieces, uint16_t number)
{
	struct pcidipc_usb_transfer t = {.endpoint = status_in,
					 .stream = number,
					 .index = pool_index,
					 .bytes = 64,
					 .offset = CSW_AT};
	struct waiting status, data, first;
	int ret = queue(&status, &t);

	uas_iu(number, cdb);
	t = data_transfer(false, bytes, pieces);
	t.stream = number;
	if (!ret && bytes)
		ret = queue(&data, &t);
	t = (struct pcidipc_usb_transfer){
		.endpoint = command_out, .index = pool_index, .bytes = 32};
	if (!ret)
		ret = queue(&first, &t);
	if (ret || await(&first) != 32)
		return ret ? ret : -EPROTO;
	ret = bytes ? await(&data) : 0;
	if (ret < 0)
		return ret;
	ret = await(&status);
	return ret < 16 ? (ret < 0 ? ret : -EPROTO) : at(CSW_AT)[6];
}

static int64_t read_uas(const struct step *s)
{
	unsigned char cdb[10] = {0};
	int ret = 2;

	for (unsigned i = 0; i < 5 && ret == 2; i++) /* CHECK CONDITION: a unit attention */
		ret = uas_command(cdb, 0, 0, (uint16_t)(1 + i));
	make_cdb(cdb, false, s);
	if (!ret)
		ret = uas_command(cdb, s->b * BLOCK, s->c, 16);
	if (ret)
		return ret < 0 ? ret : -EIO;
	return s->c ? hash_pieces(s->c) : usb_fnv(at(DATA_AT), s->b * BLOCK);
}

/* ---- other steps ---- */

static void find_endpoints(void)
{
	unsigned char raw[512];
	int n = pcidipc_usb_descriptor(usb, 2, 0, 0, raw, sizeof(raw)), seen = 0;

	for (int i = 0; i + 1 < n && raw[i] >= 2; i += raw[i]) {
		if (raw[i + 1] != 5)
			continue;
		/* UAS: command, status, data in, data out, as QEMU has them */
		if (raw[i + 2] & 0x80) {
			status_in = in;
			in = raw[i + 2];
		} else {
			command_out = command_out ? command_out : raw[i + 2];
			out = raw[i + 2];
		}
		seen++;
	}
	if (seen == 4)
		pcidipc_debug("UAS: %x %x %x %x", command_out, status_in, in, out);
}

static int64_t configure(const struct step *s)
{
	find_endpoints();
	return pcidipc_usb_configure(usb, 0, s->a);
}

static int64_t nonsense(void)
{
	struct pcidipc_usb_transfer t = {.endpoint = out, .index = pool_index, .bytes = 31};
	struct waiting first;

	memset(at(0), 0xaa, 31);
	return queue(&first, &t) ? -EIO : await(&first);
}

static int64_t clear(void)
{
	int ret = pcidipc_usb_clear_halt(usb, in);

	return ret ? ret : pcidipc_usb_clear_halt(usb, out);
}

static int64_t max_lun(void)
{
	const struct pcidipc_usb_setup setup = {.type = 0xa1,
						.request = 0xfe,
						.index = pcidipc_usb_info(usb)->interface,
						.length = 1};
	unsigned char lun = 0xff;
	int ret = pcidipc_usb_control(usb, &setup, &lun, 0);

	return ret == 1 ? lun : ret;
}

static int64_t descriptor(const struct step *s)
{
	static unsigned char raw[4096];
	int ret = pcidipc_usb_descriptor(usb, s->a, s->b, 0, raw, sizeof(raw));

	return ret < 0 ? ret : (int64_t)ret << 32 | usb_fnv(raw, (size_t)ret);
}

static int control(uint8_t type, uint8_t request, uint16_t value, uint16_t index)
{
	const struct pcidipc_usb_setup setup = {type, request, value, index, 0};

	return pcidipc_usb_control(usb, &setup, NULL, 0);
}

static int transfer(const struct pcidipc_usb_transfer *t)
{
	struct waiting w;

	return queue(&w, t) ? -EIO : await(&w);
}

#define TRANSFER(...) \
	transfer(&(const struct pcidipc_usb_transfer){.index = pool_index, __VA_ARGS__})

static int64_t forbidden(void)
{
	int64_t wrong = 0;

	wrong += control(0x00, 5, 1, 0) != -EPERM;    /* SET_ADDRESS */
	wrong += control(0x00, 9, 0, 0) != -EPERM;    /* SET_CONFIGURATION */
	wrong += control(0x01, 11, 0, 0) != -EPERM;   /* SET_INTERFACE */
	wrong += control(0x02, 1, 0, in) != -EPERM;   /* CLEAR_FEATURE(ENDPOINT_HALT) */
	wrong += control(0x21, 0xff, 0, 7) != -EPERM; /* somebody else's interface */
	wrong += TRANSFER(.endpoint = 0x8f, .bytes = 1) != -ENOENT;
	wrong += TRANSFER(.endpoint = 0, .bytes = 1) != -ENOENT;
	wrong += TRANSFER(.endpoint = in, .bytes = 1, .stream = 1) != -ENOENT;
	wrong += TRANSFER(.endpoint = in, .bytes = (16u << 20) + 1) != -EINVAL;
	wrong += TRANSFER(.endpoint = in, .bytes = 4096, .offset = POOL_BYTES - 4095) != -EFAULT;
	wrong += TRANSFER(.endpoint = in, .bytes = 129, .flags = RINGABI_USB_SG) != -EINVAL;
	wrong += TRANSFER(.endpoint = in, .bytes = 0, .flags = RINGABI_USB_SG) != -EINVAL;
	wrong += pcidipc_usb_configure(usb, 9, 0) != -EINVAL;
	wrong += pcidipc_usb_stop(usb, 0x8e, 0) != -ENOENT;
	make_pieces(4096, 1);
	((struct ringabi_usb_segment *)(void *)at(SG_AT))->buf_index = 77;
	wrong += TRANSFER(.endpoint = in, .bytes = 1, .flags = RINGABI_USB_SG, .offset = SG_AT) !=
		 -ENXIO;
	return wrong;
}

static struct waiting hung;

/* UAS: a status that no command will ever send. */
static int hang(uint32_t timeout_ms)
{
	const struct pcidipc_usb_transfer t = {.endpoint = status_in,
					       .stream = 5,
					       .index = pool_index,
					       .bytes = 64,
					       .timeout_ms = timeout_ms,
					       .offset = CSW_AT};

	if (queue(&hung, &t))
		return -EIO;
	return pcidipc_submit(pcidipc_usb_consumer(usb));
}

static int64_t take_step(const struct step *s)
{
	int ret;

	switch (s->step) {
	case USB_SPEED:
		return pcidipc_usb_info(usb)->speed;
	case USB_CONFIGURE:
		return configure(s);
	case USB_READ:
		return read_blocks(s);
	case USB_WRITE:
		return write_blocks(s);
	case USB_READ_UAS:
		return read_uas(s);
	case USB_NONSENSE:
		return nonsense();
	case USB_CLEAR:
		return clear();
	case USB_RESET:
		return pcidipc_usb_reset(usb);
	case USB_MAX_LUN:
		return max_lun();
	case USB_DESCRIPTOR:
		return descriptor(s);
	case USB_FORBIDDEN:
		return forbidden();
	case USB_HANG:
		return hang(0);
	case USB_HUNG:
		return pcidipc_await(&hung.done);
	case USB_STOP:
		return pcidipc_usb_stop(usb, status_in, s->a);
	case USB_TIMEOUT:
		ret = hang(s->a);
		return ret ? ret : pcidipc_await(&hung.done);
	}
	return INT64_MIN;
}

/* ---- being told ---- */

static struct pcidipc_watch listening, told;
static bool ending;
static bool hanging; /* a transfer whose end the test will want to know */

/* At once, unless the test waits for an answer, or has still to ask for one. */
static void end(void)
{
	ending = true;
	if (!told.loop || (told.events && !hanging))
		pcidipc_loop_stop(loop, 0);
}

static void step_task(void *arg)
{
	struct step step = *(struct step *)arg;
	int64_t result = take_step(&step);

	hanging = (hanging || step.step == USB_HANG) && step.step != USB_HUNG;
	free(arg);
	if (send(told.fd, &result, sizeof(result), MSG_NOSIGNAL) < 0)
		pcidipc_debug("nobody wants to know");
	pcidipc_watch_change(&told, EPOLLIN);
	if (ending)
		end();
}

static void on_step(struct pcidipc_watch *watch, unsigned events)
{
	struct step *step = malloc(sizeof(*step));

	(void)events;
	if (recv(watch->fd, step, sizeof(*step), 0) == sizeof(*step)) {
		pcidipc_watch_change(watch, 0);
		pcidipc_spawn(loop, step_task, step);
		return;
	}
	free(step);
	pcidipc_watch_remove(watch);
	close(watch->fd);
	hanging = false;
	if (ending)
		end();
	pcidipc_watch_change(&listening, EPOLLIN);
}

static void on_test(struct pcidipc_watch *watch, unsigned events)
{
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	pcidipc_watch_change(watch, 0);
	pcidipc_watch_add(loop, &told, fd, EPOLLIN, on_step);
}

static void on_pci_event(uint32_t event, void *arg)
{
	(void)arg;
	if (event == RINGABI_EVENT_SHUTDOWN)
		end();
}

static void on_lost(int error, void *arg)
{
	(void)arg;
	pcidipc_notice("xhcid is gone: %s", strerror(-error));
	end();
}

static int connect_all(void)
{
	int ret = pcidipc_loop_create(0, &loop);

	if (!ret)
		ret = pcidipc_pci_open(loop, &pci);
	if (!ret)
		ret = pcidipc_usb_open(loop, &usb);
	if (!ret)
		ret = pcidipc_pool_create(POOL_BYTES, 0, &pool);
	if (!ret)
		ret = pcidipc_consumer_attach_pool(pcidipc_usb_consumer(usb), pool, &pool_index);
	if (ret)
		return ret;
	pcidipc_pci_on_event(pci, on_pci_event, NULL);
	pcidipc_usb_on_event(usb, NULL, on_lost, NULL);
	return 0;
}

int usb_driver(void)
{
	struct pcidipc_service service;
	int ret;

	pcidipc_log_init("usbdriver", PCIDIPC_NOTICE);
	ret = connect_all();
	if (!ret)
		ret = pcidipc_pci_publish(pci, "steps", "x", &service);
	if (!ret)
		ret = pcidipc_watch_add(loop, &listening, service.listen_fd, EPOLLIN, on_test);
	if (ret) {
		pcidipc_err("%s", strerror(-ret));
		return 1;
	}
	return pcidipc_loop_run(loop);
}

/* ---- the test's side ---- */

int usb_connect(struct rig *rig, unsigned n)
{
	const struct timeval patience = {.tv_sec = 60};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/steps/stick%ux", rig->run, n);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

int64_t usb_step(int fd, enum usb_step step, uint32_t a, uint32_t b, uint32_t c)
{
	struct step s = {step, a, b, c};
	int64_t result;

	if (send(fd, &s, sizeof(s), MSG_NOSIGNAL) != sizeof(s) ||
	    recv(fd, &result, sizeof(result), 0) != sizeof(result))
		return INT64_MIN;
	return result;
}
