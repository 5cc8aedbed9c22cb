// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DMA that the IOMMU refused. VFIO does not tell of it; the kernel's log does, so that is read
 * (/dev/kmsg), from now on. Intel:  DMAR: [DMA Write NO_PASID] Request device [00:02.0] fault addr
 * 0x123000 [fault reason 0x05] PTE Write ... AMD:    ... AMD-Vi: Event logged [IO_PAGE_FAULT
 * domain=0x000d address=0x123000 flags=0x0020], after the device's name
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

struct vfio_faults {
	struct vfio_bus *bus;
	struct pcidipc_watch watch;
};

struct parsed {
	unsigned segment, bus, dev, fn;
	unsigned long long iova;
	bool write;
	const char *reason;
};

static bool parse_intel(char *text, struct parsed *p)
{
	char *at = strstr(text, "DMAR: [DMA ");
	char *device = at ? strstr(at, "Request device [") : NULL;
	char *reason;

	if (!device)
		return false;
	p->write = !strncmp(at + 11, "Write", 5);
	/* "[00:02.0]", or with the segment in front */
	if (sscanf(device, "Request device [%x:%x:%x.%x] fault addr %llx", &p->segment, &p->bus,
		   &p->dev, &p->fn, &p->iova) != 5) {
		p->segment = 0;
		if (sscanf(device, "Request device [%x:%x.%x] fault addr %llx", &p->bus, &p->dev,
			   &p->fn, &p->iova) != 4)
			return false;
	}
	reason = strstr(device, "[fault reason ");
	reason = reason ? strchr(reason, ']') : NULL;
	p->reason = reason ? reason + 1 + strspn(reason + 1, " ") : NULL;
	return true;
}

static bool parse_amd(char *text, struct parsed *p)
{
	char *event = strstr(text, "IO_PAGE_FAULT");
	char *address = event ? strstr(event, "address=") : NULL;
	char *flags = event ? strstr(event, "flags=") : NULL;
	char *device = strchr(text, ';');

	while (device && sscanf(device, "%*[; a-zA-Z-]%x:%x:%x.%x", &p->segment, &p->bus, &p->dev,
				&p->fn) != 4)
		device = strchr(device + 1, ' ');
	if (!device || !address || sscanf(address, "address=%llx", &p->iova) != 1)
		return false;
	p->write = flags && strtoul(flags + 6, NULL, 16) & 0x20;
	p->reason = "page fault";
	return true;
}

static void tell(struct vfio_bus *bus, const struct parsed *p)
{
	struct pcid_fault fault = {.iova = p->iova, .write = p->write, .reason = p->reason};
	struct pcid_function *f;
	char address[64];

	snprintf(address, sizeof(address), "%04x:%02x:%02x.%u", p->segment, p->bus, p->dev, p->fn);
	f = vfio_find(bus, address);
	if (f && vfio_of(f)->container)
		bus->bus.event(&bus->bus, PCID_FUNCTION_FAULT, f, &fault);
}

/* "6,339,5140900,-;text\n key=value\n": one record per read. */
static void logged(struct pcidipc_watch *watch, unsigned events)
{
	struct vfio_faults *faults = pcidipc_container_of(watch, struct vfio_faults, watch);
	char text[RECORD_BYTES], *end;
	struct parsed p = {0};
	ssize_t n = read(watch->fd, text, sizeof(text) - 1);

	(void)events;
	if (n < 0 && errno != EPIPE && errno != EAGAIN && errno != EINTR && errno != EINVAL)
		pcidipc_watch_remove(watch);
	if (n <= 0)
		return; /* EPIPE: the log ran past us; the next read goes on */
	text[n] = '\0';
	end = strchr(text, '\n');
	if (end)
		*end = '\0';
	if (parse_intel(text, &p) || parse_amd(text, &p))
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
