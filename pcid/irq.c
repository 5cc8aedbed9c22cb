// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupt vectors: masks, and relays where the bus has no mask of its own.
 *
 * A vector is delivered when neither it nor its function is masked; one that comes while it is
 * masked is kept, and delivered once when it is unmasked. Where the bus masks (MSI-X, MSI with mask
 * bits), the device itself does the keeping, and the driver gets the bus's eventfd. Elsewhere pcid
 * stands in between: it watches the eventfd, keeps mask and pending bits here, and passes
 * interrupts on over a socket. A socket, because O_NONBLOCK of an eventfd belongs to the file
 * description: a driver could clear it, fill the counter and make pcid's write block.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"

/* ---- delivery by relay ---- */

/* EAGAIN: packets that the driver has not read yet will wake it just as well. EPIPE: it closed its
 * end. */
static void forward(struct pcid_vector *v)
{
	uint64_t one = 1;

	v->relayed++;
	(void)!send(v->relay_fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* As agreed with the driver; the bus may lag behind it. */
static bool effectively_masked(const struct pcid_vector *v)
{
	return v->masked || v->driver->irq.function_masked;
}

static void fired(struct pcidipc_watch *watch, unsigned events)
{
	struct pcid_vector *v = pcidipc_container_of(watch, struct pcid_vector, watch);
	uint64_t count;

	(void)events;
	if (read(v->bus_fd, &count, sizeof(count)) != sizeof(count))
		return;
	v->interrupts += count;
	if (effectively_masked(v))
		v->pending = true;
	else
		forward(v);
}

/* ---- masks ---- */

/* Bring the vector to `masked`. -EAGAIN: the bus's queue is full. */
static int apply(struct pcid_driver *d, struct pcid_vector *v, bool masked)
{
	int ret;

	if (!d->irq.maskable) {
		if (!masked && v->pending) {
			v->pending = false;
			forward(v);
		}
		return 0;
	}
	if (masked == v->bus_masked)
		return 0;
	ret = d->function->bus->ops->irq_mask(d->function, (unsigned)(v - d->irq.vector), masked);
	if (!ret)
		v->bus_masked = masked;
	return ret;
}

/*
 * A mask counts from when the bus has taken it, not from when it was asked for: a request that is
 * canceled while it waits must leave no trace, or the next change of the function's mask would
 * mask a vector that its driver believes open, and its interrupts would be lost.
 */
int pcid_irq_mask(struct pcid_driver *d, unsigned vector, bool masked)
{
	struct pcid_vector *v;
	int ret;

	if (vector >= d->irq.count)
		return -ERANGE;
	v = &d->irq.vector[vector];
	ret = apply(d, v, masked || d->irq.function_masked);
	if (ret)
		return ret;
	v->masked = masked;
	if (masked)
		v->masks++;
	else
		v->unmasks++;
	return 0;
}

/* May be called again after -EAGAIN: vectors that are right already are left alone. */
int pcid_irq_mask_all(struct pcid_driver *d, bool masked)
{
	int ret = 0;

	for (unsigned i = 0; i < d->irq.count && !ret; i++)
		ret = apply(d, &d->irq.vector[i], masked || d->irq.vector[i].masked);
	if (!ret)
		d->irq.function_masked = masked;
	return ret;
}

void pcid_irq_unsettle(struct pcid_driver *d)
{
	d->irq.unsettled = d->irq.count && d->irq.maskable;
}

int pcid_irq_settle(struct pcid_driver *d)
{
	int ret = 0;

	if (d->irq.unsettled)
		ret = pcid_irq_mask_all(d, d->irq.function_masked);

	if (ret == -EAGAIN)
		return ret;
	d->irq.unsettled = false; /* other errors: the function is gone */
	return 0;
}

/* ---- allocating ---- */

static int make_relay(struct pcid_vector *v, int *driver_fd)
{
	int ends[2], room = 1; /* the kernel's least: a few packets, and more are not needed */
	int ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends))
		return -errno;
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	shutdown(ends[0], SHUT_RD); /* nothing that the driver sends can pile up here */
	v->relay_fd = ends[0];
	ret = pcidipc_watch_add(v->driver->pcid->loop, &v->watch, v->bus_fd, EPOLLIN, fired);
	if (ret)
		close(ends[1]);
	else
		*driver_fd = ends[1];
	return ret;
}

/* Take over the bus's fds: as relays' sources, or to be handed to the driver. */
static int take_fds(struct pcid_driver *d, const struct pcid_irqs *irqs, int *fds)
{
	int ret = 0;

	for (unsigned i = 0; i < irqs->count; i++) {
		struct pcid_vector *v = &d->irq.vector[i];

		*v = (struct pcid_vector){.driver = d, .bus_fd = -1, .relay_fd = -1};
		fds[i] = -1;
		if (irqs->maskable)
			fds[i] = irqs->fds[i];
		else
			v->bus_fd = irqs->fds[i];
	}
	d->irq.kind = irqs->kind;
	d->irq.count = irqs->count;
	d->irq.maskable = irqs->maskable;
	for (unsigned i = 0; i < irqs->count && !irqs->maskable && !ret; i++)
		ret = make_relay(&d->irq.vector[i], &fds[i]);
	return ret;
}

static void close_fds(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int pcid_irq_alloc(struct pcid_driver *d, unsigned least, unsigned most, int *fds)
{
	struct pcid_irqs irqs = {0};
	int ret;

	if (!least || least > most || most > RINGABI_MSG_MAX_FDS)
		return -EINVAL;
	if (d->irq.count)
		return -EALREADY;
	ret = d->function->bus->ops->irq_alloc(d->function, most, &irqs);
	if (ret < 0)
		return ret;
	if (irqs.count < least || irqs.count > most) {
		pcidipc_warn("%s: asked for %u interrupt vectors at least, the function offers %u",
			     d->name, least, irqs.count);
		close_fds(irqs.fds, irqs.count);
		d->function->bus->ops->irq_free(d->function);
		return -ENOSPC;
	}
	ret = take_fds(d, &irqs, fds);
	if (ret) {
		close_fds(fds, irqs.count);
		pcid_irq_free(d, false);
		return ret;
	}
	/* The function may have been masked before it had vectors. What the bus does not take now
	 * goes before the driver's next mask. */
	pcid_irq_unsettle(d);
	pcid_irq_settle(d);
	return (int)irqs.count;
}

void pcid_irq_free(struct pcid_driver *d, bool freed)
{
	bool had = d->irq.count;

	for (unsigned i = 0; i < d->irq.count; i++) {
		struct pcid_vector *v = &d->irq.vector[i];

		pcidipc_watch_remove(&v->watch);
		if (v->bus_fd >= 0)
			close(v->bus_fd);
		if (v->relay_fd >= 0)
			close(v->relay_fd);
	}
	memset(&d->irq, 0, sizeof(d->irq));
	if (had && !freed)
		d->function->bus->ops->irq_free(d->function);
}
