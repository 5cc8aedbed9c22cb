// SPDX-License-Identifier: MIT
/* What /proc says of the whole machine. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

/* "cpu user nice system idle iowait ...", in clock ticks. Idle time is exact, busy time is sampled
 * by the tick. */
static double idle_ns(void)
{
	FILE *file = fopen("/proc/stat", "re");
	double idle, iowait;
	int n;

	if (!file)
		return NAN;
	n = fscanf(file, "cpu %*u %*u %*u %lf %lf", &idle, &iowait);
	fclose(file);
	return n == 2 ? (idle + iowait) * 1e9 / (double)sysconf(_SC_CLK_TCK) : NAN;
}

/* "27:  12  0  IR-PCI-MSIX-0000:00:02.0  1-edge  nvme0q1": the sum of the numbers. */
static double sum_line(const char *line)
{
	const char *at = strchr(line, ':');
	double sum = 0, number;
	int n;

	while (at && sscanf(++at, " %lf%n", &number, &n) == 1) {
		sum += number;
		at += n - 1;
	}
	return sum;
}

/* The kernel keeps a directory of a function's MSI and MSI-X interrupts, whatever the driver. */
static bool belongs(const char *line, const char *function)
{
	char path[300];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.40s/msi_irqs/%d", function,
		 atoi(line));
	return !access(path, F_OK);
}

static double count_interrupts(const char *function)
{
	FILE *file = fopen("/proc/interrupts", "re");
	double sum = 0;
	char line[512];

	if (!file)
		return NAN;
	while (fgets(line, sizeof(line), file))
		if (atoi(line) > 0 && belongs(line, function))
			sum += sum_line(line);
	fclose(file);
	return sum;
}

void counters_read(struct counters *c, const char *function)
{
	c->interrupts = count_interrupts(function);
	c->idle = idle_ns();
	c->now = bench_now();
}

double counters_busy(const struct counters *before, const struct counters *after)
{
	double all = (double)(after->now - before->now) * (double)sysconf(_SC_NPROCESSORS_ONLN);

	return all - (after->idle - before->idle);
}

/* Both kinds: "voluntary_ctxt_switches:	14". */
double count_switches(pid_t pid)
{
	char path[64], line[128];
	double sum = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return NAN;
	while (fgets(line, sizeof(line), file))
		if (strstr(line, "voluntary_ctxt_switches:"))
			sum += atof(strchr(line, ':') + 1);
	fclose(file);
	return sum;
}

static bool has_name(const char *pid, const char *name)
{
	char path[64], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.10s/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return !strcmp(text, name);
}

unsigned find_daemons(const char *name, int cpu, pid_t *pids, unsigned most)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	unsigned n = 0;

	while (dir && n < most && (entry = readdir(dir))) {
		pid_t pid = atoi(entry->d_name);

		if (pid <= 0 || !has_name(entry->d_name, name))
			continue;
		if (cpu < 0)
			bench_unpin(pid);
		else
			bench_pin(pid, cpu);
		pids[n++] = pid;
	}
	if (dir)
		closedir(dir);
	return n;
}
