// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qemubus.h"

struct bus_rig bus_rig;

static void bus_event(struct pcid_bus *bus, enum pcid_bus_event event, struct pcid_function *f,
		      const struct pcid_fault *fault)
{
	struct seen *seen = &bus_rig.seen[bus_rig.nseen++ % MAX_EVENTS];

	(void)bus;
	*seen = (struct seen){.event = event, .f = f};
	if (fault)
		seen->fault = *fault;
	pcidipc_post(&bus_rig.told, 0);
}

static void bus_writable(struct pcid_bus *bus)
{
	(void)bus;
	bus_rig.writable++;
	pcidipc_post(&bus_rig.told, 0);
}

static void impatient(struct pcidipc_timer *timer)
{
	(void)timer;
	pcidipc_post(&bus_rig.told, -ETIMEDOUT);
}

int await_news(void)
{
	int ret;

	pcidipc_timer_set(bus_rig.loop, &bus_rig.patience, WAIT_NS, impatient);
	ret = pcidipc_await(&bus_rig.told);
	bus_rig.told = (struct pcidipc_completion){0};
	pcidipc_timer_cancel(&bus_rig.patience);
	return ret;
}

struct seen next_event(void)
{
	while (bus_rig.taken == bus_rig.nseen)
		if (await_news() == -ETIMEDOUT)
			return (struct seen){.event = -1};
	return bus_rig.seen[bus_rig.taken++ % MAX_EVENTS];
}

static void run_task(void *arg)
{
	void (*test)(void) = *(void (**)(void))arg;

	bus_rig.start_result = ops()->start(bus_rig.bus);
	if (test) {
		CU_ASSERT_EQUAL(bus_rig.start_result, 0);
		if (!bus_rig.start_result)
			test();
	}
	ops()->stop(bus_rig.bus);
	pcidipc_loop_stop(bus_rig.loop, 0);
}

void with_bus(void (*test)(void), const char *const *args)
{
	struct pcid_qemu_options options = {.args = args, .run_dir = bus_rig.dir};

	memset(&bus_rig, 0, sizeof(bus_rig));
	snprintf(bus_rig.dir, sizeof(bus_rig.dir), "/tmp/test-qemu-bus.XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(bus_rig.dir));
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &bus_rig.loop), 0);
	CU_ASSERT_EQUAL_FATAL(pcid_qemu_bus_create(bus_rig.loop, &options, &bus_rig.bus), 0);
	bus_rig.bus->event = bus_event;
	bus_rig.bus->writable = bus_writable;
	CU_ASSERT_EQUAL(pcidipc_spawn(bus_rig.loop, run_task, &test), 0);
	pcidipc_loop_run(bus_rig.loop);
	pcid_bus_destroy(bus_rig.bus);
	pcidipc_loop_destroy(bus_rig.loop);
	CU_ASSERT_EQUAL(rmdir(bus_rig.dir), 0); /* nothing was left in it */
}

/* The nth function with this vendor and device. */
struct pcid_function *find_function(unsigned vendor, unsigned device, unsigned nth)
{
	pcidipc_list_for_each(f, &bus_rig.bus->functions, struct pcid_function, link)
		if (f->vendor == vendor && f->device == device && !f->gone && !nth--)
			return f;
	return NULL;
}

void read_done(struct pcid_read *read, int error, uint64_t value)
{
	struct waiting *w = pcidipc_container_of(read, struct waiting, read);

	w->value = value;
	pcidipc_post(&w->done, error);
}

uint64_t mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width)
{
	struct waiting w = {.read.done = read_done};
	int ret = ops()->mmio_read(f, bar, offset, width, &w.read);

	ret = ret ? ret : pcidipc_await(&w.done);
	CU_ASSERT_EQUAL(ret, 0);
	return ret ? 0 : w.value;
}

void mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		uint64_t value)
{
	CU_ASSERT_EQUAL(ops()->mmio_write(f, bar, offset, width, value), 0);
}

uint32_t config_of(struct pcid_function *f, unsigned offset, unsigned width)
{
	uint32_t value = 0;

	CU_ASSERT_EQUAL(ops()->config_read(f, offset, width, &value), 0);
	return value;
}

int claim_function(struct pcid_function *f)
{
	int ret = ops()->claim(f);

	if (f->vendor == 0x1234)
		f->dma_bits = 28; /* as its driver would have it */
	return ret ? ret : ops()->enable(f, true, true);
}

bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Take one interrupt. */
bool await_irq(int fd)
{
	uint64_t count;

	if (pcidipc_task_wait_fd(fd, EPOLLIN, WAIT_NS) < 0)
		return false;
	return read(fd, &count, sizeof(count)) == sizeof(count) && count;
}

void close_irqs(struct pcid_irqs *irqs)
{
	for (unsigned i = 0; i < irqs->count; i++)
		close(irqs->fds[i]);
}

int memory_attach(struct memory *m, struct pcid_function *f, uint64_t bytes, uint64_t mapped)
{
	*m = (struct memory){.pool = {.function = f, .bytes = bytes}, .mapped = mapped};
	m->pool.fd = memfd_create("test-pool", MFD_CLOEXEC);
	CU_ASSERT_EQUAL(ftruncate(m->pool.fd, (off_t)bytes), 0);
	m->bytes = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, m->pool.fd, 0);
	CU_ASSERT_PTR_NOT_EQUAL(m->bytes, MAP_FAILED);
	return ops()->pool_attach(&m->pool);
}

void memory_free(struct memory *m)
{
	munmap(m->bytes, m->mapped);
	close(m->pool.fd);
}

void memory_detach(struct memory *m)
{
	ops()->pool_detach(&m->pool);
	memory_free(m);
}

void expect_event(enum pcid_bus_event event, struct pcid_function *f)
{
	struct seen seen = next_event();

	CU_ASSERT_EQUAL(seen.event, event);
	CU_ASSERT_PTR_EQUAL(seen.f, f);
}

struct pcid_function *expect_arrival(unsigned vendor, unsigned device)
{
	struct seen seen = next_event();

	CU_ASSERT_EQUAL_FATAL(seen.event, PCID_FUNCTION_ARRIVED);
	CU_ASSERT_EQUAL(seen.f->vendor, vendor);
	CU_ASSERT_EQUAL(seen.f->device, device);
	return seen.f;
}

void expect_fault(struct pcid_function *f, uint64_t iova, bool write)
{
	struct seen seen = next_event();

	CU_ASSERT_EQUAL(seen.event, PCID_FUNCTION_FAULT);
	CU_ASSERT_PTR_EQUAL(seen.f, f);
	CU_ASSERT_EQUAL(seen.fault.iova & ~4095ull, iova & ~4095ull);
	CU_ASSERT_EQUAL(seen.fault.write, write);
	CU_ASSERT_PTR_NOT_NULL(seen.fault.reason);
}

unsigned not_equal(const unsigned char *bytes, size_t n, unsigned char value)
{
	unsigned count = 0;

	for (size_t i = 0; i < n; i++)
		count += bytes[i] != value;
	return count;
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

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", pcid_qemu_bus_qmp(bus_rig.bus));
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

bool people_do(const char *command)
{
	struct json_object *answer = people_say(command);
	bool done = json_object_object_get_ex(answer, "return", NULL);

	if (!done)
		printf("\n%s: %s\n", command, json_object_to_json_string(answer));
	json_object_put(answer);
	return done;
}

unsigned count_answers(const char *command)
{
	struct json_object *answer = people_say(command), *list = NULL;
	unsigned n = 0;

	if (json_object_object_get_ex(answer, "return", &list))
		n = (unsigned)json_object_array_length(list);
	json_object_put(answer);
	return n;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static unsigned count_overlaps(const struct pcid_function *f, const struct pcid_bar *bar)
{
	unsigned n = 0;

	pcidipc_list_for_each(other, &bus_rig.bus->functions, struct pcid_function, link)
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
	uint64_t told = config_of(f, PCI_BASE_ADDRESS_0 + 4 * i, 4) & (bar->io ? ~3u : ~15u);

	if (bar->is64)
		told |= (uint64_t)config_of(f, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4) << 32;
	CU_ASSERT_EQUAL(told, bar->address);
	CU_ASSERT_NOT_EQUAL(bar->address, 0);
	CU_ASSERT_EQUAL(bar->address % bar->bytes, 0);
	CU_ASSERT_EQUAL(count_overlaps(f, bar), 0);
	for (struct pcid_function *p = f->parent; p; p = p->parent)
		CU_ASSERT(in_window(p, bar));
}

unsigned check_all_bars(void)
{
	unsigned n = 0;

	pcidipc_list_for_each(f, &bus_rig.bus->functions, struct pcid_function, link)
		for (unsigned i = 0; i < PCID_BARS; i++) {
			if (!f->bars[i].bytes)
				continue;
			check_bar(f, i);
			n++;
		}
	return n;
}
