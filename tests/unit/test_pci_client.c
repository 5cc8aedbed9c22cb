// SPDX-License-Identifier: MIT
/* A driver's view of pcid: the PCI helpers, against a small pcid. */
#include <CUnit/CUnit.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/task.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smallpcid.h"
#include "suites.h"

static struct pcidipc_loop *loop;
static struct pcidipc_pci *pci;
static struct pcidipc_mmio regs;
static pid_t pcid;

static int begin(void)
{
	char number[16];
	int ends[2];

	if (pcidipc_channel_pair(ends))
		return 1;
	fflush(NULL);
	pcid = fork();
	if (!pcid) {
		close(ends[0]);
		exit(smallpcid_serve(ends[1]));
	}
	close(ends[1]);
	snprintf(number, sizeof(number), "%d", ends[0]);
	setenv("PCID_CLIENT_CHANNEL", number, 1);
	if (pcidipc_loop_create(0, &loop) || pcidipc_pci_open(loop, &pci))
		return 1;
	return getenv("PCID_CLIENT_CHANNEL") || pcidipc_pci_map(pci, 0, &regs);
}

static int begin_epoll(void)
{
	setenv("PCIDIPC_LOOP", "epoll", 1);
	return begin();
}

static int begin_uring(void)
{
	unsetenv("PCIDIPC_LOOP");
	return begin();
}

static int end(void)
{
	int status = 0;

	pcidipc_pci_close(pci);
	pcidipc_loop_destroy(loop);
	if (pcid)
		waitpid(pcid, &status, 0);
	return status;
}

static void test_not_started_by_pcid(void)
{
	static const char *const wrong[] = {"", "x", "0x", "99999", "-1", "4294967299", "3 "};
	struct pcidipc_pci *none;
	char regular[16];
	int fd = memfd_create("x", MFD_CLOEXEC);

	pcidipc_log_init("test_pci_client",
			 0); /* nobody shall wonder about messages that must come */
	CU_ASSERT_EQUAL(pcidipc_pci_open(loop, &none), -ENOENT);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		setenv("PCID_CLIENT_CHANNEL", wrong[i], 1);
		CU_ASSERT_EQUAL(pcidipc_pci_open(loop, &none), -ENOENT);
	}
	snprintf(regular, sizeof(regular), "%d", fd);
	setenv("PCID_CLIENT_CHANNEL", regular, 1);
	CU_ASSERT_EQUAL(pcidipc_pci_open(loop, &none), -ENOENT);
	unsetenv("PCID_CLIENT_CHANNEL");
	close(fd);
	pcidipc_log_init("test_pci_client", PCIDIPC_ERROR);
}

static void test_info(void)
{
	const struct pcidipc_pci_info *info = pcidipc_pci_info(pci);

	CU_ASSERT_EQUAL(info->vendor, 0x1b36);
	CU_ASSERT_EQUAL(info->device, 0x0010);
	CU_ASSERT_EQUAL(info->subsystem_vendor, 0x1af4);
	CU_ASSERT_EQUAL(info->subsystem_device, 0x1100);
	CU_ASSERT_EQUAL(info->class_code, 0x010802);
	CU_ASSERT_EQUAL(info->revision, 2);
	CU_ASSERT_STRING_EQUAL(info->address, "0001:03:05.6");
}

static void test_config(void)
{
	unsigned bytes = 0;
	uint32_t value = 0;

	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0, 4, &value), 0);
	CU_ASSERT_EQUAL(value, 0x56781234);
	CU_ASSERT_EQUAL(pcidipc_pci_config_write(pci, 0x40, 2, 0xbeef), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 0x40, 2, &value), 0);
	CU_ASSERT_EQUAL(value, 0xbeef);
	CU_ASSERT_EQUAL(pcidipc_pci_config_read(pci, 256, 4, &value), -ENXIO);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 9, false, 1, &bytes), 0x40);
	CU_ASSERT_EQUAL(bytes, 20);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 9, false, 0, NULL), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_pci_find_cap(pci, 9, true, 1, NULL), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_pci_enable(pci, true, false), 0);
	CU_ASSERT_EQUAL(last_note(0)->cmd_op, RINGABI_PCI_ENABLE);
	CU_ASSERT_EQUAL(last_note(0)->value, RINGABI_PCI_ENABLE_DECODE);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), 0);
}

/* A read comes after every write before it, also when many more than the ring holds are posted. */
static void test_posted_order(void)
{
	uint32_t before = smallpcid->notes;
	unsigned wrong = 0;

	CU_ASSERT_PTR_NULL(regs.base);
	CU_ASSERT_EQUAL(regs.bytes, PAGE);
	for (uint32_t i = 0; i < 20000; i++)
		pcidipc_write32(&regs, 8, i);
	CU_ASSERT_EQUAL(pcidipc_read32(&regs, 0), before + 20000);
	for (uint32_t i = 0; i < 20000; i++) {
		const struct note *n = &smallpcid->note[(before + i) % NOTES];

		wrong += n->cmd_op != RINGABI_PCI_MMIO_WRITE || n->addr != 8 || n->width != 4 ||
			 n->value != i;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	pcidipc_write64(&regs, 16, 0x1122334455667788);
	CU_ASSERT_EQUAL(pcidipc_read64(&regs, 0), before + 20001);
	CU_ASSERT_EQUAL(last_note(0)->value, 0x1122334455667788);
	CU_ASSERT_EQUAL(last_note(0)->width, 8);
}

/* Each failure takes a place in the CQ, of which there are fewer than failures. */
static void test_posted_failures(void)
{
	uint32_t before = smallpcid->notes;

	pcidipc_log_init("test_pci_client", 0);
	for (uint32_t i = 0; i < 3000; i++)
		pcidipc_write32(&regs, BAD_OFFSET, i);
	CU_ASSERT_EQUAL(pcidipc_read32(&regs, 0), before + 3000);
	pcidipc_loop_turn(loop, false);
	pcidipc_log_init("test_pci_client", PCIDIPC_ERROR);
}

static void test_masks(void)
{
	pcidipc_pci_mask(pci, 3);
	pcidipc_write32(&regs, 4, 1);
	pcidipc_pci_unmask(pci, 3);
	pcidipc_pci_mask_all(pci);
	pcidipc_pci_unmask_all(pci);
	CU_ASSERT_EQUAL(pcidipc_pci_mask_sync(pci, 5, true), 0);
	CU_ASSERT_EQUAL(last_note(5)->cmd_op, RINGABI_PCI_IRQ_MASK);
	CU_ASSERT_EQUAL(last_note(5)->index, 3);
	CU_ASSERT_EQUAL(last_note(4)->cmd_op, RINGABI_PCI_MMIO_WRITE);
	CU_ASSERT_EQUAL(last_note(3)->cmd_op, RINGABI_PCI_IRQ_UNMASK);
	CU_ASSERT_EQUAL(last_note(2)->cmd_op, RINGABI_PCI_IRQ_MASK_ALL);
	CU_ASSERT_EQUAL(last_note(1)->cmd_op, RINGABI_PCI_IRQ_UNMASK_ALL);
	CU_ASSERT_EQUAL(last_note(0)->cmd_op, RINGABI_PCI_IRQ_MASK);
	CU_ASSERT_EQUAL(last_note(0)->index, 5);
}

static bool readable(const volatile void *p)
{
	int ends[2];
	bool ok;

	if (pipe(ends))
		return false;
	ok = write(ends[1], (const void *)p, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return ok;
}

static void test_mapping(void)
{
	struct pcidipc_mmio mmio;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_map(pci, 2, &mmio), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mmio.base);
	CU_ASSERT_EQUAL(mmio.bytes, 3 * PAGE);
	CU_ASSERT_EQUAL(mmio.hole[0].offset, PAGE);
	CU_ASSERT_EQUAL(pcidipc_read32(&mmio, 0), 0x11);
	CU_ASSERT_EQUAL(pcidipc_read32(&mmio, 2 * PAGE), 0x33);
	pcidipc_write64(&mmio, 2 * PAGE + 8, 0x55);
	CU_ASSERT_EQUAL(pcidipc_read64(&mmio, 2 * PAGE + 8), 0x55);
	CU_ASSERT_FALSE(readable(mmio.base + PAGE));
	pcidipc_mmio_unmap(&mmio);
	CU_ASSERT_EQUAL(pcidipc_pci_map(pci, 1, &mmio), 0);
	pcidipc_mmio_unmap(&mmio);
	CU_ASSERT_EQUAL(pcidipc_pci_map(pci, 3, &mmio), -EPROTO);
	CU_ASSERT_EQUAL(pcidipc_pci_map(pci, 4, &mmio), -ENXIO);
}

/* A relay whose other end was closed: not an interrupt, and no reason to look again. */
static void test_hung_up(void)
{
	uint64_t one = 1;
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	CU_ASSERT_EQUAL(pcidipc_vector_ack(ends[0]), 0);
	CU_ASSERT_EQUAL(send(ends[1], &one, sizeof(one), 0), sizeof(one));
	close(ends[1]);
	CU_ASSERT_EQUAL(pcidipc_vector_ack(ends[0]), 1);
	CU_ASSERT_EQUAL(pcidipc_vector_ack(ends[0]), -ENODEV);
	close(ends[0]);
}

static void test_vectors(void)
{
	struct pcidipc_vectors vectors;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_alloc_vectors(pci, 1, 64, &vectors), 0);
	CU_ASSERT_EQUAL(vectors.count, 64);
	CU_ASSERT_EQUAL(vectors.kind, RINGABI_IRQ_MSIX);
	CU_ASSERT_EQUAL(pcidipc_vector_ack(vectors.fds[0]), 0); /* counter 0 */
	CU_ASSERT_EQUAL(pcidipc_vector_ack(vectors.fds[63]), 1);
	CU_ASSERT_EQUAL(pcidipc_vector_ack(vectors.fds[63]), 0);
	for (unsigned i = 0; i < vectors.count; i++)
		close(vectors.fds[i]);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 9, 9, &vectors), -EPROTO);
}

static void test_dma(void)
{
	uint32_t maps = smallpcid->maps, detaches = smallpcid->detaches;
	struct pcidipc_dma dma;
	struct pcidipc_buf *buf;

	CU_ASSERT_EQUAL_FATAL(pcidipc_dma_create(pci, 70u << 20, &dma), 0);
	CU_ASSERT_EQUAL(smallpcid->maps, maps + 3);
	CU_ASSERT_EQUAL(dma.iova, 0x100000000ull + dma.index * 0x1000000000ull);
	buf = pcidipc_pool_alloc(dma.pool, 8192, 4096);
	CU_ASSERT_EQUAL(pcidipc_dma_iova(&dma, buf), dma.iova + buf->offset);
	pcidipc_buf_free(buf);
	pcidipc_dma_destroy(pci, &dma);
	CU_ASSERT_EQUAL(smallpcid->detaches, detaches + 1);
}

static uint32_t seen;

static void note_event(uint32_t event, void *arg)
{
	(void)arg;
	seen = event;
}

static void test_service(void)
{
	struct pcidipc_service service;

	seen = 0;
	pcidipc_pci_on_event(pci, note_event, NULL);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "waytoolongforthis", "n1", &service), -EINVAL);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_publish(pci, "disk", "n1", &service), 0);
	CU_ASSERT_STRING_EQUAL(service.name, "disk/nvme0n1");
	CU_ASSERT_EQUAL(service.id, 17);
	CU_ASSERT_EQUAL(pcidipc_pci_unpublish(pci, &service), 0);
	CU_ASSERT_EQUAL(last_note(0)->cmd_op, RINGABI_PCI_UNPUBLISH);
	CU_ASSERT_EQUAL(last_note(0)->index, 17);
	while (!seen)
		pcidipc_loop_turn(loop, true);
	CU_ASSERT_EQUAL(seen, RINGABI_EVENT_SHUTDOWN);
}

static int adopted = -1;

static void take_child(struct pcidipc_consumer *consumer, uint32_t number, int channel, void *arg)
{
	CU_ASSERT_PTR_EQUAL(consumer, pcidipc_pci_consumer(pci));
	CU_ASSERT_EQUAL(number, 5);
	CU_ASSERT_PTR_EQUAL(arg, &adopted);
	adopted = channel;
}

static void test_children(void)
{
	struct pcidipc_child child = {.number = 5,
				      .interface = RINGABI_INTERFACE_USB,
				      .vendor = 0x46f4,
				      .product = 1,
				      .class_code = 8,
				      .subclass = 6,
				      .protocol = 80,
				      .path = "1-4.2:1.0",
				      .name = "a stick"};
	struct pcidipc_child wrong = child;
	char said = 0;

	pcidipc_consumer_on_adopt(pcidipc_pci_consumer(pci), take_child, &adopted);
	wrong.path = "12345678901234567890123456789012";
	CU_ASSERT_EQUAL(pcidipc_pci_announce(pci, &wrong), -EINVAL);
	wrong = child;
	wrong.number = 6;
	CU_ASSERT_EQUAL(pcidipc_pci_announce(pci, &wrong), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_pci_announce(pci, &child), 0);
	while (adopted < 0)
		pcidipc_loop_turn(loop, true);
	CU_ASSERT_EQUAL(read(adopted, &said, 1), 1);
	CU_ASSERT_EQUAL(said, '5');
	close(adopted);
	adopted = -1;
	CU_ASSERT_EQUAL(pcidipc_pci_child_gone(pci, 5), 0);
	CU_ASSERT_EQUAL(last_note(0)->cmd_op, RINGABI_PCI_CHILD_GONE);
	CU_ASSERT_EQUAL(last_note(0)->index, 5);
}

/* A child's driver has two channels. */
static void test_parent_channel(void)
{
	char number[16];
	int ends[2];

	CU_ASSERT_EQUAL(pcidipc_pci_parent_channel(), -ENOENT);
	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	snprintf(number, sizeof(number), "%d", ends[0]);
	setenv("PCID_PARENT_CHANNEL", number, 1);
	CU_ASSERT_EQUAL(pcidipc_pci_parent_channel(), ends[0]);
	CU_ASSERT_EQUAL(pcidipc_pci_parent_channel(), -ENOENT); /* once */
	close(ends[0]);
	close(ends[1]);
}

/* Inside a task reads await, and posted writes let nobody else run. */
static unsigned turns, done, overtaken;

static void other_task(void *arg)
{
	(void)arg;
	while (!done) {
		turns++;
		pcidipc_task_yield();
	}
}

static void mmio_task(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5; i++) {
		uint32_t before = smallpcid->notes;
		unsigned turn = turns;

		for (uint32_t k = 0; k < 2000; k++)
			pcidipc_write32(&regs, 8, k);
		overtaken += turns - turn;
		if (pcidipc_read32(&regs, 0) != before + 2000)
			overtaken++;
	}
	done = 1;
	pcidipc_loop_stop(loop, 0);
}

static void test_in_task(void)
{
	turns = done = overtaken = 0;
	pcidipc_spawn(loop, mmio_task, NULL);
	pcidipc_spawn(loop, other_task, NULL);
	CU_ASSERT_EQUAL(pcidipc_loop_run(loop), 0);
	pcidipc_loop_turn(loop, false);
	CU_ASSERT_EQUAL(overtaken, 0);
	CU_ASSERT(turns > 0);
}

/* The last one: pcid dies while the ring is full of posted writes. */
static void test_pcid_dies(void)
{
	pcidipc_log_init("test_pci_client", 0);
	kill(pcid, SIGSTOP);
	waitpid(pcid, NULL, WUNTRACED);
	for (unsigned i = 0; i < 256; i++)
		pcidipc_write32(&regs, 8, i);
	kill(pcid, SIGKILL);
	waitpid(pcid, NULL, 0);
	pcid = 0;
	for (unsigned i = 0; i < 1000; i++)
		pcidipc_write32(&regs, 8, i);
	CU_ASSERT_EQUAL(pcidipc_read32(&regs, 0), UINT32_MAX);
	CU_ASSERT_EQUAL(pcidipc_read64(&regs, 0), UINT64_MAX);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), -ENOTCONN);
	pcidipc_log_init("test_pci_client", PCIDIPC_ERROR);
}

static void test_pcid_leaves(void)
{
	pcidipc_log_init("test_pci_client", 0);
	kill(pcid, SIGKILL);
	waitpid(pcid, NULL, 0);
	pcid = 0;
	CU_ASSERT_EQUAL(pcidipc_loop_run(loop), 1);
	pcidipc_log_init("test_pci_client", PCIDIPC_ERROR);
}

#define ALWAYS                                                                                 \
	{"not started by pcid", test_not_started_by_pcid}, {"info", test_info},                \
		{"configuration space", test_config},                                          \
		{"posted writes in order", test_posted_order},                                 \
		{"posted writes that fail", test_posted_failures}, {"masks", test_masks},      \
		{"mapped registers", test_mapping}, {"vectors", test_vectors},                 \
		{"an interrupt whose source is gone", test_hung_up}, {"DMA memory", test_dma}, \
		{"service", test_service}, {"children", test_children},                        \
		{"a child's driver", test_parent_channel}, {"in a task", test_in_task},

int main(void)
{
	CU_TestInfo dies[] = {ALWAYS{"pcid dies", test_pcid_dies}, CU_TEST_INFO_NULL};
	CU_TestInfo leaves[] = {ALWAYS{"pcid leaves", test_pcid_leaves}, CU_TEST_INFO_NULL};
	CU_TestInfo closed[] = {ALWAYS CU_TEST_INFO_NULL};
	CU_SuiteInfo suites[] = {
		{"PCI helpers on epoll", begin_epoll, end, NULL, NULL, dies},
		{"PCI helpers on io_uring", begin_uring, end, NULL, NULL, leaves},
		{"PCI helpers, closed in good order", begin_uring, end, NULL, NULL, closed},
		CU_SUITE_INFO_NULL,
	};
	int ret;

	pcidipc_log_init("test_pci_client", PCIDIPC_ERROR);
	if (smallpcid_create())
		return 2;
	ret = run_suites(suites);
	smallpcid_destroy();
	return ret;
}
