/* SPDX-License-Identifier: MIT */
/* What bot.c (the usual way of a command) and bot_recover.c share. */
#ifndef USBSCSID_BOT_STATE_H
#define USBSCSID_BOT_STATE_H

#include "bot.h"
#include "transport.h"

#define BOT_CONTROL_MS 5000
#define BOT_MOST_LUN 15

#define BOT_BATCH 16 /* commands that go out together, where the link knows chains */

/* What the device reads and writes of our own. */
struct bot_wire {
	uint8_t cbw[64];
	uint8_t csw[RINGABI_USB_MAX_EXPECTED];
	uint8_t good_csw[RINGABI_USB_MAX_EXPECTED]; /* the link's: what it is expected to be */
	uint8_t unused[32];
};
struct bot_memory {
	struct bot_wire wire[BOT_BATCH];
	uint8_t sense[128];
};

/* A command of a batch: its transfers, and what became of them. */
struct bot_slot {
	struct bot *bot;
	struct scsi_command *command; /* NULL: it has completed */
	struct bot_wire *wire;
	struct usb_transfer cbw, data, csw;
	int cbw_res, data_res, csw_res;
	struct pcidipc_segment cbw_at, csw_at;
	uint32_t tag;
	uint32_t length; /* dCBWDataTransferLength */
};

/*
 * Commands that are there at the same time go out as one chain: the link begins the next one's CBW
 * when the CSW before it says that all went well, byte for byte, and not at all when it does not.
 * So there is one command at a time for the device, and no CBW before the CSW was looked at; what
 * was not begun comes back, and goes out again when it is known what the CSW meant.
 */
struct bot {
	struct transport t;
	struct bot_pipes pipes;
	struct pcidipc_buf *buf;
	struct bot_memory *memory;
	struct bot_slot slot[BOT_BATCH];
	unsigned count;		      /* slots taken */
	bool sent;		      /* they are with the link: no others until all is back */
	bool broken;		      /* of those behind `now` none will begin */
	struct bot_slot *now;	      /* whose command the device has */
	struct scsi_command *current; /* that command, NULL: none */
	struct pcidipc_segment sense_at;
	struct pcidipc_completion *csw_again; /* the recovery task waits for the CSW */
	uint32_t tag;
	bool sensing;	    /* the command failed, this is our REQUEST SENSE for it */
	uint32_t csw_clock; /* when its transfer was queued, or the data came */
	bool nudge;	    /* the recovery task is to queue the CSW's transfer anew */
	bool nudged;	    /* it did, for this command */
	bool ahead;	    /* send the data transfer of a command that reads along with its CBW,
			       and others behind it */
};

static inline struct bot *bot_of(struct transport *t)
{
	return pcidipc_container_of(t, struct bot, t);
}

/* Of a transfer's result: it is back. */
static inline bool bot_there(int res)
{
	return res >= 0;
}

static inline bool bot_bad(int res)
{
	return res < 0 && res != NOT_YET && res != UNDER_WAY;
}

static inline bool bot_reads(const struct bot_slot *s)
{
	return (s == s->bot->now && s->bot->sensing) || !s->command->to_device;
}

/* ---- bot.c ---- */

/* Hand one of the three transfers to the link; *res is UNDER_WAY, or its error. */
int bot_transfer(struct bot *b, struct usb_transfer *x, int *res);
/* Ask why the current command has failed, instead of it. */
int bot_begin_sense(struct bot *b);
void bot_complete(struct bot *b, int error);
/* When all that was sent is back: what was not begun waits again, and more may be sent. */
void bot_settle(struct bot *b);
/* What is in now->wire->csw, with csw_res bytes: 0 and the CSW, or -EPROTO: it is of no use. */
int bot_check_csw(struct bot *b, struct csw *csw);
/* A good CSW ends the command, or makes us ask why it failed. -EPROTO: reset recovery. */
int bot_finish(struct bot *b, const struct csw *csw);
/* The data that came is a CSW, the data proper was skipped (seen in memory of our own only); and
 * make it the CSW. */
bool bot_skipped_data(const struct bot *b);
void bot_take_skipped(struct bot *b);

/* ---- bot_recover.c (tasks, but for _look) ---- */

/* 5.3.4: Bulk-Only Mass Storage Reset, then clear both endpoints' halts. */
int bot_mass_storage_reset(struct bot *b);
/* As transport_ops' */
bool bot_look(struct transport *t);
int bot_recover(struct transport *t);

#endif
