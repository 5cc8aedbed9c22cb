/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's machine protocol: JSON over a socket; one command at a time, from tasks. */
#ifndef QMP_H
#define QMP_H

#include <json-c/json.h>

#include "../bus.h"

#define QMP_IN_BYTES (256u << 10)

struct qmp {
	struct pcidipc_loop *loop;
	int fd;
	struct pcidipc_watch watch;
	struct pcidipc_task_mutex lock;
	struct pcidipc_completion *waiting;
	struct json_object *reply;
	char *in;
	size_t in_bytes;
	int error;
	void (*event)(struct qmp *q, const char *name, struct json_object *data);
	void *owner;
};

/* Task: waits for the greeting and negotiates. */
int qmp_start(struct qmp *q, struct pcidipc_loop *loop, int fd);
void qmp_stop(struct qmp *q);
/* Run a command. `arguments` (may be NULL) is consumed. 0, or -EIO with QEMU's reason logged. Task.
 */
int qmp_execute(struct qmp *q, const char *command, struct json_object *arguments);

#endif
