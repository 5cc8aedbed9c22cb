/* SPDX-License-Identifier: MIT */
/*
 * A USB stick in the test's own process, as a usb_link: its transfers are carried out at the end of
 * the turn. It obeys the specification, or does what `fault` says.
 */
#ifndef STICK_H
#define STICK_H

#include "../../usbscsid/link.h"
#include "scsimodel.h"

#define STICK_LUNS 4
#define STICK_POOLS 4
#define STICK_IN 0x81
#define STICK_OUT 0x02
/* UAS pipes */
#define STICK_COMMAND 0x04
#define STICK_STATUS 0x85
#define STICK_DATA_IN 0x86
#define STICK_DATA_OUT 0x07
#define STICK_TAGS 64

enum stick_fault {
	FAULT_NONE,
	/* CSW, or IU */
	FAULT_SIGNATURE,
	FAULT_TAG,
	FAULT_RESIDUE, /* more than was asked for */
	FAULT_STATUS,
	FAULT_SHORT_CSW,
	FAULT_EMPTY_CSW, /* an empty packet, then the CSW */
	FAULT_PHASE,
	/* pipes */
	FAULT_STALL_CBW,
	FAULT_STALL_DATA,	/* after half of it, and the residue says so */
	FAULT_STALL_DATA_LYING, /* the residue says nothing of it */
	FAULT_STALL_CSW,
	FAULT_STALL_CSW_TWICE,
	FAULT_LOST_CSW,	   /* overlooks the first transfer for it */
	FAULT_LOST_STALL,  /* the same, and stalls the next one */
	FAULT_NO_CSW,	   /* never sends it */
	FAULT_SKIP_DATA,   /* refuses the command: its CSW comes as its data */
	FAULT_SHORT_DATA,  /* half of it, and the residue says so */
	FAULT_FULL_LENGTH, /* the data transfer reports all, the residue tells the truth */
	FAULT_BABBLE,
	FAULT_TRANSACTION,
	FAULT_SILENT, /* never answers this command */
	FAULT_READY_TWICE,
	FAULT_READY_SILENT, /* UAS without streams: never moves the data that it is ready for */
	FAULT_RESPONSE,	    /* UAS: a RESPONSE IU instead of a SENSE IU */
	FAULT_SHORT_IU,
	FAULT_WRONG_IU,
};

struct stick_pipe {
	struct pcidipc_list queue;
	bool halted;
};

/* A UAS command that the device has. */
struct stick_task {
	bool busy, data_done, ready_sent;
	enum stick_fault fault;
	uint8_t cdb[16], lun;
	uint8_t *out, *in; /* one allocation */
	uint32_t wants, got;
	struct scsi_answer answer;
	bool executed;
};

struct stick {
	struct usb_link link;
	struct pcidipc_deferred run;
	struct pcidipc_timer stopping;
	struct stick_stop {
		uint8_t endpoint;
		uint16_t stream;
		bool set;
	} stop[8];		   /* with slow_stop */
	struct pcidipc_timer late; /* ends transfers with a time limit: they all have the same */
	struct scsi_unit unit[STICK_LUNS];
	unsigned luns;
	bool has_uas, has_bot, streams, refuses_uas;
	unsigned streams_granted, alternate;
	uint8_t *base[STICK_POOLS];
	uint64_t pool_bytes[STICK_POOLS];

	/* Misbehaviour: `fault` for the next `times` commands with this opcode (or any: 0xff). */
	enum stick_fault fault;
	unsigned times;
	uint8_t opcode;
	bool reset_fails; /* Bulk-Only Mass Storage Reset stalls */
	bool port_reset_fails;
	bool slow_stop;	       /* what is stopped ends later */
	unsigned stop_steps;   /* Bulk-Only: so many steps it makes before a pipe is stopped */
	unsigned others_reset; /* so many port resets find another driver's under way */
	bool quiet_reset;      /* no unit tells of it */
	bool gone;
	bool stalls_max_lun;
	uint8_t max_lun_lie; /* 0: the truth */
	bool ignores_abort;  /* UAS: no answer to task management */
	bool refuses_abort;
	bool in_order; /* UAS: commands are carried out in reverse otherwise */

	/* Bulk-Only */
	enum { STICK_CBW, STICK_DATA, STICK_CSW } phase;
	struct stick_pipe pipe[256]; /* by endpoint address */
	uint8_t cbw[31];
	enum stick_fault now;
	struct scsi_answer answer;
	uint8_t *in, *out;
	uint32_t out_got;
	uint32_t residue;
	uint8_t csw_status;
	unsigned stalls, stops_then;

	/* UAS */
	struct stick_task task[STICK_TAGS + 1];
	uint16_t tmf_tag;
	uint8_t tmf_answer;

	/* What happened. */
	unsigned commands, resets, port_resets, clears, stops, configures, aborts, lun_resets;
	/* What is submitted next begins when it is done; in the meantime that is its `native`. */
	struct usb_transfer *opener;
	unsigned chained, expecting; /* behind a transfer; behind one that expects something */
	unsigned early;		     /* CBWs that were queued before the last CSW was sent */
	unsigned ahead; /* data or CSW transfers that were queued before the CBW was seen */
	unsigned most_in_flight;
	unsigned pools_attached, pools_mapped, pools_detached;
	unsigned reads_outside; /* the driver gave us a buffer outside of its pool */
};

/* Whether links of sticks made from now on know chains. */
extern bool stick_chains;
void stick_create(struct stick *stick, struct pcidipc_loop *loop);
void stick_destroy(struct stick *stick);
/* Unplug: everything in flight, and from now on, gets -ENODEV. */
void stick_unplug(struct stick *stick);
/* `fault` for the next `times` commands with this opcode. */
void stick_misbehave(struct stick *stick, enum stick_fault fault, unsigned times, uint8_t opcode);

/* ---- for the two halves ---- */
void stick_answer(struct stick *stick, struct usb_transfer *x, int res);
struct usb_transfer *stick_head(struct stick *stick, uint8_t endpoint, uint16_t stream);
uint32_t stick_copy(struct stick *stick, struct usb_transfer *x, uint8_t *bytes, uint32_t n,
		    bool to_host);
void stick_halt(struct stick *stick, uint8_t endpoint, struct usb_transfer *x, int error);
enum stick_fault stick_fault_of(struct stick *stick, uint8_t opcode);
void stick_run_soon(struct stick *stick);
bool stick_run_bot(struct stick *stick);
bool stick_run_uas(struct stick *stick);
void stick_bot_reset(struct stick *stick);
void stick_uas_reset(struct stick *stick);

#endif
