// SPDX-License-Identifier: MIT
#include "smallpcid.h"

#include <errno.h>
#include <pcidipc/log.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <ringabi/pci.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct smallpcid *smallpcid;

static struct pcidipc_loop *loop;
static unsigned char config[256] = {0x34, 0x12, 0x78, 0x56};

static void take_note(const struct pcidipc_request *rq, const struct ringabi_pci_arg *arg)
{
	uint32_t n = smallpcid->notes;

	smallpcid->note[n % NOTES] =
		(struct note){rq->sqe.cmd_op, arg->index, arg->width, rq->sqe.addr, arg->value};
	smallpcid->notes = n + 1;
}

static int answer_info(struct pcidipc_request *rq)
{
	rq->big[0] = 0x1b36 | 0x0010ull << 16 | 0x1af4ull << 32 | 0x1100ull << 48;
	rq->big[1] = 0x010802 | 0x02ull << 24 | (0x0001ull << 16 | 3u << 8 | 5u << 3 | 6u) << 32;
	return 0;
}

static int answer_config(struct pcidipc_request *rq, const struct ringabi_pci_arg *arg, bool write)
{
	if (rq->sqe.addr + arg->width > sizeof(config))
		return -ENXIO;
	if (write)
		memcpy(config + rq->sqe.addr, &arg->value, arg->width);
	else
		memcpy(rq->big, config + rq->sqe.addr, arg->width);
	return 0;
}

static int answer_find_cap(struct pcidipc_request *rq, const struct ringabi_pci_arg *arg)
{
	if (arg->width != 9 || arg->index != 1 || arg->value)
		return -ENOENT;
	rq->big[0] = 0x40;
	rq->big[1] = 20;
	return 0;
}

static int request(struct pcidipc_request *rq)
{
	struct ringabi_pci_arg arg;

	memcpy(&arg, (char *)&rq->sqe + offsetof(struct io_uring_sqe, cmd), sizeof(arg));
	switch (rq->sqe.cmd_op) {
	case RINGABI_PCI_INFO:
		return answer_info(rq);
	case RINGABI_PCI_CONFIG_READ:
	case RINGABI_PCI_CONFIG_WRITE:
		return answer_config(rq, &arg, rq->sqe.cmd_op == RINGABI_PCI_CONFIG_WRITE);
	case RINGABI_PCI_FIND_CAP:
		return answer_find_cap(rq, &arg);
	case RINGABI_PCI_REGION_INFO:
		rq->big[0] = arg.index == 0 ? PAGE : 0;
		return 0;
	case RINGABI_PCI_MMIO_READ:
		rq->big[0] = smallpcid->notes;
		return 0;
	}
	take_note(rq, &arg);
	return rq->sqe.addr == BAD_OFFSET ? -EFAULT : 0;
}

static void answer_map(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	const struct ringabi_map_region *m = (const void *)packet->bytes;
	struct ringabi_map_region_reply reply = {
		.bytes = 3 * PAGE, .holes = 1, .hole = {{PAGE, PAGE}}};
	int fd = memfd_create("bar", MFD_CLOEXEC);

	if (ftruncate(fd, 3 * PAGE) || pwrite(fd, "\x11", 1, 0) != 1 ||
	    pwrite(fd, "\x33", 1, 2 * PAGE) != 1)
		abort();
	if (m->region == 3)
		reply.hole[0].bytes = 3 * PAGE; /* beyond the region */
	pcidipc_channel_reply(pcidipc_session_channel(s), &packet->msg, &reply.msg, sizeof(reply),
			      m->region == 0  ? -EOPNOTSUPP
			      : m->region > 3 ? -ENXIO
					      : 0,
			      &fd, 1);
	close(fd);
}

static void answer_vectors(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	const struct ringabi_alloc_vectors *m = (const void *)packet->bytes;
	struct ringabi_alloc_vectors_reply reply = {.kind = RINGABI_IRQ_MSIX, .granted = m->most};
	int fds[RINGABI_MSG_MAX_FDS];

	for (uint32_t i = 0; i < m->most; i++)
		fds[i] = eventfd(i, EFD_NONBLOCK | EFD_CLOEXEC);
	if (m->least == 9)
		reply.granted++; /* says more than it gives */
	pcidipc_channel_reply(pcidipc_session_channel(s), &packet->msg, &reply.msg, sizeof(reply),
			      0, fds, m->most);
	for (uint32_t i = 0; i < m->most; i++)
		close(fds[i]);
}

/* Child 5 has a driver, which says its number; the others have none. */
static void answer_announce(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	const struct ringabi_announce *m = (const void *)packet->bytes;
	struct ringabi_adopt adopt = {.msg = {.type = RINGABI_MSG_ADOPT, .size = sizeof(adopt)},
				      .child = m->child};
	struct ringabi_msg reply;
	bool right = m->interface == RINGABI_INTERFACE_USB && m->vendor == 0x46f4 &&
		     m->product == 1 && m->class_code == 8 && m->subclass == 6 &&
		     m->protocol == 80 && !m->reserved && !strcmp(m->path, "1-4.2:1.0") &&
		     !strcmp(m->name, "a stick");
	int fds[2];

	pcidipc_channel_reply(pcidipc_session_channel(s), &packet->msg, &reply, sizeof(reply),
			      !right	      ? -EINVAL
			      : m->child == 5 ? 0
					      : -ENOENT,
			      NULL, 0);
	if (!right || m->child != 5)
		return;
	if (pcidipc_channel_pair(fds) || write(fds[1], "5", 1) != 1)
		abort();
	pcidipc_channel_send(pcidipc_session_channel(s), &adopt.msg, fds, 1);
	close(fds[0]);
	close(fds[1]);
}

static void answer_publish(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	const struct ringabi_publish *m = (const void *)packet->bytes;
	struct ringabi_publish_reply reply = {.service = 17};
	int fds[2];

	if (pcidipc_channel_pair(fds))
		abort();
	snprintf(reply.name, sizeof(reply.name), "%s/nvme0%s", m->kind, m->suffix);
	pcidipc_channel_reply(pcidipc_session_channel(s), &packet->msg, &reply.msg, sizeof(reply),
			      0, fds, 2);
	close(fds[0]);
	close(fds[1]);
	pcidipc_session_event(s, RINGABI_EVENT_SHUTDOWN);
}

static void message(struct pcidipc_session *s, struct pcidipc_packet *packet)
{
	switch (packet->msg.type) {
	case RINGABI_MSG_MAP_REGION:
		return answer_map(s, packet);
	case RINGABI_MSG_ALLOC_VECTORS:
		return answer_vectors(s, packet);
	case RINGABI_MSG_PUBLISH:
		return answer_publish(s, packet);
	case RINGABI_MSG_ANNOUNCE:
		return answer_announce(s, packet);
	}
}

static int pool_attach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	(void)s;
	pool->iova = 0x100000000ull + pool->index * 0x1000000000ull;
	return 0;
}

static int pool_map(struct pcidipc_session *s, struct pcidipc_pool_view *pool, uint64_t offset,
		    uint64_t bytes)
{
	(void)s;
	(void)pool;
	(void)offset;
	(void)bytes;
	pcidipc_task_yield();
	smallpcid->maps++;
	return 0;
}

static void pool_detach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	(void)s;
	(void)pool;
	smallpcid->detaches++;
}

static void close_session(struct pcidipc_session *s)
{
	pcidipc_loop_stop(pcidipc_session_loop(s), 0);
}

static struct pcidipc_scheme scheme = {.name = "pci",
				       .interface = RINGABI_INTERFACE_PCI,
				       .ring_features = RINGABI_RING_CQE32,
				       .flags = PCIDIPC_SCHEME_DMA,
				       .max_sq_entries = 256,
				       .max_cq_entries = 512,
				       .max_sessions = 1,
				       .request = request,
				       .close = close_session,
				       .pool_attach = pool_attach,
				       .pool_map = pool_map,
				       .pool_detach = pool_detach,
				       .message = message};

int smallpcid_serve(int channel)
{
	int ret;

	pcidipc_log_init("pcid", PCIDIPC_ERROR);
	if (pcidipc_loop_create(0, &loop) ||
	    pcidipc_session_create(loop, &scheme, channel, 0, NULL))
		return 2;
	ret = pcidipc_loop_run(loop);
	pcidipc_loop_destroy(loop);
	return ret;
}

int smallpcid_create(void)
{
	smallpcid = mmap(NULL, sizeof(*smallpcid), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return smallpcid == MAP_FAILED ? -ENOMEM : 0;
}

void smallpcid_destroy(void)
{
	munmap(smallpcid, sizeof(*smallpcid));
}

const struct note *last_note(unsigned back)
{
	return &smallpcid->note[(smallpcid->notes - 1 - back) % NOTES];
}
