// SPDX-License-Identifier: MIT
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "monitor.h"

static int monitor_connect(struct rig *rig)
{
	const struct timeval patience = {.tv_sec = 60};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/.bus/qmp.sock", rig->run);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		perror(address.sun_path);
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Greetings and events have no id. */
static struct json_object *read_answer(FILE *in)
{
	struct json_object *answer = NULL;
	char *line = NULL;
	size_t room = 0;

	while (!answer && getline(&line, &room, in) > 0) {
		answer = json_tokener_parse(line);
		if (json_object_object_get_ex(answer, "id", NULL))
			break;
		json_object_put(answer);
		answer = NULL;
	}
	free(line);
	return answer;
}

static struct json_object *say(struct rig *rig, const char *command)
{
	struct json_object *answer, *result = NULL;
	int fd = monitor_connect(rig);
	FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;

	if (!in)
		return NULL;
	dprintf(fd, "{\"execute\":\"qmp_capabilities\"}\n{\"id\":1,%s}\n", command);
	answer = read_answer(in);
	fclose(in);
	if (json_object_object_get_ex(answer, "return", &result))
		json_object_get(result);
	else
		fprintf(stderr, "QMP: %s: %s\n", command,
			answer ? json_object_to_json_string(answer) : "no answer");
	json_object_put(answer);
	return result;
}

static struct json_object *say_formatted(struct rig *rig, const char *format, va_list args)
{
	char command[1024];

	vsnprintf(command, sizeof(command), format, args);
	return say(rig, command);
}

struct json_object *monitor_ask(struct rig *rig, const char *format, ...)
{
	struct json_object *result;
	va_list args;

	va_start(args, format);
	result = say_formatted(rig, format, args);
	va_end(args);
	return result;
}

bool monitor_do(struct rig *rig, const char *format, ...)
{
	struct json_object *result;
	va_list args;

	va_start(args, format);
	result = say_formatted(rig, format, args);
	va_end(args);
	json_object_put(result);
	return result;
}

static int64_t find_stat(struct json_object *list, const char *drive, const char *key)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);
		struct json_object *name, *stats, *value;

		if (json_object_object_get_ex(entry, "device", &name) &&
		    !strcmp(json_object_get_string(name), drive) &&
		    json_object_object_get_ex(entry, "stats", &stats) &&
		    json_object_object_get_ex(stats, key, &value))
			return json_object_get_int64(value);
	}
	return -1;
}

int64_t monitor_drive_stat(struct rig *rig, const char *drive, const char *key)
{
	struct json_object *list = monitor_ask(rig, "\"execute\":\"query-blockstats\"");
	int64_t value = find_stat(list, drive, key);

	json_object_put(list);
	return value;
}

bool monitor_throttle(struct rig *rig, const char *drive, unsigned bps)
{
	return monitor_do(rig,
			  "\"execute\":\"block_set_io_throttle\",\"arguments\":{\"device\":\"%s\","
			  "\"bps\":%u,\"bps_rd\":0,\"bps_wr\":0,\"iops\":0,\"iops_rd\":0,"
			  "\"iops_wr\":0}",
			  drive, bps);
}
