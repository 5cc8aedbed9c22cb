/* SPDX-License-Identifier: MIT */
#include "memfd.h"

#include <errno.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

int memfd_make(const char *name, uint64_t bytes, int seals)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int ret;

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, (off_t)bytes) && !fcntl(fd, F_ADD_SEALS, seals))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/*
 * Without the seals the other side could truncate it, and touching it would be a SIGBUS. One of
 * huge pages is a SIGBUS too, as soon as the system has none left; its filesystem tells.
 */
const char *memfd_fault(int fd, int seals)
{
	int have = fcntl(fd, F_GET_SEALS);
	struct statfs fs;

	if (have < 0 || (have & seals) != seals)
		return "is no memfd sealed against shrinking and growing";
	if (fcntl(fd, F_GETFL) < 0 || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return "cannot be written";
	if (fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return "is no memfd of ordinary pages";
	return NULL;
}
