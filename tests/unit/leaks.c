// SPDX-License-Identifier: MIT
#include "leaks.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

static unsigned count_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void count_maps(pid_t pid, struct leaks *leaks)
{
	char line[512];
	FILE *file;

	snprintf(line, sizeof(line), "/proc/%d/maps", (int)pid);
	file = fopen(line, "r");
	while (file && fgets(line, sizeof(line), file)) {
		leaks->maps++;
		leaks->shared_maps += !!strstr(line, "/memfd:");
	}
	if (file)
		fclose(file);
}

static unsigned resident_kib(pid_t pid)
{
	unsigned kib = 0;
	char line[512];
	FILE *file;

	snprintf(line, sizeof(line), "/proc/%d/status", (int)pid);
	file = fopen(line, "r");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "RssAnon: %u", &kib);
	if (file)
		fclose(file);
	return kib;
}

void leaks_count(pid_t pid, struct leaks *leaks)
{
	*leaks = (struct leaks){.fds = count_fds(pid), .anon_kib = resident_kib(pid)};
	count_maps(pid, leaks);
}
