// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Functions come and go. Arrival, and that one is gone for good, are told by udev (or, where no
 * udevd runs, by the kernel itself). That one is wanted back is told by VFIO's request interrupt
 * before: the kernel waits until we let go.
 */
#include <errno.h>
#include <libudev.h>
#include <linux/vfio.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfio.h"

#define UDEVD_SOCKET "/run/udev/control"

struct vfio_hotplug {
	struct vfio_bus *bus;
	struct udev *udev;
	struct udev_monitor *monitor;
	struct pcidipc_watch watch;
};

/* ---- the request interrupt ---- */

int vfio_request_arm(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);
	int ret;

	p->request.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (p->request.fd < 0)
		return -errno;
	ret = vfio_set_irqs(p->device, VFIO_PCI_REQ_IRQ_INDEX, &p->request.fd, 1);
	if (ret) {
		close(p->request.fd);
		p->request.fd = -1;
	}
	return ret;
}

/* The kernel repeats it every ten seconds for as long as it waits. */
static void requested(struct pcidipc_watch *watch, unsigned events)
{
	struct vfio_function *p = pcidipc_container_of(watch, struct vfio_function, request);
	struct pcid_bus *bus = p->f->bus;
	uint64_t count;

	(void)events;
	(void)!read(watch->fd, &count, sizeof(count));
	if (p->leaving)
		return;
	p->leaving = true;
	bus->event(bus, PCID_FUNCTION_LEAVING, p->f, NULL);
}

int vfio_request_watch(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);

	p->leaving = false;
	return pcidipc_watch_add(f->bus->loop, &p->request, p->request.fd, EPOLLIN, requested);
}

void vfio_request_end(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);

	if (p->request.fd <= 0)
		return;
	pcidipc_watch_remove(&p->request);
	close(p->request.fd);
	p->request.fd = -1;
}

/* ---- udev ---- */

static void arrived(struct vfio_bus *bus, const char *address)
{
	struct pcid_function *f = vfio_find(bus, address);

	if (!f)
		f = vfio_enumerate_one(bus, address);
	else if (f->owner || !vfio_offered(f))
		return; /* nothing new about it */
	if (f)
		bus->bus.event(&bus->bus, PCID_FUNCTION_ARRIVED, f, NULL);
}

static void gone(struct vfio_bus *bus, const char *address)
{
	struct pcid_function *f = vfio_find(bus, address);

	if (!f)
		return;
	f->gone = true;
	vfio_of(f)->taken = false; /* there is nothing to give back */
	bus->bus.event(&bus->bus, PCID_FUNCTION_GONE, f, NULL);
}

/* Somebody has given vfio-pci a function that was here already. What was given to another driver is
 * that one's, also if the configuration names it. */
static void bound(struct vfio_bus *bus, const char *address)
{
	char driver[VFIO_DRIVER_BYTES];

	vfio_sysfs_driver(address, driver);
	if (!strcmp(driver, VFIO_DRIVER))
		arrived(bus, address);
}

/* ---- what was missed ---- */

static void look_for_gone(struct vfio_bus *bus)
{
	pcidipc_list_for_each(f, &bus->bus.functions, struct pcid_function, link) {
		uint64_t node = vfio_sysfs_node(f->address);

		if (!f->gone && (!node || node != vfio_of(f)->node))
			gone(bus, f->address);
	}
}

static void look_at(struct vfio_bus *bus, const char *address)
{
	if (vfio_find(bus, address))
		bound(bus, address);
	else
		arrived(bus, address);
}

/*
 * The kernel had more to tell than there was room for (ENOBUFS). What it has told since is
 * forgotten too, or it would be taken for newer than what is seen now. What it tells during the
 * look is heard afterwards, when it is seen already: a function that was exchanged just then is
 * started twice.
 */
static void catch_up(struct vfio_hotplug *h)
{
	struct udev_device *device;

	pcidipc_warn("udev: events were lost: looking at all functions again");
	do {
		errno = 0;
		device = udev_monitor_receive_device(h->monitor);
		udev_device_unref(device);
	} while (device || errno == ENOBUFS);
	look_for_gone(h->bus);
	vfio_sysfs_each(h->bus, look_at);
}

static void told(struct pcidipc_watch *watch, unsigned events)
{
	struct vfio_hotplug *h = pcidipc_container_of(watch, struct vfio_hotplug, watch);
	struct udev_device *device = udev_monitor_receive_device(h->monitor);
	const char *action = device ? udev_device_get_action(device) : NULL;
	const char *address = device ? udev_device_get_sysname(device) : NULL;

	(void)events;
	if (!device && errno == ENOBUFS)
		catch_up(h);
	else if (action && address && !strcmp(action, "add"))
		arrived(h->bus, address);
	else if (action && address && !strcmp(action, "bind"))
		bound(h->bus, address);
	else if (action && address && !strcmp(action, "remove"))
		gone(h->bus, address);
	if (device)
		udev_device_unref(device);
}

static int watch_udev(struct vfio_hotplug *h)
{
	h->udev = udev_new();
	if (!h->udev)
		return -ENOMEM;
	h->monitor = udev_monitor_new_from_netlink(h->udev,
						   access(UDEVD_SOCKET, F_OK) ? "kernel" : "udev");
	if (!h->monitor)
		return -EIO;
	if (udev_monitor_filter_add_match_subsystem_devtype(h->monitor, "pci", NULL) < 0 ||
	    udev_monitor_enable_receiving(h->monitor) < 0)
		return -EIO;
	return pcidipc_watch_add(h->bus->bus.loop, &h->watch, udev_monitor_get_fd(h->monitor),
				 EPOLLIN, told);
}

/* Without it pcid works on with what is there. */
int vfio_hotplug_start(struct vfio_bus *bus)
{
	struct vfio_hotplug *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return -ENOMEM;
	h->bus = bus;
	bus->hotplug = h;
	ret = watch_udev(h);
	if (!ret)
		return 0;
	pcidipc_warn("functions that arrive will not be noticed: udev: %s", strerror(-ret));
	vfio_hotplug_stop(bus);
	return 0;
}

void vfio_hotplug_stop(struct vfio_bus *bus)
{
	struct vfio_hotplug *h = bus->hotplug;

	if (!h)
		return;
	pcidipc_watch_remove(&h->watch);
	if (h->monitor)
		udev_monitor_unref(h->monitor);
	if (h->udev)
		udev_unref(h->udev);
	free(h);
	bus->hotplug = NULL;
}
