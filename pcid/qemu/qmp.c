// SPDX-License-Identifier: GPL-2.0-or-later
/* QMP over json-c. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qmp.h"

#define MAX_MESSAGE (4u << 20)
#define COMMAND_BYTES 512

struct qmp_call {
	struct qmp_call *next;
	struct pcidipc_completion done;
	char *why;
};

static void broken(struct qmp *q, const char *why)
{
	if (q->dead)
		return;
	qmp_kill(q);
	q->broken(q, why);
}

/* ---- in ---- */

static void finish_call(struct qmp *q, int res)
{
	struct qmp_call *call = q->first;

	q->first = call->next;
	if (!q->first)
		q->last = NULL;
	pcidipc_post(&call->done, res);
}

static void refuse_call(struct qmp *q, struct json_object *error)
{
	struct json_object *text = NULL;

	json_object_object_get_ex(error, "desc", &text);
	snprintf(q->first->why, QMP_WHY_BYTES, "%s",
		 text ? json_object_get_string(text) : "no reason given");
	finish_call(q, -EREMOTEIO);
}

static void take_message(struct qmp *q, struct json_object *message)
{
	struct json_object *part, *data = NULL;

	if (json_object_object_get_ex(message, "event", &part)) {
		json_object_object_get_ex(message, "data", &data);
		q->event(q, json_object_get_string(part), data);
	} else if (json_object_object_get_ex(message, "QMP", &part)) {
		pcidipc_post(&q->greeted, 0);
	} else if (!q->first) {
		broken(q, "a QMP answer came that nobody had asked for");
	} else if (json_object_object_get_ex(message, "error", &part)) {
		refuse_call(q, part);
	} else {
		finish_call(q, 0);
	}
}

static void take_bytes(struct qmp *q, const char *bytes, size_t n)
{
	while (n && !q->dead) {
		struct json_object *message = json_tokener_parse_ex(q->tokener, bytes, (int)n);
		enum json_tokener_error error = json_tokener_get_error(q->tokener);
		size_t used = json_tokener_get_parse_end(q->tokener);

		q->message_bytes += used;
		bytes += used;
		n -= used;
		if (message) {
			q->message_bytes = 0;
			json_tokener_reset(q->tokener);
			take_message(q, message);
			json_object_put(message);
		} else if (error != json_tokener_continue || q->message_bytes > MAX_MESSAGE) {
			broken(q, "its QMP messages are no JSON");
		}
	}
}

static void receive(struct qmp *q)
{
	char bytes[4096];
	ssize_t n = read(q->watch.fd, bytes, sizeof(bytes));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		broken(q, "it closed its QMP socket");
	else
		take_bytes(q, bytes, (size_t)n);
}

/* ---- out ---- */

static void transmit(struct qmp *q)
{
	while (q->out_start < q->out_end) {
		ssize_t n = send(q->watch.fd, q->out + q->out_start, q->out_end - q->out_start,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			pcidipc_watch_change(&q->watch, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n < 0 && errno != EINTR)
			return; /* the end is told by read */
		if (n > 0)
			q->out_start += (size_t)n;
	}
	q->out_start = q->out_end = 0;
	pcidipc_watch_change(&q->watch, EPOLLIN);
}

static int queue_bytes(struct qmp *q, const char *bytes, size_t n)
{
	if (q->out_end + n > q->out_room) {
		size_t room = 2 * (q->out_end + n);
		char *out = realloc(q->out, room);

		if (!out)
			return -ENOMEM;
		q->out = out;
		q->out_room = room;
	}
	memcpy(q->out + q->out_end, bytes, n);
	q->out_end += n;
	return 0;
}

static void ready(struct pcidipc_watch *watch, unsigned events)
{
	struct qmp *q = pcidipc_container_of(watch, struct qmp, watch);

	if (events & EPOLLOUT)
		transmit(q);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(q);
}

/* ---- calls ---- */

static int call(struct qmp *q, char *why, const char *command, size_t n)
{
	struct qmp_call c = {.why = why};
	int ret = q->dead ? -ENODEV : queue_bytes(q, command, n);

	if (ret)
		return ret;
	if (q->last)
		q->last->next = &c;
	else
		q->first = &c;
	q->last = &c;
	transmit(q);
	return pcidipc_await(&c.done);
}

int qmp_run(struct qmp *q, char why[QMP_WHY_BYTES], const char *format, ...)
{
	char command[COMMAND_BYTES];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	snprintf(why, QMP_WHY_BYTES, "QEMU is gone");
	if (n < 0 || (size_t)n >= sizeof(command))
		return -E2BIG;
	return call(q, why, command, (size_t)n);
}

int qmp_start(struct qmp *q)
{
	char why[QMP_WHY_BYTES];
	int ret = pcidipc_await(&q->greeted);

	return ret ? ret : qmp_run(q, why, "{\"execute\":\"qmp_capabilities\"}");
}

/* ---- life ---- */

int qmp_init(struct qmp *q, struct pcidipc_loop *loop, int fd)
{
	int ret = -ENOMEM;

	q->loop = loop;
	q->tokener = json_tokener_new();
	if (q->tokener)
		ret = pcidipc_watch_add(loop, &q->watch, fd, EPOLLIN, ready);
	if (ret) {
		close(fd);
		q->watch.fd = -1;
		qmp_fini(q);
	}
	return ret;
}

void qmp_kill(struct qmp *q)
{
	q->dead = true;
	pcidipc_watch_remove(&q->watch);
	pcidipc_post(&q->greeted, -ENODEV);
	while (q->first)
		finish_call(q, -ENODEV);
}

void qmp_fini(struct qmp *q)
{
	if (!q->loop)
		return;
	qmp_kill(q);
	if (q->watch.fd >= 0)
		close(q->watch.fd);
	if (q->tokener)
		json_tokener_free(q->tokener);
	free(q->out);
	memset(q, 0, sizeof(*q));
}
