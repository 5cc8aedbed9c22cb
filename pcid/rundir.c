// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The runtime directory: pcid.sock, pcid.lock, .bus/ (the bus's own sockets) and one directory for
 * each kind of service. Kinds are letters only, so they cannot collide with the others.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.h"
#include "pcid.h"

static int make_directory(const char *path, mode_t mode)
{
	struct stat st;

	if (!mkdir(path, mode))
		return chmod(path, mode) ? -errno : 0; /* whatever the umask */
	if (errno != EEXIST || lstat(path, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* Somebody else could replace our sockets there. */
	return st.st_uid == geteuid() && !(st.st_mode & 022) ? 0 : -EPERM;
}

static int resolve(struct pcid *pcid, const char *path)
{
	char *real = realpath(path, NULL);
	int ret = real ? 0 : -errno;

	if (!ret && (size_t)snprintf(pcid->runtime_dir, sizeof(pcid->runtime_dir), "%s", real) >=
			    sizeof(pcid->runtime_dir)) {
		pcidipc_err(
			"runtime directory %s: its path is too long: the limit is %zu characters",
			real, sizeof(pcid->runtime_dir) - 1);
		ret = -EMSGSIZE; /* told: not to be mixed up with what mkdir says of a long name */
	}
	free(real);
	return ret;
}

static int lock(struct pcid *pcid)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/pcid.lock", pcid->runtime_dir);
	pcid->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (pcid->lock_fd < 0)
		return -errno;
	return flock(pcid->lock_fd, LOCK_EX | LOCK_NB) ? -EBUSY : 0;
}

static int open_directory(struct pcid *pcid, const char *path)
{
	int ret = make_directory(path, 0755);

	if (!ret)
		ret = resolve(pcid, path);
	if (!ret)
		ret = lock(pcid);
	if (ret)
		return ret;
	snprintf(pcid->bus_dir, sizeof(pcid->bus_dir), "%s/.bus", pcid->runtime_dir);
	return make_directory(pcid->bus_dir, 0700);
}

int pcid_rundir_open(struct pcid *pcid)
{
	const char *path = pcid->options.runtime_dir;
	int ret = open_directory(pcid, path);

	if (ret == -EBUSY)
		pcidipc_err("runtime directory %s: another pcid uses it", path);
	else if (ret == -EPERM)
		pcidipc_err("runtime directory %s: it must belong to pcid's user, and nobody else "
			    "may write in it",
			    path);
	else if (ret && ret != -EMSGSIZE)
		pcidipc_err("runtime directory %s: %s%s", path, strerror(-ret),
			    ret == -EACCES ? " (for another one: --runtime-dir)" : "");
	if (ret)
		pcid_rundir_close(pcid);
	return ret;
}

int pcid_rundir_mkdir(struct pcid *pcid, const char *name, mode_t mode)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", pcid->runtime_dir, name);
	return make_directory(path, mode);
}

/* ---- sweeping ---- */

static bool in_use(struct pcid *pcid, const char *path)
{
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		pcidipc_list_for_each(s, &d->services, struct pcid_service, link)
			if (!strcmp(s->path, path) || !strcmp(s->admin_path, path))
				return true;
	return false;
}

/*
 * Remove a directory of the runtime directory's, with the sockets in it that nobody uses. Only
 * sockets: a runtime directory may be any directory, and files in it somebody's. .bus is pcid's own
 * and goes with all that lies in it.
 */
static void sweep_directory(struct pcid *pcid, const char *name)
{
	char path[512];
	struct dirent *entry;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", pcid->runtime_dir, name);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s/%s", pcid->runtime_dir, name, entry->d_name);
		if (!lstat(path, &st) && (S_ISSOCK(st.st_mode) || *name == '.') &&
		    !in_use(pcid, path))
			unlink(path);
	}
	if (dir)
		closedir(dir);
	snprintf(path, sizeof(path), "%s/%s", pcid->runtime_dir, name);
	rmdir(path); /* if that left it empty */
}

static bool is_kind(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz");

	return n && !name[n];
}

void pcid_rundir_sweep(struct pcid *pcid)
{
	DIR *dir = opendir(pcid->runtime_dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (is_kind(entry->d_name))
			sweep_directory(pcid, entry->d_name);
	if (dir)
		closedir(dir);
}

/* The directory and its lock stay: removing a lock lets two others each lock one of their own. */
void pcid_rundir_close(struct pcid *pcid)
{
	if (pcid->lock_fd < 0)
		return;
	if (*pcid->bus_dir) {
		pcid_rundir_sweep(pcid);
		sweep_directory(pcid, ".bus");
	}
	close(pcid->lock_fd);
	pcid->lock_fd = -1;
}
