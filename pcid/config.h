/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What pcid is told by its configuration files: which driver for what, and how it runs. */
#ifndef PCID_CONFIG_H
#define PCID_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef PCID_CONFIG_DIR /* the Makefile gives what it installs to */
#define PCID_CONFIG_DIR "/etc/pcid.d"
#endif
#define PCID_KEEP_ID ((uid_t)-1) /* an owner or group that stays pcid's own */
#define PCID_OWN_ID ((uid_t)-2)	 /* a user for each driver: see uids.c */
#define PCID_NOBODY 65534u
#define PCID_FIRST_DRIVER_UID 0x70000000u /* above what containers, accounts and systemd use */
#define PCID_DRIVER_UIDS 4096u

#define PCID_MAX_ARGS 64

/* Where a device sits: what a stanza says with `below`. */
enum pcid_below {
	PCID_BELOW_PCI,
	PCID_BELOW_USB,
};

/* What a driver's process is told to do to itself; its privileges are gone before. */
enum pcid_sandbox {
	PCID_SANDBOX_YES,
	PCID_SANDBOX_DEBUG, /* can be traced, leaves a core, says what it was ended for */
	PCID_SANDBOX_NO,
};
/* As in the configuration, and in $PCID_SANDBOX. */
const char *pcid_sandbox_name(enum pcid_sandbox sandbox);

/* What a driver is chosen by. For a USB interface: class, subclass and protocol. */
struct pcid_identity {
	enum pcid_below below;
	uint16_t vendor, device;
	uint8_t class_code, subclass, interface;
};

/* One `driver "name" { ... }`. Shared by the configuration and the drivers that run by it. */
struct pcid_stanza {
	unsigned refs;
	struct pcid_stanza *next;
	char *name;
	enum pcid_below below;
	int vendor, device, class_code, subclass, interface; /* -1: any */
	char *command;
	char **args;   /* argv, NULL-terminated; args[0] is the command */
	char *service; /* stem of the services' names */
	char *user;    /* for messages */
	uid_t uid;     /* the driver's; PCID_KEEP_ID: pcid's own; PCID_OWN_ID: one to itself */
	gid_t gid;
	uid_t owner; /* the service sockets' */
	gid_t group;
	mode_t mode, admin_mode;
	int restart_limit;  /* -1: none */
	uint64_t dma_quota; /* bytes mapped for its device */
	unsigned max_children;
	enum pcid_sandbox sandbox;
};

struct pcid_config {
	struct pcid_stanza *stanzas; /* in the order they were read */
	char *qemu_binary;	     /* NULL: the default */
	char **qemu_args;	     /* NULL-terminated, or NULL */
	unsigned qemu_ram_mib;	     /* 0: the default */
	char **vfio_take; /* functions to take over from the kernel; NULL-terminated, or NULL */
	bool vfio_shared_groups;
	uint64_t user_dma_quota; /* bytes mapped for all drivers of one user together */
	uid_t first_driver_uid;	 /* for drivers whose user is not configured, one each */
	unsigned driver_uids;	 /* how many; 0: they are all nobody */
	gid_t control_group;
	mode_t control_mode;
	unsigned files, bad_files;
};

/*
 * Read `path`, a file or a directory of *.conf files in the order of their names; NULL:
 * PCID_CONFIG_DIR. A file with an error is skipped whole, with a message that names file, line and
 * what is wrong. Without any file the built-in configuration holds. -ENOENT: a path that was asked
 * for is not there.
 */
int pcid_config_load(const char *path, struct pcid_config **config);
/* The same from memory. For tests. -EINVAL: the text has an error. */
int pcid_config_parse(const char *text, struct pcid_config **config);
void pcid_config_free(struct pcid_config *config);

struct pcid_stanza *pcid_stanza_get(struct pcid_stanza *stanza);
void pcid_stanza_put(struct pcid_stanza *stanza);

/* The stanza that fits best, or NULL; of equals the one that was read first. */
struct pcid_stanza *pcid_match(const struct pcid_config *config, const struct pcid_identity *id);
/* How well it fits; -1: not at all. Vendor and device weigh more than class, subclass and
 * interface. */
int pcid_match_score(const struct pcid_stanza *stanza, const struct pcid_identity *id);

#endif
