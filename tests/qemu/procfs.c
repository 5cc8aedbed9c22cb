// SPDX-License-Identifier: MIT
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "procfs.h"

#define END_MS 30000

static const char *const names[DAEMONS] = {"pcid", "QEMU", "the driver"};

/* ---- who ---- */

static bool read_text(pid_t pid, const char *what, char *text, size_t room)
{
	char path[64];
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(text, 1, room - 1, file);
	fclose(file);
	text[n] = 0;
	return n > 0;
}

/* "PID (NAME) STATE PARENT ...": a name may hold anything, brackets too. */
static pid_t parent_of(pid_t pid)
{
	char text[512];
	const char *end = read_text(pid, "stat", text, sizeof(text)) ? strrchr(text, ')') : NULL;
	int parent = 0;

	return end && sscanf(end, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool is_qemu(pid_t pid)
{
	char text[64];

	return read_text(pid, "comm", text, sizeof(text)) && !strncmp(text, "qemu", 4);
}

struct daemons rig_daemons(struct rig *rig)
{
	struct daemons found = {.pcid = rig->pid};
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		pid_t pid = atoi(entry->d_name);

		if (pid <= 0 || parent_of(pid) != rig->pid)
			continue;
		if (is_qemu(pid))
			found.qemu = pid;
		else if (!found.driver)
			found.driver = pid;
	}
	if (dir)
		closedir(dir);
	return found;
}

int process_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

bool process_ends(int pidfd)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	bool over = poll(&end, 1, END_MS) == 1;

	close(pidfd);
	return over;
}

/* ---- what they hold ---- */

/* Call `see` with every open file; returns their number. */
static unsigned each_fd(pid_t pid, void (*see)(const char *link, const struct stat *st, void *arg),
			void *arg)
{
	char path[64], link[300], target[300];
	struct dirent *entry;
	struct stat st;
	unsigned count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		ssize_t n;

		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		count++;
		snprintf(link, sizeof(link), "%s/%.200s", path, entry->d_name);
		n = readlink(link, target, sizeof(target) - 1);
		if (!see || n < 0 || stat(link, &st))
			continue;
		target[n] = 0;
		see(target, &st, arg);
	}
	if (dir)
		closedir(dir);
	return count;
}

/* Call `see` with the inode of every mapping of a memfd. */
static void each_mapping(pid_t pid, void (*see)(uint64_t inode, void *arg), void *arg)
{
	unsigned long long inode;
	char path[64], line[600];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, " /memfd:") && sscanf(line, "%*s %*s %*s %*s %llu", &inode) == 1)
			see(inode, arg);
	if (file)
		fclose(file);
}

struct search {
	uint64_t inode;
	unsigned found;
	int64_t largest;
};

static void is_it_open(const char *target, const struct stat *st, void *arg)
{
	struct search *search = arg;

	search->found += !strncmp(target, "/memfd:", 7) && st->st_ino == search->inode;
}

static void is_it_mapped(uint64_t inode, void *arg)
{
	struct search *search = arg;

	search->found += inode == search->inode;
}

unsigned process_holds(pid_t pid, struct memory memory)
{
	struct search search = {.inode = memory.inode};

	each_fd(pid, is_it_open, &search);
	each_mapping(pid, is_it_mapped, &search);
	return search.found;
}

struct named {
	const char *part;
	unsigned found;
};

static void is_it_named(const char *target, const struct stat *st, void *arg)
{
	struct named *named = arg;

	(void)st;
	named->found += strstr(target, named->part) != NULL;
}

unsigned process_has_open(pid_t pid, const char *part)
{
	struct named named = {.part = part};

	each_fd(pid, is_it_named, &named);
	return named.found;
}

static void is_it_larger(const char *target, const struct stat *st, void *arg)
{
	struct search *search = arg;

	if (strncmp(target, "/memfd:", 7) || st->st_size <= search->largest)
		return;
	search->largest = st->st_size;
	search->inode = st->st_ino;
}

bool process_pool(pid_t pid, struct memory *memory)
{
	struct search search = {.largest = -1};

	each_fd(pid, is_it_larger, &search);
	memory->inode = search.inode;
	return search.largest >= 0;
}

unsigned daemons_hold(struct rig *rig, struct memory memory)
{
	struct daemons d = rig_daemons(rig);

	return process_holds(d.pcid, memory) + process_holds(d.qemu, memory) +
	       process_holds(d.driver, memory);
}

static void count_mapping(uint64_t inode, void *arg)
{
	(void)inode;
	++*(unsigned *)arg;
}

void rig_usage(struct rig *rig, struct usage *usage)
{
	struct daemons d = rig_daemons(rig);
	const pid_t pids[DAEMONS] = {d.pcid, d.qemu, d.driver};

	memset(usage, 0, sizeof(*usage));
	for (unsigned i = 0; i < DAEMONS; i++) {
		usage->fds[i] = each_fd(pids[i], NULL, NULL);
		each_mapping(pids[i], count_mapping, &usage->memfds_mapped[i]);
	}
}

bool rig_usage_is(struct rig *rig, const struct usage *was, bool say)
{
	struct usage now;
	bool same;

	rig_usage(rig, &now);
	same = !memcmp(&now, was, sizeof(now));
	for (unsigned i = 0; i < DAEMONS && say && !same; i++)
		fprintf(stderr,
			"%s: %u file descriptors, %u were; %u mappings of memfds, %u were\n",
			names[i], now.fds[i], was->fds[i], now.memfds_mapped[i],
			was->memfds_mapped[i]);
	return same;
}
