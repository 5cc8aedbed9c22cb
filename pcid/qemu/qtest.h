/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's qtest protocol: text lines over a socket, answered in order. Commands are queued and sent
 * once per turn. */
#ifndef QTEST_H
#define QTEST_H

#include "../bus.h"

#define QTEST_PENDING 8192 /* commands without an answer */
#define QTEST_OUT_BYTES (QTEST_PENDING * 64u)

struct qtest {
	struct pcidipc_loop *loop;
	int fd;
	struct pcidipc_watch watch;
	struct pcidipc_deferred flush;
	char *out;
	size_t out_bytes;
	char in[4096];
	size_t in_bytes;
	struct pcid_read *pending[QTEST_PENDING]; /* NULL: nobody waits for this answer's value */
	uint32_t head, tail;
	int error;
	bool full; /* somebody got -EAGAIN */
	void (*writable)(struct qtest *q);
	void (*dead)(struct qtest *q, int error);
};

int qtest_start(struct qtest *q, struct pcidipc_loop *loop, int fd);
void qtest_stop(struct qtest *q);
/* Queue a command; its value, if any, goes to `read`. -EAGAIN: full, wait for writable. */
int qtest_send(struct qtest *q, struct pcid_read *read, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same and wait. Task. */
int qtest_wait(struct qtest *q, uint64_t *value, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
