/* SPDX-License-Identifier: MIT */
/*
 * A SCSI target device behind a transport, and its logical units, each of which is a disk. One
 * thread.
 */
#ifndef USBSCSID_TARGET_H
#define USBSCSID_TARGET_H

#include <pcidipc/blockserve.h>
#include <pcidipc/pci.h>

#include "transport.h"

#define MAX_LUNS 16
#define MOST_SESSIONS 1024 /* of a disk */
#define SCRATCH_BYTES 4096u
#define LARGEST_BLOCK 65536u

struct lun;

struct target {
	struct pcidipc_loop *loop;
	struct usb_link *link;
	struct transport *transport;
	char label[16];	   /* "46f4:0001", for messages */
	char serial[32];   /* the USB device's */
	uint32_t limit;	   /* of a command, in the transport's ticks */
	uint64_t tick_ns;  /* of the transport */
	uint64_t pause_ns; /* before a command is tried again that found its unit busy */
	uint64_t poll_ns;  /* between two looks at removable media */
	/* A service's sockets, for a disk (pcid composes its name), and what is to be done when it
	 * ends. Tasks. */
	int (*publish)(struct target *target, const char *suffix, struct pcidipc_service *service);
	void (*unpublish)(struct target *target, struct pcidipc_service *service);
	/* The device is gone or given up: 0 or 1. */
	void (*ended)(struct target *target, int code);
	void *user;

	struct lun *lun[MAX_LUNS];
	unsigned nluns;
	struct pcidipc_buf *scratch; /* for answers to control commands */
	struct pcidipc_task_mutex scratch_lock;
	struct pcidipc_buf *zeroes; /* LARGEST_BLOCK of them, for WRITE SAME */
	uint32_t most_bytes;	    /* of one command */
	struct pcidipc_users users; /* of all of its disks */
	bool device_gone;
	bool stopping;
};

struct lun {
	struct target *target;
	uint8_t number;
	struct pcidipc_disk disk;
	struct pcidipc_service service;
	struct scsi_identity identity;
	struct scsi_limits limits;
	struct scsi_capacity capacity;
	uint32_t most_blocks; /* of one READ or WRITE */
	bool fua;	      /* WRITE takes FUA; if not, a flush follows */
	bool sync16;	      /* SYNCHRONIZE CACHE(16) */
	bool published;
	bool medium;
	bool examining; /* the task that looks at it runs */
	bool stale;	/* it must be looked at again ... */
	bool retry;	/* ... but later: it could not be examined */
	bool polling;
	bool waking;	   /* it is being started */
	bool flush_probed; /* whether it can be flushed is known */
	bool can_flush;
	/* Raised when its medium is another one, or none: what was asked before is not meant for
	 * what comes then. `told`: the one that clients know of. */
	uint32_t generation, told;
	/* Commands that have changed the medium, and how many of them a flush has covered. */
	uint32_t written, flushed;
	bool lost_writes;	    /* the next flush has to say so */
	struct pcidipc_list parked; /* struct progress: to be tried again */
	struct pcidipc_timer again, poll;
};

#define TARGET_PAUSE_NS 100000000ull
#define TARGET_POLL_NS 2000000000ull

/* target.c (tasks, but for _lost and _label) */
/* `target` has its link and functions. Finds the transport, the LUNs, and publishes each. */
int target_start(struct target *target);
/* Flush caches, end the disks. Nothing is served afterwards. */
void target_stop(struct target *target);
void target_destroy(struct target *target);

/* dump.c: to the log, at its most talkative level: `what` ("descriptor") `number` is these bytes.
 */
void target_dump(const struct target *target, const char *what, unsigned number, const void *bytes,
		 size_t n);

/* execute.c (tasks): one control command, tried again while the unit has something else to say. */
struct scsi_result {
	uint8_t status;
	struct scsi_sense sense;
	bool changed;	/* it has said that its medium or capacity is another one */
	uint32_t bytes; /* of data that came */
};
/* `room` bytes come from the device to target->scratch, whose lock the caller holds. 0 when the
 * device has answered, whatever it said; -errno of the transport. */
int lun_execute(struct target *target, uint8_t lun, const struct scsi_cdb *cdb, uint32_t room,
		struct scsi_result *result);
/* The same, and then the answer is copied to `to`: its bytes, or -errno for what was said too. */
int lun_ask(struct target *target, uint8_t lun, const struct scsi_cdb *cdb, void *to,
	    uint32_t room);
/* Wait until the unit is ready: 0, -ENOMEDIUM, or why not. */
int lun_wait_ready(struct target *target, uint8_t lun);
/* The errno that a status and sense stand for. `write`: data went to the device. */
int scsi_error(uint8_t status, const struct scsi_sense *sense, bool write);
bool scsi_unit_changed(const struct scsi_sense *sense);
/* It says that there is no such unit. */
bool scsi_unit_denied(const struct scsi_sense *sense);

/* lun.c */
/* What does not change: identity and limits. Task. -ENODEV: no disk there. */
int lun_identify(struct lun *lun);
/* Medium, geometry, protection, cache; fills in lun->disk.info, if there is no error. Task. */
int lun_examine(struct lun *lun);
void lun_describe_empty(struct lun *lun);
/* Look at it again soon, in a task of its own. */
void lun_look_again(struct lun *lun);
void lun_poll_start(struct lun *lun);

/* attention.c */
/* As transport->heed: what a unit says unasked, whoever's command it is that hears of it. */
void target_heed(struct transport *transport, const struct scsi_command *command);
/* As transport->was_reset: what lay in the units' caches only may be lost. */
void target_was_reset(struct transport *transport);
/* Start a unit that has stopped by itself, in a task of its own. */
void lun_wake(struct lun *lun);

/* io.c */
int lun_io_start(struct pcidipc_block_io *io);
int lun_io_cancel(struct pcidipc_block_io *io);
uint32_t lun_io_bytes(void); /* of pcidipc_block_io.driver */
/* The link's number of the pool that the client's buffers lie in. */
uint16_t lun_io_pool(const struct pcidipc_block_io *io);

/* through.c: pass-through of commands that read, as disk->submit */
int lun_through(struct pcidipc_block_io *io);

/* limits.c */
void target_limits(struct pcidipc_users *users);

/* disk.c (task) */
int lun_publish(struct lun *lun);

#endif
