/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pcidctl: what its files share. */
#ifndef PCIDCTL_H
#define PCIDCTL_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes; docs/man/pcidctl.1 promises them. */
enum ctl_exit {
	CTL_OK = 0,
	CTL_FAILED = 1,	       /* it was tried and did not work */
	CTL_USAGE = 2,	       /* wrong arguments; nothing was tried */
	CTL_NO_PCID = 3,       /* pcid does not run, may not be reached or does not answer */
	CTL_NOT_FOUND = 4,     /* no such function or disk */
	CTL_INTERRUPTED = 130, /* Ctrl-C; what was under way was finished */
};

enum ctl_option {
	CTL_HEX = 1u << 0,
	CTL_OFFSET = 1u << 1,
	CTL_BYTES = 1u << 2,
	CTL_INPUT = 1u << 3,
	CTL_OUTPUT = 1u << 4,
	CTL_FLUSH = 1u << 5,
	CTL_EXCLUSIVE = 1u << 6,
	CTL_DEPTH = 1u << 7,
	CTL_SECONDS = 1u << 8,
};

struct ctl {
	const char *runtime_dir;
	bool json;
	uint32_t given; /* CTL_* options that were given */
	uint64_t offset;
	uint64_t bytes;
	unsigned depth;
	uint64_t seconds; /* 0: not given */
	const char *input;
	const char *output;
	char **args;
	unsigned nargs;
};

/* ---- main.c ---- */

/* Report a failure on standard error, and with --json as an object on standard output. Returns
 * `code`. */
int ctl_fail(const struct ctl *ctl, enum ctl_exit code, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Print an object for --json and drop the reference to it. Returns CTL_OK, or CTL_FAILED if stdout
 * is gone. */
int ctl_print_json(const struct ctl *ctl, struct json_object *object);

/* ---- control.c: the control socket. CTL_OK and *result (the caller's reference), or an exit code
 * ---- */
int control_ask(const struct ctl *ctl, const char *command, const char *function,
		struct json_object **result);
/* As control_ask; the result must be an object. */
int control_ask_object(const struct ctl *ctl, const char *command, const char *function,
		       struct json_object **result);
/* As control_ask; the result must be an array, of objects. */
int control_ask_array(const struct ctl *ctl, const char *command, struct json_object **result);

/* Fields of an object, with a default where they are missing, null or of another type. */
uint64_t field_u64(struct json_object *object, const char *key);
const char *field_string(struct json_object *object, const char *key, const char *otherwise);
bool field_bool(struct json_object *object, const char *key);
bool field_known(struct json_object *object, const char *key); /* there, and not null */
struct json_object *field_array(struct json_object *object, const char *key); /* NULL: none */
struct json_object *field_object(struct json_object *object, const char *key);
size_t array_length(struct json_object *array); /* 0 for NULL */

/* ---- args.c ---- */

/* "4096", "0x1000", "64K", "64KiB": bytes. 0, -EINVAL, -ERANGE (does not fit 64 bits). */
int parse_size(const char *text, uint64_t *bytes);
/* "03.0", "00:03.0" or "0000:00:03.0" to the last form. 0, or -EINVAL. */
int parse_address(const char *text, char address[16]);
/* "1.5 GiB"; exact multiples of a unit without the fraction. Returns buf. */
char *format_size(uint64_t bytes, char *buf, size_t size);
/* "3d 04:05:06". Returns buf. */
char *format_duration(uint64_t ms, char *buf, size_t size);

/* ---- table.c: columns for people ---- */

struct table;
/* titles: NULL-terminated; a title that begins with '>' makes its column right-aligned. Never NULL
 * (exits). */
struct table *table_create(const char *const *titles);
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(struct table *table); /* and free it */
/* One "  Name   value" line of a description. */
void print_field(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Replace what is not printable, in place: names come from devices. Returns text. */
char *printable(char *text);

/* ---- names.c: pci.ids. The strings are good until the next call. Unknown: numbers ---- */
const char *name_device(struct json_object *function);
const char *name_subsystem(struct json_object *function);
const char *name_class(uint32_t class_code);
const char *name_interface(uint32_t class_code); /* "" where there is no name */
const char *name_capability(unsigned id, bool extended);
/* Add class_name, vendor_name and device_name, for programs. */
void add_names(struct json_object *function);

/* ---- commands ---- */
int cmd_list(struct ctl *ctl);
int cmd_show(struct ctl *ctl);
int cmd_tree(struct ctl *ctl);
int cmd_drivers(struct ctl *ctl);
int cmd_irq(struct ctl *ctl);
int cmd_stats(struct ctl *ctl);
int cmd_restart(struct ctl *ctl);
int cmd_rescan(struct ctl *ctl);
int cmd_disks(struct ctl *ctl);
int cmd_disk_info(struct ctl *ctl);
int cmd_disk_health(struct ctl *ctl);
int cmd_disk_read(struct ctl *ctl);
int cmd_disk_write(struct ctl *ctl);
int cmd_usb(struct ctl *ctl);
int cmd_usb_show(struct ctl *ctl);
int cmd_usb_capture(struct ctl *ctl);

/* ---- disk.c ---- */

struct pcidipc_blockdev;
struct ringabi_block_info;
/* Open the disk that args[0] names. CTL_OK or an exit code, reported. */
int disk_open(const struct ctl *ctl, uint32_t open_flags, unsigned depth,
	      struct pcidipc_blockdev **dev);

/* ---- progress.c: a bar on standard error, if that is a terminal ---- */
struct progress {
	uint64_t total; /* bytes, 0: unknown */
	uint64_t start; /* ns */
	uint64_t drawn;
	bool enabled;
};
void progress_start(struct progress *progress, uint64_t total);
void progress_update(struct progress *progress, uint64_t done);
void progress_end(struct progress *progress); /* wipe the line */
uint64_t clock_ns(void);

#endif
