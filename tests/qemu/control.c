// SPDX-License-Identifier: MIT
/* pcid's control socket, and its log: what the tests ask of both. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "rig.h"

#define ROOM (1u << 20)

static int control_connect(struct rig *rig)
{
	const struct timeval patience = {.tv_sec = 30};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/pcid.sock", rig->run);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -ECONNREFUSED;
}

static int receive_line(int fd, char *reply, size_t room)
{
	size_t have = 0;

	while (have + 1 < room) {
		ssize_t n = recv(fd, reply + have, room - have - 1, 0);

		if (n <= 0)
			return n ? -errno : -EPIPE;
		have += (size_t)n;
		reply[have] = 0;
		if (memchr(reply, '\n', have))
			return (int)have;
	}
	return -EMSGSIZE;
}

int rig_control(struct rig *rig, const void *bytes, size_t n, char *reply, size_t room)
{
	int fd = control_connect(rig), ret;

	if (fd < 0)
		return fd;
	for (size_t at = 0; at < n;) {
		ssize_t sent = send(fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);

		if (sent <= 0)
			break; /* it may have had enough; what it said about that is still there */
		at += (size_t)sent;
	}
	ret = receive_line(fd, reply, room);
	close(fd);
	return ret;
}

struct json_object *rig_ask(struct rig *rig, const char *command)
{
	char request[128], *reply = malloc(ROOM);
	int n = snprintf(request, sizeof(request), "{\"command\":\"%s\"}\n", command);
	struct json_object *answer = NULL, *result = NULL;

	if (reply && rig_control(rig, request, (size_t)n, reply, ROOM) > 0)
		answer = json_tokener_parse(reply);
	free(reply);
	if (json_object_get_boolean(json_object_object_get(answer, "ok")))
		result = json_object_get(json_object_object_get(answer, "result"));
	json_object_put(answer);
	return result;
}

/* "drivers" and "irq" are arrays, "stats" holds one. Drivers are named by "driver" in the second.
 */
static struct json_object *entries(struct json_object *result)
{
	struct json_object *inside = NULL;

	if (json_object_is_type(result, json_type_array))
		return result;
	json_object_object_get_ex(result, "drivers", &inside);
	return json_object_is_type(inside, json_type_array) ? inside : NULL;
}

static bool is_of(struct json_object *entry, const char *driver)
{
	struct json_object *name = NULL;
	const char *text;

	if (!json_object_object_get_ex(entry, "driver", &name))
		json_object_object_get_ex(entry, "name", &name);
	text = name ? json_object_get_string(name) : "";
	return !strncmp(text, driver, strlen(driver));
}

static struct json_object *find(struct json_object *result, const char *driver, const char *key)
{
	struct json_object *list = entries(result), *value = NULL;
	size_t n = list ? json_object_array_length(list) : 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);

		if (is_of(entry, driver) && json_object_object_get_ex(entry, key, &value))
			return value;
	}
	return NULL;
}

int64_t rig_number(struct rig *rig, const char *command, const char *driver, const char *key)
{
	struct json_object *result = rig_ask(rig, command);
	struct json_object *value = find(result, driver, key);
	int64_t number = value ? json_object_get_int64(value) : -1;

	json_object_put(result);
	return number;
}

void rig_kill_driver(struct rig *rig, const char *driver)
{
	int64_t pid = rig_number(rig, "drivers", driver, "pid");

	CU_ASSERT_TRUE_FATAL(pid > 1);
	CU_ASSERT_EQUAL(kill((pid_t)pid, SIGKILL), 0);
}

bool rig_text(struct rig *rig, const char *command, const char *driver, const char *key,
	      const char *is)
{
	struct json_object *result = rig_ask(rig, command);
	struct json_object *value = find(result, driver, key);
	bool same = value && !strcmp(json_object_get_string(value), is);

	json_object_put(result);
	return same;
}

int64_t rig_sum(struct rig *rig, const char *command, const char *driver, const char *key)
{
	struct json_object *result = rig_ask(rig, command), *list = entries(result);
	size_t n = list ? json_object_array_length(list) : 0;
	int64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);

		if (is_of(entry, driver))
			sum += json_object_get_int64(json_object_object_get(entry, key));
	}
	json_object_put(result);
	return sum;
}

struct json_object *rig_show(struct rig *rig, const char *driver)
{
	struct json_object *result = rig_ask(rig, "drivers");
	struct json_object *address = find(result, driver, "function");
	char command[96];

	snprintf(command, sizeof(command), "show\",\"function\":\"%s",
		 address ? json_object_get_string(address) : "");
	json_object_put(result);
	return rig_ask(rig, command);
}

/* ---- the log ---- */

/* All of it from `mark` on, with a 0 behind; the caller's to free. */
static char *read_log(struct rig *rig, size_t mark, size_t *bytes)
{
	int fd = open(rig->log, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *all = NULL;
	ssize_t n = 0;

	if (fd >= 0 && !fstat(fd, &st) && (size_t)st.st_size >= mark)
		all = malloc((size_t)st.st_size - mark + 1);
	if (all)
		n = pread(fd, all, (size_t)st.st_size - mark, (off_t)mark);
	if (fd >= 0)
		close(fd);
	*bytes = n > 0 ? (size_t)n : 0;
	if (all)
		all[*bytes] = 0;
	return all;
}

size_t rig_mark(struct rig *rig)
{
	struct stat st;

	return stat(rig->log, &st) ? 0 : (size_t)st.st_size;
}

unsigned rig_log_count(struct rig *rig, size_t mark, const char *text)
{
	size_t bytes, length = strlen(text);
	char *all = read_log(rig, mark, &bytes), *at = all;
	unsigned n = 0;

	while (at && (at = memmem(at, bytes - (size_t)(at - all), text, length))) {
		n++;
		at += length;
	}
	free(all);
	return n;
}

void rig_await_late(struct rig *rig, size_t mark)
{
	char *log, *line, serves[128];
	size_t n;

	log = read_log(rig, mark, &n);
	for (char *at = log; at && (at = strstr(at, ": serves nothing yet")); at++) {
		for (line = at; line > log && line[-1] != '\n';)
			line--;
		snprintf(serves, sizeof(serves), "%.*s: serves ", (int)(at - line), line);
		(void)RIG_UNTIL(rig_log_count(rig, mark, serves) > 1); /* one is the above */
	}
	free(log);
}

bool rig_logged_since(struct rig *rig, size_t mark, const char *text)
{
	return rig_log_count(rig, mark, text) > 0;
}

bool rig_logged(struct rig *rig, const char *text)
{
	return rig_logged_since(rig, 0, text);
}
