// SPDX-License-Identifier: MIT
/* What /proc says about the daemons. */
#include "rig.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Add up what `read_one` gets from a file of each of the process's threads. */
static double sum_threads(pid_t pid, const char *name, double (*read_one)(FILE *file))
{
	char path[300];
	struct dirent *entry;
	double sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return NAN;
	while ((entry = readdir(dir))) {
		FILE *file;

		if (*entry->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/%s", pid, entry->d_name, name);
		file = fopen(path, "re");
		if (!file)
			continue;
		sum += read_one(file);
		fclose(file);
	}
	closedir(dir);
	return sum;
}

/* The sum of the lines that begin with `key`. */
static double sum_lines(FILE *file, const char *key)
{
	char line[512];
	double sum = 0;

	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			sum += strtod(line + strlen(key), NULL);
	return sum;
}

static double read_switches(FILE *file)
{
	double voluntary = sum_lines(file, "voluntary_ctxt_switches:");

	rewind(file);
	return voluntary + sum_lines(file, "nonvoluntary_ctxt_switches:");
}

double rig_cpu_ns(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return NAN;
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double rig_switches(pid_t pid)
{
	return sum_threads(pid, "status", read_switches);
}

static double rollup(pid_t pid, const char *key)
{
	char path[64];
	FILE *file;
	double kib;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	file = fopen(path, "re");
	if (!file)
		return NAN;
	kib = sum_lines(file, key);
	fclose(file);
	return kib;
}

static double pools_kib(pid_t pid, const char *key)
{
	char path[64], line[512];
	bool in_pool = false;
	double kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':'), *dash = strchr(line, '-');

		if (dash && (!colon || dash < colon) &&
		    strspn(line, "0123456789abcdef") == (size_t)(dash - line))
			in_pool = strstr(line, "/memfd:pcidipc-pool");
		else if (in_pool && !strncmp(line, key, strlen(key)))
			kib += strtod(line + strlen(key), NULL);
	}
	if (file)
		fclose(file);
	return kib;
}

double rig_rss_kib(pid_t pid)
{
	return rollup(pid, "Rss:") - pools_kib(pid, "Rss:");
}

double rig_pss_kib(pid_t pid)
{
	return rollup(pid, "Pss:") - pools_kib(pid, "Pss:");
}
