// SPDX-License-Identifier: MIT
/*
 * The kernel's driver and fio's io_uring engine, with all that makes it fast: fixed buffers, a
 * registered file, O_DIRECT, no latencies kept. fio counts its reads; what a read costs is taken
 * from the kernel's counters while it runs.
 */
#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define FIO_START_NS 20000000000ull
#define MARGIN_MS 100 /* fio runs longer than the window, so that its end is not in it */

struct fio {
	const struct workload *w;
	char name[64]; /* of the disk: nvme0n1 */
	char result[128];
};

static void pause_ns(uint64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u),
			     .tv_nsec = (long)(ns % 1000000000u)};

	nanosleep(&t, NULL);
}

/* The kernel's name of a disk is a matter of chance, its place on the bus is not. */
static int find_disk(const char *place, char name[64])
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	int ret = -ENODEV;

	while (dir && ret && (entry = readdir(dir))) {
		char link[300], path[PATH_MAX];

		snprintf(link, sizeof(link), "/sys/block/%.60s", entry->d_name);
		if (*entry->d_name == '.' || !realpath(link, path) || !strstr(path, place))
			continue;
		snprintf(name, 64, "%.60s", entry->d_name);
		ret = 0;
	}
	if (dir)
		closedir(dir);
	return ret;
}

int kernel_setup(const struct bench_measurement *m, void **state)
{
	struct fio *f = calloc(1, sizeof(*f));
	int ret;

	if (!f)
		return -ENOMEM;
	f->w = m->arg;
	snprintf(f->result, sizeof(f->result), "%.100s/fio.json", bench_options.tmp);
	ret = find_disk(f->w->disk, f->name);
	if (ret)
		free(f);
	else
		*state = f;
	return ret;
}

void kernel_teardown(void *state)
{
	free(state);
}

static void exec_fio(const struct fio *f)
{
	char file[80], bytes[32], depth[32], runtime[32], ramp[32], output[160];
	int null = open("/dev/null", O_RDWR);

	snprintf(file, sizeof(file), "--filename=/dev/%s", f->name);
	snprintf(bytes, sizeof(bytes), "--bs=%u", f->w->bytes);
	snprintf(depth, sizeof(depth), "--iodepth=%u", f->w->depth);
	snprintf(ramp, sizeof(ramp), "--ramp_time=%ums", GUEST_SETTLE_NS / 1000000u);
	snprintf(runtime, sizeof(runtime), "--runtime=%ums", GUEST_ROUND_NS / 1000000u + MARGIN_MS);
	snprintf(output, sizeof(output), "--output=%s", f->result);
	dup2(null, 0);
	dup2(null, 1);
	execlp("fio", "fio", "--name=bench", "--ioengine=io_uring", "--fixedbufs=1",
	       "--registerfiles=1", "--direct=1", f->w->sequential ? "--rw=read" : "--rw=randread",
	       "--norandommap", "--randrepeat=0", "--gtod_reduce=1", "--thread", "--time_based",
	       "--invalidate=0", f->w->unpinned ? "--cpus_allowed=0-1" : "--cpus_allowed=0",
	       "--output-format=json", file, bytes, depth, ramp, runtime, output, (char *)NULL);
	_exit(errno == ENOENT ? 127 : 126);
}

/* By its sectors: a large read may be split. */
static double reads_of(const struct fio *f)
{
	char path[128];
	double reads = NAN, sectors;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", f->name);
	file = fopen(path, "re");
	if (file && fscanf(file, "%*f %*f %lf", &sectors) == 1)
		reads = sectors * 512 / f->w->bytes;
	if (file)
		fclose(file);
	return reads;
}

/* Until fio reads. */
static int await_reads(const struct fio *f, double before)
{
	uint64_t end = bench_now() + FIO_START_NS;

	while (reads_of(f) < before + 2 * f->w->depth) {
		if (bench_now() > end)
			return -ETIMEDOUT;
		pause_ns(10000000);
	}
	return 0;
}

static double reported_iops(const struct fio *f)
{
	struct json_object *o = json_object_from_file(f->result), *jobs, *job, *read, *value;
	double iops = NAN;

	if (o && json_object_object_get_ex(o, "jobs", &jobs) &&
	    (job = json_object_array_get_idx(jobs, 0)) &&
	    json_object_object_get_ex(job, "read", &read) &&
	    json_object_object_get_ex(read, "iops", &value))
		iops = json_object_get_double(value);
	json_object_put(o);
	return iops;
}

static int end_fio(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? -ENOENT : -EIO;
	return 0;
}

/* fio runs on this process's CPU; nothing disturbs it but reading the counters twice. */
int kernel_round(void *state, double *results)
{
	struct fio *f = state;
	struct counters before, after;
	double first = reads_of(f), n;
	pid_t parent = getpid(), pid;
	int ret, ended;

	fflush(NULL);
	unlink(f->result);
	pid = fork();
	if (!pid) {
		bench_die_with(parent);
		exec_fio(f);
	}
	if (pid < 0)
		return -errno;
	ret = await_reads(f, first);
	if (!ret) {
		pause_ns(GUEST_SETTLE_NS);
		counters_read(&before, f->w->function);
		first = reads_of(f);
		pause_ns(GUEST_ROUND_NS);
		counters_read(&after, f->w->function);
		n = reads_of(f) - first;
		results[1] = counters_busy(&before, &after) / n / 1000;
		results[2] = (after.interrupts - before.interrupts) / n;
	}
	ended = end_fio(pid);
	results[0] = reported_iops(f);
	return ret ? ret : ended ? ended : isnan(results[0]) ? -EPROTO : 0;
}
