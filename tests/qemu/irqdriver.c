// SPDX-License-Identifier: MIT
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "irqdriver.h"

#define ROUND_TRIPS 3 /* pcid may see the interrupt and the register's answer in one turn */
#define PATIENCE_MS 10000
#define PAGE 4096u

#define EDU_STATUS 0x24
#define EDU_RAISE 0x60
#define EDU_ACK 0x64

#define NVME_CC 0x14
#define NVME_CSTS 0x1c
#define NVME_AQA 0x24
#define NVME_ASQ 0x28
#define NVME_ACQ 0x30
#define NVME_SQ_DOORBELL 0x1000
#define NVME_CQ_DOORBELL 0x1004
#define NVME_ENTRIES 16u
#define NVME_IDENTIFY 6u

static struct pcidipc_pci *pci;
static struct pcidipc_mmio bar;
static struct pcidipc_vectors vectors;

/* ---- devices ---- */

struct device {
	const char *name;
	uint64_t status; /* a register that can be read at any time */
	int (*start)(void);
	void (*cause)(void);
};

/* The read comes back after the device has raised its interrupt. */
static void edu_cause(void)
{
	static uint32_t bit;

	pcidipc_write32(&bar, EDU_RAISE, 1u << (bit++ % 31));
	pcidipc_write32(&bar, EDU_ACK, pcidipc_read32(&bar, EDU_STATUS));
}

static int edu_start(void)
{
	return 0;
}

/* An admin queue pair and nothing else: the completion queue, the submission queue, a buffer. */
static struct {
	struct pcidipc_dma dma;
	unsigned char *base;
	uint64_t iova;
	uint32_t at, phase;
} admin;

static void write_address(uint64_t reg, uint64_t value)
{
	pcidipc_write32(&bar, reg, (uint32_t)value);
	pcidipc_write32(&bar, reg + 4, (uint32_t)(value >> 32));
}

static int nvme_start(void)
{
	struct pcidipc_buf *buf;
	int ret = pcidipc_dma_create(pci, 2u << 20, &admin.dma);

	if (ret)
		return ret;
	buf = pcidipc_pool_alloc(admin.dma.pool, 3 * PAGE, PAGE);
	admin.base = pcidipc_buf_ptr(buf);
	admin.iova = pcidipc_dma_iova(&admin.dma, buf);
	admin.phase = 1;
	memset(admin.base, 0, 3 * PAGE);
	pcidipc_write32(&bar, NVME_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	write_address(NVME_ACQ, admin.iova);
	write_address(NVME_ASQ, admin.iova + PAGE);
	pcidipc_write32(&bar, NVME_CC, 1u | 6u << 16 | 4u << 20);
	while (!(pcidipc_read32(&bar, NVME_CSTS) & 1))
		sched_yield();
	return 0;
}

/* Identify Controller: over when its completion is in memory. */
static void nvme_cause(void)
{
	uint32_t *sqe = (void *)(admin.base + PAGE + admin.at * 64);
	const uint32_t *status = (const void *)(admin.base + admin.at * 16 + 12);

	memset(sqe, 0, 64);
	sqe[0] = htole32(NVME_IDENTIFY);
	sqe[6] = htole32((uint32_t)(admin.iova + 2 * PAGE));
	sqe[7] = htole32((uint32_t)((admin.iova + 2 * PAGE) >> 32));
	sqe[10] = htole32(1);
	admin.at = (admin.at + 1) % NVME_ENTRIES;
	pcidipc_write32(&bar, NVME_SQ_DOORBELL, admin.at);
	while ((le32toh(__atomic_load_n(status, __ATOMIC_ACQUIRE)) >> 16 & 1) != admin.phase)
		sched_yield();
	if (!admin.at)
		admin.phase ^= 1;
	pcidipc_write32(&bar, NVME_CQ_DOORBELL, admin.at);
}

static const struct device devices[] = {
	{"edu", EDU_STATUS, edu_start, edu_cause},
	{"nvme", NVME_CSTS, nvme_start, nvme_cause},
};
static const struct device *device;

/* ---- steps ---- */

/* An eventfd tells how many there were, a relay sends one packet each. */
static uint32_t look(void)
{
	uint64_t count;
	uint32_t sum = 0;

	for (unsigned i = 0; i < ROUND_TRIPS; i++)
		pcidipc_read32(&bar, device->status);
	while (recv(vectors.fds[0], &count, sizeof(count), MSG_DONTWAIT) == sizeof(count) ||
	       (errno == ENOTSOCK && read(vectors.fds[0], &count, sizeof(count)) == sizeof(count)))
		sum += (uint32_t)count;
	return sum;
}

static uint32_t await(void)
{
	struct pollfd comes = {.fd = vectors.fds[0], .events = POLLIN};

	if (bar.base)
		poll(&comes, 1, PATIENCE_MS);
	return look();
}

/* In the manner of a driver: mask, work, unmask; the interrupt comes somewhere in between. */
static uint32_t many(void)
{
	uint32_t wrong = 0;

	for (unsigned i = 0; i < STEPS_MANY; i++) {
		if (i & 1)
			pcidipc_pci_mask(pci, 0);
		device->cause();
		pcidipc_pci_unmask(pci, 0);
		wrong += await() != 1;
	}
	return wrong;
}

static int ask(uint32_t cmd_op, uint64_t addr, struct ringabi_pci_arg arg)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = cmd_op, .addr = addr};

	memcpy((char *)&sqe + offsetof(struct io_uring_sqe, cmd), &arg, sizeof(arg));
	return pcidipc_call(pcidipc_pci_consumer(pci), &sqe, NULL);
}

/* A register beyond its region, one across its end, a width, a region, a vector, a field too many,
 * configuration space beyond its end and where it is pcid's, a request that there is not. */
static uint32_t ask_wrongly(void)
{
	const struct ringabi_pci_arg four = {.width = 4};
	uint32_t wrong = 0;

	wrong += ask(RINGABI_PCI_MMIO_READ, bar.bytes, four) != -EFAULT;
	wrong += ask(RINGABI_PCI_MMIO_READ, UINT64_MAX & ~3ull, four) != -EFAULT;
	wrong += ask(RINGABI_PCI_MMIO_READ, 0, (struct ringabi_pci_arg){.width = 3}) != -EINVAL;
	wrong += ask(RINGABI_PCI_MMIO_READ, 0, (struct ringabi_pci_arg){.width = 4, .index = 5}) !=
		 -ENXIO;
	wrong += ask(RINGABI_PCI_IRQ_MASK, 0, (struct ringabi_pci_arg){.index = 64}) != -ERANGE;
	wrong += ask(RINGABI_PCI_RESET, 0, (struct ringabi_pci_arg){.value = 1}) != -EINVAL;
	wrong += ask(RINGABI_PCI_CONFIG_READ, 4096, four) != -EINVAL;
	wrong += ask(RINGABI_PCI_CONFIG_WRITE, 0x10, four) != -EPERM;
	wrong += ask(RINGABI_PCI_INFO | 0x7f, 0, (struct ringabi_pci_arg){0}) != -EOPNOTSUPP;
	return wrong;
}

static uint32_t take_step(unsigned char step)
{
	switch (step) {
	case STEP_VECTORS:
		return vectors.kind << 8 | vectors.count;
	case STEP_MASK:
	case STEP_UNMASK:
		return (uint32_t)-pcidipc_pci_mask_sync(pci, 0, step == STEP_MASK);
	case STEP_MASK_ALL:
		pcidipc_pci_mask_all(pci);
		return 0;
	case STEP_UNMASK_ALL:
		pcidipc_pci_unmask_all(pci);
		return 0;
	case STEP_CAUSE:
		device->cause();
		return 0;
	case STEP_LOOK:
		return look();
	case STEP_AWAIT:
		return await();
	case STEP_WRONG:
		return ask_wrongly();
	case STEP_MANY:
		return many();
	}
	return UINT32_MAX;
}

/* ---- being told ---- */

static struct pcidipc_watch listening, told;
static struct pcidipc_loop *loop;

static void on_step(struct pcidipc_watch *watch, unsigned events)
{
	unsigned char step;
	uint32_t result;

	(void)events;
	if (recv(watch->fd, &step, 1, 0) == 1) {
		result = take_step(step);
		if (send(watch->fd, &result, sizeof(result), MSG_NOSIGNAL) > 0)
			return;
	}
	pcidipc_watch_remove(watch);
	close(watch->fd);
	pcidipc_watch_change(&listening, EPOLLIN);
}

/* One test at a time. */
static void on_test(struct pcidipc_watch *watch, unsigned events)
{
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	pcidipc_watch_change(watch, 0);
	pcidipc_watch_add(loop, &told, fd, EPOLLIN, on_step);
}

static void on_event(uint32_t event, void *arg)
{
	(void)arg;
	if (event == RINGABI_EVENT_SHUTDOWN || event == RINGABI_EVENT_REMOVED)
		pcidipc_loop_stop(loop, 0);
}

static int open_device(void)
{
	int ret = pcidipc_loop_create(0, &loop);

	if (!ret)
		ret = pcidipc_pci_open(loop, &pci);
	if (ret)
		return ret;
	pcidipc_pci_on_event(pci, on_event, NULL);
	ret = pcidipc_pci_enable(pci, true, true);
	if (!ret)
		ret = pcidipc_pci_map(pci, 0, &bar);
	if (!ret)
		ret = pcidipc_pci_alloc_vectors(pci, 1, 1, &vectors);
	return ret ? ret : device->start();
}

static int serve(void)
{
	struct pcidipc_service service;
	int ret = open_device();

	if (!ret)
		ret = pcidipc_pci_publish(pci, "steps", "x", &service);
	if (!ret)
		ret = pcidipc_watch_add(loop, &listening, service.listen_fd, EPOLLIN, on_test);
	if (ret)
		pcidipc_err("%s: %s", device->name, strerror(-ret));
	return ret ? ret : pcidipc_loop_run(loop);
}

int irq_driver(const char *name)
{
	int ret;

	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++)
		if (!strcmp(devices[i].name, name))
			device = &devices[i];
	if (!device)
		return 2;
	pcidipc_log_init(name, PCIDIPC_NOTICE);
	ret = serve();
	if (admin.base)
		pcidipc_dma_destroy(pci, &admin.dma);
	pcidipc_pci_close(pci);
	pcidipc_loop_destroy(loop);
	return ret ? 1 : 0;
}

/* ---- the test's side ---- */

int irq_connect(struct rig *rig, const char *name)
{
	const struct timeval patience = {.tv_sec = 30};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/steps/%s0x", rig->run, name);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

int64_t irq_step(int fd, enum step step)
{
	unsigned char byte = (unsigned char)step;
	uint32_t result;

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &result, sizeof(result), 0) != 4)
		return -1;
	return result;
}
