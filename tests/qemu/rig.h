/* SPDX-License-Identifier: MIT */
/*
 * What every test on the QEMU bus stands on: a directory with disk images, a pcid of its own with
 * the given device models, its control socket, and the promise that nothing is left behind.
 */
#ifndef TESTS_QEMU_RIG_H
#define TESTS_QEMU_RIG_H

#include <CUnit/CUnit.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A stanza of pcid's configuration: nvmed drives NVMe controllers. `words` are more of it. */
#define RIG_NVMED(words)         \
	"driver \"nvmed\" {\n"   \
	"	class = 0x01\n"        \
	"	subclass = 0x08\n"     \
	"	interface = 0x02\n"    \
	"	command = \"nvmed\"\n" \
	"	service = \"nvme\"\n"  \
	"	" words "\n"     \
	"}\n"

#define RIG_PATH 160
#define RIG_MAX_ARGS 64

struct rig {
	char dir[64];	    /* everything of this rig */
	char run[80];	    /* pcid's runtime directory */
	char log[RIG_PATH]; /* what pcid and its drivers say */
	char config[RIG_PATH];
	char *args[RIG_MAX_ARGS]; /* pcid's, NULL-terminated */
	unsigned nargs;
	pid_t pid;   /* of pcid, 0: it does not run */
	bool sigsys; /* that its sandbox ends a driver is no finding */
};

/* The directory, an empty list of device models, a guard of `seconds` for all that follows. 0 or
 * -errno. */
int rig_create(struct rig *rig, unsigned seconds);
/* A raw image "NAME.img" with contents made from `seed` (0: all zero); the caller's copy goes to
 * *shadow unless NULL. */
int rig_image(struct rig *rig, const char *name, uint64_t bytes, uint32_t seed,
	      unsigned char **shadow);
/* Compare an image with `bytes` of what it should hold: 0, or -EBADMSG with a line that says where
 * it differs. */
int rig_compare(struct rig *rig, const char *name, const unsigned char *shadow, uint64_t bytes);
/* One of QEMU's arguments, by printf's rules; "@" in it stands for the rig's directory. */
void rig_arg(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* -drive and -device for a controller with one namespace, which is its image "NAME.img". */
void rig_nvme(struct rig *rig, const char *name);
/* Start pcid and wait until it is ready. `config`: text of its configuration, NULL for the usual
 * one. */
int rig_start(struct rig *rig, const char *config);
/* SIGKILL for pcid, and wait until it, QEMU and the driver are gone. 0, or the number of those that
 * stayed. rig_start starts a successor in the same directories. */
int rig_kill(struct rig *rig);
/* Stop pcid, reap everything, remove the directory. 0, or the number of things that were wrong (the
 * log is shown). */
int rig_stop(struct rig *rig);
/* The same for a second rig, while the first one's processes are there. Afterwards: rig_guard the
 * first one again. */
int rig_end(struct rig *rig);
void rig_guard(struct rig *rig, unsigned seconds);
/* In a process that was forked: signals are its own end, and not the rig's. */
void rig_forget_signals(void);
/* SIGKILL for the first driver whose name begins so. */
void rig_kill_driver(struct rig *rig, const char *driver);
/* rig_create, one 64 MiB image with random contents, rig_nvme, rig_start. The disk is nvme0n1. */
int rig_simple(struct rig *rig, unsigned seconds, const char *config, unsigned char **shadow);
#define RIG_SIMPLE_BYTES (64u << 20)
/* The same with one controller that has two namespaces: nvme0n1 of blocks of 512 bytes, nvme0n2 of
 * 4096, with random contents of seeds 1 and 2. */
int rig_two_namespaces(struct rig *rig, unsigned seconds, uint64_t bytes, unsigned char **shadow1,
		       unsigned char **shadow2);

/* The path of a program of this build: build/bin/NAME, or $PCID_BIN_DIR/NAME. */
const char *rig_program(const char *name);
/* This test's own path, for tests that are drivers too. */
const char *rig_self(void);

/* Ask pcid: the "result" of its reply (the caller's to put), or NULL. `command` as in {"command":
 * ...}. */
struct json_object *rig_ask(struct rig *rig, const char *command);
/* The "show" of the first driver's function whose name begins with `driver`. */
struct json_object *rig_show(struct rig *rig, const char *driver);
/* Send bytes to the control socket; its first line of reply goes to `reply`. Returns the line's
 * length or -errno. */
int rig_control(struct rig *rig, const void *bytes, size_t n, char *reply, size_t room);
/* One number or text of the first driver whose name begins with `driver`, from "drivers", "stats"
 * or "irq". */
int64_t rig_number(struct rig *rig, const char *command, const char *driver, const char *key);
bool rig_text(struct rig *rig, const char *command, const char *driver, const char *key,
	      const char *is);
/* The sum of a number over all entries of that driver. */
int64_t rig_sum(struct rig *rig, const char *command, const char *driver, const char *key);
/* Does the log contain this? */
bool rig_logged(struct rig *rig, const char *text);
/* Where the log ends now, and whether anything after such a place contains this. */
size_t rig_mark(struct rig *rig);
bool rig_logged_since(struct rig *rig, size_t mark, const char *text);
/* How many times. */
unsigned rig_log_count(struct rig *rig, size_t mark, const char *text);
void rig_show_log(struct rig *rig);
/* Until the drivers that pcid did not wait for serve: it waits for 5 s, which a busy machine can
 * take for itself. */
void rig_await_late(struct rig *rig, size_t mark);

/* Run a QMP command at QEMU: its "return" (the caller's to put), or NULL with a line on stderr. */
struct json_object *rig_qmp(struct rig *rig, const char *command);
/* How many memory devices QEMU has: pcid plugs one in for every pool. */
unsigned rig_dimms(struct rig *rig);
/* How many pools devices reach, not by pcid's word alone: QEMU's memory devices, and on the VFIO
 * bus pcid's own number, provided that as many bytes are pinned as it says. 0: they are not. */
unsigned rig_pools(struct rig *rig);
/* Does this run on the VFIO bus of a guest? Then there is no QEMU of pcid's, and rig_qmp asks the
 * one that the guest runs on. */
bool rig_on_vfio(void);
/* 32 bits at a physical address, as QEMU's CPU would read them; -1: it could not be read. */
int64_t rig_peek(struct rig *rig, uint64_t address);

/* Ask until `condition` holds, at most 30 s. False: it never did. */
#define RIG_UNTIL(condition)                                      \
	({                                                        \
		unsigned tries_ = 0;                              \
		bool held_;                                       \
                                                                  \
		while (!(held_ = (condition)) && tries_++ < 3000) \
			rig_pause();                              \
		held_;                                            \
	})
void rig_pause(void); /* 10 ms, between two looks */

/* Run suites, print the summary. The program's exit code. */
int rig_run_tests(CU_SuiteInfo *suites);
/* The same if the rig has started (0; else an error, which was said), and stop it. */
int rig_main(struct rig *rig, int started, CU_SuiteInfo *suites);

#endif
