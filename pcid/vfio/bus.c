// SPDX-License-Identifier: GPL-2.0-or-later
/* The VFIO bus as pcid's core sees it. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vfio.h"

static struct vfio_bus *of(struct pcid_bus *bus)
{
	return pcidipc_container_of(bus, struct vfio_bus, bus);
}

int vfio_run(struct pcid_function *f, int (*run)(void *))
{
	return vfio_call(&vfio_bus_of(f)->done, &vfio_of(f)->worker, run, f);
}

/* Writes that were parked meanwhile go on. */
int vfio_run_busy(struct pcid_function *f, int (*run)(void *))
{
	struct vfio_function *p = vfio_of(f);
	int ret;

	p->busy = true;
	ret = vfio_run(f, run);
	p->busy = false;
	if (f->bus->writable)
		f->bus->writable(f->bus);
	return ret;
}

static int nothing(void *function)
{
	(void)function;
	return 0;
}

/* Jobs of a worker are done in order. */
void vfio_settle(struct pcid_function *f)
{
	while (vfio_of(f)->busy)
		vfio_run(f, nothing);
}

static int config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value)
{
	vfio_settle(f);
	return vfio_config_read(f, offset, width, value);
}

static int config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value)
{
	vfio_settle(f);
	return vfio_config_write(f, offset, width, value);
}

/* ---- start and stop ---- */

/* Pinned memory counts as locked, for whom the kernel does not see as privileged. */
static void raise_lock_limit(void)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

	if (setrlimit(RLIMIT_MEMLOCK, &all))
		pcidipc_info("the limit of locked memory stays as it is: %s", strerror(errno));
}

static int start(struct pcid_bus *bus)
{
	struct vfio_bus *b = of(bus);
	int ret;

	raise_lock_limit();
	ret = vfio_done_init(&b->done, bus->loop);
	if (!ret)
		ret = vfio_hotplug_start(
			b); /* before the walk: what arrives meanwhile is told then */
	if (!ret)
		ret = vfio_enumerate(b);
	if (!ret)
		ret = vfio_faults_start(b);
	if (ret)
		return ret;
	vfio_tell_missing(b);
	vfio_takeover_recall(b);
	return 0;
}

static void stop(struct pcid_bus *bus)
{
	struct vfio_bus *b = of(bus);

	vfio_hotplug_stop(b);
	vfio_faults_stop(b);
	pcidipc_list_for_each(f, &bus->functions, struct pcid_function, link) {
		if (vfio_of(f)->taken)
			vfio_run(f, vfio_give_back);
		vfio_worker_stop(&vfio_of(f)->worker);
	}
	vfio_done_fini(&b->done);
}

/*
 * ---- containers: shared by the functions of a group ----
 *
 * They are kept for the next driver: it is to get other addresses than the one before, whose
 * transfers may go on in a device without a reset.
 */

static struct vfio_container *get_container(struct vfio_bus *b, uint32_t group)
{
	struct vfio_container *c;

	pcidipc_list_for_each(other, &b->containers, struct vfio_container, link) {
		if (other->group != group)
			continue;
		other->users++;
		return other;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->group = group;
	c->users = 1;
	c->fd = c->group_fd = -1;
	pcidipc_list_append(&b->containers, &c->link);
	return c;
}

static int close_container(void *function)
{
	vfio_container_close(vfio_of(function)->container);
	return 0;
}

static void put_container(struct pcid_function *f)
{
	struct vfio_container *c = vfio_of(f)->container;

	pcidipc_task_lock(&c->lock);
	if (c->users == 1 && c->fd >= 0)
		vfio_run(f, close_container);
	pcidipc_task_unlock(&c->lock);
	vfio_of(f)->container = NULL;
	c->users--;
}

static void free_containers(struct vfio_bus *b)
{
	pcidipc_list_for_each_safe(c, after, &b->containers, struct vfio_container, link)
		free(c);
}

static int open_container(void *function)
{
	struct pcid_function *f = function;

	return vfio_container_open(vfio_of(f)->container, f->address);
}

static int join_container(struct pcid_function *f)
{
	struct vfio_container *c = vfio_of(f)->container;
	int ret = 0;

	pcidipc_task_lock(&c->lock);
	if (c->fd < 0)
		ret = vfio_run(f, open_container);
	pcidipc_task_unlock(&c->lock);
	return ret;
}

/* ---- claiming ---- */

static int take_over(void *function)
{
	return vfio_take_over(function);
}

static int open_device(void *function)
{
	struct pcid_function *f = function;
	struct vfio_function *p = vfio_of(f);
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int fd = vfio_container_device(p->container, f->address);
	int ret;

	if (fd < 0) {
		pcidipc_err("%s: VFIO does not give it out: %s", f->address, strerror(-fd));
		return fd;
	}
	p->device = fd;
	ret = ioctl(fd, VFIO_DEVICE_GET_INFO, &info) ? -errno : vfio_regions_find(f);
	p->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
	if (!ret)
		ret = vfio_request_arm(f);
	if (!ret)
		ret = vfio_config_write(f, PCI_COMMAND, 2, 0);
	if (ret)
		pcidipc_err("%s: VFIO does not describe it: %s", f->address, strerror(-ret));
	return ret;
}

static int close_device(void *function)
{
	struct vfio_function *p = vfio_of(function);
	int fd = p->device;

	p->device = -1;
	return close(fd) ? -errno : 0;
}

static void let_go(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);

	vfio_request_end(f);
	if (p->device >= 0)
		vfio_run_busy(f, close_device);
	if (p->container)
		put_container(f);
	p->decode = false;
}

static int open_taken(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);
	int ret;

	p->container = get_container(vfio_bus_of(f), f->group);
	if (!p->container)
		return -ENOMEM;
	ret = join_container(f);
	if (!ret)
		ret = vfio_run_busy(f, open_device);
	if (!ret)
		ret = vfio_request_watch(f);
	if (ret)
		let_go(f);
	return ret;
}

/* What cannot be driven is the kernel's again at once: only VFIO knows whether interrupts are
 * remapped, and only when it has the function. */
static int claim(struct pcid_function *f)
{
	int ret;

	if (f->gone)
		return -ENODEV;
	ret = vfio_run(f, take_over);
	if (ret)
		return ret;
	ret = open_taken(f);
	if (ret)
		vfio_run(f, vfio_give_back);
	return ret;
}

static void release(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);

	if (!p->container)
		return;
	if (p->device >= 0 && !f->gone)
		vfio_reset(f);
	vfio_irq_free(f);
	let_go(f);
}

static int enable(struct pcid_function *f, bool decode, bool master)
{
	struct vfio_function *p = vfio_of(f);
	const uint32_t ours = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	uint32_t command = 0;
	int ret = config_read(f, PCI_COMMAND, 2, &command);

	if (ret)
		return ret;
	command &= ~ours;
	command |= (decode ? PCI_COMMAND_IO | PCI_COMMAND_MEMORY : 0u) |
		   (master ? PCI_COMMAND_MASTER : 0u);
	if (!decode)
		p->decode = false;
	ret = vfio_config_write(f, PCI_COMMAND, 2, command);
	if (ret || !decode || p->decode)
		return ret;
	p->decode = true;
	vfio_irq_decoding(f);
	return 0;
}

/* ---- pools ---- */

struct range {
	struct vfio_container *container;
	int fd;
	uint64_t offset, bytes, iova;
};

static int map(void *arg)
{
	struct range *r = arg;

	return vfio_container_map(r->container, r->fd, r->offset, r->bytes, r->iova);
}

static int unmap(void *arg)
{
	struct range *r = arg;

	return vfio_container_unmap(r->container, r->iova, r->bytes);
}

static int call_with(struct pcid_function *f, int (*run)(void *), struct range *r)
{
	return vfio_call(&vfio_bus_of(f)->done, &vfio_of(f)->worker, run, r);
}

static int pool_attach(struct pcid_pool *pool)
{
	struct pcid_function *f = pool->function;
	struct vfio_container *c = vfio_of(f)->container;
	uint64_t last = f->dma_bits < 64 ? (1ull << f->dma_bits) - 1 : UINT64_MAX;

	return c ? pcid_iova_alloc(&c->iova, pool->bytes, last, &pool->iova) : -ENODEV;
}

static int pool_map(struct pcid_pool *pool, uint64_t offset, uint64_t bytes)
{
	struct pcid_function *f = pool->function;
	struct range r = {.container = vfio_of(f)->container,
			  .fd = pool->fd,
			  .offset = offset,
			  .bytes = bytes,
			  .iova = pool->iova + offset};

	return r.container ? call_with(f, map, &r) : -ENODEV;
}

/* Addresses whose unmapping failed are not given out again. */
static void pool_detach(struct pcid_pool *pool)
{
	struct pcid_function *f = pool->function;
	struct range r = {
		.container = vfio_of(f)->container, .bytes = pool->bytes, .iova = pool->iova};
	int ret;

	if (!r.container)
		return;
	ret = call_with(f, unmap, &r);
	if (ret)
		pcidipc_err("%s: unmapping a pool of %llu MiB: %s", f->address,
			    (unsigned long long)pool->bytes >> 20, strerror(-ret));
	else
		pcid_iova_free(&r.container->iova, pool->iova);
}

/* ---- the table ---- */

static const char *describe(struct pcid_function *f)
{
	static char text[256];
	struct vfio_function *p = vfio_of(f);
	char driver[VFIO_DRIVER_BYTES];
	int n;

	vfio_sysfs_driver(f->address, driver);
	n = snprintf(text, sizeof(text), "kernel driver %s", *driver ? driver : "none");
	if (p->taken)
		n += snprintf(text + n, sizeof(text) - (size_t)n, " (taken over from %s)",
			      *p->was ? p->was : "none");
	if (f->group == VFIO_NO_GROUP)
		snprintf(text + n, sizeof(text) - (size_t)n, ", no IOMMU");
	return text;
}

static void free_names(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}

static void destroy(struct pcid_bus *bus)
{
	struct vfio_bus *b = of(bus);

	while (!pcidipc_list_empty(&bus->functions))
		vfio_forget(pcidipc_container_of(bus->functions.next, struct pcid_function, link));
	vfio_enumerate_end(b);
	pcidipc_defer_cancel(&b->answer);
	free_containers(b);
	free_names(b->take);
	free(b->reads);
	pthread_mutex_destroy(&b->list_lock);
	free(b);
}

static const struct pcid_bus_ops vfio_ops = {
	.name = "vfio",
	.start = start,
	.stop = stop,
	.destroy = destroy,
	.offered = vfio_offered,
	.config_read = config_read,
	.config_write = config_write,
	.claim = claim,
	.release = release,
	.enable = enable,
	.reset = vfio_reset,
	.region_fd = vfio_region_fd,
	.mmio_write = vfio_mmio_write,
	.mmio_read = vfio_mmio_read,
	.irq_alloc = vfio_irq_alloc,
	.irq_free = vfio_irq_free,
	.irq_mask = vfio_irq_mask,
	.pool_attach = pool_attach,
	.pool_map = pool_map,
	.pool_detach = pool_detach,
	.forget = vfio_forget,
	.describe = describe,
};

static char **copy_names(char *const *names)
{
	size_t n = 0;
	char **copy;

	while (names && names[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(names[i]);
		if (!copy[i]) {
			free_names(copy);
			return NULL;
		}
	}
	return copy;
}

int pcid_vfio_bus_configure(struct pcid_bus *bus, const struct pcid_vfio_options *options)
{
	struct vfio_bus *b = of(bus);
	char **take, **old;

	if (bus->ops != &vfio_ops)
		return 0;
	take = copy_names(options->take);
	if (!take)
		return -ENOMEM;
	pthread_mutex_lock(&b->list_lock); /* workers read it */
	old = b->take;
	b->take = take;
	b->shared_groups = options->shared_groups;
	pthread_mutex_unlock(&b->list_lock);
	free_names(old);
	if (b->pci)
		vfio_tell_missing(b); /* before that, the start will */
	return 0;
}

int pcid_vfio_bus_create(struct pcidipc_loop *loop, const struct pcid_vfio_options *options,
			 struct pcid_bus **bus)
{
	struct vfio_bus *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->bus.ops = &vfio_ops;
	b->bus.loop = loop;
	b->done.fd = -1;
	pcidipc_list_init(&b->bus.functions);
	pcidipc_list_init(&b->containers);
	pthread_mutex_init(&b->list_lock, NULL);
	snprintf(b->state_path, sizeof(b->state_path), "%s/taken", options->run_dir);
	*bus = &b->bus;
	if (!pcid_vfio_bus_configure(*bus, options))
		return 0;
	destroy(&b->bus);
	return -ENOMEM;
}
