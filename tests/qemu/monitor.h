/* SPDX-License-Identifier: MIT */
/* QEMU's monitor (QMP), as people use it while pcid runs: faults, hot-plug, counters. */
#ifndef TESTS_QEMU_MONITOR_H
#define TESTS_QEMU_MONITOR_H

#include "rig.h"

/* Run one command, by printf's rules: `"execute":"...","arguments":{...}`. Its "return" (the
 * caller's to put), or NULL after a line that says why not. */
struct json_object *monitor_ask(struct rig *rig, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same where only success matters. */
bool monitor_do(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A counter of a drive, from query-blockstats; -1: there is none. */
int64_t monitor_drive_stat(struct rig *rig, const char *drive, const char *key);
/* Let a drive move this many bytes in a second; 0: as many as it can. */
bool monitor_throttle(struct rig *rig, const char *drive, unsigned bps);

#endif
