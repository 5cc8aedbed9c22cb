// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Does the kernel use a function? A disk is asked for exclusively (O_EXCL), which fails when it, or
 * a partition of it, is mounted, is swap, or belongs to RAID, LVM or the like, and which keeps
 * others from doing so until we let go. A disk that cannot be asked counts as used.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vfio.h"

static bool passes_through(const char *path, const char *address)
{
	char part[VFIO_ADDRESS_BYTES + 2];
	char real[PATH_MAX];

	snprintf(part, sizeof(part), "/%s/", address);
	return realpath(path, real) && strstr(real, part);
}

/*
 * A disk that may have several paths lies beside them: nvme0n1 in
 * /sys/devices/virtual/nvme-subsystem/nvme-subsys0, where nvme0 is a link to a controller.
 */
static bool beside_controller(const char *path, const char *address)
{
	char real[PATH_MAX], link[PATH_MAX + 300], *slash;
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	if (!realpath(path, real) || !strstr(real, "/nvme-subsystem/"))
		return false;
	slash = strrchr(real, '/');
	*slash = '\0';
	dir = opendir(real);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(link, sizeof(link), "%s/%s/.", real, entry->d_name);
		found = entry->d_type == DT_LNK && passes_through(link, address);
		snprintf(link, sizeof(link), "%s/%s", real, entry->d_name);
		found = found || (entry->d_type == DT_LNK && passes_through(link, address));
	}
	if (dir)
		closedir(dir);
	return found;
}

/* ---- disks ---- */

/* Where a disk, or a partition of it, is mounted; for the message. */
static void find_mount(const char *disk, char *where, size_t room)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[4096], point[1024], path[PATH_MAX], real[PATH_MAX], part[300];
	unsigned major_number, minor_number;

	*where = '\0';
	snprintf(part, sizeof(part), "/%s", disk);
	while (file && !*where && fgets(line, sizeof(line), file)) {
		const char *at;

		if (sscanf(line, "%*d %*d %u:%u %*s %1023s", &major_number, &minor_number, point) !=
		    3)
			continue;
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major_number, minor_number);
		at = realpath(path, real) ? strstr(real, part) : NULL;
		if (at && (at[strlen(part)] == '/' || !at[strlen(part)]))
			snprintf(where, room, ": it is mounted on %s", point);
	}
	if (file)
		fclose(file);
}

/* By a node of our own: /dev may be anything. */
static int open_disk(const char *name)
{
	char path[PATH_MAX], text[32] = "";
	unsigned major_number, minor_number;
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/class/block/%s/dev", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	if (sscanf(text, "%u:%u", &major_number, &minor_number) != 2)
		return -EIO;
	snprintf(path, sizeof(path), "/dev/.pcid-%d-%u-%u", (int)getpid(), major_number,
		 minor_number);
	if (mknod(path, S_IFBLK | 0600, makedev(major_number, minor_number)))
		return -errno;
	fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	ret = fd < 0 ? -errno : fd;
	unlink(path);
	return ret;
}

static int hold_disk(const char *address, const char *name, struct vfio_hold *hold)
{
	char where[1100];
	int fd = hold->n < VFIO_MAX_DISKS ? open_disk(name) : -ENFILE;

	if (fd >= 0) {
		hold->fds[hold->n++] = fd;
		return 0;
	}
	if (fd == -ENXIO || fd == -ENODEV) /* the kernel has a name for it, and no disk behind */
		return 0;
	find_mount(name, where, sizeof(where));
	pcidipc_err("%s: refused: the kernel uses its disk %s%s (%s)", address, name, where,
		    strerror(-fd));
	return -EBUSY;
}

/* nvme0c0n1 is one path to a disk that is asked for by its own name. */
static bool hidden(const char *name)
{
	char path[PATH_MAX], answer = '0';
	int fd;

	snprintf(path, sizeof(path), "/sys/class/block/%s/hidden", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	(void)!read(fd, &answer, 1);
	close(fd);
	return answer == '1';
}

static bool is_partition(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/class/block/%s/partition", name);
	return !access(path, F_OK);
}

static int hold_if_ours(const char *address, const char *name, struct vfio_hold *hold)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/class/block/%s", name);
	if (hidden(name) || is_partition(name) ||
	    (!passes_through(path, address) && !beside_controller(path, address)))
		return 0;
	return hold_disk(address, name, hold);
}

/* ---- network interfaces ---- */

static int check_interface(const char *address, const char *name)
{
	char path[PATH_MAX], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/net/%s", name);
	if (!passes_through(path, address))
		return 0;
	snprintf(path, sizeof(path), "/sys/class/net/%s/flags", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	if (!(strtoul(text, NULL, 0) & 1)) /* IFF_UP */
		return 0;
	pcidipc_err("%s: refused: the kernel uses its network interface %s, which is up", address,
		    name);
	return -EBUSY;
}

/* ---- both ---- */

static int check_one(const char *class, const char *address, const char *name,
		     struct vfio_hold *hold)
{
	if (*name == '.')
		return 0;
	return *class == 'b' ? hold_if_ours(address, name, hold) : check_interface(address, name);
}

static int check_class(const char *class, const char *address, struct vfio_hold *hold)
{
	char path[64];
	struct dirent *entry;
	int ret = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/class/%s", class);
	dir = opendir(path);
	while (dir && !ret && (entry = readdir(dir)))
		ret = check_one(class, address, entry->d_name, hold);
	if (dir)
		closedir(dir);
	return ret;
}

int vfio_hold_unused(const char *address, struct vfio_hold *hold)
{
	int ret;

	hold->n = 0;
	ret = check_class("block", address, hold);
	if (!ret)
		ret = check_class("net", address, hold);
	if (ret)
		vfio_hold_end(hold);
	return ret;
}

void vfio_hold_end(struct vfio_hold *hold)
{
	while (hold->n)
		close(hold->fds[--hold->n]);
}
