// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * VFIO's container and group (Documentation/driver-api/vfio.rst): an IOMMU domain, and the way to a
 * device's fd. All that knows of this interface is here, so that iommufd can take its place.
 *
 * A range of a pool is mapped here only for as long as it takes the kernel to pin its pages: the
 * IOMMU keeps the pages, not our mapping. So pcid's address space stays small, and nothing that
 * happens to a client's memfd can hit pcid.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfio.h"

#define UNSAFE "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
#define INFO_BYTES 4096

/* ---- opening ---- */

static int open_container(const char *who)
{
	int fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		int ret = -errno;

		pcidipc_err("%s: /dev/vfio/vfio: %s%s", who, strerror(-ret),
			    ret == -ENOENT ? ": load the module vfio-pci" : "");
		return ret;
	}
	if (ioctl(fd, VFIO_GET_API_VERSION) == VFIO_API_VERSION &&
	    ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) == 1)
		return fd;
	pcidipc_err("%s: this kernel's VFIO has no type 1 IOMMU: load the module vfio_iommu_type1",
		    who);
	close(fd);
	return -EOPNOTSUPP;
}

static int open_group(uint32_t group, const char *who)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/dev/vfio/%u", group);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		ret = -errno;
		pcidipc_err("%s: %s: %s%s", who, path, strerror(-ret),
			    ret == -EBUSY ? ": another program drives this IOMMU group" : "");
		return ret;
	}
	if (!ioctl(fd, VFIO_GROUP_GET_STATUS, &status) && status.flags & VFIO_GROUP_FLAGS_VIABLE)
		return fd;
	pcidipc_err("%s: its IOMMU group %u holds a function that another kernel driver has", who,
		    group);
	close(fd);
	return -EBUSY;
}

/* With this parameter the kernel lets a device forge interrupts, and does not say whether it could.
 */
static bool unsafe_allowed(void)
{
	char answer = 'N';
	int fd = open(UNSAFE, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	(void)!read(fd, &answer, 1);
	close(fd);
	return answer == 'Y' || answer == '1';
}

static int join(struct vfio_container *c, const char *who)
{
	int ret;

	if (ioctl(c->group_fd, VFIO_GROUP_SET_CONTAINER, &c->fd)) {
		ret = -errno;
		pcidipc_err("%s: IOMMU group %u: %s", who, c->group, strerror(-ret));
		return ret;
	}
	if (unsafe_allowed()) {
		pcidipc_err("%s: refused: the kernel's allow_unsafe_interrupts is on, so a device "
			    "might send "
			    "any interrupt: turn it off",
			    who);
		return -EPERM;
	}
	if (!ioctl(c->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return 0;
	ret = -errno;
	pcidipc_err("%s: IOMMU group %u: %s%s", who, c->group, strerror(-ret),
		    ret == -EPERM ? ": this machine does not remap interrupts, so a device might "
				    "send any: refused"
				  : "");
	return ret;
}

/* ---- which addresses there are ---- */

static void add_range(struct pcid_iova *iova, uint64_t start, uint64_t last)
{
	if (start > last || iova->ranges == PCID_IOVA_RANGES)
		return;
	iova->range[iova->ranges].start = start;
	iova->range[iova->ranges++].last = last;
}

/* The kernel does not align what it appends: everything is copied out. */
static void take_ranges(struct pcid_iova *iova, const char *info, uint32_t offset)
{
	struct vfio_iommu_type1_info_cap_iova_range cap;
	struct vfio_iova_range range;

	if (offset > INFO_BYTES - sizeof(cap))
		return;
	memcpy(&cap, info + offset, sizeof(cap));
	offset += (uint32_t)sizeof(cap);
	for (uint32_t i = 0; i < cap.nr_iovas && offset <= INFO_BYTES - sizeof(range); i++) {
		memcpy(&range, info + offset, sizeof(range));
		add_range(iova, range.start, range.end);
		offset += (uint32_t)sizeof(range);
	}
}

static void take_caps(struct pcid_iova *iova, const char *info, uint32_t at)
{
	struct vfio_info_cap_header header;

	while (at && at <= INFO_BYTES - sizeof(header)) {
		memcpy(&header, info + at, sizeof(header));
		if (header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			take_ranges(iova, info, at);
		at = header.next > at ? header.next : 0;
	}
}

/* A kernel that does not say (before 5.4) gets what every IOMMU can do, but for the interrupts'
 * window. */
static int find_ranges(struct vfio_container *c)
{
	struct vfio_iommu_type1_info *info = calloc(1, INFO_BYTES);

	if (!info)
		return -ENOMEM;
	info->argsz = INFO_BYTES;
	c->iova.ranges = 0;
	if (!ioctl(c->fd, VFIO_IOMMU_GET_INFO, info) && info->flags & VFIO_IOMMU_INFO_CAPS)
		take_caps(&c->iova, (const char *)info, info->cap_offset);
	free(info);
	if (!c->iova.ranges) {
		add_range(&c->iova, 0, 0xfedfffff);
		add_range(&c->iova, 1ull << 32, (1ull << 39) - 1);
	}
	return 0;
}

int vfio_container_open(struct vfio_container *c, const char *who)
{
	int ret;

	c->fd = open_container(who);
	if (c->fd < 0)
		return c->fd;
	c->group_fd = open_group(c->group, who);
	ret = c->group_fd < 0 ? c->group_fd : join(c, who);
	if (!ret)
		ret = find_ranges(c);
	if (ret)
		vfio_container_close(c);
	return ret;
}

int vfio_container_device(struct vfio_container *c, const char *address)
{
	int fd = ioctl(c->group_fd, VFIO_GROUP_GET_DEVICE_FD, address);

	return fd < 0 ? -errno : fd;
}

void vfio_container_close(struct vfio_container *c)
{
	if (c->group_fd >= 0)
		close(c->group_fd);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = c->group_fd = -1;
	pcid_iova_free_all(&c->iova); /* iova.next stays: the next domain goes on from there */
}

/* ---- mapping ---- */

int vfio_container_map(struct vfio_container *c, int memfd, uint64_t offset, uint64_t bytes,
		       uint64_t iova)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = iova,
		.size = bytes,
	};
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, (off_t)offset);
	int ret = 0;

	if (at == MAP_FAILED)
		return -errno;
	map.vaddr = (uintptr_t)at;
	if (ioctl(c->fd, VFIO_IOMMU_MAP_DMA, &map) && errno != EEXIST)
		ret = -errno;
	munmap(at, bytes);
	return ret;
}

int vfio_container_unmap(struct vfio_container *c, uint64_t iova, uint64_t bytes)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = iova, .size = bytes};

	return ioctl(c->fd, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno : 0;
}
