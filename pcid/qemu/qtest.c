/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qtest.h"

static void fail(struct qtest *q, int error)
{
	if (q->error)
		return;
	q->error = error;
	pcidipc_watch_remove(&q->watch);
	pcidipc_defer_cancel(&q->flush);
	while (q->head != q->tail) {
		struct pcid_read *read = q->pending[q->head++ % QTEST_PENDING];

		if (read)
			read->done(read, error, UINT64_MAX);
	}
	if (q->dead)
		q->dead(q, error);
}

static void flush_now(struct qtest *q)
{
	ssize_t n;

	if (q->error || !q->out_bytes)
		return;
	n = send(q->fd, q->out, q->out_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN) {
		fail(q, -ENODEV);
		return;
	}
	if (n > 0) {
		q->out_bytes -= (size_t)n;
		memmove(q->out, q->out + n, q->out_bytes);
	}
	pcidipc_watch_change(&q->watch, q->out_bytes ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void flush_deferred(struct pcidipc_deferred *deferred)
{
	flush_now(pcidipc_container_of(deferred, struct qtest, flush));
}

static void answer(struct qtest *q, const char *line)
{
	struct pcid_read *read;
	bool ok = !strncmp(line, "OK", 2);

	if (!strncmp(line, "IRQ", 3))
		return;
	if (q->head == q->tail) {
		pcidipc_warn("qtest: an answer to nothing: %s", line);
		return;
	}
	read = q->pending[q->head++ % QTEST_PENDING];
	if (!ok)
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "qtest: %s", line);
	if (read)
		read->done(read, ok ? 0 : -EIO, ok ? strtoull(line + 2, NULL, 0) : UINT64_MAX);
}

static void take_lines(struct qtest *q)
{
	char *line = q->in, *end;

	while ((end = memchr(line, '\n', (size_t)(q->in + q->in_bytes - line)))) {
		*end = 0;
		answer(q, line);
		line = end + 1;
	}
	q->in_bytes = (size_t)(q->in + q->in_bytes - line);
	memmove(q->in, line, q->in_bytes);
}

static void ready(struct pcidipc_watch *watch, unsigned events)
{
	struct qtest *q = pcidipc_container_of(watch, struct qtest, watch);
	ssize_t n;

	if (events & EPOLLOUT)
		flush_now(q);
	n = recv(q->fd, q->in + q->in_bytes, sizeof(q->in) - q->in_bytes, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		fail(q, -ENODEV);
		return;
	}
	q->in_bytes += (size_t)n;
	take_lines(q);
	if (q->full && q->tail - q->head < QTEST_PENDING / 2) {
		q->full = false;
		if (q->writable)
			q->writable(q);
	}
}

int qtest_start(struct qtest *q, struct pcidipc_loop *loop, int fd)
{
	q->loop = loop;
	q->fd = fd;
	q->out = malloc(QTEST_OUT_BYTES);
	return q->out ? pcidipc_watch_add(loop, &q->watch, fd, EPOLLIN, ready) : -ENOMEM;
}

void qtest_stop(struct qtest *q)
{
	q->dead = NULL;
	fail(q, -ENODEV);
	free(q->out);
	q->out = NULL;
}

static int queue(struct qtest *q, struct pcid_read *read, const char *format, va_list args)
{
	int n;

	if (q->error)
		return q->error;
	if (q->tail - q->head >= QTEST_PENDING || q->out_bytes + 128 > QTEST_OUT_BYTES) {
		q->full = true;
		return -EAGAIN;
	}
	n = vsnprintf(q->out + q->out_bytes, 127, format, args);
	q->out_bytes += (size_t)n;
	q->out[q->out_bytes++] = '\n';
	q->pending[q->tail++ % QTEST_PENDING] = read;
	pcidipc_defer(q->loop, &q->flush, flush_deferred);
	return 0;
}

int qtest_send(struct qtest *q, struct pcid_read *read, const char *format, ...)
{
	va_list args;
	int ret;

	va_start(args, format);
	ret = queue(q, read, format, args);
	va_end(args);
	return ret;
}

struct waiter {
	struct pcid_read read;
	struct pcidipc_completion done;
	uint64_t value;
};

static void wake(struct pcid_read *read, int error, uint64_t value)
{
	struct waiter *w = pcidipc_container_of(read, struct waiter, read);

	w->value = value;
	pcidipc_post(&w->done, error);
}

int qtest_wait(struct qtest *q, uint64_t *value, const char *format, ...)
{
	struct waiter w = {.read.done = wake};
	va_list args;
	int ret;

	do {
		va_start(args, format);
		ret = queue(q, &w.read, format, args);
		va_end(args);
		if (ret == -EAGAIN)
			pcidipc_task_yield();
	} while (ret == -EAGAIN);
	if (ret)
		return ret;
	ret = pcidipc_await(&w.done);
	if (value)
		*value = w.value;
	return ret;
}
