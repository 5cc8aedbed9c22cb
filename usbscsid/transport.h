/* SPDX-License-Identifier: MIT */
/*
 * A transport carries SCSI commands to a device: Bulk-Only (bot.c) or UAS (uas.c). What is common
 * lies here: commands that wait for a slot, time limits, recovery, the end.
 *
 * A command completes when the device is done with its buffer, whatever became of it: in time, or
 * after it was aborted, or after the device was reset.
 */
#ifndef USBSCSID_TRANSPORT_H
#define USBSCSID_TRANSPORT_H

#include <pcidipc/task.h>

#include "link.h"
#include "pipes.h"
#include "scsi.h"

struct transport;

/* The caller's, in place until done, which may submit it again. */
struct scsi_command {
	void (*done)(struct scsi_command *command);
	/* Asked before it goes out after it had to wait: if not, it ends with -ESTALE. May be NULL.
	 */
	bool (*wanted)(const struct scsi_command *command);
	void *arg;
	struct scsi_cdb cdb;
	uint8_t lun;
	bool to_device;
	struct usb_data data; /* .bytes 0: none */
	uint32_t limit;	      /* ticks; 0: the transport's */
	/* What became of it. error: 0, the device has answered and `status` is SCSI's; -ETIMEDOUT;
	 * -EPROTO: the transport failed and was mended, it may be tried again; -ECANCELED, -ESTALE:
	 * it was never sent; -ENODEV. */
	int error;
	uint8_t status;
	uint8_t sense_bytes;
	uint32_t moved; /* bytes of data, as far as both sides agree */
	uint8_t sense[SCSI_SENSE_BYTES];
	/* the transport's */
	struct pcidipc_list link;
	uint32_t deadline;
	uint16_t slot;
};

struct transport_ops {
	const char *name; /* "usb-bot" */
	/* Send one: there is a free slot. Never completes it from inside. 1: it was not taken,
	 * and is sent again after recovery. */
	int (*send)(struct transport *t, struct scsi_command *command);
	/* What was sent goes to the link now. May be NULL, where `send` has done that. */
	void (*flush)(struct transport *t);
	/* At every tick while commands are in flight: is there something for `recover`? */
	bool (*look)(struct transport *t);
	/* Task: something went wrong, or took too long; nothing is sent meanwhile. 0: go on. */
	int (*recover)(struct transport *t);
	void (*destroy)(struct transport *t); /* frees it; nothing is in flight */
};

struct transport {
	const struct transport_ops *ops;
	struct usb_link *link;
	unsigned depth;	    /* commands in flight at once; BOT: 0 while it takes none */
	unsigned most_luns; /* BOT: what Get Max LUN says; 0: ask REPORT LUNS */
	/* BOT, a bit for each LUN: it is new enough to be asked for more sense data than devices of
	 * old have, which do not survive that. */
	uint16_t long_sense;
	uint64_t tick_ns;
	uint32_t limit; /* of a command, in ticks */
	/* Given up, or the device is gone; called once, after everything has completed. */
	void (*lost)(struct transport *t);
	/* A command has ended with sense data: before its `done`, and before anything else is sent.
	 */
	void (*heed)(struct transport *t, const struct scsi_command *command);
	/* The device was reset, or that was tried: nothing has completed yet. */
	void (*was_reset)(struct transport *t);
	void *user;

	unsigned in_flight;
	struct pcidipc_list running, waiting;
	struct pcidipc_deferred pump; /* send what waits; complete what could not be sent */
	struct pcidipc_timer timer;
	uint32_t clock; /* ticks */
	uint32_t recoveries;
	int failure; /* what has ended it, if that was not the device's going */
	bool ticking, paused, recovering, again, dead, told;

	unsigned transfers; /* with the link */
	struct pcidipc_completion *drained;
};

#define TRANSPORT_TICK_NS 100000000ull
#define TRANSPORT_TICKS 10 /* a second */
#define TRANSPORT_LIMIT 30 /* s */

/* Tasks: claim the interface and make the transport. */
int bot_create(struct usb_link *link, const struct bot_pipes *pipes, struct transport **t);
int uas_create(struct usb_link *link, const struct uas_pipes *pipes, struct transport **t);

/* Queue a command; it goes out at once when there is room. `done` is never called from inside. */
void transport_submit(struct transport *t, struct scsi_command *command);
void transport_flush(struct transport *t);
/* 0: it had not been sent, and completes with -ECANCELED. -EALREADY. */
int transport_cancel(struct transport *t, struct scsi_command *command);
/* Submit and await. Task. Returns command->error. */
int transport_execute(struct transport *t, struct scsi_command *command);
/* The link is gone, or the transport is of no more use: everything ends with -ENODEV. */
void transport_die(struct transport *t);
/* Nothing may be in flight. */
void transport_destroy(struct transport *t);

/* ---- for bot.c and uas.c ---- */

/* Results of transfers that have none; no link gives them. */
#define NOT_YET (-0x7ffffffe) /* it has not been sent */
#define UNDER_WAY (-0x7fffffff)

void transport_init(struct transport *t, const struct transport_ops *ops, struct usb_link *link);
void transport_complete(struct transport *t, struct scsi_command *command, int error);
/* It was not sent after all, and is first among those that wait. */
void transport_put_back(struct transport *t, struct scsi_command *command);
/* Send what waits, later in this turn. */
void transport_pump_later(struct transport *t);
/* The command's time begins now. */
void transport_give_time(struct transport *t, struct scsi_command *command);
/* It is not the device's turn with it yet: its time does not run. */
void transport_give_no_time(struct transport *t, struct scsi_command *command);
/* Have ops->recover called. */
void transport_trouble(struct transport *t);
static inline bool transport_overdue(const struct transport *t, const struct scsi_command *command)
{
	return (int32_t)(t->clock - command->deadline) > 0;
}
/* Reset the device, also when another driver of it does so just now; -errno of the link. Task. */
int transport_reset(struct transport *t);
/* Transfers, counted. */
int transport_transfer(struct transport *t, struct usb_transfer *transfer);
void transport_transfer_done(struct transport *t);
/* Wait until the link has none left. Task. */
void transport_drain(struct transport *t);

#endif
