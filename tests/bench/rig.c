// SPDX-License-Identifier: MIT
#include "rig.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STOP_NS 5000000000ull
#define PATIENCE_NS 20000000000ull

struct rig rig;

#define NULL_DRIVE(id) "-drive", "driver=null-co,size=1G,read-zeroes=off,if=none,id=" id

#define USUAL_ARGS \
	NULL_DRIVE("disk0"), "-device", "nvme,drive=disk0,serial=bench1", "-device", "edu"

/* What QEMU has, and the disks that come of it. */
struct machine {
	const char *args[24], *disks[3];
};
static const struct machine usual = {
	.args = {NULL_DRIVE("disk0"), "-device", "nvme,drive=disk0,serial=bench1", "-device",
		 "edu"},
	.disks = {"nvme0n1"},
};
static const struct machine sticks = {
	.args = {"-device", "qemu-xhci,id=x", NULL_DRIVE("b"), "-device",
		 "usb-storage,bus=x.0,port=1,drive=b", NULL_DRIVE("u"), "-device",
		 "usb-uas,id=uas,bus=x.0,port=2", "-device", "scsi-hd,bus=uas.0,drive=u"},
	.disks = {"bot0", "uas0"},
};

/* QEMU's sticks are told apart by their product numbers. */
static const char config[] =
	"driver \"nvmed\" {\n\tclass = 1\n\tsubclass = 8\n\tinterface = 2\n"
	"\tcommand = \"%1$s/bin/nvmed\"\n\tservice = \"nvme\"\n}\n"
	"driver \"bench\" {\n\tvendor = 0x1234\n\tdevice = 0x11e8\n"
	"\tcommand = \"%1$s/tests/bench\"\n\targs = {\"--subdriver\"}\n}\n"
	"driver \"xhcid\" {\n\tclass = 0x0c\n\tsubclass = 3\n\tinterface = 0x30\n"
	"\tcommand = \"%1$s/bin/xhcid\"\n\tservice = \"xhci\"\n}\n"
	"driver \"bot\" {\n\tbelow = \"usb\"\n\tvendor = 0x46f4\n\tdevice = 1\n"
	"\tcommand = \"%1$s/bin/usbscsid\"\n\tservice = \"bot\"\n}\n"
	"driver \"uas\" {\n\tbelow = \"usb\"\n\tvendor = 0x46f4\n\tdevice = 3\n"
	"\tcommand = \"%1$s/bin/usbscsid\"\n\tservice = \"uas\"\n}\n";

static void pause_ns(long ns)
{
	struct timespec t = {.tv_nsec = ns};

	nanosleep(&t, NULL);
}

/* ---- starting ---- */

static int write_config(const char *path)
{
	char build[1024];
	FILE *file;
	int ret = 0;

	if (!realpath(bench_options.build, build))
		return -errno;
	file = fopen(path, "we");
	if (!file)
		return -errno;
	if (fprintf(file, config, build) < 0)
		ret = -EIO;
	return fclose(file) ? -errno : ret;
}

static void exec_pcid(const struct rig *r, const struct machine *m, const char *conf,
		      const char *log, int ready_fd)
{
	char program[1024], fd_text[16], run_dir[RIG_PATH], conf_copy[RIG_PATH],
		*argv[16 + sizeof(m->args) / sizeof(char *)];
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	snprintf(program, sizeof(program), "%s/bin/pcid", bench_options.build);
	snprintf(fd_text, sizeof(fd_text), "%d", ready_fd);
	dup2(open("/dev/null", O_RDONLY), 0);
	dup2(fd, 1);
	dup2(fd, 2);
	snprintf(run_dir, sizeof(run_dir), "%s", r->run_dir);
	snprintf(conf_copy, sizeof(conf_copy), "%s", conf);
	memcpy(argv,
	       (char *[]){program, "--bus", "qemu", "--quiet", "--config", conf_copy,
			  "--runtime-dir", run_dir, "--ready-fd", fd_text, "--"},
	       11 * sizeof(*argv));
	memcpy(argv + 11, m->args, sizeof(m->args));
	execv(program, argv);
	dprintf(2, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

static int await_ready(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	if (poll(&p, 1, 20000) <= 0)
		return -ETIMEDOUT;
	return read(fd, &byte, 1) == 1 ? 0 : -ECHILD;
}

static int spawn_pcid(struct rig *r, const struct machine *m, const char *conf, const char *log)
{
	pid_t parent = getpid();
	int ready[2], ret;

	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	r->pcid = fork();
	if (!r->pcid) {
		bench_die_with(parent);
		bench_unpin(0);
		fcntl(ready[1], F_SETFD, 0);
		exec_pcid(r, m, conf, log, ready[1]);
	}
	close(ready[1]);
	ret = r->pcid < 0 ? -errno : await_ready(ready[0]);
	close(ready[0]);
	return ret;
}

int rig_await(const struct rig *r, const char *path)
{
	uint64_t end = bench_now() + PATIENCE_NS;

	while (access(path, F_OK)) {
		if (bench_now() > end)
			return -ETIMEDOUT;
		if (waitpid(r->pcid, NULL, WNOHANG))
			return -ECHILD;
		pause_ns(200000);
	}
	return 0;
}

/* The child of pcid that runs a program whose name begins so. */
static pid_t find_child(pid_t parent, const char *name)
{
	char path[64], exe[1024];
	pid_t pid, found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	file = fopen(path, "re");
	while (file && !found && fscanf(file, "%d", &pid) == 1) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/exe", pid);
		n = readlink(path, exe, sizeof(exe) - 1);
		exe[n > 0 ? n : 0] = '\0';
		if (strrchr(exe, '/') && !strncmp(strrchr(exe, '/') + 1, name, strlen(name)))
			found = pid;
	}
	if (file)
		fclose(file);
	return found;
}

static void show_log(const char *path)
{
	char line[512];
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "bench: pcid: %s", line);
	if (file)
		fclose(file);
}

static int await_disks(const struct rig *r, const struct machine *m)
{
	char path[RIG_PATH];
	int ret = 0;

	for (unsigned i = 0; m->disks[i] && !ret; i++) {
		snprintf(path, sizeof(path), "%.100s/disk/%s", r->run_dir, m->disks[i]);
		ret = rig_await(r, path);
	}
	return ret;
}

static void find_daemons(struct rig *r)
{
	char path[64];
	FILE *file;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", r->pcid, r->pcid);
	file = fopen(path, "re");
	while (file && r->ndaemons < RIG_DAEMONS && fscanf(file, "%d", &pid) == 1)
		if (pid != r->qemu && pid != r->driver)
			r->daemon[r->ndaemons++] = pid;
	if (file)
		fclose(file);
}

static int start(struct rig *r, const struct machine *m)
{
	static unsigned number;
	char conf[RIG_PATH], log[RIG_PATH];
	int ret;

	memset(r, 0, sizeof(*r));
	snprintf(conf, sizeof(conf), "%s/pcid.conf", bench_options.tmp);
	snprintf(log, sizeof(log), "%s/pcid.log", bench_options.tmp);
	snprintf(r->run_dir, sizeof(r->run_dir), "%s/run%u", bench_options.tmp, number++);
	snprintf(r->disk, sizeof(r->disk), "%.100s/disk/nvme0n1", r->run_dir);
	snprintf(r->service, sizeof(r->service), "%.100s/bench/bench0", r->run_dir);
	ret = write_config(conf);
	if (!ret)
		ret = spawn_pcid(r, m, conf, log);
	if (!ret)
		ret = await_disks(r, m);
	if (ret) {
		show_log(log);
		rig_stop(r);
		return ret;
	}
	r->nvmed = find_child(r->pcid, "nvmed");
	r->driver = find_child(r->pcid, "bench");
	r->qemu = find_child(r->pcid, "qemu");
	find_daemons(r);
	return 0;
}

int rig_start(struct rig *r)
{
	return start(r, &usual);
}

void rig_stop(struct rig *r)
{
	uint64_t end = bench_now() + STOP_NS;
	bool killed = false;

	if (r->pcid <= 0)
		return;
	kill(r->pcid, SIGTERM);
	while (waitpid(r->pcid, NULL, WNOHANG) == 0) {
		if (!killed && bench_now() > end) {
			fprintf(stderr, "bench: pcid does not end; killed\n");
			kill(r->pcid, SIGKILL);
			killed = true;
		}
		pause_ns(1000000);
	}
	r->pcid = 0;
}

int rig_setup(void)
{
	return rig_start(&rig);
}

int rig_setup_sticks(void)
{
	return start(&rig, &sticks);
}

void rig_teardown(void)
{
	rig_stop(&rig);
}

/* Its greeting on the QMP socket means that the machine is there. */
double rig_qemu_start(void)
{
	pid_t parent = getpid(), pid;
	uint64_t start = bench_now();
	double ns = NAN;
	int out[2];
	char byte;

	if (pipe2(out, O_CLOEXEC))
		return NAN;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		bench_die_with(parent);
		bench_unpin(0);
		dup2(open("/dev/null", O_RDWR), 2);
		dup2(out[1], 1);
		dup2(open("/dev/zero", O_RDONLY),
		     0); /* not /dev/null: its end is no reason to leave */
		execlp("qemu-system-x86_64", "qemu-system-x86_64", "-M", "q35", "-accel", "tcg",
		       "-cpu", "max,phys-bits=46", "-display", "none", "-nodefaults",
		       "-no-user-config", "-S", "-m", "64M,slots=256,maxmem=8T", "-device",
		       "intel-iommu,intremap=off,aw-bits=48", "-qmp", "stdio", USUAL_ARGS,
		       (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	if (pid > 0 && read(out[0], &byte, 1) == 1)
		ns = (double)(bench_now() - start);
	close(out[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return ns;
}

/* ---- what pcid counts ---- */

static struct json_object *ask_pcidctl(const struct rig *r, const char *command)
{
	char line[1400], text[65536];
	size_t n = 0;
	FILE *pipe;

	snprintf(line, sizeof(line), "%s/bin/pcidctl --runtime-dir %s --json %s",
		 bench_options.build, r->run_dir, command);
	pipe = popen(line, "re");
	if (!pipe)
		return NULL;
	n = fread(text, 1, sizeof(text) - 1, pipe);
	text[n] = '\0';
	return pclose(pipe) ? NULL : json_tokener_parse(text);
}

double rig_counter(const struct rig *r, const char *driver, const char *name)
{
	struct json_object *o = ask_pcidctl(r, "stats"), *drivers, *value, *text;
	double number = NAN;

	if (!json_object_object_get_ex(o, "drivers", &drivers))
		return NAN;
	for (size_t i = 0; i < json_object_array_length(drivers); i++) {
		struct json_object *d = json_object_array_get_idx(drivers, i);

		if (json_object_object_get_ex(d, "name", &text) &&
		    !strcmp(json_object_get_string(text), driver) &&
		    json_object_object_get_ex(d, name, &value))
			number = json_object_get_double(value);
	}
	json_object_put(o);
	return number;
}
