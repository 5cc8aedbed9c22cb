/* SPDX-License-Identifier: MIT */
/* usbscsid: drives one USB mass storage interface and serves its logical units as disks. Started by
 * pcid below xhcid, or by hand for a device of the kernel's USB stack. */
#include <errno.h>
#include <pcidipc/driver.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

#define MOST_NAME 40

#define NO_INTERFACE 256

static const char *device; /* BUS:DEV, or NULL: pcid's */
static const char *name;   /* of the disk, with --libusb */
static uint64_t interface = NO_INTERFACE, timeout = TRANSPORT_LIMIT;
static struct target target;
static struct pcidipc_driver driver;

/* ---- services: pcid's, or sockets of our own ---- */

static int publish_by_pcid(struct target *t, const char *suffix, struct pcidipc_service *service)
{
	(void)t;
	return pcidipc_pci_publish(driver.pci, "disk", suffix, service);
}

static void unpublish_by_pcid(struct target *t, struct pcidipc_service *service)
{
	(void)t;
	pcidipc_pci_unpublish(driver.pci, service);
}

static int own_path(char *path, size_t room, const struct pcidipc_service *service, const char *end)
{
	return (size_t)snprintf(path, room, "%s/%s%s", pcidipc_runtime_dir(), service->name, end) <
			       room
		       ? 0
		       : -ENAMETOOLONG;
}

static int own_socket(const struct pcidipc_service *service, const char *end, unsigned mode)
{
	char path[108];
	int ret = own_path(path, sizeof(path), service, end);

	return ret ? ret : pcidipc_listen_socket(path, mode);
}

static void make_directories(void)
{
	char path[96];

	mkdir(pcidipc_runtime_dir(), 0755);
	snprintf(path, sizeof(path), "%s/disk", pcidipc_runtime_dir());
	mkdir(path, 0755);
}

static int publish_own(struct target *t, const char *suffix, struct pcidipc_service *service)
{
	(void)t;
	memset(service, 0, sizeof(*service));
	snprintf(service->name, sizeof(service->name), "disk/%s%s", name, suffix);
	make_directories();
	service->listen_fd = own_socket(service, "", 0660);
	if (service->listen_fd < 0)
		return service->listen_fd;
	service->admin_fd = own_socket(service, ".admin", 0600);
	if (service->admin_fd < 0) {
		close(service->listen_fd);
		return service->admin_fd;
	}
	return 0;
}

static void unpublish_own(struct target *t, struct pcidipc_service *service)
{
	char path[108];

	(void)t;
	close(service->listen_fd);
	close(service->admin_fd);
	if (!own_path(path, sizeof(path), service, ""))
		unlink(path);
	if (!own_path(path, sizeof(path), service, ".admin"))
		unlink(path);
}

/* ---- options ---- */

static const struct pcidipc_option options[] = {
	PCIDIPC_OPTION_NUMBER("timeout", 't', "SECONDS", "of a command (30)", &timeout, 1, 3600),
	PCIDIPC_OPTION_TEXT("libusb", 0, "BUS:DEV", "a device of the kernel's USB stack", &device),
	PCIDIPC_OPTION_NUMBER("interface", 0, "N", "of it; by default the first that will do",
			      &interface, 0, NO_INTERFACE - 1),
	PCIDIPC_OPTION_TEXT("name", 0, "NAME", "its disk is disk/NAME (usb-BUS-DEV)", &name),
	{0}};

/* 0, or an exit status. */
static int check_name(void)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	static char made[MOST_NAME];

	if (!name) {
		snprintf(made, sizeof(made), "usb-%s", device);
		for (char *at = made; *at; at++)
			*at = *at == ':' ? '-' : *at;
		name = made;
	}
	if (*name && strlen(name) < MOST_NAME && strspn(name, letters) == strlen(name))
		return 0;
	fprintf(stderr, "usbscsid: --name %s: it must be 1 to %d of a to z, 0 to 9 and -\n", name,
		MOST_NAME - 1);
	return 2;
}

/* ---- beginning and end ---- */

/* What libusb wants of files and threads it cannot have later. */
static int prepare(struct pcidipc_driver *d)
{
	int ret;

	target.loop = d->loop;
	target.limit = (uint32_t)timeout * TRANSPORT_TICKS;
	target.tick_ns = TRANSPORT_TICK_NS;
	target.pause_ns = TARGET_PAUSE_NS;
	target.poll_ns = TARGET_POLL_NS;
	target.publish = device ? publish_own : publish_by_pcid;
	target.unpublish = device ? unpublish_own : unpublish_by_pcid;
	if (!device)
		return 0;
	d->standalone = true;
	ret = check_name();
	if (ret)
		return ret;
	ret = link_libusb_open(d->loop, device, interface == NO_INTERFACE ? -1 : (int)interface,
			       &target.link);
	if (ret)
		pcidipc_err("%s", strerror(-ret));
	return ret ? 1 : 0;
}

static void link_lost(struct usb_link *link, int error)
{
	(void)link, (void)error;
	if (target.transport)
		transport_die(target.transport);
	else
		pcidipc_loop_stop(target.loop, 1);
}

/* An unplugged device is no failure of ours. */
static void target_ended(struct target *t, int code)
{
	(void)code;
	pcidipc_loop_stop(t->loop, 0);
}

static int start(struct pcidipc_driver *d)
{
	struct target *t = &target;
	int ret = device ? 0 : link_ring_open(d->loop, &t->link);

	if (ret)
		return ret;
	t->link->lost = link_lost;
	t->ended = target_ended;
	ret = target_start(t);
	if (!ret || t->stopping)
		return 0;
	pcidipc_err("%s: cannot be driven: %s", t->label, strerror(-ret));
	pcidipc_loop_stop(t->loop, ret == -ENODEV ? 0 : 1);
	return 0;
}

/* One whose device is gone ends by itself. */
static void stop(struct pcidipc_driver *d)
{
	if (target.device_gone)
		return;
	target_stop(&target);
	pcidipc_loop_stop(d->loop, 0);
}

static void removed(struct pcidipc_driver *d)
{
	(void)d;
	link_lost(target.link, -ENODEV);
}

static struct pcidipc_driver driver = {
	.name = "usbscsid",
	.version = PCID_VERSION,
	.about = "Drives one USB mass storage interface. pcid starts it, see pcid(8); with "
		 "--libusb it\ndrives a device of the kernel's USB stack, as disk/NAME.",
	.options = options,
	.prepare = prepare,
	.start = start,
	.stop = stop,
	.removed = removed,
};

int main(int argc, char **argv)
{
	return pcidipc_driver_main(&driver, argc, argv);
}
