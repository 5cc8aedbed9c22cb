// SPDX-License-Identifier: GPL-2.0-or-later
/* The QEMU bus as pcid's core sees it: start, stop, death, registers. */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pciregs.h"
#include "qemu.h"

#define DEFAULT_RAM_MIB 64u
#define FIRMWARE_BYTES KIB(64)
#define RESET_VECTOR 0xfff0
#define LAST_WORDS_NS 1000000000ull /* from a socket's end to QEMU's */

#define PORT_CONFIG_ADDRESS 0xcf8u
#define PORT_CONFIG_DATA 0xcfcu
#define CONFIG_ENABLE 0x80000000u
#define HOST_PCIEXBAR 0x60u
#define PCIEXBAR_ENABLE 1u /* and 256 buses */

/* ---- what is told ---- */

void qemu_tell(struct qemu_bus *qb, enum pcid_bus_event event, struct qemu_function *qf,
	       const struct pcid_fault *fault)
{
	if (qb->bus.event && !qb->stopping)
		qb->bus.event(&qb->bus, event, qf ? &qf->f : NULL, fault);
}

/* ---- death ---- */

/* Whoever waits for QEMU gets -ENODEV. */
static void die(struct qemu_bus *qb)
{
	qb->dead = true;
	qtest_kill(&qb->qtest, -ENODEV);
	qmp_kill(&qb->qmp);
	qemu_memory_fini(qb);
}

void qemu_bus_broken(struct qemu_bus *qb, const char *why)
{
	if (!qb->dead)
		die(qb);
	if (qb->stopping || qb->told)
		return;
	qb->told = true;
	pcidipc_timer_cancel(&qb->process.patience);
	pcidipc_err("qemu: %s: %s", qb->started ? "it ended unexpectedly" : "it did not start",
		    why);
	if (qb->started)
		qemu_tell(qb, PCID_BUS_DEAD, NULL, NULL);
}

static void no_last_words(struct pcidipc_timer *timer)
{
	struct qemu_bus *qb = pcidipc_container_of(timer, struct qemu_bus, process.patience);

	qemu_process_kill(qb);
	qemu_bus_broken(qb, qb->why);
}

/* Mostly QEMU is about to end, and its last words tell more than a socket's end: wait for them. */
static void lost(struct qemu_bus *qb, const char *why)
{
	if (qb->dead)
		return;
	die(qb);
	snprintf(qb->why, sizeof(qb->why), "%s", why);
	if (!qb->stopping)
		pcidipc_timer_set(qb->bus.loop, &qb->process.patience, LAST_WORDS_NS,
				  no_last_words);
}

static void qtest_lost(struct qtest *q, const char *why)
{
	lost(q->owner, why);
}

static void qmp_lost(struct qmp *q, const char *why)
{
	lost(q->owner, why);
}

/* ---- what the sockets tell ---- */

static void qtest_room(struct qtest *q)
{
	struct qemu_bus *qb = q->owner;

	if (qb->bus.writable)
		qb->bus.writable(&qb->bus);
}

static void qmp_event(struct qmp *q, const char *name, struct json_object *data)
{
	struct json_object *device;

	if (!strcmp(name, "DEVICE_DELETED") && data &&
	    json_object_object_get_ex(data, "device", &device))
		qemu_memory_device_deleted(q->owner, json_object_get_string(device));
}

/* ---- start ---- */

static int make_ram(struct qemu_bus *qb)
{
	void *ram;

	qb->ram_fd = memfd_create("pcid-qemu-ram", MFD_CLOEXEC);
	if (qb->ram_fd < 0 || ftruncate(qb->ram_fd, (off_t)qb->ram_bytes))
		return -errno;
	ram = mmap(NULL, qb->ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, qb->ram_fd, 0);
	if (ram == MAP_FAILED)
		return -errno;
	qb->ram = ram;
	return 0;
}

/* cli; hlt; and around again, at the place where the processor begins. */
static int make_firmware(int *fd)
{
	static const unsigned char code[] = {0xfa, 0xf4, 0xeb, 0xfd};

	*fd = memfd_create("pcid-qemu-firmware", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)FIRMWARE_BYTES) ||
	    pwrite(*fd, code, sizeof(code), RESET_VECTOR) != sizeof(code))
		return -errno;
	return 0;
}

/* QEMU's end may block; ours must not. */
static int make_pair(int *ours, int *qemus)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	*ours = fds[0];
	*qemus = fds[1];
	return 0;
}

static int listen_for_people(struct qemu_bus *qb, int *fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, qb->user_qmp_path, sizeof(address.sun_path));
	unlink(qb->user_qmp_path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 || bind(*fd, (struct sockaddr *)&address, sizeof(address)) || listen(*fd, 4)) {
		int ret = -errno;

		pcidipc_err("qemu: the socket %s: %s", qb->user_qmp_path, strerror(-ret));
		return ret;
	}
	return 0;
}

static int open_qtest(struct qemu_bus *qb, int *end)
{
	int fd, ret = make_pair(&fd, end);

	if (ret)
		return ret;
	qb->qtest.owner = qb;
	qb->qtest.room = qtest_room;
	qb->qtest.broken = qtest_lost;
	return qtest_init(&qb->qtest, qb->bus.loop, fd);
}

static int open_qmp(struct qemu_bus *qb, int *end)
{
	int fd, ret = make_pair(&fd, end);

	if (ret)
		return ret;
	qb->qmp.owner = qb;
	qb->qmp.event = qmp_event;
	qb->qmp.broken = qmp_lost;
	return qmp_init(&qb->qmp, qb->bus.loop, fd);
}

static int open_ivshmem(struct qemu_bus *qb, int *end)
{
	int fd, ret = make_pair(&fd, end);

	return ret ? ret : ivshmem_init(&qb->ivshmem, fd);
}

static void close_ends(const struct qemu_ends *ends)
{
	const int fds[] = {ends->qtest, ends->qmp, ends->ivshmem, ends->user_qmp, ends->firmware};

	for (unsigned i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int launch(struct qemu_bus *qb)
{
	struct qemu_ends ends = {-1, -1, -1, -1, -1, -1};
	int ret = make_ram(qb);

	ends.ram = qb->ram_fd;
	ret = ret ? ret : make_firmware(&ends.firmware);
	ret = ret ? ret : open_qtest(qb, &ends.qtest);
	ret = ret ? ret : open_qmp(qb, &ends.qmp);
	ret = ret ? ret : open_ivshmem(qb, &ends.ivshmem);
	ret = ret ? ret : listen_for_people(qb, &ends.user_qmp);
	ret = ret ? ret : qemu_process_start(qb, &ends);
	close_ends(&ends);
	return ret ? ret : qmp_start(&qb->qmp);
}

/* The host bridge's register for the memory-mapped configuration space, by the old ports. */
static int open_config_space(struct qemu_bus *qb)
{
	static const uint32_t values[] = {0, (uint32_t)ECAM_BASE | PCIEXBAR_ENABLE};
	int ret = 0;

	for (unsigned i = 0; i < 2 && !ret; i++) {
		uint32_t offset = HOST_PCIEXBAR + 4 * (1 - i);

		ret = qtest_task_write(&qb->qtest, QTEST_PORTS, PORT_CONFIG_ADDRESS, 4,
				       CONFIG_ENABLE | offset);
		ret = ret ? ret
			  : qtest_task_write(&qb->qtest, QTEST_PORTS, PORT_CONFIG_DATA, 4,
					     values[i]);
	}
	return ret;
}

static int open_doorbell(struct qemu_bus *qb)
{
	struct qemu_function *qf = qb->plumbing;

	if (!qf || qf->f.bars[0].bytes < DOORBELL_OFFSET + 4) {
		pcidipc_err("qemu: its ivshmem device is not where it was put");
		return -ENXIO;
	}
	qb->ivshmem.doorbell_page = qf->f.bars[0].address & ~4095ull;
	qf->decode = true;
	return config_command(qf);
}

static int bring_up(struct qemu_bus *qb)
{
	int ret = launch(qb);

	ret = ret ? ret : open_config_space(qb);
	ret = ret ? ret : qemu_enumerate(qb);
	ret = ret ? ret : vtd_init(qb);
	ret = ret ? ret : open_doorbell(qb);
	ret = ret ? ret : qtest_task_sync(&qb->qtest);
	if (ret)
		return ret;
	qemu_list_functions(qb, NULL, false);
	qemu_slots_start(qb, NULL);
	return qb->dead ? -ENODEV : 0;
}

static int start(struct pcid_bus *bus)
{
	struct qemu_bus *qb = qemu_bus_of(bus);
	int ret = bring_up(qb);

	if (!ret)
		qb->started = true;
	else if (qb->dead && qb->process.pid)
		pcidipc_await(&qb->process.exited); /* so that its message comes before ours */
	return ret;
}

static void stop(struct pcid_bus *bus)
{
	struct qemu_bus *qb = qemu_bus_of(bus);

	qb->stopping = true;
	pcidipc_timer_cancel(&qb->process.patience);
	qemu_slots_fini(qb);
	qemu_process_stop(qb);
	if (!qb->dead)
		die(qb);
}

/* ---- operations ---- */

static bool works(const struct pcid_function *f)
{
	return !f->gone && !qemu_bus_of(f->bus)->dead;
}

static int op_config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value)
{
	return config_read(qemu_function_of(f), offset, width, value);
}

static int op_config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value)
{
	return config_write(qemu_function_of(f), offset, width, value);
}

static int region_fd(struct pcid_function *f, unsigned bar, uint64_t *offset)
{
	(void)bar;
	(void)offset;
	return works(f) ? -EOPNOTSUPP : -ENODEV;
}

static int check_access(const struct pcid_function *f, unsigned bar, unsigned width)
{
	if (!works(f))
		return -ENODEV;
	return f->bars[bar].io && width > 4 ? -EINVAL : 0;
}

static int mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		      uint64_t value)
{
	int ret = check_access(f, bar, width);

	if (ret)
		return ret;
	return qtest_write(&qemu_bus_of(f->bus)->qtest,
			   f->bars[bar].io ? QTEST_PORTS : QTEST_MEMORY,
			   f->bars[bar].address + offset, width, value, QTEST_REGISTERS);
}

static int mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		     struct pcid_read *read)
{
	int ret = check_access(f, bar, width);

	if (ret)
		return ret;
	return qtest_read(&qemu_bus_of(f->bus)->qtest, f->bars[bar].io ? QTEST_PORTS : QTEST_MEMORY,
			  f->bars[bar].address + offset, width, read, QTEST_REGISTERS);
}

static void forget(struct pcid_function *f)
{
	struct qemu_bus *qb = qemu_bus_of(f->bus);

	qemu_function_free(qemu_function_of(f));
	qemu_slots_look(qb);
}

static const char *describe(struct pcid_function *f)
{
	struct qemu_function *qf = qemu_function_of(f);
	int n = snprintf(qf->text, sizeof(qf->text), "requester %02x:%02x.%x", RID_BUS(qf->alias),
			 RID_DEV(qf->alias), RID_FN(qf->alias));

	if (qf->domain)
		n += snprintf(qf->text + n, sizeof(qf->text) - (size_t)n,
			      ", IOMMU domain %u, pools %u", vtd_domain_id(qf->domain), qf->pools);
	if (qf->hotplug)
		snprintf(qf->text + n, sizeof(qf->text) - (size_t)n, ", hot-plug slot");
	return qf->text;
}

static void destroy(struct pcid_bus *bus);

static const struct pcid_bus_ops qemu_ops = {
	.name = "qemu",
	.start = start,
	.stop = stop,
	.destroy = destroy,
	.config_read = op_config_read,
	.config_write = op_config_write,
	.claim = qemu_claim,
	.release = qemu_release,
	.enable = qemu_enable,
	.reset = qemu_reset,
	.region_fd = region_fd,
	.mmio_write = mmio_write,
	.mmio_read = mmio_read,
	.irq_alloc = qemu_irq_alloc,
	.irq_free = qemu_irq_free,
	.irq_mask = qemu_irq_mask,
	.pool_attach = qemu_pool_attach,
	.pool_map = qemu_pool_map,
	.pool_detach = qemu_pool_detach,
	.forget = forget,
	.describe = describe,
};

/* ---- life ---- */

static char **copy_args(const char *const *args)
{
	size_t n = 0;
	char **copy;

	while (args && args[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(args[i]);
		if (copy[i])
			continue;
		qemu_args_free(copy);
		return NULL;
	}
	return copy;
}

static struct qemu_bus *new_bus(struct pcidipc_loop *loop)
{
	struct qemu_bus *qb = calloc(1, sizeof(*qb));

	if (!qb)
		return NULL;
	qb->bus.ops = &qemu_ops;
	qb->bus.loop = loop;
	pcidipc_list_init(&qb->bus.functions);
	pcidipc_list_init(&qb->nodes);
	pcidipc_list_init(&qb->slots);
	pcidipc_list_init(&qb->memory.pools);
	pcidipc_list_init(&qb->vtd.domains);
	qb->ram_fd = qb->ivshmem.fd = qb->process.pidfd = qb->process.stderr_fd = -1;
	return qb;
}

static int fill_bus(struct qemu_bus *qb, const struct pcid_qemu_options *options)
{
	int n = snprintf(qb->user_qmp_path, sizeof(qb->user_qmp_path), "%s/qmp.sock",
			 options->run_dir);

	if (n >= (int)sizeof(qb->user_qmp_path)) {
		pcidipc_err("qemu: %s/qmp.sock is %d characters; a socket's name has %zu at most",
			    options->run_dir, n, sizeof(qb->user_qmp_path) - 1);
		return -ENAMETOOLONG;
	}
	qb->ram_bytes = MIB(options->ram_mib ? options->ram_mib : DEFAULT_RAM_MIB);
	qb->binary = strdup(options->binary ? options->binary : "qemu-system-x86_64");
	qb->user_args = copy_args(options->args);
	return qb->binary && qb->user_args ? 0 : -ENOMEM;
}

int pcid_qemu_bus_create(struct pcidipc_loop *loop, const struct pcid_qemu_options *options,
			 struct pcid_bus **bus)
{
	struct qemu_bus *qb = new_bus(loop);
	int ret;

	if (!qb)
		return -ENOMEM;
	ret = fill_bus(qb, options);
	if (ret)
		pcid_bus_destroy(&qb->bus);
	else
		*bus = &qb->bus;
	return ret;
}

static void free_functions(struct qemu_bus *qb)
{
	pcidipc_list_for_each_safe(f, after, &qb->bus.functions, struct pcid_function, link)
		qemu_function_free(qemu_function_of(f));
	pcidipc_list_for_each_safe(qf, after, &qb->nodes, struct qemu_function, node)
		qemu_function_free(qf);
}

static void destroy(struct pcid_bus *bus)
{
	struct qemu_bus *qb = qemu_bus_of(bus);

	qb->stopping = true;
	pcidipc_timer_cancel(&qb->process.patience);
	qemu_process_kill(qb);
	qemu_slots_free(qb);
	qtest_fini(&qb->qtest);
	qmp_fini(&qb->qmp);
	ivshmem_fini(&qb->ivshmem);
	vtd_fini(qb);
	free_functions(qb);
	if (qb->ram)
		munmap(qb->ram, qb->ram_bytes);
	if (qb->ram_fd >= 0)
		close(qb->ram_fd);
	unlink(qb->user_qmp_path);
	qemu_args_free(qb->user_args);
	free(qb->binary);
	free(qb);
}

const char *pcid_qemu_bus_qmp(struct pcid_bus *bus)
{
	return qemu_bus_of(bus)->user_qmp_path;
}
