// SPDX-License-Identifier: GPL-2.0-or-later
/* pcidctl disks, disk info, disk health. */
#include <errno.h>
#include <inttypes.h>
#include <pcidipc/disk.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ctl.h"

#define PROBE_MS 5000 /* how long `disks` waits for all disks together */

static const char *error_text(int error)
{
	switch (error) {
	case -ENOENT:
		return "no such disk";
	case -ECONNREFUSED:
		return "nobody serves it: pcid does not run";
	case -ENOTCONN:
	case -EPIPE:
		return "its driver died";
	case -ENODEV:
		return "its device is gone, or its driver was given up (\"pcidctl drivers\" "
		       "tells)";
	case -EBUSY:
		return "somebody has it open, and one of you asked for exclusive access";
	case -EMFILE:
		return "it has as many clients as its driver takes; close one";
	case -EDQUOT:
		return "this user has as much of it as one user may (connections, pools, memory); "
		       "close something, or give its driver a higher --user- limit";
	case -ETIMEDOUT:
		return "its driver does not answer";
	case -EPROTO:
		return "its driver broke the protocol";
	default:
		return strerror(-error);
	}
}

int disk_open(const struct ctl *ctl, uint32_t open_flags, unsigned depth,
	      struct pcidipc_blockdev **dev)
{
	int error = pcidipc_blockdev_open(ctl->args[0], open_flags, depth, dev);

	if (!error)
		error = pcidipc_blockdev_replay(*dev);
	if (!error)
		return CTL_OK;
	if (error == -ENOENT)
		return ctl_fail(
			ctl, CTL_NOT_FOUND, error,
			"there is no disk %s below %s; \"pcidctl disks\" lists what there is",
			ctl->args[0], ctl->runtime_dir);
	return ctl_fail(ctl, CTL_FAILED, error, "disk %s: %s", ctl->args[0], error_text(error));
}

/* ---- disks ---- */

/* One disk, asked by a process of its own: a driver that hangs costs time, not the listing. */
struct probe {
	struct json_object *service;
	pid_t pid;
	int fd;
	struct {
		int error;
		struct ringabi_block_info info;
	} answer;
};

static void probe_child(const char *path, int fd)
{
	struct probe probe = {.pid = 0};
	struct pcidipc_blockdev *dev;

	/* Not read-only: the flags shall tell about the disk, not about this connection. */
	probe.answer.error = pcidipc_blockdev_open(path, 0, 2, &dev);
	if (!probe.answer.error)
		probe.answer.info = *pcidipc_blockdev_info(dev);
	if (write(fd, &probe.answer, sizeof(probe.answer)) != (ssize_t)sizeof(probe.answer))
		_exit(1);
	_exit(0); /* the driver notices that the connection closed */
}

static void probe_start(struct probe *probe)
{
	const char *path = field_string(probe->service, "path", "");
	int ends[2];

	probe->fd = -1;
	probe->answer.error = -ETIMEDOUT;
	if (pipe(ends)) {
		probe->answer.error = -errno;
		return;
	}
	fflush(stdout);
	probe->pid = fork();
	if (!probe->pid)
		probe_child(path, ends[1]);
	close(ends[1]);
	probe->fd = ends[0];
	if (probe->pid < 0)
		probe->answer.error = -errno;
}

static void probe_finish(struct probe *probe, uint64_t deadline)
{
	struct pollfd pfd = {.fd = probe->fd, .events = POLLIN};
	uint64_t now = clock_ns();
	ssize_t got;

	if (probe->fd < 0)
		return;
	if (probe->pid > 0 &&
	    poll(&pfd, 1, now < deadline ? (int)((deadline - now) / 1000000) : 0) > 0) {
		got = read(probe->fd, &probe->answer, sizeof(probe->answer));
		if (got != (ssize_t)sizeof(probe->answer))
			probe->answer.error = -EPROTO;
	}
	close(probe->fd);
	if (probe->pid <= 0)
		return;
	kill(probe->pid, SIGKILL);
	waitpid(probe->pid, NULL, 0);
}

/* Ask every disk among the services. The caller frees *probes. */
static int probe_all(struct json_object *services, struct probe **probes, size_t *count)
{
	uint64_t deadline = clock_ns() + PROBE_MS * 1000000ull;

	*count = 0;
	*probes = calloc(array_length(services) + 1, sizeof(**probes));
	if (!*probes)
		return -ENOMEM;
	for (size_t i = 0; i < array_length(services); i++) {
		struct json_object *service = json_object_array_get_idx(services, i);

		if (strncmp(field_string(service, "name", ""), "disk/", 5))
			continue;
		(*probes)[*count].service = service;
		probe_start(&(*probes)[(*count)++]);
	}
	for (size_t i = 0; i < *count; i++)
		probe_finish(&(*probes)[i], deadline);
	return 0;
}

static struct json_object *info_json(const struct ringabi_block_info *info)
{
	struct json_object *object = json_object_new_object();
	char id[2 * sizeof(info->id) + 1];

	for (size_t i = 0; i < sizeof(info->id); i++)
		snprintf(id + 2 * i, 3, "%02x", info->id[i]);
#define TEXT(key)               \
	json_object_object_add( \
		object, #key,   \
		json_object_new_string_len(info->key, (int)strnlen(info->key, sizeof(info->key))))
#define NUMBER(key) json_object_object_add(object, #key, json_object_new_uint64(info->key))
#define FLAG(key, flag) \
	json_object_object_add(object, key, json_object_new_boolean(!!(info->flags & (flag))))
	NUMBER(bytes);
	NUMBER(block_bytes);
	NUMBER(physical_bytes);
	NUMBER(dma_align);
	NUMBER(max_bytes);
	NUMBER(best_bytes);
	NUMBER(name_space);
	TEXT(model);
	TEXT(serial);
	TEXT(firmware);
	TEXT(transport);
	FLAG("read_only", RINGABI_BLOCK_READ_ONLY);
	FLAG("volatile_cache", RINGABI_BLOCK_VOLATILE_CACHE);
	FLAG("removable", RINGABI_BLOCK_REMOVABLE);
	FLAG("no_medium", RINGABI_BLOCK_NO_MEDIUM);
	FLAG("discard", RINGABI_BLOCK_DISCARD_WORKS);
	FLAG("write_zeroes", RINGABI_BLOCK_ZEROES_WORK);
#undef TEXT
#undef NUMBER
#undef FLAG
	json_object_object_add(object, "id", json_object_new_string(id));
	return object;
}

static struct json_object *probe_json(const struct probe *probe)
{
	struct json_object *object =
		probe->answer.error ? json_object_new_object() : info_json(&probe->answer.info);
	static const char *const keys[] = {"name", "path", "driver", "function", "state"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		json_object_object_add(
			object, keys[i],
			json_object_get(json_object_object_get(probe->service, keys[i])));
	json_object_object_add(object, "error",
			       probe->answer.error
				       ? json_object_new_string(error_text(probe->answer.error))
				       : NULL);
	return object;
}

static void print_disk_row(struct table *table, const struct probe *probe)
{
	const struct ringabi_block_info *info = &probe->answer.info;
	char size[32];

	table_cell(table, "%s", field_string(probe->service, "name", "?"));
	if (probe->answer.error) {
		table_cell(table, "-");
		table_cell(table, "-");
		table_cell(table, "%s", field_string(probe->service, "function", "-"));
		table_cell(table, "-");
		table_cell(table, "%s (driver: %s)", error_text(probe->answer.error),
			   field_string(probe->service, "state", "?"));
		return;
	}
	table_cell(table, "%s", format_size(info->bytes, size, sizeof(size)));
	table_cell(table, "%u", info->block_bytes);
	table_cell(table, "%s", field_string(probe->service, "function", "-"));
	table_cell(table, "%.*s", (int)sizeof(info->serial), info->serial);
	table_cell(table, "%.*s%s%s", (int)sizeof(info->model), info->model,
		   info->flags & RINGABI_BLOCK_READ_ONLY ? " (read-only)" : "",
		   info->flags & RINGABI_BLOCK_NO_MEDIUM ? " (no medium)" : "");
}

static void print_disks(const struct probe *probes, size_t count)
{
	static const char *const titles[] = {"DISK",   ">SIZE", ">BLOCK", "FUNCTION",
					     "SERIAL", "MODEL", NULL};
	struct table *table = table_create(titles);

	for (size_t i = 0; i < count; i++)
		print_disk_row(table, &probes[i]);
	table_print(table);
}

int cmd_disks(struct ctl *ctl)
{
	struct json_object *services, *object, *array;
	struct probe *probes;
	size_t count;
	int code = control_ask_array(ctl, "services", &services);

	if (code)
		return code;
	if (probe_all(services, &probes, &count)) {
		code = ctl_fail(ctl, CTL_FAILED, -ENOMEM, "out of memory");
	} else if (ctl->json) {
		object = json_object_new_object();
		array = json_object_new_array();
		for (size_t i = 0; i < count; i++)
			json_object_array_add(array, probe_json(&probes[i]));
		json_object_object_add(object, "disks", array);
		code = ctl_print_json(ctl, object);
	} else {
		print_disks(probes, count);
	}
	free(probes);
	json_object_put(services);
	return code;
}

/* ---- disk info ---- */

static void print_flags(uint32_t flags)
{
	static const char *const names[] = {"read-only", "volatile cache", "removable",
					    "discard",	 "write zeroes",   "no medium"};
	char text[128] = "";
	size_t at = 0;

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (flags & (1u << i))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? ", " : "",
					       names[i]);
	print_field("Features", "%s", *text ? text : "none");
}

static void print_id(const struct ringabi_block_info *info)
{
	char id[2 * sizeof(info->id) + 1] = "";
	size_t length = sizeof(info->id);

	while (length && !info->id[length - 1])
		length--;
	length = !length ? 0 : length <= 8 ? 8 : sizeof(info->id);
	for (size_t i = 0; i < length; i++)
		snprintf(id + 2 * i, 3, "%02x", info->id[i]);
	print_field("Id", "%s", *id ? id : "none");
}

static void print_info(const char *name, const struct ringabi_block_info *info)
{
	char size[32], max[32], best[32];

	printf("%s\n", name);
	print_field("Model", "%.*s", (int)sizeof(info->model), info->model);
	print_field("Serial", "%.*s", (int)sizeof(info->serial), info->serial);
	print_field("Firmware", "%.*s", (int)sizeof(info->firmware), info->firmware);
	print_id(info);
	print_field("Transport", "%.*s, %s %u", (int)sizeof(info->transport), info->transport,
		    strncmp(info->transport, "nvme", 4) ? "unit" : "namespace", info->name_space);
	print_field("Size", "%" PRIu64 " bytes (%s)", (uint64_t)info->bytes,
		    format_size(info->bytes, size, sizeof(size)));
	print_field("Block", "%u bytes, physical %u", info->block_bytes, info->physical_bytes);
	print_field("Buffers", "aligned to %u bytes", info->dma_align);
	print_field("Requests", "at most %s, best up to %s",
		    format_size(info->max_bytes, max, sizeof(max)),
		    format_size(info->best_bytes, best, sizeof(best)));
	print_flags(info->flags);
}

int cmd_disk_info(struct ctl *ctl)
{
	const struct ringabi_block_info *info;
	struct pcidipc_blockdev *dev;
	int code = disk_open(ctl, 0, 2, &dev);

	if (code)
		return code;
	info = pcidipc_blockdev_info(dev);
	if (ctl->json) {
		struct json_object *object = info_json(info);

		json_object_object_add(object, "name", json_object_new_string(ctl->args[0]));
		code = ctl_print_json(ctl, object);
	} else {
		print_info(ctl->args[0], info);
	}
	pcidipc_blockdev_close(dev);
	return code;
}

/* ---- disk health ---- */

static const char *const warning_names[] = {"spare capacity is low", "temperature out of range",
					    "reliability degraded", "media are read-only",
					    "memory backup failed"};

static void print_health(const char *name, const struct ringabi_block_health *h)
{
	char read[32], written[32];

	printf("%s\n", name);
	print_field("Health", "%s", h->warnings ? "WARNING" : "good");
	for (unsigned i = 0; i < sizeof(warning_names) / sizeof(*warning_names); i++)
		if (h->warnings & (1u << i))
			print_field("", "%s", warning_names[i]);
	if (h->temperature)
		print_field("Temperature", "%d degrees C", (int)h->temperature - 273);
	print_field("Spare", "%u%% (warning below %u%%)", h->spare, h->spare_limit);
	print_field("Life used", "%u%%", h->used);
	print_field("Read", "%s in %" PRIu64 " commands",
		    format_size(h->bytes_read, read, sizeof(read)), (uint64_t)h->reads);
	print_field("Written", "%s in %" PRIu64 " commands",
		    format_size(h->bytes_written, written, sizeof(written)), (uint64_t)h->writes);
	print_field("Power", "%" PRIu64 " hours, %" PRIu64 " cycles", (uint64_t)h->power_on_hours,
		    (uint64_t)h->power_cycles);
	print_field("Shutdowns", "%" PRIu64 " unsafe", (uint64_t)h->unsafe_shutdowns);
	print_field("Errors", "%" PRIu64 " of the media, %" PRIu64 " logged",
		    (uint64_t)h->media_errors, (uint64_t)h->error_log_entries);
}

static struct json_object *health_json(const char *name, const struct ringabi_block_health *h)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "name", json_object_new_string(name));
#define NUMBER(key) json_object_object_add(object, #key, json_object_new_uint64(h->key))
	NUMBER(warnings);
	json_object_object_add(object, "temperature_kelvin",
			       h->temperature ? json_object_new_uint64(h->temperature) : NULL);
	NUMBER(spare);
	NUMBER(spare_limit);
	NUMBER(used);
	NUMBER(bytes_read);
	NUMBER(bytes_written);
	NUMBER(reads);
	NUMBER(writes);
	NUMBER(power_cycles);
	NUMBER(power_on_hours);
	NUMBER(unsafe_shutdowns);
	NUMBER(media_errors);
	NUMBER(error_log_entries);
#undef NUMBER
	return object;
}

int cmd_disk_health(struct ctl *ctl)
{
	struct ringabi_block_health health;
	struct pcidipc_blockdev *dev;
	int error, code = disk_open(ctl, 0, 2, &dev);

	if (code)
		return code;
	error = pcidipc_blockdev_health(dev, &health);
	if (error == -EOPNOTSUPP)
		code = ctl_fail(ctl, CTL_FAILED, error, "disk %s keeps no health log",
				ctl->args[0]);
	else if (error < 0)
		code = ctl_fail(ctl, CTL_FAILED, error, "disk %s: reading its health log: %s",
				ctl->args[0], error_text(error));
	else if (ctl->json)
		code = ctl_print_json(ctl, health_json(ctl->args[0], &health));
	else
		print_health(ctl->args[0], &health);
	pcidipc_blockdev_close(dev);
	return code;
}
