/* SPDX-License-Identifier: MIT */
/* What uas.c (the usual way of a command) and uas_recover.c share. */
#ifndef USBSCSID_UAS_STATE_H
#define USBSCSID_UAS_STATE_H

#include "iu.h"
#include "transport.h"

#define UAS_MOST_COMMANDS 32
#define UAS_MOST_TAGS (UAS_MOST_COMMANDS + 1) /* the last one is for task management */

/* What the device reads and writes of our own, for one tag. */
struct uas_wire {
	uint8_t command[64];
	uint8_t status[128];
};

/* A command in flight. Its tag is its index + 1. */
struct uas_task {
	struct uas *uas;
	struct scsi_command *command;
	struct usb_transfer out, data;
	struct pcidipc_segment out_at;
	int out_res, data_res;
	bool data_sent;
	bool answered; /* its SENSE or RESPONSE IU is there */
	bool failed;   /* by a RESPONSE IU */
};

/* A transfer on the status pipe: of one tag with streams, else of whoever comes. */
struct uas_status {
	struct uas *uas;
	struct usb_transfer in;
	struct pcidipc_segment at;
	bool posted;
};

struct uas {
	struct transport t;
	struct uas_pipes pipes;
	struct pcidipc_buf *memory;
	struct uas_wire *wire;
	unsigned streams;
	unsigned tags; /* of commands */
	struct uas_task task[UAS_MOST_TAGS];
	struct uas_status status[UAS_MOST_TAGS];
	unsigned posted;		     /* on the status pipe */
	unsigned awaited;		     /* IUs that are to come, task management's included */
	struct pcidipc_completion *response; /* of the task management function */
	bool fault;			     /* reset the device */
	bool stuck_data;		     /* there is data of a failed command to be stopped */
};

static inline struct uas *uas_of(struct transport *t)
{
	return pcidipc_container_of(t, struct uas, t);
}

static inline uint16_t uas_tag(const struct uas_task *task)
{
	return (uint16_t)(task - task->uas->task + 1);
}

static inline struct uas_task *uas_tmf_task(struct uas *u)
{
	return &u->task[u->tags];
}

static inline bool uas_under_way(const struct uas_task *task)
{
	return task->out_res == UNDER_WAY || task->data_res == UNDER_WAY;
}

/* ---- uas.c ---- */

/* There is one transfer on the status pipe for each IU that is to come, that of `task` included. */
int uas_expect_status(struct uas *u, const struct uas_task *task);
/* Send what is in its wire's `command`. */
int uas_send_iu(struct uas_task *task, uint32_t bytes);
/* Its command completes. */
void uas_release(struct uas_task *task, int error);

/* ---- uas_recover.c (task): as transport_ops' ---- */
int uas_recover(struct transport *t);

#endif
