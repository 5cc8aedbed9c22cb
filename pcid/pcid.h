/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pcid's core: what its parts share. */
#ifndef PCID_H
#define PCID_H

#include <pcidipc/task.h>
#include <stdbool.h>
#include <stdint.h>

#include "bus.h"
#include "config.h"
#include <pcidipc/list.h>

#define PCID_RUNTIME_DIR "/run/pcid"
#ifndef PCID_DRIVER_DIR /* the Makefile gives what it installs to */
#define PCID_DRIVER_DIR "/usr/local/libexec/pcid"
#endif

struct pcid_options {
	const char *bus;    /* "vfio" or "qemu"; NULL: what there is */
	const char *config; /* NULL: PCID_CONFIG_DIR, if it is there */
	const char *runtime_dir;
	const char *driver_dir; /* NULL: found from where pcid lies, else PCID_DRIVER_DIR */
	bool check_config;	/* that only */
	int ready_fd;		/* -1: none */
	bool daemonize;
	int started_fd;	     /* with daemonize: who waits for us to be ready; -1: nobody */
	const char *pidfile; /* NULL: none */
	int log_level;
	char **bus_args; /* NULL-terminated; what follows "--" */
};

/* A stem and number that a device has for as long as pcid runs, so that its services keep their
 * names. */
struct pcid_number {
	struct pcid_number *next;
	unsigned number;
	char *stem, *where;
};

struct pcid {
	struct pcid_options options;
	struct pcid_config *config;
	struct pcidipc_loop *loop;
	struct pcid_bus *bus;
	char runtime_dir[80]; /* short enough for a socket's path below it */
	char bus_dir[96];     /* in it, private to the bus */
	char driver_dir[512];
	struct pcidipc_list drivers;
	struct pcid_number *numbers;
	struct pcid_control *control;
	unsigned showing; /* reports under way that use a function across an await */
	uint64_t started_at;
	int lock_fd;
	void (*request_stop)(struct pcid *pcid); /* begin to end, as SIGTERM does */
	bool bus_started, ready, stopping;
	int exit_code;
	struct pcidipc_completion wake; /* of the task that starts or ends pcid */
};

/* ---- options.c: 0; 1: done (--help, --version); -EINVAL, with a message ---- */
int pcid_options_parse(int argc, char **argv, struct pcid_options *options);

/* ---- daemonize.c ---- */

/* Go on in the background; the caller's process ends when that one is ready or has ended. Before
 * threads and loops. */
int pcid_daemonize(struct pcid_options *options);
/* 0 or -errno, with a message. */
int pcid_write_pidfile(const char *path);

/* ---- core.c ---- */

/* Everything that is zero but for these; bus and loop are set by the caller. */
void pcid_init(struct pcid *pcid, struct pcidipc_loop *loop, struct pcid_config *config);
void pcid_fini(struct pcid *pcid);
/* Attach the core's event functions to a bus that was not started yet. */
void pcid_take_bus(struct pcid *pcid, struct pcid_bus *bus);
/* Start drivers for functions and children that have none. Returns how many. */
unsigned pcid_match_all(struct pcid *pcid);
/* Read the configuration anew, then match_all. Not in a task. */
int pcid_reload(struct pcid *pcid);
/* The number of a device's services: the one it had before, or the lowest that is free for this
 * stem. -ENOMEM. */
int pcid_number_of(struct pcid *pcid, const char *stem, const char *where);
void pcid_number_drop(struct pcid *pcid, const char *stem, const char *where);
struct pcid_function *pcid_find_function(struct pcid *pcid, const char *address);
struct pcid_driver *pcid_find_driver(struct pcid *pcid, const char *where);
struct pcid_identity pcid_identity_of(const struct pcid_function *f);
/* A function's driver has ended. leaving: the bus wants the function back and has not got it yet.
 */
void pcid_function_released(struct pcid *pcid, struct pcid_function *f, bool leaving);
/* A driver settled or went: perhaps somebody waits for that. */
void pcid_changed(struct pcid *pcid);
/* Stop every driver and wait until they are gone. Task. */
void pcid_stop_drivers(struct pcid *pcid);

/* ---- rundir.c: the runtime directory ---- */

/* Make and lock it. -EBUSY: another pcid has it. */
int pcid_rundir_open(struct pcid *pcid);
void pcid_rundir_close(struct pcid *pcid);
/* Make a directory in it. */
int pcid_rundir_mkdir(struct pcid *pcid, const char *name, mode_t mode);
/* Remove the sockets that a dead pcid left and nobody took over. */
void pcid_rundir_sweep(struct pcid *pcid);

/* ---- notify.c: tell whoever started us (sd_notify's protocol, --ready-fd) ---- */
void pcid_notify(const char *state);
void pcid_notify_ready(struct pcid *pcid);

/* ---- control.c, report.c: the control socket; docs/control.md ---- */
int pcid_control_open(struct pcid *pcid);
void pcid_control_close(struct pcid *pcid);
struct json_object;
/* The result of a request that only reads, or NULL: no such command. */
struct json_object *pcid_report(struct pcid *pcid, const char *command);
/* "show". Task: it reads the configuration space; pcid->showing keeps the function in place
 * meanwhile. */
struct json_object *pcid_report_function(struct pcid *pcid, struct pcid_function *f);

#endif
