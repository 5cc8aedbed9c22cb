/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qmp.h"

static void answer(struct qmp *q, struct json_object *message)
{
	if (q->reply)
		json_object_put(q->reply);
	q->reply = message;
	if (q->waiting)
		pcidipc_post(q->waiting, 0);
}

static void take_message(struct qmp *q, struct json_object *message)
{
	struct json_object *event, *data = NULL;

	if (!json_object_object_get_ex(message, "event", &event)) {
		answer(q, message);
		return;
	}
	json_object_object_get_ex(message, "data", &data);
	if (q->event)
		q->event(q, json_object_get_string(event), data);
	json_object_put(message);
}

static void fail(struct qmp *q)
{
	q->error = -ENODEV;
	pcidipc_watch_remove(&q->watch);
	if (q->waiting)
		pcidipc_post(q->waiting, -ENODEV);
}

static void take_lines(struct qmp *q)
{
	char *line = q->in, *end;

	while ((end = memchr(line, '\n', (size_t)(q->in + q->in_bytes - line)))) {
		struct json_object *message;

		*end = 0;
		message = json_tokener_parse(line);
		if (message)
			take_message(q, message);
		line = end + 1;
	}
	q->in_bytes = (size_t)(q->in + q->in_bytes - line);
	memmove(q->in, line, q->in_bytes);
}

static void ready(struct pcidipc_watch *watch, unsigned events)
{
	struct qmp *q = pcidipc_container_of(watch, struct qmp, watch);
	ssize_t n = recv(q->fd, q->in + q->in_bytes, QMP_IN_BYTES - q->in_bytes, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		fail(q);
		return;
	}
	q->in_bytes += (size_t)n;
	take_lines(q);
}

static int wait_reply(struct qmp *q)
{
	struct pcidipc_completion done = {0};

	if (q->error)
		return q->error;
	q->waiting = &done;
	pcidipc_await(&done);
	q->waiting = NULL;
	return done.res;
}

static int send_text(struct qmp *q, const char *text)
{
	size_t left = strlen(text);

	while (left) { /* commands are short, the socket's buffer is not */
		ssize_t n = send(q->fd, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			return -ENODEV;
		if (n < 0)
			pcidipc_task_wait_fd(q->fd, EPOLLOUT, 0);
		else {
			text += n;
			left -= (size_t)n;
		}
	}
	return 0;
}

static int check_reply(struct qmp *q, const char *command)
{
	struct json_object *error, *text = NULL;

	if (!q->reply || !json_object_object_get_ex(q->reply, "error", &error))
		return 0;
	json_object_object_get_ex(error, "desc", &text);
	pcidipc_err("QEMU refused %s: %s", command,
		    text ? json_object_get_string(text) : "no reason given");
	return -EIO;
}

int qmp_execute(struct qmp *q, const char *command, struct json_object *arguments)
{
	struct json_object *request = json_object_new_object();
	int ret;

	json_object_object_add(request, "execute", json_object_new_string(command));
	if (arguments)
		json_object_object_add(request, "arguments", arguments);
	pcidipc_task_lock(&q->lock);
	ret = q->error ? q->error : send_text(q, json_object_to_json_string(request));
	if (!ret)
		ret = wait_reply(q);
	if (!ret)
		ret = check_reply(q, command);
	pcidipc_task_unlock(&q->lock);
	json_object_put(request);
	return ret;
}

int qmp_start(struct qmp *q, struct pcidipc_loop *loop, int fd)
{
	int ret;

	q->loop = loop;
	q->fd = fd;
	q->in = malloc(QMP_IN_BYTES);
	if (!q->in)
		return -ENOMEM;
	ret = pcidipc_watch_add(loop, &q->watch, fd, EPOLLIN, ready);
	if (!ret)
		ret = wait_reply(q); /* the greeting */
	return ret ? ret : qmp_execute(q, "qmp_capabilities", NULL);
}

void qmp_stop(struct qmp *q)
{
	fail(q);
	if (q->reply)
		json_object_put(q->reply);
	q->reply = NULL;
	free(q->in);
	q->in = NULL;
}
