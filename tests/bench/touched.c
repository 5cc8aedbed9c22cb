// SPDX-License-Identifier: MIT
#include "touched.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

struct mapping {
	unsigned long first, last, inode;
};

/* "7f0000000000-7f0000400000 rw-s 00000000 00:01 1031  /memfd:pool (deleted)" */
static bool parse_mapping(const char *line, struct mapping *m)
{
	return sscanf(line, "%lx-%lx %*s %*x %*x:%*x %lu", &m->first, &m->last, &m->inode) == 3;
}

unsigned long memory_inode(const void *at)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned long inode = 0;
	struct mapping m;
	char line[512];

	while (file && !inode && fgets(line, sizeof(line), file))
		if (parse_mapping(line, &m) && (unsigned long)at >= m.first &&
		    (unsigned long)at < m.last)
			inode = m.inode;
	if (file)
		fclose(file);
	return inode;
}

double memory_touched(pid_t pid, unsigned long inode)
{
	char path[64], line[512];
	bool ours = false;
	double sum = 0, kib;
	struct mapping m;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	if (!file)
		return NAN;
	while (fgets(line, sizeof(line), file))
		if (parse_mapping(line, &m))
			ours = m.inode == inode;
		else if (ours && sscanf(line, "Rss: %lf", &kib) == 1)
			sum += kib * 1024;
	fclose(file);
	return sum;
}
