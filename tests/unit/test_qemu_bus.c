// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The QEMU bus, in this process, with a real QEMU: each test is a task that gets a bus with the
 * devices it asked for. What a device does is awaited by its interrupt or its registers, never by
 * time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <ringabi/channel.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <CUnit/Basic.h>

#include <pcid/qemu/qemu.h>

#define WAIT_NS 30000000000ull /* for what must come */
#define MANY_READS 200000      /* of a register, until the device has done something */
#define MAX_EVENTS 64

struct seen {
	enum pcid_bus_event event;
	struct pcid_function *f;
	struct pcid_fault fault;
};

/* ---- the rig: a loop, a bus, what the bus told ---- */

static struct {
	struct pcidipc_loop *loop;
	struct pcid_bus *bus;
	struct seen seen[MAX_EVENTS];
	unsigned nseen, taken;
	struct pcidipc_completion told;
	struct pcidipc_timer patience;
	unsigned writable;
	int start_result;
	char dir[64];
} rig;

static void bus_event(struct pcid_bus *bus, enum pcid_bus_event event, struct pcid_function *f,
		      const struct pcid_fault *fault)
{
	struct seen *seen = &rig.seen[rig.nseen++ % MAX_EVENTS];

	(void)bus;
	*seen = (struct seen){.event = event, .f = f};
	if (fault)
		seen->fault = *fault;
	pcidipc_post(&rig.told, 0);
}

static void bus_writable(struct pcid_bus *bus)
{
	(void)bus;
	rig.writable++;
	pcidipc_post(&rig.told, 0);
}

static void impatient(struct pcidipc_timer *timer)
{
	(void)timer;
	pcidipc_post(&rig.told, -ETIMEDOUT);
}

static int await_news(void)
{
	int ret;

	pcidipc_timer_set(rig.loop, &rig.patience, WAIT_NS, impatient);
	ret = pcidipc_await(&rig.told);
	rig.told = (struct pcidipc_completion){0};
	pcidipc_timer_cancel(&rig.patience);
	return ret;
}

static struct seen next_event(void)
{
	while (rig.taken == rig.nseen)
		if (await_news() == -ETIMEDOUT)
			return (struct seen){.event = -1};
	return rig.seen[rig.taken++ % MAX_EVENTS];
}

static struct qemu_bus *qemu(void)
{
	return qemu_bus_of(rig.bus);
}

static const struct pcid_bus_ops *ops(void)
{
	return rig.bus->ops;
}

static void run_task(void *arg)
{
	void (*test)(void) = *(void (**)(void))arg;

	rig.start_result = ops()->start(rig.bus);
	if (test) {
		CU_ASSERT_EQUAL(rig.start_result, 0);
		if (!rig.start_result)
			test();
	}
	ops()->stop(rig.bus);
	pcidipc_loop_stop(rig.loop, 0);
}

static void with_bus(void (*test)(void), const char *const *args)
{
	struct pcid_qemu_options options = {.args = args, .run_dir = rig.dir};

	memset(&rig, 0, sizeof(rig));
	snprintf(rig.dir, sizeof(rig.dir), "/tmp/test-qemu-bus.XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(rig.dir));
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &rig.loop), 0);
	CU_ASSERT_EQUAL_FATAL(pcid_qemu_bus_create(rig.loop, &options, &rig.bus), 0);
	rig.bus->event = bus_event;
	rig.bus->writable = bus_writable;
	CU_ASSERT_EQUAL(pcidipc_spawn(rig.loop, run_task, &test), 0);
	pcidipc_loop_run(rig.loop);
	pcid_bus_destroy(rig.bus);
	pcidipc_loop_destroy(rig.loop);
	CU_ASSERT_EQUAL(rmdir(rig.dir), 0); /* nothing was left in it */
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- functions ---- */

/* The nth function with this vendor and device. */
static struct pcid_function *find(unsigned vendor, unsigned device, unsigned nth)
{
	pcidipc_list_for_each(f, &rig.bus->functions, struct pcid_function, link)
		if (f->vendor == vendor && f->device == device && !f->gone && !nth--)
			return f;
	return NULL;
}

#define EDU(nth) find(0x1234, 0x11e8, nth)
#define NVME(nth) find(0x1b36, 0x0010, nth)
#define TESTDEV(nth) find(0x1b36, 0x0005, nth)

struct waiting {
	struct pcid_read read;
	struct pcidipc_completion done;
	uint64_t value;
};

static void read_done(struct pcid_read *read, int error, uint64_t value)
{
	struct waiting *w = pcidipc_container_of(read, struct waiting, read);

	w->value = value;
	pcidipc_post(&w->done, error);
}

static uint64_t mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width)
{
	struct waiting w = {.read.done = read_done};
	int ret = ops()->mmio_read(f, bar, offset, width, &w.read);

	ret = ret ? ret : pcidipc_await(&w.done);
	CU_ASSERT_EQUAL(ret, 0);
	return ret ? 0 : w.value;
}

static void mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		       uint64_t value)
{
	CU_ASSERT_EQUAL(ops()->mmio_write(f, bar, offset, width, value), 0);
}

static uint32_t config(struct pcid_function *f, unsigned offset, unsigned width)
{
	uint32_t value = 0;

	CU_ASSERT_EQUAL(ops()->config_read(f, offset, width, &value), 0);
	return value;
}

static int claim(struct pcid_function *f)
{
	int ret = ops()->claim(f);

	if (f->vendor == 0x1234)
		f->dma_bits = 28; /* as its driver would have it */
	return ret ? ret : ops()->enable(f, true, true);
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Take one interrupt. */
static bool await_irq(int fd)
{
	uint64_t count;

	if (pcidipc_task_wait_fd(fd, EPOLLIN, WAIT_NS) < 0)
		return false;
	return read(fd, &count, sizeof(count)) == sizeof(count) && count;
}

static void close_irqs(struct pcid_irqs *irqs)
{
	for (unsigned i = 0; i < irqs->count; i++)
		close(irqs->fds[i]);
}

/* ---- pools ---- */

struct memory {
	struct pcid_pool pool;
	unsigned char *bytes;
	uint64_t mapped;
};

static int memory_attach(struct memory *m, struct pcid_function *f, uint64_t bytes, uint64_t mapped)
{
	*m = (struct memory){.pool = {.function = f, .bytes = bytes}, .mapped = mapped};
	m->pool.fd = memfd_create("test-pool", MFD_CLOEXEC);
	CU_ASSERT_EQUAL(ftruncate(m->pool.fd, (off_t)bytes), 0);
	m->bytes = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, m->pool.fd, 0);
	CU_ASSERT_PTR_NOT_EQUAL(m->bytes, MAP_FAILED);
	return ops()->pool_attach(&m->pool);
}

static void memory_free(struct memory *m)
{
	munmap(m->bytes, m->mapped);
	close(m->pool.fd);
}

static void memory_detach(struct memory *m)
{
	ops()->pool_detach(&m->pool);
	memory_free(m);
}

/*
 * The edu device: 4 KiB of its own, copied by DMA, which it does after 100 ms. QEMU 7.2 aborts when
 * a transfer touches the last byte, so half is used.
 */

#define EDU_ID 0x00u
#define EDU_LIVENESS 0x04u
#define EDU_RAISE 0x60u
#define EDU_ACK 0x64u
#define EDU_SOURCE 0x80u
#define EDU_TARGET 0x88u
#define EDU_COUNT 0x90u
#define EDU_COMMAND 0x98u
#define EDU_RUN 1u
#define EDU_TO_MEMORY 2u
#define EDU_BUFFER 0x40000u
#define EDU_BYTES 2048u

static void edu_start(struct pcid_function *f, uint64_t iova, unsigned bytes, bool to_memory)
{
	mmio_write(f, 0, EDU_SOURCE, 8, to_memory ? EDU_BUFFER : iova);
	mmio_write(f, 0, EDU_TARGET, 8, to_memory ? iova : EDU_BUFFER);
	mmio_write(f, 0, EDU_COUNT, 8, bytes);
	mmio_write(f, 0, EDU_COMMAND, 8, EDU_RUN | (to_memory ? EDU_TO_MEMORY : 0));
}

static void edu_await(struct pcid_function *f)
{
	unsigned i = 0;

	while (mmio_read(f, 0, EDU_COMMAND, 8) & EDU_RUN)
		if (++i == MANY_READS)
			break;
	CU_ASSERT_NOT_EQUAL(i, MANY_READS);
}

static void edu_copy(struct pcid_function *f, uint64_t iova, unsigned bytes, bool to_memory)
{
	edu_start(f, iova, bytes, to_memory);
	edu_await(f);
}

/* ---- what is found ---- */

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static unsigned count_overlaps(const struct pcid_function *f, const struct pcid_bar *bar)
{
	unsigned n = 0;

	pcidipc_list_for_each(other, &rig.bus->functions, struct pcid_function, link)
		for (unsigned i = 0; i < PCID_BARS; i++)
			n += other->bars[i].bytes && other->bars[i].io == bar->io &&
			     (other != f || &other->bars[i] != bar) &&
			     overlap(bar->address, bar->bytes, other->bars[i].address,
				     other->bars[i].bytes);
	return n;
}

static bool in_window(const struct pcid_function *bridge, const struct pcid_bar *bar)
{
	const struct qemu_function *qf = qemu_function_of((struct pcid_function *)bridge);

	for (int kind = bar->io ? WINDOW_IO : WINDOW_MEM; kind < (bar->io ? 1 : WINDOW_KINDS);
	     kind++)
		if (bar->address >= qf->windows[kind].base &&
		    bar->address + bar->bytes <= qf->windows[kind].base + qf->windows[kind].bytes)
			return true;
	return false;
}

/* Every BAR is aligned, alone, and inside the windows of all bridges above it; and the register
 * says so. */
static void check_bar(struct pcid_function *f, unsigned i)
{
	const struct pcid_bar *bar = &f->bars[i];
	uint64_t told = config(f, PCI_BASE_ADDRESS_0 + 4 * i, 4) & (bar->io ? ~3u : ~15u);

	if (bar->is64)
		told |= (uint64_t)config(f, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4) << 32;
	CU_ASSERT_EQUAL(told, bar->address);
	CU_ASSERT_NOT_EQUAL(bar->address, 0);
	CU_ASSERT_EQUAL(bar->address % bar->bytes, 0);
	CU_ASSERT_EQUAL(count_overlaps(f, bar), 0);
	for (struct pcid_function *p = f->parent; p; p = p->parent)
		CU_ASSERT(in_window(p, bar));
}

static unsigned check_all_bars(void)
{
	unsigned n = 0;

	pcidipc_list_for_each(f, &rig.bus->functions, struct pcid_function, link)
		for (unsigned i = 0; i < PCID_BARS; i++) {
			if (!f->bars[i].bytes)
				continue;
			check_bar(f, i);
			n++;
		}
	return n;
}

static unsigned depth(const struct pcid_function *f)
{
	unsigned n = 0;

	for (; f->parent; f = f->parent)
		n++;
	return n;
}

static void check_edu(struct pcid_function *f)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(claim(f), 0);
	CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_ID, 4), 0x010000ed);
	mmio_write(f, 0, EDU_LIVENESS, 4, 0x12345678);
	CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_LIVENESS, 4), (uint32_t)~0x12345678);
	ops()->release(f);
}

static void topology(void)
{
	struct pcid_function *nested = EDU(0), *express = EDU(1), *plain;

	CU_ASSERT(check_all_bars() > 12);
	CU_ASSERT_PTR_NOT_NULL_FATAL(nested);
	CU_ASSERT_PTR_NOT_NULL_FATAL(express);
	CU_ASSERT_EQUAL(depth(nested), 3);  /* root port, upstream port, downstream port */
	CU_ASSERT_EQUAL(depth(express), 3); /* root port, PCI Express to PCI, PCI to PCI */
	check_edu(nested);
	check_edu(express);
	/* A conventional bridge answers for what is behind it: one group. */
	plain = TESTDEV(0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(plain);
	CU_ASSERT_EQUAL(plain->group, express->group);
	CU_ASSERT_NOT_EQUAL(plain->group, nested->group);
	CU_ASSERT_EQUAL(claim(express), 0);
	CU_ASSERT_EQUAL(ops()->claim(plain), -EBUSY);
	CU_ASSERT_EQUAL(ops()->claim(express), -EBUSY);
	ops()->release(express);
	CU_ASSERT_EQUAL(ops()->claim(plain), 0);
	ops()->release(plain);
	CU_ASSERT_EQUAL(ops()->claim(nested->parent), -EOPNOTSUPP);
}

static void test_topology(void)
{
	with_bus(topology,
		 ARGS("-device", "pcie-root-port,id=r1,chassis=1,slot=1", "-device",
		      "x3130-upstream,id=up,bus=r1", "-device",
		      "xio3130-downstream,id=d1,bus=up,chassis=2,slot=1", "-device",
		      "xio3130-downstream,id=d2,bus=up,chassis=3,slot=2", "-device", "edu,bus=d1",
		      "-device", "qemu-xhci,bus=d2", "-device",
		      "pcie-root-port,id=r2,chassis=4,slot=2", "-device",
		      "pcie-pci-bridge,id=b1,bus=r2", "-device",
		      "pci-bridge,id=b2,bus=b1,addr=1,chassis_nr=5", "-device", "edu,bus=b2,addr=1",
		      "-device", "pci-testdev,bus=b2,addr=2", "-device", "e1000,bus=b2,addr=3"));
}

static const struct pcid_cap *find_cap(const struct pcid_function *f, unsigned id, bool extended)
{
	for (unsigned i = 0; i < f->ncaps; i++)
		if (f->caps[i].id == id && f->caps[i].extended == extended)
			return &f->caps[i];
	return NULL;
}

static void capabilities(void)
{
	struct pcid_function *a = find(0x1af4, 0x1044, 0), *b = find(0x1af4, 0x1044, 1);
	struct pcid_function *e = find(0x8086, 0x10d3, 0);
	const struct pcid_cap *cap;

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	CU_ASSERT_EQUAL(a->dev, b->dev);
	CU_ASSERT_EQUAL(a->fn, 0);
	CU_ASSERT_EQUAL(b->fn, 3);		   /* with a gap before it */
	cap = find_cap(a, PCI_CAP_ID_VNDR, false); /* virtio's structures */
	CU_ASSERT_PTR_NOT_NULL_FATAL(cap);
	CU_ASSERT(cap->bytes >= 16);
	CU_ASSERT_EQUAL(config(a, cap->offset, 1), PCI_CAP_ID_VNDR);
	CU_ASSERT_EQUAL(config(a, cap->offset + 2u, 1), cap->bytes);
	CU_ASSERT(a->msix.cap && a->msix.count == 2);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_EQUAL(e->config_bytes, 4096);
	cap = find_cap(e, PCI_EXT_CAP_ID_ERR, true);
	CU_ASSERT_PTR_NOT_NULL_FATAL(cap);
	CU_ASSERT(cap->offset >= 0x100);
	CU_ASSERT_EQUAL(config(e, cap->offset, 2), PCI_EXT_CAP_ID_ERR);
	CU_ASSERT_PTR_NOT_NULL(find_cap(e, PCI_EXT_CAP_ID_DSN, true));
	CU_ASSERT(e->msi.cap && e->msi.is64 && !e->msi.maskable);
	CU_ASSERT(e->msix.cap && e->msix.count == 5);
	/* Interrupts that nobody asked for are off, and so are DMA and INTx. */
	CU_ASSERT_EQUAL(config(e, PCI_COMMAND, 2), PCI_COMMAND_INTX_DISABLE);
}

static void test_capabilities(void)
{
	with_bus(capabilities,
		 ARGS("-device",
		      "virtio-rng-pci,disable-legacy=on,addr=5.0,multifunction=on,vectors=2",
		      "-device", "virtio-rng-pci,disable-legacy=on,addr=5.3", "-device", "e1000e"));
}

static void check_testdev(struct pcid_function *f, unsigned bar)
{
	char name[8];

	mmio_write(f, bar, 0, 1, 0); /* choose a test of this BAR; its name follows the header */
	for (unsigned i = 0; i < sizeof(name); i++)
		name[i] = (char)mmio_read(f, bar, 16 + i, 1);
	CU_ASSERT_EQUAL(memcmp(name, bar ? "portio" : "mmio", bar ? 6 : 4), 0);
}

static void bars(void)
{
	struct pcid_function *t = TESTDEV(0), *big = find(0x1af4, 0x1110, 0);
	uint64_t offset;

	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_PTR_NOT_NULL_FATAL(big);
	CU_ASSERT(!t->bars[0].io && !t->bars[0].is64 && t->bars[0].address < 1ull << 32);
	CU_ASSERT(t->bars[1].io && t->bars[1].address < 1u << 16);
	CU_ASSERT_EQUAL(claim(t), 0);
	check_testdev(t, 0);
	check_testdev(t, 1);
	CU_ASSERT_EQUAL(ops()->mmio_write(t, 1, 0, 8, 0), -EINVAL); /* ports have 32 bits */
	CU_ASSERT_EQUAL(ops()->region_fd(t, 0, &offset), -EOPNOTSUPP);
	ops()->release(t);
	CU_ASSERT(big->bars[2].is64 && big->bars[2].prefetch);
	CU_ASSERT_EQUAL(big->bars[2].bytes, GIB(8));
	CU_ASSERT_EQUAL(big->bars[3].bytes, 0);
	CU_ASSERT_EQUAL(claim(big), 0);
	mmio_write(big, 2, GIB(8) - 8, 8, 0x0123456789abcdefull);
	CU_ASSERT_EQUAL(mmio_read(big, 2, GIB(8) - 8, 8), 0x0123456789abcdefull);
	CU_ASSERT_EQUAL(mmio_read(big, 2, GIB(8) - 7, 1), 0xcd);
	ops()->release(big);
	check_all_bars();
}

static void test_bars(void)
{
	with_bus(bars, ARGS("-device", "pci-testdev", "-object",
			    "memory-backend-memfd,id=m,size=8G,share=on", "-device",
			    "pcie-root-port,id=r,chassis=1,slot=1", "-device",
			    "ivshmem-plain,memdev=m,bus=r"));
}

/* ---- interrupts ---- */

static void edu_msi(void)
{
	struct pcid_function *f = EDU(0);
	struct pcid_irqs irqs = {0};

	CU_ASSERT_EQUAL(claim(f), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(f, 8, &irqs), 0);
	CU_ASSERT_EQUAL(irqs.kind, RINGABI_IRQ_MSI);
	CU_ASSERT_EQUAL(irqs.count, 1);
	CU_ASSERT_FALSE(irqs.maskable);
	CU_ASSERT_EQUAL(ops()->irq_mask(f, 0, true), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(ops()->irq_mask(f, 1, true), -EINVAL);
	for (unsigned i = 0; i < 20; i++) {
		mmio_write(f, 0, EDU_RAISE, 4, 1);
		CU_ASSERT(await_irq(irqs.fds[0]));
		mmio_write(f, 0, EDU_ACK, 4, 1);
	}
	/* Once freed it stays silent. */
	ops()->irq_free(f);
	mmio_write(f, 0, EDU_RAISE, 4, 1);
	mmio_read(f, 0, EDU_ID, 4);
	CU_ASSERT_FALSE(is_readable(irqs.fds[0]));
	close_irqs(&irqs);
	ops()->release(f);
}

static void test_edu_msi(void)
{
	with_bus(edu_msi, ARGS("-device", "edu"));
}

/* Functions with MSI share one peer: what comes and goes must not take others' interrupts. */
static void msi_neighbours(void)
{
	struct pcid_function *a = EDU(0), *b = EDU(1);
	struct pcid_irqs mine = {0}, theirs = {0};

	CU_ASSERT_EQUAL(claim(a), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(a, 1, &mine), 0);
	for (unsigned i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(claim(b), 0);
		CU_ASSERT_EQUAL(ops()->irq_alloc(b, 1, &theirs), 0);
		CU_ASSERT_FALSE(is_readable(mine.fds[0]));
		mmio_write(a, 0, EDU_RAISE, 4, 1);
		CU_ASSERT(await_irq(mine.fds[0]));
		mmio_read(b, 0, EDU_ID, 4);
		CU_ASSERT_FALSE(is_readable(theirs.fds[0]));
		mmio_write(b, 0, EDU_RAISE, 4, 1);
		CU_ASSERT(await_irq(theirs.fds[0]));
		CU_ASSERT_FALSE(is_readable(mine.fds[0]));
		close_irqs(&theirs);
		ops()->release(b);
	}
	close_irqs(&mine);
	ops()->release(a);
}

static void test_msi_neighbours(void)
{
	with_bus(msi_neighbours, ARGS("-device", "edu", "-device", "edu"));
}

/* ---- an NVMe controller's admin queue: ASQ at 0, ACQ at 4 KiB, data at 8 KiB ---- */

#define NVME_CC 0x14u
#define NVME_CSTS 0x1cu
#define NVME_AQA 0x24u
#define NVME_ASQ 0x28u
#define NVME_ACQ 0x30u
#define NVME_SQ0 0x1000u
#define NVME_DATA 0x2000u
#define NVME_ENTRIES 16u

struct nvme {
	struct pcid_function *f;
	struct memory m;
	struct pcid_irqs irqs;
	unsigned tail, head, phase;
};

static int nvme_await_ready(struct pcid_function *f)
{
	for (unsigned i = 0; i < MANY_READS; i++)
		if (mmio_read(f, 0, NVME_CSTS, 4) & 1)
			return 0;
	return -ETIMEDOUT;
}

static void nvme_open(struct nvme *n, struct pcid_function *f)
{
	*n = (struct nvme){.f = f, .phase = 1};
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL_FATAL(claim(f), 0);
	CU_ASSERT_EQUAL_FATAL(memory_attach(&n->m, f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&n->m.pool, 0, MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(f, 1, &n->irqs), 0);
	mmio_write(f, 0, NVME_AQA, 4, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	mmio_write(f, 0, NVME_ASQ, 8, n->m.pool.iova);
	mmio_write(f, 0, NVME_ACQ, 8, n->m.pool.iova + 4096);
	mmio_write(f, 0, NVME_CC, 4, 6u << 16 | 4u << 20 | 1);
	CU_ASSERT_EQUAL(nvme_await_ready(f), 0);
}

static void nvme_close(struct nvme *n)
{
	int ret = ops()->reset(n->f);

	CU_ASSERT(!ret || ret == -ENODEV);
	close_irqs(&n->irqs);
	memory_detach(&n->m);
	ops()->release(n->f);
}

static void nvme_identify(struct nvme *n, uint64_t prp)
{
	uint32_t *sqe = (uint32_t *)(n->m.bytes + 64 * n->tail);

	memset(sqe, 0, 64);
	sqe[0] = 6 | n->tail << 16;
	memcpy(&sqe[6], &prp, sizeof(prp));
	sqe[10] = 1; /* the controller */
	n->tail = (n->tail + 1) % NVME_ENTRIES;
	mmio_write(n->f, 0, NVME_SQ0, 4, n->tail);
}

static unsigned nvme_status(struct nvme *n)
{
	volatile uint16_t *status = (volatile uint16_t *)(n->m.bytes + 4096 + 16 * n->head + 14);
	unsigned i = 0;

	while ((*status & 1) != n->phase && i++ < MANY_READS)
		mmio_read(n->f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(*status & 1, n->phase);
	n->head = (n->head + 1) % NVME_ENTRIES;
	n->phase ^= !n->head;
	mmio_read(n->f, 0, NVME_CSTS, 4); /* what it does after the CQE is done then, too */
	mmio_write(n->f, 0, NVME_SQ0 + 4, 4, n->head);
	return *status >> 1;
}

static void msix_mask(void)
{
	struct nvme n;

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL(n.irqs.kind, RINGABI_IRQ_MSIX);
	CU_ASSERT(n.irqs.maskable);
	for (unsigned i = 0; i < 40; i++) {
		memset(n.m.bytes + NVME_DATA, 0, 4096);
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, true), 0);
		nvme_identify(&n, n.m.pool.iova + NVME_DATA);
		CU_ASSERT_EQUAL(nvme_status(&n), 0);
		CU_ASSERT_EQUAL(memcmp(n.m.bytes + NVME_DATA + 4, "serial-1", 8), 0);
		CU_ASSERT_FALSE(is_readable(n.irqs.fds[0]));
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, false), 0);
		CU_ASSERT(await_irq(n.irqs.fds[0]));
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, true), 0);
		CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, false), 0);
		mmio_read(n.f, 0, NVME_CSTS, 4);
		CU_ASSERT_FALSE(is_readable(n.irqs.fds[0])); /* once */
	}
	nvme_close(&n);
}

static void test_msix_mask(void)
{
	with_bus(msix_mask, ARGS("-drive", "driver=null-co,if=none,id=d,read-zeroes=on,size=64M",
				 "-device", "nvme,drive=d,serial=serial-1"));
}

/* Masks survive that the function stops decoding, where the table is, and may be set meanwhile. */
static void masks_and_decoding(void)
{
	struct nvme n;

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL(ops()->enable(n.f, false, false), 0);
	CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, true), 0);
	CU_ASSERT_EQUAL(ops()->enable(n.f, true, true), 0);
	nvme_identify(&n, n.m.pool.iova + NVME_DATA);
	CU_ASSERT_EQUAL(nvme_status(&n), 0);
	CU_ASSERT_FALSE(is_readable(n.irqs.fds[0]));
	CU_ASSERT_EQUAL(ops()->irq_mask(n.f, 0, false), 0);
	CU_ASSERT(await_irq(n.irqs.fds[0]));
	nvme_close(&n);
}

static void test_masks_and_decoding(void)
{
	with_bus(masks_and_decoding, ARGS("-drive", "driver=null-co,if=none,id=d,size=64M",
					  "-device", "nvme,drive=d,serial=serial-1"));
}

static void many_vectors(void)
{
	struct pcid_function *f = find(0x1b36, 0x000d, 0);
	struct pcid_irqs irqs = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(claim(f), 0);
		CU_ASSERT_EQUAL(ops()->irq_alloc(f, 64, &irqs), 0);
		CU_ASSERT_EQUAL(irqs.count, 16);
		CU_ASSERT_EQUAL(ops()->irq_alloc(f, 64, &irqs), -EALREADY);
		for (unsigned v = 0; v < irqs.count; v++)
			CU_ASSERT_EQUAL(ops()->irq_mask(f, v, v % 2), 0);
		CU_ASSERT_EQUAL(ops()->irq_mask(f, irqs.count, true), -EINVAL);
		for (unsigned v = 0; v < irqs.count; v++)
			CU_ASSERT_EQUAL(mmio_read(f, 0, f->msix.offset + 16 * v + 12, 4), v % 2);
		CU_ASSERT_EQUAL(ops()->reset(f), 0); /* by its own register */
		close_irqs(&irqs);
		CU_ASSERT_EQUAL(config(f, PCI_COMMAND, 2), PCI_COMMAND_INTX_DISABLE);
		CU_ASSERT_EQUAL(config(f, f->msix.cap + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE,
				0);
		check_all_bars();
		ops()->release(f);
	}
}

static void test_many_vectors(void)
{
	with_bus(many_vectors, ARGS("-device", "qemu-xhci"));
}

/* ---- DMA ---- */

static void edu_dma(void)
{
	struct pcid_function *f = EDU(0);
	struct memory m;

	CU_ASSERT_EQUAL(f->dma_bits, 64); /* no register tells */
	CU_ASSERT_EQUAL(claim(f), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(64), MIB(64)), 0);
	CU_ASSERT(m.pool.iova && m.pool.iova + MIB(64) <= 1u << 28);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(64)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(64)), 0); /* twice is no error */
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(64) + 4096), -EINVAL);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 4095, 4096), -EINVAL);
	for (unsigned i = 0; i < 4096; i++)
		m.bytes[MIB(63) + i] = (unsigned char)(i * 7);
	edu_copy(f, m.pool.iova + MIB(63), EDU_BYTES, false);
	edu_copy(f, m.pool.iova + 4096, EDU_BYTES, true);
	CU_ASSERT_EQUAL(memcmp(m.bytes + 4096, m.bytes + MIB(63), EDU_BYTES), 0);
	memory_detach(&m);
	ops()->release(f);
}

static void test_edu_dma(void)
{
	with_bus(edu_dma, ARGS("-device", "edu"));
}

/* An address that a pool had comes again as late as possible, and it does come again: a driver may
 * have any number of pools in its life, one after the other. */
static void iova_reuse(void)
{
	struct pcid_function *f = EDU(0);
	unsigned again = 0;
	uint64_t last = 0;
	struct memory m, other;

	CU_ASSERT_EQUAL(claim(f), 0);
	CU_ASSERT_EQUAL(memory_attach(&other, f, MIB(64), MIB(64)), 0);
	for (unsigned i = 0; i < 12; i++) { /* edu's 28 bits hold less than four at a time */
		CU_ASSERT_EQUAL_FATAL(memory_attach(&m, f, MIB(64), MIB(64)), 0);
		CU_ASSERT(m.pool.iova != last);
		CU_ASSERT(m.pool.iova >= other.pool.iova + MIB(64) ||
			  m.pool.iova + MIB(64) <= other.pool.iova);
		again += m.pool.iova < last;
		last = m.pool.iova;
		memory_detach(&m);
	}
	CU_ASSERT(again > 0);
	memory_detach(&other);
	ops()->release(f);
}

static void test_iova_reuse(void)
{
	with_bus(iova_reuse, ARGS("-device", "edu"));
}

static void expect_fault(struct pcid_function *f, uint64_t iova, bool write)
{
	struct seen seen = next_event();

	CU_ASSERT_EQUAL(seen.event, PCID_FUNCTION_FAULT);
	CU_ASSERT_PTR_EQUAL(seen.f, f);
	CU_ASSERT_EQUAL(seen.fault.iova & ~4095ull, iova & ~4095ull);
	CU_ASSERT_EQUAL(seen.fault.write, write);
	CU_ASSERT_PTR_NOT_NULL(seen.fault.reason);
}

static unsigned not_equal(const unsigned char *bytes, size_t n, unsigned char value)
{
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += bytes[i] != value;
	return count;
}

/* Beyond what is mapped of its own pool; nothing is written, there or in the neighbour's memory. */
static void fault_unmapped(void)
{
	struct pcid_function *f = EDU(0), *other = EDU(1);
	struct memory m, neighbour;

	CU_ASSERT_EQUAL(claim(f), 0);
	CU_ASSERT_EQUAL(claim(other), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(4), MIB(4)), 0);
	CU_ASSERT_EQUAL(memory_attach(&neighbour, other, MIB(4), MIB(4)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&neighbour.pool, 0, MIB(4)), 0);
	CU_ASSERT_EQUAL(m.pool.iova, neighbour.pool.iova); /* each in a domain of its own */
	memset(m.bytes, 0x55, MIB(4));
	memset(neighbour.bytes, 0x55, MIB(4));
	edu_copy(f, m.pool.iova + MIB(3), EDU_BYTES, true);
	expect_fault(f, m.pool.iova + MIB(3), true);
	CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(4), 0x55), 0);
	CU_ASSERT_EQUAL(not_equal(neighbour.bytes, MIB(4), 0x55), 0);
	memory_detach(&m);
	memory_detach(&neighbour);
	ops()->release(f);
	ops()->release(other);
}

static void test_fault_unmapped(void)
{
	with_bus(fault_unmapped, ARGS("-device", "edu", "-device", "edu"));
}

/* After a detach its addresses reach nothing, although the pool's memory is still there. */
static void fault_detached(void)
{
	struct pcid_function *f = EDU(0);
	struct memory m;

	CU_ASSERT_EQUAL(claim(f), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
	edu_copy(f, m.pool.iova, EDU_BYTES,
		 false); /* its zeroes; and the address is in the IOTLB */
	memset(m.bytes, 0x55, MIB(2));
	ops()->pool_detach(&m.pool);
	edu_copy(f, m.pool.iova, EDU_BYTES, true);
	expect_fault(f, m.pool.iova, true);
	CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(2), 0x55), 0);
	memory_free(&m);
	ops()->release(f);
}

static void test_fault_detached(void)
{
	with_bus(fault_detached, ARGS("-device", "edu"));
}

static void two_domains(void)
{
	struct pcid_function *f[2] = {EDU(0), EDU(1)};
	struct memory m[2];

	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(claim(f[i]), 0);
		CU_ASSERT_EQUAL(memory_attach(&m[i], f[i], MIB(2), MIB(2)), 0);
		CU_ASSERT_EQUAL(ops()->pool_map(&m[i].pool, 0, MIB(2)), 0);
		memset(m[i].bytes, 0xa0 + (int)i, 4096);
	}
	CU_ASSERT_EQUAL(m[0].pool.iova, m[1].pool.iova);
	for (unsigned i = 0; i < 2; i++)
		edu_start(f[i], m[i].pool.iova, EDU_BYTES, false);
	edu_await(f[0]);
	edu_await(f[1]);
	for (unsigned i = 0; i < 2; i++)
		edu_copy(f[i], m[i].pool.iova + 4096, EDU_BYTES, true);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(not_equal(m[i].bytes + 4096, EDU_BYTES, (unsigned char)(0xa0 + i)),
				0);
		memory_detach(&m[i]);
		ops()->release(f[i]);
	}
}

static void test_two_domains(void)
{
	with_bus(two_domains, ARGS("-device", "edu", "-device", "edu"));
}

/* The largest pool there may be, reached at both ends, and growing while a transfer runs. */
static void huge_pool(void)
{
	struct nvme n;
	struct memory big;
	uint64_t far = POOL_MOST - MIB(32);
	char data[16];

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL(memory_attach(&big, n.f, POOL_MOST, 4096), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&big.pool, far, MIB(32)), 0);
	nvme_identify(&n, big.pool.iova + far);
	for (unsigned i = 0; i < 64; i++)
		CU_ASSERT_EQUAL(ops()->pool_map(&big.pool, MIB(32) * i, MIB(32)), 0);
	CU_ASSERT_EQUAL(nvme_status(&n), 0);
	CU_ASSERT_EQUAL(pread(big.pool.fd, data, sizeof(data), (off_t)far + 4), sizeof(data));
	CU_ASSERT_EQUAL(memcmp(data, "serial-1", 8), 0);
	nvme_identify(&n, big.pool.iova + MIB(32) * 63);
	CU_ASSERT_EQUAL(nvme_status(&n), 0);
	CU_ASSERT_EQUAL(pread(big.pool.fd, data, sizeof(data), (off_t)MIB(32) * 63 + 4),
			sizeof(data));
	CU_ASSERT_EQUAL(memcmp(data, "serial-1", 8), 0);
	memory_detach(&big);
	CU_ASSERT_EQUAL(memory_attach(&big, n.f, POOL_MOST + MIB(2), 4096), -ENOSPC);
	memory_free(&big);
	CU_ASSERT_EQUAL(memory_attach(&big, n.f, MIB(1), 4096), -EINVAL);
	memory_free(&big);
	nvme_close(&n);
}

static void test_huge_pool(void)
{
	with_bus(huge_pool, ARGS("-drive", "driver=null-co,if=none,id=d,size=64M", "-device",
				 "nvme,drive=d,serial=serial-1"));
}

/* ---- the control socket, as people use it ---- */

/* Runs one command; its answer, or NULL. The caller frees. QEMU needs nothing of us to answer, so
 * this may block. */
static struct json_object *people_say(const char *command)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct json_object *answer = NULL;
	char *line = NULL;
	size_t room = 0;
	FILE *in;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", pcid_qemu_bus_qmp(rig.bus));
	CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	in = fdopen(fd, "r");
	dprintf(fd, "{\"execute\":\"qmp_capabilities\"}\n{\"id\":1,%s}\n", command);
	while (!answer && getline(&line, &room, in) > 0) {
		answer = json_tokener_parse(line);
		if (json_object_object_get_ex(answer, "id", NULL))
			break;
		json_object_put(answer);
		answer = NULL;
	}
	free(line);
	fclose(in);
	return answer;
}

static bool people_do(const char *command)
{
	struct json_object *answer = people_say(command);
	bool done = json_object_object_get_ex(answer, "return", NULL);

	if (!done)
		printf("\n%s: %s\n", command, json_object_to_json_string(answer));
	json_object_put(answer);
	return done;
}

static unsigned count_answers(const char *command)
{
	struct json_object *answer = people_say(command), *list = NULL;
	unsigned n = 0;

	if (json_object_object_get_ex(answer, "return", &list))
		n = (unsigned)json_object_array_length(list);
	json_object_put(answer);
	return n;
}

/* ---- a reset with a transfer pending: a disk that can be frozen, filled with zeroes ---- */

#define NVME_IO_SQ 0x3000u
#define NVME_IO_CQ 0x4000u
#define NVME_SQ1 0x1008u
#define NVME_READ_BYTES 4096u

static void nvme_create(struct nvme *n, unsigned opcode, uint64_t prp, uint32_t cdw11)
{
	uint32_t *sqe = (uint32_t *)(n->m.bytes + 64 * n->tail);

	memset(sqe, 0, 64);
	sqe[0] = opcode | n->tail << 16;
	memcpy(&sqe[6], &prp, sizeof(prp));
	sqe[10] = (NVME_ENTRIES - 1) << 16 | 1;
	sqe[11] = cdw11;
	n->tail = (n->tail + 1) % NVME_ENTRIES;
	mmio_write(n->f, 0, NVME_SQ0, 4, n->tail);
	CU_ASSERT_EQUAL(nvme_status(n), 0);
}

/* Read block 0 to `count` pages from `prp` on, a command each. */
static void nvme_read_pages(struct nvme *n, uint64_t prp, unsigned count)
{
	nvme_create(n, 5, n->m.pool.iova + NVME_IO_CQ, 1);
	nvme_create(n, 1, n->m.pool.iova + NVME_IO_SQ, 1 << 16 | 1);
	for (unsigned i = 0; i < count; i++, prp += NVME_READ_BYTES) {
		uint32_t *sqe = (uint32_t *)(n->m.bytes + NVME_IO_SQ + 64 * i);

		memset(sqe, 0, 64);
		sqe[0] = 2 | i << 16;
		sqe[1] = 1;
		memcpy(&sqe[6], &prp, sizeof(prp));
		sqe[12] = NVME_READ_BYTES / 512 - 1;
	}
	mmio_write(n->f, 0, NVME_SQ1, 4, count);
}

static bool throttle(unsigned bps)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "\"execute\":\"block_set_io_throttle\",\"arguments\":{\"device\":\"d\",\"bps\":%u,"
		 "\"bps_rd\":0,\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,\"iops_wr\":0}",
		 bps);
	return people_do(command);
}

#define PENDING_READS 4u
#define PENDING_BYTES (PENDING_READS * NVME_READ_BYTES)

/* Reads into m, of which at least the last is held back. */
static void begin_pending(struct nvme *n, struct memory *m)
{
	nvme_open(n, NVME(0));
	CU_ASSERT_EQUAL_FATAL(memory_attach(m, n->f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m->pool, 0, MIB(2)), 0);
	memset(m->bytes, 0x55, MIB(2));
	CU_ASSERT_FATAL(throttle(1));
	nvme_read_pages(n, m->pool.iova, PENDING_READS);
	for (unsigned i = 0; i < 100; i++)
		mmio_read(n->f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(
		not_equal(m->bytes + PENDING_BYTES - NVME_READ_BYTES, NVME_READ_BYTES, 0x55), 0);
}

/* What the next test relies on: let go, it does write. */
static void pending_goes_on(void)
{
	struct memory m;
	struct nvme n;

	begin_pending(&n, &m);
	CU_ASSERT(throttle(0));
	for (unsigned i = 0; i < MANY_READS && m.bytes[PENDING_BYTES - 1]; i++)
		mmio_read(n.f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(not_equal(m.bytes, PENDING_BYTES, 0), 0);
	CU_ASSERT_EQUAL(not_equal(m.bytes + PENDING_BYTES, MIB(2) - PENDING_BYTES, 0x55), 0);
	memory_detach(&m);
	nvme_close(&n);
}

/* The memory is its owner's again when the reset has returned, detached and not. */
static void pending_and_reset(void)
{
	for (unsigned detach = 0; detach < 2; detach++) {
		struct memory m;
		struct nvme n;

		begin_pending(&n, &m);
		CU_ASSERT_EQUAL(ops()->reset(n.f), 0);
		memset(m.bytes, 0x77, MIB(2));
		if (detach)
			ops()->pool_detach(&m.pool);
		CU_ASSERT(throttle(0));
		for (unsigned i = 0; i < 100; i++)
			qtest_task_sync(&qemu()->qtest);
		CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(2), 0x77), 0);
		if (!detach)
			ops()->pool_detach(&m.pool);
		memory_free(&m);
		nvme_close(&n);
	}
}

/* The pool grows while reads into its first chunk are held back; they end in the right place. */
static void growth_while_pending(void)
{
	struct memory m;
	struct nvme n;

	nvme_open(&n, NVME(0));
	CU_ASSERT_EQUAL_FATAL(memory_attach(&m, n.f, MIB(256), MIB(64)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(32)), 0);
	memset(m.bytes, 0x55, MIB(64));
	CU_ASSERT_FATAL(throttle(1));
	nvme_read_pages(&n, m.pool.iova + MIB(32) - PENDING_BYTES, PENDING_READS);
	for (unsigned i = 1; i < 8; i++)
		CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, MIB(32) * i, MIB(32)), 0);
	CU_ASSERT(throttle(0));
	for (unsigned i = 0; i < MANY_READS && m.bytes[MIB(32) - 1]; i++)
		mmio_read(n.f, 0, NVME_CSTS, 4);
	CU_ASSERT_EQUAL(not_equal(m.bytes + MIB(32) - PENDING_BYTES, PENDING_BYTES, 0), 0);
	CU_ASSERT_EQUAL(not_equal(m.bytes, MIB(32) - PENDING_BYTES, 0x55), 0);
	CU_ASSERT_EQUAL(not_equal(m.bytes + MIB(32), MIB(32), 0x55), 0);
	memory_detach(&m);
	nvme_close(&n);
}

#define FROZEN_DISK                                                                      \
	ARGS("-drive", "driver=null-co,if=none,id=d,size=64M,read-zeroes=on", "-device", \
	     "nvme,drive=d,serial=serial-1")

static void test_pending(void)
{
	with_bus(pending_goes_on, FROZEN_DISK);
	with_bus(pending_and_reset, FROZEN_DISK);
}

static void test_growth_while_pending(void)
{
	with_bus(growth_while_pending, FROZEN_DISK);
}

/* ---- hot-plug ---- */

#define ADD(driver, id, bus, more)                                                         \
	"\"execute\":\"device_add\",\"arguments\":{\"driver\":\"" driver "\",\"id\":\"" id \
	"\",\"bus\":\"" bus "\"" more "}"
#define DEL(id) "\"execute\":\"device_del\",\"arguments\":{\"id\":\"" id "\"}"

static void expect(enum pcid_bus_event event, struct pcid_function *f)
{
	struct seen seen = next_event();

	CU_ASSERT_EQUAL(seen.event, event);
	CU_ASSERT_PTR_EQUAL(seen.f, f);
}

static struct pcid_function *expect_arrival(unsigned vendor, unsigned device)
{
	struct seen seen = next_event();

	CU_ASSERT_EQUAL_FATAL(seen.event, PCID_FUNCTION_ARRIVED);
	CU_ASSERT_EQUAL(seen.f->vendor, vendor);
	CU_ASSERT_EQUAL(seen.f->device, device);
	return seen.f;
}

static void plug_and_unplug(void)
{
	for (unsigned i = 0; i < 5; i++) {
		struct pcid_function *f;
		struct memory m;

		CU_ASSERT(people_do(ADD("edu", "e", "r", "")));
		f = expect_arrival(0x1234, 0x11e8);
		check_all_bars();
		CU_ASSERT_EQUAL(claim(f), 0);
		CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_ID, 4), 0x010000ed);
		CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(2), MIB(2)), 0);
		CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
		CU_ASSERT(people_do(DEL("e")));
		expect(PCID_FUNCTION_LEAVING, f);
		CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_ID, 4), 0x010000ed); /* it works still */
		edu_copy(f, m.pool.iova, EDU_BYTES, true);
		memory_detach(&m);
		ops()->release(f);
		CU_ASSERT_EQUAL(ops()->claim(f), -ENODEV);
		expect(PCID_FUNCTION_GONE, f);
		CU_ASSERT(f->gone);
		CU_ASSERT_EQUAL(ops()->mmio_write(f, 0, 0, 4, 0), -ENODEV);
		ops()->forget(f);
	}
	CU_ASSERT_EQUAL(rig.taken, rig.nseen);
}

static void test_plug_and_unplug(void)
{
	with_bus(plug_and_unplug, ARGS("-device", "pcie-root-port,id=r,chassis=1,slot=1"));
}

/* What comes while the last one is not forgotten waits: it has the same address. */
static void plug_before_forgotten(void)
{
	struct pcid_function *f;

	CU_ASSERT(people_do(DEL("e")));
	f = EDU(0);
	expect(PCID_FUNCTION_LEAVING, f);
	ops()->release(f);
	expect(PCID_FUNCTION_GONE, f);
	CU_ASSERT(people_do(ADD("edu", "e2", "r", "")));
	for (unsigned i = 0; i < 100; i++) /* the slot's interrupt and its looks */
		qtest_task_sync(&qemu()->qtest);
	CU_ASSERT_EQUAL(rig.taken, rig.nseen);
	ops()->forget(f);
	f = expect_arrival(0x1234, 0x11e8);
	CU_ASSERT_EQUAL(claim(f), 0);
	ops()->release(f);
}

static void test_plug_before_forgotten(void)
{
	with_bus(plug_before_forgotten, ARGS("-device", "pcie-root-port,id=r,chassis=1,slot=1",
					     "-device", "edu,id=e,bus=r"));
}

/* An ioh3420 tells by MSI with mask bits: masked, the news stays pending, and comes with the
 * unmask. */
static void msi_with_mask_bits(void)
{
	struct pcid_function *port = find(0x8086, 0x3420, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(port);
	CU_ASSERT(port->msi.cap && port->msi.maskable && !port->msix.cap);
	while (qemu()->slot_tasks) /* the look that each slot begins with */
		config(port, 0, 4);
	CU_ASSERT_EQUAL(ops()->irq_mask(port, 0, true), 0);
	config(port, 0, 4); /* it is posted; people_do blocks the loop */
	CU_ASSERT(people_do(ADD("edu", "e", "r", "")));
	for (unsigned i = 0; i < 100; i++)
		config(port, 0, 4);
	CU_ASSERT_EQUAL(rig.nseen, 0);
	CU_ASSERT_EQUAL(config(port, port->msi.cap + PCI_MSI_PENDING_32, 4), 1);
	CU_ASSERT_EQUAL(ops()->irq_mask(port, 0, false), 0);
	expect_arrival(0x1234, 0x11e8);
}

static void test_msi_with_mask_bits(void)
{
	with_bus(msi_with_mask_bits, ARGS("-device", "ioh3420,id=r,chassis=1,slot=1"));
}

/* A switch's port goes with what is behind it, from the far end. */
static void unplug_switch(void)
{
	struct pcid_function *up = find(0x104c, 0x8232, 0), *down = find(0x104c, 0x8233, 0);
	struct pcid_function *edu = EDU(0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(up);
	CU_ASSERT_PTR_NOT_NULL_FATAL(down);
	CU_ASSERT(people_do(DEL("up")));
	expect(PCID_FUNCTION_LEAVING, up);
	expect(PCID_FUNCTION_LEAVING, down);
	expect(PCID_FUNCTION_LEAVING, edu);
	ops()->release(up);
	ops()->release(down);
	CU_ASSERT_EQUAL(rig.taken, rig.nseen);
	ops()->release(edu);
	expect(PCID_FUNCTION_GONE, edu);
	expect(PCID_FUNCTION_GONE, down);
	expect(PCID_FUNCTION_GONE, up);
	ops()->forget(up);
	ops()->forget(down);
	ops()->forget(edu);
}

static void test_unplug_switch(void)
{
	with_bus(unplug_switch,
		 ARGS("-device", "pcie-root-port,id=r1,chassis=1,slot=1", "-device",
		      "x3130-upstream,id=up,bus=r1", "-device",
		      "xio3130-downstream,id=d1,bus=up,chassis=2,slot=1", "-device", "edu,bus=d1"));
}

/* ---- what goes wrong ---- */

static void killed(void)
{
	struct pcid_function *f = EDU(0);
	struct waiting w = {.read.done = read_done};
	struct pcid_irqs irqs = {0};
	struct memory m;
	uint32_t value;

	CU_ASSERT_EQUAL(claim(f), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(f, 1, &irqs), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
	kill(qemu()->process.pid, SIGSTOP);
	CU_ASSERT_EQUAL(ops()->mmio_read(f, 0, 0, 4, &w.read), 0);
	kill(qemu()->process.pid, SIGKILL);
	CU_ASSERT_EQUAL(pcidipc_await(&w.done), -ENODEV);
	expect(PCID_BUS_DEAD, NULL);
	CU_ASSERT_EQUAL(ops()->mmio_write(f, 0, 0, 4, 0), -ENODEV);
	CU_ASSERT_EQUAL(ops()->mmio_read(f, 0, 0, 4, &w.read), -ENODEV);
	CU_ASSERT_EQUAL(ops()->config_read(f, 0, 4, &value), -ENODEV);
	CU_ASSERT_EQUAL(ops()->irq_mask(f, 0, true), -ENODEV);
	CU_ASSERT_EQUAL(ops()->reset(f), -ENODEV);
	CU_ASSERT_EQUAL(ops()->enable(f, true, true), -ENODEV);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), -ENODEV);
	memory_detach(&m);
	ops()->irq_free(f);
	close_irqs(&irqs);
	ops()->release(f);
	CU_ASSERT_EQUAL(ops()->claim(f), -ENODEV);
	CU_ASSERT_EQUAL(rig.taken, rig.nseen); /* told once */
}

static void test_killed(void)
{
	with_bus(killed, ARGS("-device", "edu", "-device", "pcie-root-port,chassis=1,slot=1"));
}

/* What is written to standard error while a bus with these arguments tries to start. */
static void failing_start(char *text, size_t room, const char *const *args)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	ssize_t n;

	dup2(log, STDERR_FILENO);
	with_bus(NULL, args);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(log, text, room - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	close(log);
	CU_ASSERT(rig.start_result < 0);
	CU_ASSERT_EQUAL(rig.nseen, 0); /* the caller of start knows */
}

static void test_bad_arguments(void)
{
	char text[4096];

	failing_start(text, sizeof(text), ARGS("-device", "no-such-device"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "did not start"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "'no-such-device' is not a valid device model name"));
	failing_start(text, sizeof(text), ARGS("-device", "nvme,serial=x,drive=nowhere"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "nowhere"));
	failing_start(text, sizeof(text), ARGS("--what"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "invalid option"));
}

static void test_no_binary(void)
{
	struct pcid_qemu_options options = {.binary = "/nonexistent/qemu", .run_dir = "/tmp"};
	struct pcid_bus *bus;
	char name[200];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	options.run_dir = name;
	CU_ASSERT_EQUAL(pcid_qemu_bus_create(NULL, &options, &bus), -ENAMETOOLONG);
}

static void tick(struct pcidipc_timer *timer)
{
	(void)timer;
	pcidipc_post(&rig.told, 0);
}

struct blocked {
	struct pcid_function *f;
	struct pcidipc_completion done;
	struct memory m;
	int ret;
};

static void read_config(void *arg)
{
	struct blocked *b = arg;
	uint32_t value;

	b->ret = ops()->config_read(b->f, 0, 4, &value);
	pcidipc_post(&b->done, 0);
}

static void attach_pool(void *arg)
{
	struct blocked *b = arg;

	b->ret = memory_attach(&b->m, b->f, MIB(2), MIB(2));
	pcidipc_post(&b->done, 0);
}

/* A QEMU that does not answer holds up those who asked it, and not the loop. */
static void never_blocks(void)
{
	struct blocked a = {.f = EDU(0), .ret = 1}, b = {.f = EDU(1), .ret = 1};
	struct pcidipc_timer timer = {0};

	CU_ASSERT_EQUAL(claim(b.f), 0);
	kill(qemu()->process.pid, SIGSTOP);
	CU_ASSERT_EQUAL(pcidipc_spawn(rig.loop, read_config, &a), 0);
	CU_ASSERT_EQUAL(pcidipc_spawn(rig.loop, attach_pool, &b), 0);
	for (unsigned i = 0; i < 20; i++) {
		pcidipc_timer_set(rig.loop, &timer, 1000000, tick);
		CU_ASSERT_EQUAL(pcidipc_await(&rig.told), 0);
		rig.told = (struct pcidipc_completion){0};
	}
	CU_ASSERT_EQUAL(a.ret, 1);
	CU_ASSERT_EQUAL(b.ret, 1);
	kill(qemu()->process.pid, SIGCONT);
	pcidipc_await(&a.done);
	pcidipc_await(&b.done);
	CU_ASSERT_EQUAL(a.ret, 0);
	CU_ASSERT_EQUAL(b.ret, 0);
	memory_detach(&b.m);
	ops()->release(b.f);
}

static void test_never_blocks(void)
{
	with_bus(never_blocks, ARGS("-device", "edu", "-device", "edu"));
}

/* Posted writes are bounded and in order; the bus tells when it takes more. */
static void flow_control(void)
{
	struct pcid_function *f = EDU(0);
	unsigned n = 0;
	int ret;

	CU_ASSERT_EQUAL(claim(f), 0);
	while (!(ret = ops()->mmio_write(f, 0, EDU_LIVENESS, 4, ++n)))
		CU_ASSERT_FATAL(n < 100000);
	CU_ASSERT_EQUAL(ret, -EAGAIN);
	CU_ASSERT(n > 100);
	while (!rig.writable)
		CU_ASSERT_FATAL(await_news() != -ETIMEDOUT);
	CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_LIVENESS, 4), (uint32_t) ~(n - 1));
	ops()->release(f);
}

static void test_flow_control(void)
{
	with_bus(flow_control, ARGS("-device", "edu"));
}

/* ---- nothing is left behind ---- */

struct holdings {
	unsigned ours, qemus, maps, objects, dimms, pages;
};

static unsigned count_dir(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static unsigned count_maps(pid_t pid, const char *what)
{
	char path[64], *line = NULL;
	size_t room = 0;
	unsigned n = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	while (maps && getline(&line, &room, maps) > 0)
		n += strstr(line, what) != NULL;
	if (maps)
		fclose(maps);
	free(line);
	return n;
}

static struct holdings count_holdings(void)
{
	char path[64];
	struct holdings h = {0};

	h.objects = count_answers("\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/objects\"}");
	h.dimms = count_answers("\"execute\":\"query-memory-devices\"");
	qtest_task_sync(&qemu()->qtest);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)qemu()->process.pid);
	h.ours = count_dir("/proc/self/fd");
	h.qemus = count_dir(path);
	h.maps = count_maps(qemu()->process.pid, "test-pool");
	h.pages = qemu()->vtd.pages_used;
	return h;
}

/* QEMU closes and unmaps after it has answered: give it the time it needs. */
static void expect_same(const struct holdings *before, bool same_pages)
{
	struct holdings now = count_holdings();

	for (unsigned i = 0; i < 5000 && (now.qemus != before->qemus || now.maps != before->maps);
	     i++) {
		pcidipc_task_sleep(1000000);
		now = count_holdings();
	}
	CU_ASSERT_EQUAL(now.ours, before->ours);
	CU_ASSERT_EQUAL(now.qemus, before->qemus);
	CU_ASSERT_EQUAL(now.maps, before->maps);
	CU_ASSERT_EQUAL(now.objects, before->objects);
	CU_ASSERT_EQUAL(now.dimms, before->dimms);
	/* A domain's addresses go up, and so may come tables of the upper levels, which stay as
	 * long as it does. */
	CU_ASSERT(now.pages <= before->pages + (same_pages ? 0 : 8));
}

/* What lasts: not what QEMU is about to close. */
static struct holdings settled_holdings(void)
{
	struct holdings h = count_holdings(), next;

	for (unsigned same = 0; same < 50; h = next) {
		pcidipc_task_sleep(1000000);
		next = count_holdings();
		same = memcmp(&h, &next, sizeof(h)) ? 0 : same + 1;
	}
	return h;
}

static void attach_rounds(struct pcid_function *f, unsigned rounds)
{
	struct memory m[3];

	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned j = 0; j < 3; j++) {
			CU_ASSERT_EQUAL_FATAL(memory_attach(&m[j], f, MIB(34), MIB(2)), 0);
			CU_ASSERT_EQUAL(ops()->pool_map(&m[j].pool, 0, MIB(2)), 0);
			CU_ASSERT_EQUAL(ops()->pool_map(&m[j].pool, MIB(32) + 4096, 4096), 0);
		}
		for (unsigned j = 0; j < 3; j++)
			memory_detach(&m[(i + j) % 3]);
	}
}

static void claim_rounds(unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		struct pcid_function *f = EDU(0);
		struct pcid_irqs irqs = {0};
		struct nvme n;

		nvme_open(&n, NVME(0));
		CU_ASSERT_EQUAL(claim(f), 0);
		CU_ASSERT_EQUAL(ops()->irq_alloc(f, 1, &irqs), 0);
		nvme_identify(&n, n.m.pool.iova + NVME_DATA);
		CU_ASSERT_EQUAL(nvme_status(&n), 0);
		CU_ASSERT(await_irq(n.irqs.fds[0]));
		nvme_close(&n);
		if (i % 2)
			ops()->irq_free(f);
		close_irqs(&irqs);
		ops()->release(f);
	}
}

static void no_leaks(void)
{
	struct holdings before;
	struct nvme n;

	claim_rounds(2); /* table pages that stay: of buses */
	before = settled_holdings();
	claim_rounds(50);
	expect_same(&before, true);
	nvme_open(&n, NVME(0));
	attach_rounds(n.f, 1);
	before = settled_holdings();
	attach_rounds(n.f, 50);
	expect_same(&before, false);
	nvme_close(&n);
}

static void test_no_leaks(void)
{
	with_bus(no_leaks, ARGS("-device", "edu", "-drive", "driver=null-co,if=none,id=d,size=64M",
				"-device", "nvme,drive=d,serial=serial-1"));
}

static void nothing(void)
{
}

/* Starting and stopping leaves no descriptors either. */
static void test_start_stop(void)
{
	unsigned before;

	with_bus(nothing, ARGS("-device", "edu"));
	before = count_dir("/proc/self/fd");
	for (unsigned i = 0; i < 5; i++)
		with_bus(nothing, ARGS("-device", "edu"));
	CU_ASSERT_EQUAL(count_dir("/proc/self/fd"), before);
}

static CU_TestInfo tests[] = {
	{"bridges in bridges, groups", test_topology},
	{"capabilities, functions of one device", test_capabilities},
	{"BARs: 32 and 64 bits, ports", test_bars},
	{"MSI without mask bits", test_edu_msi},
	{"MSI: neighbours", test_msi_neighbours},
	{"MSI with mask bits", test_msi_with_mask_bits},
	{"MSI-X: masked, pending, once", test_msix_mask},
	{"MSI-X: masks and decoding", test_masks_and_decoding},
	{"MSI-X: many vectors, reset", test_many_vectors},
	{"DMA within 28 bits", test_edu_dma},
	{"addresses come again, late", test_iova_reuse},
	{"a fault reaches nothing", test_fault_unmapped},
	{"a detached pool is out of reach", test_fault_detached},
	{"two domains", test_two_domains},
	{"a huge pool grows", test_huge_pool},
	{"a reset with a transfer pending", test_pending},
	{"growth with a transfer pending", test_growth_while_pending},
	{"hot-plug and removal", test_plug_and_unplug},
	{"the next one waits for the last", test_plug_before_forgotten},
	{"a switch is removed", test_unplug_switch},
	{"QEMU is killed", test_killed},
	{"bad device arguments", test_bad_arguments},
	{"a directory too long", test_no_binary},
	{"a slow QEMU blocks nobody", test_never_blocks},
	{"flow control", test_flow_control},
	{"no leaks", test_no_leaks},
	{"start and stop", test_start_stop},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	CU_SuiteInfo suites[] = {
		{.pName = "qemu bus", .pTests = tests},
		CU_SUITE_INFO_NULL,
	};
	unsigned failures;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	if (CU_initialize_registry() || CU_register_suites(suites))
		return 2;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures != 0;
}
