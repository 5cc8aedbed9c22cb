// SPDX-License-Identifier: GPL-2.0-or-later
/* The control socket: one JSON object per line each way. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "ctl.h"

#define ANSWER_SECONDS 60
#define MAX_REPLY_BYTES (64u << 20)

static int control_connect(const struct ctl *ctl, int *fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	int error;

	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s/pcid.sock",
			     ctl->runtime_dir) >= sizeof(address.sun_path))
		return ctl_fail(
			ctl, CTL_USAGE, -ENAMETOOLONG,
			"--runtime-dir %s is too long: a socket's path has at most %zu bytes",
			ctl->runtime_dir, sizeof(address.sun_path) - 1);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return ctl_fail(ctl, CTL_FAILED, -errno, "socket: %s", strerror(errno));
	setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!connect(*fd, (const struct sockaddr *)&address, sizeof(address)))
		return CTL_OK;
	error = errno;
	close(*fd);
	if (error == ENOENT || error == ECONNREFUSED)
		return ctl_fail(
			ctl, CTL_NO_PCID, -error,
			"pcid does not run: nobody listens on %s (another runtime directory: "
			"--runtime-dir or PCID_RUNTIME_DIR)",
			address.sun_path);
	return ctl_fail(ctl, CTL_NO_PCID, -error, "%s: %s%s", address.sun_path, strerror(error),
			error == EACCES ? " (control_group in pcid.conf(5) says who may)" : "");
}

static int send_line(int fd, const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t sent = send(fd, text, bytes, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		text += sent;
		bytes -= (size_t)sent;
	}
	return 0;
}

/* Receive until the newline. The caller frees *line. */
static int receive_line(int fd, char **line)
{
	size_t have = 0, room = 0;

	*line = NULL;
	for (;;) {
		ssize_t got;

		if (have + 1 >= room) {
			char *bigger;

			room = room ? room * 2 : 16384;
			bigger = room > MAX_REPLY_BYTES ? NULL : realloc(*line, room);
			if (!bigger)
				return room > MAX_REPLY_BYTES ? -EMSGSIZE : -ENOMEM;
			*line = bigger;
		}
		got = recv(fd, *line + have, room - have - 1, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -EPIPE;
		have += (size_t)got;
		(*line)[have] = '\0';
		if ((*line)[have - 1] == '\n')
			return 0;
	}
}

/* In one piece. */
static int send_request(int fd, struct json_object *request)
{
	const char *json = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	char *line;
	int bytes = asprintf(&line, "%s\n", json), error;

	if (bytes < 0)
		return -ENOMEM;
	error = send_line(fd, line, (size_t)bytes);
	free(line);
	return error;
}

static int exchange(const struct ctl *ctl, int fd, struct json_object *request, char **line)
{
	int error = send_request(fd, request);

	*line = NULL;
	if (!error)
		error = receive_line(fd, line);
	if (error == -EAGAIN)
		return ctl_fail(ctl, CTL_NO_PCID, error, "pcid did not answer within %d seconds",
				ANSWER_SECONDS);
	if (error == -EPIPE)
		return ctl_fail(ctl, CTL_NO_PCID, error,
				"pcid closed the connection before it answered");
	if (error)
		return ctl_fail(ctl, CTL_NO_PCID, error, "talking to pcid: %s", strerror(-error));
	return CTL_OK;
}

static int exit_code_of(int error)
{
	return error == -ENOENT || error == -ENODEV ? CTL_NOT_FOUND : CTL_FAILED;
}

static int take_result(const struct ctl *ctl, const char *line, struct json_object **result)
{
	struct json_object *reply = json_tokener_parse(line);
	int code = CTL_OK;

	if (!json_object_is_type(reply, json_type_object)) {
		code = ctl_fail(ctl, CTL_FAILED, -EPROTO, "pcid's answer is not a JSON object");
	} else if (!field_bool(reply, "ok")) {
		int error = (int)json_object_get_int64(json_object_object_get(reply, "errno"));

		code = ctl_fail(ctl, exit_code_of(error), error, "%s",
				field_string(reply, "error", "pcid refused without saying why"));
	} else {
		*result = json_object_get(json_object_object_get(reply, "result"));
	}
	json_object_put(reply);
	return code;
}

int control_ask(const struct ctl *ctl, const char *command, const char *function,
		struct json_object **result)
{
	struct json_object *request;
	char *line = NULL;
	int fd = -1, code;

	*result = NULL;
	code = control_connect(ctl, &fd);
	if (code)
		return code;
	request = json_object_new_object();
	json_object_object_add(request, "command", json_object_new_string(command));
	if (function)
		json_object_object_add(request, "function", json_object_new_string(function));
	code = exchange(ctl, fd, request, &line);
	if (!code)
		code = take_result(ctl, line, result);
	free(line);
	json_object_put(request);
	close(fd);
	return code;
}

/* What is no object would have to be asked about at every turn. */
static void keep_objects(struct json_object *array)
{
	for (size_t i = json_object_array_length(array); i-- > 0;)
		if (!json_object_is_type(json_object_array_get_idx(array, i), json_type_object))
			json_object_array_del_idx(array, i, 1);
}

static int wrong_type(const struct ctl *ctl, const char *command, struct json_object **result)
{
	json_object_put(*result);
	*result = NULL;
	return ctl_fail(ctl, CTL_FAILED, -EPROTO,
			"pcid's answer to \"%s\" is of another type than it should be", command);
}

int control_ask_array(const struct ctl *ctl, const char *command, struct json_object **result)
{
	int code = control_ask(ctl, command, NULL, result);

	if (code)
		return code;
	if (!json_object_is_type(*result, json_type_array))
		return wrong_type(ctl, command, result);
	keep_objects(*result);
	return CTL_OK;
}

int control_ask_object(const struct ctl *ctl, const char *command, const char *function,
		       struct json_object **result)
{
	int code = control_ask(ctl, command, function, result);

	if (code || json_object_is_type(*result, json_type_object))
		return code;
	return wrong_type(ctl, command, result);
}

uint64_t field_u64(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

const char *field_string(struct json_object *object, const char *key, const char *otherwise)
{
	struct json_object *value = json_object_object_get(object, key);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value)
							    : otherwise;
}

bool field_bool(struct json_object *object, const char *key)
{
	return json_object_get_boolean(json_object_object_get(object, key));
}

bool field_known(struct json_object *object, const char *key)
{
	return json_object_object_get(object, key) != NULL;
}

struct json_object *field_array(struct json_object *object, const char *key)
{
	struct json_object *value = json_object_object_get(object, key);

	return json_object_is_type(value, json_type_array) ? value : NULL;
}

struct json_object *field_object(struct json_object *object, const char *key)
{
	struct json_object *value = json_object_object_get(object, key);

	return json_object_is_type(value, json_type_object) ? value : NULL;
}

size_t array_length(struct json_object *array)
{
	return array ? json_object_array_length(array) : 0;
}
