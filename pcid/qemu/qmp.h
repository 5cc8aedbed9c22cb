/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's control protocol: JSON commands, answered in order, and events in between. */
#ifndef PCID_QEMU_QMP_H
#define PCID_QEMU_QMP_H

#include <json-c/json.h>
#include <pcidipc/loop.h>
#include <pcidipc/task.h>

struct qmp_call;

struct qmp {
	struct pcidipc_loop *loop;
	struct pcidipc_watch watch;
	struct json_tokener *tokener;
	size_t message_bytes; /* of the message that is not complete yet */
	char *out;
	size_t out_start, out_end, out_room;
	struct qmp_call *first, *last;
	struct pcidipc_completion greeted;
	bool dead;
	void (*event)(struct qmp *q, const char *name,
		      struct json_object *data); /* data may be NULL */
	void (*broken)(struct qmp *q, const char *why);
	void *owner;
};

/* Takes the socket over, on failure too. */
int qmp_init(struct qmp *q, struct pcidipc_loop *loop, int fd);
void qmp_fini(struct qmp *q);
void qmp_kill(struct qmp *q);

/* Greeting and capabilities. Task. */
int qmp_start(struct qmp *q);

/*
 * Run the command that format makes (a whole JSON object; nothing from outside may be pasted into
 * it). 0; -EREMOTEIO: QEMU refused, and `why` says so; -ENODEV: dead. Task.
 */
#define QMP_WHY_BYTES 200
int qmp_run(struct qmp *q, char why[QMP_WHY_BYTES], const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
