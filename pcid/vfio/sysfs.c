// SPDX-License-Identifier: GPL-2.0-or-later
/* What sysfs says about a function, and what can be asked of the kernel there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfio.h"

static void path_of(char path[PATH_MAX], const char *address, const char *attribute)
{
	snprintf(path, PATH_MAX, "/sys/bus/pci/devices/%s/%s", address, attribute);
}

/* The last part of where a link points to; "" where there is none. */
static void link_name(const char *address, const char *attribute, char *name, size_t room)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *slash;
	ssize_t n;

	path_of(path, address, attribute);
	*name = '\0';
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return;
	target[n] = '\0';
	slash = strrchr(target, '/');
	snprintf(name, room, "%.*s", (int)room - 1, slash ? slash + 1 : target);
}

int vfio_sysfs_write(const char *path, const char *text)
{
	char full[PATH_MAX];
	ssize_t n;
	int ret = 0;
	int fd;

	snprintf(full, sizeof(full), "/sys/bus/pci/%s", path);
	fd = open(full, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	if (n < 0)
		ret = -errno;
	close(fd);
	return ret;
}

void vfio_sysfs_driver(const char *address, char name[VFIO_DRIVER_BYTES])
{
	link_name(address, "driver", name, VFIO_DRIVER_BYTES);
}

uint32_t vfio_sysfs_group(const char *address)
{
	char name[32];

	link_name(address, "iommu_group", name, sizeof(name));
	return *name ? (uint32_t)strtoul(name, NULL, 10) : VFIO_NO_GROUP;
}

uint64_t vfio_sysfs_number(const char *address, const char *attribute, uint64_t otherwise)
{
	char path[PATH_MAX], text[64], *end;
	uint64_t value;
	ssize_t n;
	int fd;

	path_of(path, address, attribute);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return otherwise;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return otherwise;
	text[n] = '\0';
	value = strtoull(text, &end, 0);
	return end == text ? otherwise : value;
}

/* Of a directory in sysfs, the inode's number is given out anew only after all others have been. */
uint64_t vfio_sysfs_node(const char *address)
{
	char path[PATH_MAX];
	struct stat st;

	path_of(path, address, "");
	return stat(path, &st) ? 0 : st.st_ino;
}

void vfio_sysfs_each(struct vfio_bus *bus, void (*look)(struct vfio_bus *, const char *address))
{
	DIR *dir = opendir("/sys/bus/pci/devices");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (*entry->d_name != '.')
			look(bus, entry->d_name);
	if (dir)
		closedir(dir);
}
