// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DMA that the IOMMU refused. VFIO does not tell of it; the kernel's log does, so that is read
 * (/dev/kmsg), from now on.
 *
 * Intel: DMAR: [DMA Write NO_PASID] Request device [00:02.0] fault addr 0x123000
 *        [fault reason 0x05] PTE Write access is not set
 * AMD:   vfio-pci 0000:00:02.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d
 *        address=0x123000 flags=0x0020]
 *
 * Much of the log is not the kernel's own words: a USB stick's name is in it. So a message must
 * begin as the above do.
 */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vfio.h"

#define RECORD_BYTES 8192 /* more than the kernel gives at a time */
#define INTEL "DMAR: [DMA "
#define AMD " AMD-Vi: Event logged [IO_PAGE_FAULT "

struct vfio_faults {
	struct vfio_bus *bus;
	struct pcidipc_watch watch;
};

/* "00:02.0", or with the segment in front. */
static bool parse_device(const char *text, struct vfio_fault *p)
{
	if (sscanf(text, "%x:%x:%x.%x", &p->segment, &p->bus, &p->dev, &p->fn) == 4)
		return true;
	p->segment = 0;
	return sscanf(text, "%x:%x.%x", &p->bus, &p->dev, &p->fn) == 3;
}

/* What follows `name` in `text`, or NULL. */
static const char *after(const char *text, const char *name)
{
	const char *at = text ? strstr(text, name) : NULL;

	return at ? at + strlen(name) : NULL;
}

/* Some kernels tell a PASID between device and address. */
static bool parse_intel(const char *text, struct vfio_fault *p)
{
	const char *device = after(text, "Request device [");
	const char *address = after(device, "fault addr ");
	const char *reason = after(address, "[fault reason ");

	if (strncmp(text, INTEL, strlen(INTEL)) || !address || !parse_device(device, p) ||
	    sscanf(address, "%llx", &p->iova) != 1)
		return false;
	p->write = !strncmp(text + strlen(INTEL), "Write", 5);
	p->reason = after(reason, "] ");
	return true;
}

/* A driver's name, the device's, and what it is about. */
static bool parse_amd(const char *text, struct vfio_fault *p)
{
	const char *device = strchr(text, ' ');
	const char *event = device ? strchr(device + 1, ' ') : NULL;
	const char *address = after(event, "address="), *flags = after(address, "flags=");

	if (!event || strncmp(event, AMD, strlen(AMD)) || !parse_device(device + 1, p) || !flags ||
	    sscanf(address, "%llx", &p->iova) != 1)
		return false;
	p->write = strtoul(flags, NULL, 16) & 0x20;
	p->reason = "page fault";
	return true;
}

/* "6,339,5140900,-;text\n key=value\n". The first number is the level and, from bit 3 on, who
 * speaks: 0 is the kernel. */
bool vfio_fault_parse(char *record, struct vfio_fault *p)
{
	char *text = strchr(record, ';'), *end = text ? strchr(text, '\n') : NULL;

	if (!text || strtoul(record, NULL, 10) >> 3)
		return false;
	if (end)
		*end = '\0';
	return parse_intel(text + 1, p) || parse_amd(text + 1, p);
}

static void tell(struct vfio_bus *bus, const struct vfio_fault *p)
{
	struct pcid_fault fault = {.iova = p->iova, .write = p->write, .reason = p->reason};
	struct pcid_function *f;
	char address[64];

	snprintf(address, sizeof(address), "%04x:%02x:%02x.%u", p->segment, p->bus, p->dev, p->fn);
	f = vfio_find(bus, address);
	if (f && vfio_of(f)->container)
		bus->bus.event(&bus->bus, PCID_FUNCTION_FAULT, f, &fault);
}

/* One record per read. */
static void logged(struct pcidipc_watch *watch, unsigned events)
{
	struct vfio_faults *faults = pcidipc_container_of(watch, struct vfio_faults, watch);
	char text[RECORD_BYTES];
	struct vfio_fault p = {0};
	ssize_t n = read(watch->fd, text, sizeof(text) - 1);

	(void)events;
	if (n < 0 && errno != EPIPE && errno != EAGAIN && errno != EINTR && errno != EINVAL)
		pcidipc_watch_remove(watch);
	if (n <= 0)
		return; /* EPIPE: the log ran past us; the next read goes on */
	text[n] = '\0';
	if (vfio_fault_parse(text, &p))
		tell(faults->bus, &p);
}

/* Without it faults are confined all the same, and not told. */
int vfio_faults_start(struct vfio_bus *bus)
{
	struct vfio_faults *faults = calloc(1, sizeof(*faults));
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (!faults || fd < 0 || lseek(fd, 0, SEEK_END) < 0) {
		pcidipc_warn("DMA that the IOMMU refuses will not be told: /dev/kmsg: %s",
			     strerror(errno));
		if (fd >= 0)
			close(fd);
		free(faults);
		return 0;
	}
	faults->bus = bus;
	bus->faults = faults;
	return pcidipc_watch_add(bus->bus.loop, &faults->watch, fd, EPOLLIN, logged);
}

void vfio_faults_stop(struct vfio_bus *bus)
{
	struct vfio_faults *faults = bus->faults;

	if (!faults)
		return;
	pcidipc_watch_remove(&faults->watch);
	close(faults->watch.fd);
	free(faults);
	bus->faults = NULL;
}
