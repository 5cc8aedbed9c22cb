// SPDX-License-Identifier: GPL-2.0-or-later
/* The qtest transport: a FIFO of commands and the answers that they expect. */
#include <errno.h>
#include <pcidipc/log.h>
#include <pcidipc/task.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qtest.h"

static void broken(struct qtest *q, const char *why)
{
	if (q->dead)
		return;
	qtest_kill(q, -ENODEV);
	q->broken(q, why);
}

/* ---- answers ---- */

static void finish(struct pcid_read *read, int error, uint64_t value)
{
	if (read)
		read->done(read, error, value);
}

static void answer(struct qtest *q, const char *line)
{
	struct pcid_read *read;

	if (!strncmp(line, "IRQ ", 4))
		return;
	if (q->head == q->tail) {
		broken(q, "an answer came that nobody had asked for");
		return;
	}
	read = q->expected[q->head++ % QTEST_ALL];
	if (strncmp(line, "OK", 2)) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "qemu: qtest answered \"%.60s\"", line);
		finish(read, -EIO, UINT64_MAX);
		return;
	}
	finish(read, 0, read ? strtoull(line + 2, NULL, 0) : 0);
}

static void take_lines(struct qtest *q)
{
	char *line = q->in, *end;

	while (!q->dead && (end = memchr(line, '\n', q->in_bytes - (size_t)(line - q->in)))) {
		*end = '\0';
		answer(q, line);
		line = end + 1;
	}
	q->in_bytes -= (size_t)(line - q->in);
	memmove(q->in, line, q->in_bytes);
	if (q->in_bytes == QTEST_IN_BYTES)
		broken(q, "an answer has no end");
}

static void tell_room(struct qtest *q)
{
	if (!q->starved || q->dead || q->tail - q->head > QTEST_REGISTERS / 2)
		return;
	q->starved = false;
	q->room(q);
}

static void receive(struct qtest *q)
{
	ssize_t n = read(q->watch.fd, q->in + q->in_bytes, QTEST_IN_BYTES - q->in_bytes);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		broken(q, "it closed its qtest socket");
		return;
	}
	q->in_bytes += (size_t)n;
	take_lines(q);
	tell_room(q);
}

/* ---- commands ---- */

static void transmit(struct qtest *q)
{
	while (!q->dead && q->out_start < q->out_end) {
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

static void flush(struct pcidipc_deferred *deferred)
{
	transmit(pcidipc_container_of(deferred, struct qtest, flush));
}

static void ready(struct pcidipc_watch *watch, unsigned events)
{
	struct qtest *q = pcidipc_container_of(watch, struct qtest, watch);

	if (events & EPOLLOUT)
		transmit(q);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(q);
}

/*
 * Room for one line. Sent lines are outstanding too until they are answered, so QTEST_ALL lines of
 * space suffice, but they may have to be moved to the front first.
 */
static char *line_space(struct qtest *q)
{
	if (q->out_end + QTEST_LINE > QTEST_ALL * QTEST_LINE) {
		memmove(q->out, q->out + q->out_start, q->out_end - q->out_start);
		q->out_end -= q->out_start;
		q->out_start = 0;
	}
	return q->out + q->out_end;
}

static int may_post(struct qtest *q, unsigned limit)
{
	if (q->dead)
		return -ENODEV;
	if (q->tail - q->head < limit)
		return 0;
	q->starved = true;
	return -EAGAIN;
}

static char width_letter(unsigned width)
{
	return width == 1 ? 'b' : width == 2 ? 'w' : width == 4 ? 'l' : 'q';
}

static void post(struct qtest *q, int length, struct pcid_read *read)
{
	q->out_end += (size_t)length;
	q->expected[q->tail++ % QTEST_ALL] = read;
	pcidipc_defer(q->loop, &q->flush, flush);
}

int qtest_write(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		uint64_t value, unsigned limit)
{
	const char *verb = space == QTEST_MEMORY ? "write" : "out";
	int ret = may_post(q, limit);

	if (ret)
		return ret;
	if (width < 8)
		value &= (1ull << width * 8) - 1;
	post(q,
	     snprintf(line_space(q), QTEST_LINE, "%s%c 0x%llx 0x%llx\n", verb, width_letter(width),
		      (unsigned long long)address, (unsigned long long)value),
	     NULL);
	return 0;
}

int qtest_read(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
	       struct pcid_read *read, unsigned limit)
{
	const char *verb = space == QTEST_MEMORY ? "read" : "in";
	int ret = may_post(q, limit);

	if (ret)
		return ret;
	post(q,
	     snprintf(line_space(q), QTEST_LINE, "%s%c 0x%llx\n", verb, width_letter(width),
		      (unsigned long long)address),
	     read);
	return 0;
}

/* ---- for tasks ---- */

struct waiting_read {
	struct pcid_read read;
	struct pcidipc_completion done;
	uint64_t value;
};

static void read_done(struct pcid_read *read, int error, uint64_t value)
{
	struct waiting_read *w = pcidipc_container_of(read, struct waiting_read, read);

	w->value = value;
	pcidipc_post(&w->done, error);
}

/* Reads may use the last places of the queue: a task that waits for room does it by reading. */
static int await_read(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		      uint64_t *value)
{
	struct waiting_read w = {.read.done = read_done};
	int ret = qtest_read(q, space, address, width, &w.read, QTEST_ALL);

	if (ret)
		return ret;
	ret = pcidipc_await(&w.done);
	*value = w.value;
	return ret;
}

int qtest_task_sync(struct qtest *q)
{
	uint64_t value;

	return await_read(q, QTEST_MEMORY, 0, 1, &value);
}

static int wait_for_room(struct qtest *q)
{
	while (!q->dead && q->tail - q->head >= QTEST_MASKS) {
		int ret = qtest_task_sync(q);

		if (ret)
			return ret;
	}
	return q->dead ? -ENODEV : 0;
}

int qtest_task_write(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		     uint64_t value)
{
	int ret = wait_for_room(q);

	return ret ? ret : qtest_write(q, space, address, width, value, QTEST_ALL);
}

int qtest_task_read(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		    uint64_t *value)
{
	int ret = wait_for_room(q);

	return ret ? ret : await_read(q, space, address, width, value);
}

struct dword_read {
	struct pcid_read read;
	uint32_t *to;
};

static void dword_done(struct pcid_read *read, int error, uint64_t value)
{
	*pcidipc_container_of(read, struct dword_read, read)->to =
		error ? UINT32_MAX : (uint32_t)value;
}

int qtest_task_dwords(struct qtest *q, uint64_t address, unsigned stride, unsigned count,
		      uint32_t *values)
{
	struct dword_read *reads = calloc(count, sizeof(*reads));
	int ret = reads ? wait_for_room(q) : -ENOMEM;
	unsigned asked = 0;

	for (; asked < count && !ret; asked++) {
		reads[asked].read.done = dword_done;
		reads[asked].to = &values[asked];
		ret = qtest_read(q, QTEST_MEMORY, address + (uint64_t)asked * stride, 4,
				 &reads[asked].read, QTEST_ALL);
	}
	/* Answers come in order: when the last is here all are, and `reads` may go. */
	if (asked) {
		int last = qtest_task_sync(q);

		ret = ret ? ret : last;
	}
	free(reads);
	return ret;
}

/* ---- life ---- */

int qtest_init(struct qtest *q, struct pcidipc_loop *loop, int fd)
{
	int ret = -ENOMEM;

	q->loop = loop;
	q->out = malloc(QTEST_ALL * QTEST_LINE);
	q->in = malloc(QTEST_IN_BYTES);
	q->expected = calloc(QTEST_ALL, sizeof(struct pcid_read *));
	if (q->out && q->in && q->expected)
		ret = pcidipc_watch_add(loop, &q->watch, fd, EPOLLIN, ready);
	if (ret) {
		close(fd);
		q->watch.fd = -1;
		qtest_fini(q);
	}
	return ret;
}

void qtest_kill(struct qtest *q, int error)
{
	q->dead = true;
	pcidipc_watch_remove(&q->watch);
	pcidipc_defer_cancel(&q->flush);
	while (q->head != q->tail)
		finish(q->expected[q->head++ % QTEST_ALL], error, UINT64_MAX);
}

void qtest_fini(struct qtest *q)
{
	if (!q->loop)
		return;
	qtest_kill(q, -ENODEV);
	if (q->watch.fd >= 0)
		close(q->watch.fd);
	free(q->out);
	free(q->in);
	free(q->expected);
	memset(q, 0, sizeof(*q));
}
