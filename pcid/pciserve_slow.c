// SPDX-License-Identifier: GPL-2.0-or-later
/* The PCI interface's slow requests: one worker task per driver, in the order of their arrival. */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

static int region_info(struct pcid_driver *d, struct pcidipc_request *rq,
		       const struct ringabi_pci_arg *arg)
{
	struct pcid_function *f = d->function;
	const struct pcid_bar *bar;
	uint64_t offset;
	int fd;

	if (arg->index >= PCID_BARS)
		return -EINVAL;
	bar = &f->bars[arg->index];
	rq->big[0] = bar->bytes;
	if (!bar->bytes)
		return 0;
	rq->big[1] = (bar->io ? RINGABI_PCI_REGION_IO : 0) |
		     (bar->is64 ? RINGABI_PCI_REGION_64BIT : 0) |
		     (bar->prefetch ? RINGABI_PCI_REGION_PREFETCH : 0);
	fd = f->bus->ops->region_fd(f, arg->index, &offset);
	if (fd < 0)
		return fd == -ENODEV ? fd : 0;
	close(fd);
	rq->big[1] |= RINGABI_PCI_REGION_MAPPABLE;
	return 0;
}

static int check_config(const struct pcid_driver *d, uint64_t offset,
			const struct ringabi_pci_arg *arg)
{
	const struct pcid_function *f = d->function;
	int ret = 0;

	if ((arg->width != 1 && arg->width != 2 && arg->width != 4) || offset > 4095 ||
	    offset % arg->width ||
	    (arg->width < 4 ? arg->value >> 8 * arg->width : arg->value >> 32))
		ret = -EINVAL;
	else if (offset + arg->width > f->config_bytes)
		ret = -ENXIO;
	if (ret)
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: %u bytes at %#llx of its configuration space: it must "
					"be 1, 2 or 4, aligned, below %u, and the value must fit",
					d->name, arg->width, (unsigned long long)offset,
					f->config_bytes);
	return ret;
}

static int config_read(struct pcid_driver *d, struct pcidipc_request *rq,
		       const struct ringabi_pci_arg *arg)
{
	uint32_t value = 0;
	int ret = check_config(d, rq->sqe.addr, arg);

	if (!ret)
		ret = d->function->bus->ops->config_read(d->function, (unsigned)rq->sqe.addr,
							 arg->width, &value);
	rq->big[0] = value;
	return ret;
}

static int config_write(struct pcid_driver *d, struct pcidipc_request *rq,
			const struct ringabi_pci_arg *arg)
{
	unsigned offset = (unsigned)rq->sqe.addr;
	int ret = check_config(d, rq->sqe.addr, arg);

	if (!ret)
		ret = pcid_config_writable(d->function, offset, arg->width, (uint32_t)arg->value);
	if (ret == -EPERM)
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: a write of %u bytes at %#x of its configuration space is refused: "
			"pcid manages what lies there",
			d->name, arg->width, offset);
	if (!ret)
		ret = d->function->bus->ops->config_write(d->function, offset, arg->width,
							  (uint32_t)arg->value);
	return ret;
}

static int enable(struct pcid_driver *d, const struct ringabi_pci_arg *arg)
{
	if (arg->value & ~(uint64_t)(RINGABI_PCI_ENABLE_DECODE | RINGABI_PCI_ENABLE_MASTER))
		return -EINVAL;
	return d->function->bus->ops->enable(d->function, arg->value & RINGABI_PCI_ENABLE_DECODE,
					     arg->value & RINGABI_PCI_ENABLE_MASTER);
}

int pcid_function_reset(struct pcid_driver *d)
{
	int ret;

	d->resetting = true;
	ret = d->function->bus->ops->reset(d->function);
	d->resetting = false;
	pcid_irq_free(d, !ret); /* also when there is no reset: the bus stopped the function then */
	pcid_parked_run(d);
	return ret;
}

static int run(struct pcid_driver *d, struct pcidipc_request *rq)
{
	struct ringabi_pci_arg arg = pcid_request_arg(rq);

	switch (rq->sqe.cmd_op) {
	case RINGABI_PCI_REGION_INFO:
		return region_info(d, rq, &arg);
	case RINGABI_PCI_CONFIG_READ:
		return config_read(d, rq, &arg);
	case RINGABI_PCI_CONFIG_WRITE:
		return config_write(d, rq, &arg);
	case RINGABI_PCI_ENABLE:
		return enable(d, &arg);
	case RINGABI_PCI_RESET:
		return pcid_function_reset(d);
	}
	return -EOPNOTSUPP;
}

static void work(void *arg)
{
	struct pcid_driver *d = arg;
	struct pcidipc_request *rq;

	while ((rq = pcid_queue_pop(&d->slow))) {
		int ret;

		pcidipc_task_lock(&d->bus_lock);
		ret = d->quiet ? -ENODEV : run(d, rq);
		pcidipc_task_unlock(&d->bus_lock);
		pcidipc_complete(rq, ret);
	}
	d->working = false;
}

int pcid_slow(struct pcid_driver *d, struct pcidipc_request *rq)
{
	if (!d->working) {
		int ret = pcidipc_spawn(d->pcid->loop, work, d);

		if (ret)
			return ret;
		d->working = true;
	}
	pcid_queue_push(&d->slow, rq);
	return PCIDIPC_PENDING;
}
