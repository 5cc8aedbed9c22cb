// SPDX-License-Identifier: GPL-2.0-or-later
/* Configuration space and BARs, through the device fd. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfio.h"

static int find_region(struct vfio_function *p, unsigned index, struct vfio_region *region)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	if (ioctl(p->device, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	region->offset = info.offset;
	region->bytes = info.size;
	region->mappable = info.flags & VFIO_REGION_INFO_FLAG_MMAP;
	return 0;
}

int vfio_regions_find(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);
	struct vfio_region config = {0};
	int ret = find_region(p, VFIO_PCI_CONFIG_REGION_INDEX, &config);

	for (unsigned i = 0; i < PCID_BARS && !ret; i++)
		ret = find_region(p, VFIO_PCI_BAR0_REGION_INDEX + i, &p->region[i]);
	if (!ret)
		p->config_offset = config.offset;
	return ret;
}

/* ---- configuration space ---- */

int vfio_config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value)
{
	struct vfio_function *p = vfio_of(f);
	uint32_t bytes = 0; /* little-endian, as this machine is */

	if (f->gone)
		return -ENODEV;
	if (p->device < 0)
		return vfio_config_peek(f, offset, width, value);
	if (pread(p->device, &bytes, width, (off_t)(p->config_offset + offset)) != (ssize_t)width)
		return -EIO;
	*value = bytes;
	return 0;
}

int vfio_config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value)
{
	struct vfio_function *p = vfio_of(f);

	if (f->gone || p->device < 0)
		return -ENODEV;
	if (pwrite(p->device, &value, width, (off_t)(p->config_offset + offset)) != (ssize_t)width)
		return -EIO;
	return 0;
}

/* ---- BARs ---- */

int vfio_region_fd(struct pcid_function *f, unsigned bar, uint64_t *offset)
{
	struct vfio_function *p = vfio_of(f);
	int fd;

	if (f->gone || p->device < 0)
		return -ENODEV;
	if (!p->region[bar].mappable || f->bars[bar].bytes > p->region[bar].bytes)
		return -EOPNOTSUPP;
	*offset = p->region[bar].offset;
	fd = fcntl(p->device, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static off_t register_at(struct pcid_function *f, unsigned bar, uint64_t offset)
{
	return (off_t)(vfio_of(f)->region[bar].offset + offset);
}

/* A device that does not answer loses the write, as on the bus. */
int vfio_mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		    uint64_t value)
{
	if (f->gone || vfio_of(f)->device < 0)
		return -ENODEV;
	if (vfio_of(f)->busy)
		return -EAGAIN;
	return pwrite(vfio_of(f)->device, &value, width, register_at(f, bar, offset)) < 0 ? -errno
											  : 0;
}

/* ---- register reads: done at once, answered at the end of the turn ---- */

static void answer_all(struct pcidipc_deferred *deferred)
{
	struct vfio_bus *bus = pcidipc_container_of(deferred, struct vfio_bus, answer);

	/* An answer may make the core ask again, which appends. */
	for (unsigned i = 0; i < bus->nreads; i++) {
		struct vfio_read r = bus->reads[i];

		r.read->done(r.read, r.error, r.value);
	}
	bus->nreads = 0;
}

static int make_room(struct vfio_bus *bus)
{
	unsigned room = bus->reads_room ? 2 * bus->reads_room : 64;
	struct vfio_read *reads;

	if (bus->nreads < bus->reads_room)
		return 0;
	reads = realloc(bus->reads, room * sizeof(*reads));
	if (!reads)
		return -ENOMEM;
	bus->reads = reads;
	bus->reads_room = room;
	return 0;
}

int vfio_mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		   struct pcid_read *read)
{
	struct vfio_bus *bus = vfio_bus_of(f);
	struct vfio_read r = {.read = read};
	int ret;

	if (f->gone || vfio_of(f)->device < 0)
		return -ENODEV;
	if (vfio_of(f)->busy)
		return -EAGAIN;
	ret = make_room(bus);
	if (ret)
		return ret;
	if (pread(vfio_of(f)->device, &r.value, width, register_at(f, bar, offset)) < 0)
		r.error = -errno;
	bus->reads[bus->nreads++] = r;
	pcidipc_defer(bus->bus.loop, &bus->answer, answer_all);
	return 0;
}
