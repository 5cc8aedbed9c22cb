/* SPDX-License-Identifier: MIT */
/* The PCI interface for a subdriver: claiming its function, configuration space, interrupts,
 * services. */
#include <fcntl.h>
#include <limits.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consumer_internal.h"
#include "loop_internal.h"
#include "pci_internal.h"
#include "probes.h"
#include "sandbox.h"

#define PCI_ENTRIES 256

static struct pcidipc_pci *opened; /* a process has one at most: its environment names it */

struct pcidipc_pci *pci_opened(void)
{
	return opened;
}

/* ---- requests ---- */

static struct io_uring_sqe pci_sqe(uint32_t cmd_op, const struct ringabi_pci_arg *arg,
				   uint64_t addr)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};

	sqe.cmd_op = cmd_op;
	sqe.addr = addr;
	memcpy((char *)&sqe + offsetof(struct io_uring_sqe, cmd), arg, sizeof(*arg));
	return sqe;
}

int pci_call(struct pcidipc_pci *pci, uint32_t cmd_op, struct ringabi_pci_arg arg, uint64_t addr,
	     uint64_t big[2])
{
	struct io_uring_sqe sqe = pci_sqe(cmd_op, &arg, addr);
	struct pcidipc_cqe cqe = {0};
	int ret = pcidipc_call(pci->consumer, &sqe, &cqe);

	if (big) {
		big[0] = cqe.big[0];
		big[1] = cqe.big[1];
	}
	return ret;
}

/*
 * The SQ is full: wait for pcid, also inside a task, because a posted write must not let another
 * task run in between. Reaping makes room for failures of posted requests, without which pcid might
 * wait for us. NULL: pcid is gone.
 */
static struct io_uring_sqe *wait_for_sqe(struct pcidipc_pci *pci)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = pcidipc_get_sqe(pci->consumer))) {
		if (pcidipc_submit(pci->consumer))
			return NULL;
		pcidipc_consumer_reap(pci->consumer);
		consumer_read_channel(pci->consumer);
		sched_yield();
	}
	return sqe;
}

/* Posted: it is in the ring when this returns, and reports only a failure. */
void pci_post(struct pcidipc_pci *pci, uint32_t cmd_op, struct ringabi_pci_arg arg, uint64_t addr)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(pci->consumer);

	if (!sqe)
		sqe = wait_for_sqe(pci);
	if (!sqe)
		return;
	*sqe = pci_sqe(cmd_op, &arg, addr);
	pcidipc_sqe_set_silent(pci->consumer, sqe);
	pcidipc_submit(pci->consumer);
}

/* ---- claiming ---- */

static int read_info(struct pcidipc_pci *pci)
{
	struct pcidipc_pci_info *info = &pci->info;
	uint64_t big[2];
	int ret = pci_call(pci, RINGABI_PCI_INFO, (struct ringabi_pci_arg){0}, 0, big);

	if (ret)
		return ret;
	info->vendor = (uint16_t)big[0];
	info->device = (uint16_t)(big[0] >> 16);
	info->subsystem_vendor = (uint16_t)(big[0] >> 32);
	info->subsystem_device = (uint16_t)(big[0] >> 48);
	info->class_code = big[1] & 0xffffff;
	info->revision = (uint8_t)(big[1] >> 24);
	info->segment = (uint16_t)(big[1] >> 48);
	info->bus = (uint8_t)(big[1] >> 40);
	info->dev = big[1] >> 35 & 31;
	info->fn = big[1] >> 32 & 7;
	snprintf(info->address, sizeof(info->address), "%04x:%02x:%02x.%u", info->segment,
		 info->bus, info->dev, info->fn);
	return 0;
}

static void pcid_lost(struct pcidipc_consumer *consumer, int error, void *arg)
{
	struct pcidipc_pci *pci = arg;

	(void)consumer;
	pcidipc_err("%s: pcid is gone (%s), stopping", pci->info.address, strerror(-error));
	pcidipc_loop_stop(pci->loop, 1);
}

static void forward_event(struct pcidipc_consumer *consumer, uint32_t event, void *arg)
{
	struct pcidipc_pci *pci = arg;

	(void)consumer;
	if (pci->event)
		pci->event(event, pci->event_arg);
}

int pcidipc_pci_adopt(struct pcidipc_loop *loop, int channel, struct pcidipc_pci **out)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_PCI,
						 .sq_entries = PCI_ENTRIES};
	struct pcidipc_pci *pci = calloc(1, sizeof(*pci));
	int ret;

	if (!pci) {
		close(channel);
		return -ENOMEM;
	}
	pci->loop = loop;
	ret = pcidipc_consumer_adopt(channel, &params, &pci->consumer);
	if (ret)
		goto out;
	ret = read_info(pci);
	if (!ret)
		ret = pcidipc_consumer_attach_loop(pci->consumer, loop, pcid_lost, pci);
	if (ret)
		goto out;
	pcidipc_consumer_on_event(pci->consumer, forward_event, pci);
	*out = pci;
	return 0;
out:
	pcidipc_pci_close(pci);
	return ret;
}

/* The fd that pcid left us, checked: a stray variable must not make us talk to some other socket.
 */
static int inherited_channel(const char *variable)
{
	const char *text = getenv(variable);
	socklen_t n = sizeof(int);
	int type = 0;
	char *end;
	long fd;

	if (!text)
		return -ENOENT;
	fd = strtol(text, &end, 10);
	if (end == text || *end || fd < 0 || fd > INT_MAX ||
	    getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &n) || type != SOCK_SEQPACKET) {
		pcidipc_err("%s=%s is not a SOCK_SEQPACKET socket's number", variable, text);
		return -ENOENT;
	}
	unsetenv(variable);
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	return (int)fd;
}

/*
 * The order is the point: registers are mapped, and the fd that they were mapped through is closed;
 * then the locks; then pcid is told, which gives no such fd any more. A pcid that does not know
 * the request gives one still, but there is no system call left to abuse it with.
 */
static int confine(struct pcidipc_pci *pci, enum sandbox_mode mode)
{
	int locks, ret;

	pci_map_all(pci);
	locks = sandbox_close(mode, loop_ring_fd(pci->loop));
	if (locks < 0) {
		pcidipc_err("%s: the sandbox cannot be closed: %s", pci->info.address,
			    strerror(-locks));
		return locks;
	}
	ret = pci_call(pci, RINGABI_PCI_CONFINE, (struct ringabi_pci_arg){.value = (unsigned)locks},
		       0, NULL);
	return ret == -EOPNOTSUPP ? 0 : ret;
}

int pcidipc_pci_open(struct pcidipc_loop *loop, struct pcidipc_pci **pci)
{
	int channel = inherited_channel("PCID_CLIENT_CHANNEL");
	enum sandbox_mode mode = sandbox_wanted();
	int ret = channel < 0 ? channel : pcidipc_pci_adopt(loop, channel, pci);

	if (ret)
		return ret;
	opened = *pci;
	if (mode == SANDBOX_NO)
		return 0;
	ret = confine(*pci, mode);
	if (ret)
		pcidipc_pci_close(*pci);
	return ret;
}

int pcidipc_pci_parent_channel(void)
{
	return inherited_channel("PCID_PARENT_CHANNEL");
}

void pcidipc_pci_close(struct pcidipc_pci *pci)
{
	if (!pci)
		return;
	if (opened == pci)
		opened = NULL;
	pci_unmap_all(pci);
	pcidipc_consumer_close(pci->consumer);
	free(pci);
}

struct pcidipc_consumer *pcidipc_pci_consumer(struct pcidipc_pci *pci)
{
	return pci->consumer;
}

struct pcidipc_loop *pcidipc_pci_loop(const struct pcidipc_pci *pci)
{
	return pci->loop;
}

const struct pcidipc_pci_info *pcidipc_pci_info(const struct pcidipc_pci *pci)
{
	return &pci->info;
}

void pcidipc_pci_on_event(struct pcidipc_pci *pci, void (*event)(uint32_t event, void *arg),
			  void *arg)
{
	pci->event = event;
	pci->event_arg = arg;
}

/* ---- configuration space ---- */

int pcidipc_pci_enable(struct pcidipc_pci *pci, bool decode, bool master)
{
	struct ringabi_pci_arg arg = {.value = (decode ? RINGABI_PCI_ENABLE_DECODE : 0) |
					       (master ? RINGABI_PCI_ENABLE_MASTER : 0)};

	return pci_call(pci, RINGABI_PCI_ENABLE, arg, 0, NULL);
}

int pcidipc_pci_reset(struct pcidipc_pci *pci)
{
	return pci_call(pci, RINGABI_PCI_RESET, (struct ringabi_pci_arg){0}, 0, NULL);
}

int pcidipc_pci_config_read(struct pcidipc_pci *pci, unsigned offset, unsigned width,
			    uint32_t *value)
{
	uint64_t big[2];
	int ret = pci_call(pci, RINGABI_PCI_CONFIG_READ, (struct ringabi_pci_arg){.width = width},
			   offset, big);

	if (!ret)
		*value = (uint32_t)big[0];
	return ret;
}

int pcidipc_pci_config_write(struct pcidipc_pci *pci, unsigned offset, unsigned width,
			     uint32_t value)
{
	return pci_call(pci, RINGABI_PCI_CONFIG_WRITE,
			(struct ringabi_pci_arg){.width = width, .value = value}, offset, NULL);
}

int pcidipc_pci_find_cap(struct pcidipc_pci *pci, unsigned id, bool extended, unsigned nth,
			 unsigned *bytes)
{
	struct ringabi_pci_arg arg = {
		.width = id, .index = nth, .value = extended ? RINGABI_PCI_CAP_EXTENDED : 0};
	uint64_t big[2];
	int ret = pci_call(pci, RINGABI_PCI_FIND_CAP, arg, 0, big);

	if (ret)
		return ret;
	if (bytes)
		*bytes = (unsigned)big[1];
	return (int)(big[0] & 0xfff);
}

/* ---- interrupts ---- */

static int take_vectors(struct pcidipc_packet *reply, struct pcidipc_vectors *vectors)
{
	const struct ringabi_alloc_vectors_reply *r = (const void *)reply->bytes;

	if (r->granted != reply->nfds || !reply->nfds)
		return -EPROTO;
	vectors->kind = r->kind;
	vectors->count = r->granted;
	for (unsigned i = 0; i < reply->nfds; i++)
		vectors->fds[i] = pcidipc_packet_take_fd(reply, i);
	return 0;
}

int pcidipc_pci_alloc_vectors(struct pcidipc_pci *pci, unsigned least, unsigned most,
			      struct pcidipc_vectors *vectors)
{
	struct ringabi_alloc_vectors request = {
		.msg = {.type = RINGABI_MSG_ALLOC_VECTORS, .size = sizeof(request)},
		.least = least,
		.most = most,
	};
	struct pcidipc_packet reply;
	int ret = pcidipc_consumer_ask(pci->consumer, &request.msg, NULL, 0, &reply);

	if (ret)
		return ret;
	ret = take_vectors(&reply, vectors);
	pcidipc_packet_close(&reply);
	return ret;
}

/* An eventfd gives its counter, a relayed vector one packet per interrupt; either way
 * level-triggered watches go on. */
int pcidipc_vector_ack(int fd)
{
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	if (!n)
		return -ENODEV;
	if (n != sizeof(count))
		return 0;
	probe_irq(fd, count);
	return 1;
}

static void post_irq(struct pcidipc_pci *pci, uint32_t cmd_op, unsigned vector)
{
	pci_post(pci, cmd_op, (struct ringabi_pci_arg){.index = vector}, 0);
}

void pcidipc_pci_mask(struct pcidipc_pci *pci, unsigned vector)
{
	probe_irq_mask(pci, vector);
	post_irq(pci, RINGABI_PCI_IRQ_MASK, vector);
}

void pcidipc_pci_unmask(struct pcidipc_pci *pci, unsigned vector)
{
	probe_irq_unmask(pci, vector);
	post_irq(pci, RINGABI_PCI_IRQ_UNMASK, vector);
}

void pcidipc_pci_mask_all(struct pcidipc_pci *pci)
{
	probe_irq_mask_all(pci);
	post_irq(pci, RINGABI_PCI_IRQ_MASK_ALL, 0);
}

void pcidipc_pci_unmask_all(struct pcidipc_pci *pci)
{
	probe_irq_unmask_all(pci);
	post_irq(pci, RINGABI_PCI_IRQ_UNMASK_ALL, 0);
}

int pcidipc_pci_mask_sync(struct pcidipc_pci *pci, unsigned vector, bool masked)
{
	if (masked)
		probe_irq_mask(pci, vector);
	else
		probe_irq_unmask(pci, vector);
	return pci_call(pci, masked ? RINGABI_PCI_IRQ_MASK : RINGABI_PCI_IRQ_UNMASK,
			(struct ringabi_pci_arg){.index = vector}, 0, NULL);
}

/* ---- services ---- */

static int take_service(struct pcidipc_packet *reply, struct pcidipc_service *service)
{
	const struct ringabi_publish_reply *r = (const void *)reply->bytes;

	if (reply->nfds != 2)
		return -EPROTO;
	service->id = r->service;
	snprintf(service->name, sizeof(service->name), "%.*s", (int)sizeof(r->name) - 1, r->name);
	service->listen_fd = pcidipc_packet_take_fd(reply, 0);
	service->admin_fd = pcidipc_packet_take_fd(reply, 1);
	return 0;
}

int pcidipc_pci_publish(struct pcidipc_pci *pci, const char *kind, const char *suffix,
			struct pcidipc_service *service)
{
	struct ringabi_publish request = {
		.msg = {.type = RINGABI_MSG_PUBLISH, .size = sizeof(request)}};
	struct pcidipc_packet reply;
	int ret;

	if (strlen(kind) >= sizeof(request.kind) || strlen(suffix) >= sizeof(request.suffix))
		return -EINVAL;
	strcpy(request.kind, kind);
	strcpy(request.suffix, suffix);
	ret = pcidipc_consumer_ask(pci->consumer, &request.msg, NULL, 0, &reply);
	if (ret)
		return ret;
	ret = take_service(&reply, service);
	pcidipc_packet_close(&reply);
	return ret;
}

int pcidipc_pci_unpublish(struct pcidipc_pci *pci, struct pcidipc_service *service)
{
	close(service->listen_fd);
	close(service->admin_fd);
	service->listen_fd = service->admin_fd = -1;
	return pci_call(pci, RINGABI_PCI_UNPUBLISH, (struct ringabi_pci_arg){.index = service->id},
			0, NULL);
}

/* ---- children ---- */

int pcidipc_pci_announce(struct pcidipc_pci *pci, const struct pcidipc_child *child)
{
	struct ringabi_announce request = {
		.msg = {.type = RINGABI_MSG_ANNOUNCE, .size = sizeof(request)},
		.child = child->number,
		.interface = child->interface,
		.vendor = child->vendor,
		.product = child->product,
		.class_code = child->class_code,
		.subclass = child->subclass,
		.protocol = child->protocol,
	};
	struct pcidipc_packet reply;
	int ret;

	if (strlen(child->path) >= sizeof(request.path) ||
	    strlen(child->name) >= sizeof(request.name))
		return -EINVAL;
	strcpy(request.path, child->path);
	strcpy(request.name, child->name);
	ret = pcidipc_consumer_ask(pci->consumer, &request.msg, NULL, 0, &reply);
	if (!ret)
		pcidipc_packet_close(&reply);
	return ret;
}

int pcidipc_pci_child_gone(struct pcidipc_pci *pci, uint32_t number)
{
	return pci_call(pci, RINGABI_PCI_CHILD_GONE, (struct ringabi_pci_arg){.index = number}, 0,
			NULL);
}
