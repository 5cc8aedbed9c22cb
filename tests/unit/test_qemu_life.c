// SPDX-License-Identifier: GPL-2.0-or-later
/* A QEMU that does not start, is slow, or dies; and what is left behind: nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "qemudevices.h"

static void killed(void)
{
	struct pcid_function *f = EDU(0);
	struct waiting w = {.read.done = read_done};
	struct pcid_irqs irqs = {0};
	struct memory m;
	uint32_t value;

	CU_ASSERT_EQUAL(claim_function(f), 0);
	CU_ASSERT_EQUAL(ops()->irq_alloc(f, 1, &irqs), 0);
	CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(2), MIB(2)), 0);
	CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
	kill(qemu()->process.pid, SIGSTOP);
	CU_ASSERT_EQUAL(ops()->mmio_read(f, 0, 0, 4, &w.read), 0);
	kill(qemu()->process.pid, SIGKILL);
	CU_ASSERT_EQUAL(pcidipc_await(&w.done), -ENODEV);
	expect_event(PCID_BUS_DEAD, NULL);
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
	CU_ASSERT_EQUAL(bus_rig.taken, bus_rig.nseen); /* told once */
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
	CU_ASSERT(bus_rig.start_result < 0);
	CU_ASSERT_EQUAL(bus_rig.nseen, 0); /* the caller of start knows */
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
	pcidipc_post(&bus_rig.told, 0);
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

	CU_ASSERT_EQUAL(claim_function(b.f), 0);
	kill(qemu()->process.pid, SIGSTOP);
	CU_ASSERT_EQUAL(pcidipc_spawn(bus_rig.loop, read_config, &a), 0);
	CU_ASSERT_EQUAL(pcidipc_spawn(bus_rig.loop, attach_pool, &b), 0);
	for (unsigned i = 0; i < 20; i++) {
		pcidipc_timer_set(bus_rig.loop, &timer, 1000000, tick);
		CU_ASSERT_EQUAL(pcidipc_await(&bus_rig.told), 0);
		bus_rig.told = (struct pcidipc_completion){0};
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

	CU_ASSERT_EQUAL(claim_function(f), 0);
	while (!(ret = ops()->mmio_write(f, 0, EDU_LIVENESS, 4, ++n)))
		CU_ASSERT_FATAL(n < 100000);
	CU_ASSERT_EQUAL(ret, -EAGAIN);
	CU_ASSERT(n > 100);
	while (!bus_rig.writable)
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
		CU_ASSERT_EQUAL(claim_function(f), 0);
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

int main(void)
{
	CU_TestInfo tests[] = {
		{"QEMU is killed", test_killed},
		{"bad device arguments", test_bad_arguments},
		{"a directory too long", test_no_binary},
		{"a slow QEMU blocks nobody", test_never_blocks},
		{"flow control", test_flow_control},
		{"no leaks", test_no_leaks},
		{"start and stop", test_start_stop},
		CU_TEST_INFO_NULL,
	};

	signal(SIGPIPE, SIG_IGN);
	return run_tests("qemu life", tests);
}
