// SPDX-License-Identifier: MIT
/* QEMU's own word, over the QMP socket that pcid leaves to people. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "rig.h"

/* One at a time is served; who comes too early waits in the backlog. */
static FILE *open_qmp(struct rig *rig)
{
	const struct timeval patience = {.tv_sec = 30};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/.bus/qmp.sock", rig->run);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return fdopen(fd, "re");
	close(fd);
	return NULL;
}

/* Events come in between. */
static struct json_object *answer(FILE *qmp)
{
	struct json_object *reply = NULL;
	size_t room = 0;
	char *line = NULL;

	while (!reply && getline(&line, &room, qmp) > 0) {
		reply = json_tokener_parse(line);
		if (!reply || json_object_object_get_ex(reply, "return", NULL) ||
		    json_object_object_get_ex(reply, "error", NULL))
			continue;
		json_object_put(reply);
		reply = NULL;
	}
	free(line);
	return reply;
}

/* Written past the stream, which may hold events that were not read yet. */
static struct json_object *run(FILE *qmp, const char *command)
{
	return dprintf(fileno(qmp), "%s\n", command) < 0 ? NULL : answer(qmp);
}

struct json_object *rig_qmp(struct rig *rig, const char *command)
{
	FILE *qmp = open_qmp(rig);
	struct json_object *reply, *result = NULL;

	if (!qmp)
		return NULL;
	json_object_put(run(qmp, "{\"execute\":\"qmp_capabilities\"}"));
	reply = run(qmp, command);
	fclose(qmp);
	if (json_object_object_get_ex(reply, "return", &result))
		result = json_object_get(result);
	else
		fprintf(stderr, "QMP: %s: %s\n", command, json_object_to_json_string(reply));
	json_object_put(reply);
	return result;
}

unsigned rig_dimms(struct rig *rig)
{
	struct json_object *list = rig_qmp(rig, "{\"execute\":\"query-memory-devices\"}");
	unsigned n = list ? (unsigned)json_object_array_length(list) : 0;

	json_object_put(list);
	return n;
}

int64_t rig_peek(struct rig *rig, uint64_t address)
{
	char command[160];
	struct json_object *said;
	const char *text, *at;
	int64_t value = -1;

	snprintf(command, sizeof(command),
		 "{\"execute\":\"human-monitor-command\","
		 "\"arguments\":{\"command-line\":\"xp /1wx 0x%llx\"}}",
		 (unsigned long long)address);
	said = rig_qmp(rig, command);
	text = said ? json_object_get_string(said) : "";
	at = strchr(text, ':');
	if (at)
		value = (int64_t)strtoul(at + 1, NULL, 16);
	json_object_put(said);
	return value;
}
