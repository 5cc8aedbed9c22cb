// SPDX-License-Identifier: MIT
/*
 * This program as a driver: pcid starts it for QEMU's edu, whose MSI has no mask bits, so that pcid
 * keeps the mask. It serves requests to mask and unmask so many times, which is how the measuring
 * process reaches into its sandbox: a NOP would be answered by the library, so a request is an
 * URING_CMD whose len is the count.
 */
#include "subdriver.h"

#include <errno.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct pcidipc_loop *loop;
static struct pcidipc_pci *pci;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int each_awaited(uint32_t count)
{
	int ret = 0;

	while (count-- && !ret) {
		ret = pcidipc_pci_mask_sync(pci, 0, true);
		if (!ret)
			ret = pcidipc_pci_mask_sync(pci, 0, false);
	}
	return ret;
}

/* As nvmed does, without waiting; the last one is waited for, so that all have taken effect. */
static int posted(uint32_t count)
{
	while (count-- > 1) {
		pcidipc_pci_mask(pci, 0);
		pcidipc_pci_unmask(pci, 0);
	}
	return each_awaited(1);
}

/* Blocks: this driver has nothing else to do. */
static int request(struct pcidipc_request *rq)
{
	uint64_t start = now_ns();
	int ret;

	if (rq->sqe.opcode != IORING_OP_URING_CMD || !rq->sqe.len || rq->sqe.len > 1u << 20)
		return -EINVAL;
	ret = rq->sqe.cmd_op & 1 ? posted(rq->sqe.len) : each_awaited(rq->sqe.len);
	rq->big[0] = now_ns() - start;
	return ret;
}

static struct pcidipc_scheme scheme = {.name = "bench",
				       .interface = RINGABI_INTERFACE_PRIVATE,
				       .ring_features = RINGABI_RING_CQE32,
				       .max_sq_entries = 16,
				       .max_cq_entries = 32,
				       .max_sessions = 4,
				       .request = request};

static void start(void *arg)
{
	static struct pcidipc_vectors vectors;
	static struct pcidipc_service service;
	static struct pcidipc_listener *listener;
	int ret = pcidipc_pci_alloc_vectors(pci, 1, 1, &vectors);

	(void)arg;
	if (!ret)
		ret = pcidipc_pci_publish(pci, "bench", "", &service);
	if (!ret)
		ret = pcidipc_listen(loop, &scheme, service.listen_fd, 0, &listener);
	if (!ret)
		return;
	pcidipc_err("cannot start: %s", strerror(-ret));
	pcidipc_loop_stop(loop, 1);
}

static void on_event(uint32_t event, void *arg)
{
	(void)arg;
	if (event == RINGABI_EVENT_SHUTDOWN || event == RINGABI_EVENT_REMOVED)
		pcidipc_loop_stop(loop, 0);
}

int subdriver_main(void)
{
	int ret;

	pcidipc_log_init("bench", PCIDIPC_NOTICE);
	ret = pcidipc_loop_create(0, &loop);
	if (!ret)
		ret = pcidipc_pci_open(loop, &pci);
	if (ret) {
		pcidipc_err("%s", ret == -ENOENT ? "pcid starts this, not you" : strerror(-ret));
		return 1;
	}
	pcidipc_pci_on_event(pci, on_event, NULL);
	return pcidipc_spawn(loop, start, NULL) ? 1 : pcidipc_loop_run(loop);
}
