/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory that takes SERIAL_DISK_NS for each request, one after the other, and no CPU:
 * what the clients, their wake-ups and the rings cost on this machine when the rest costs nothing.
 */
#ifndef SERIALDISK_H
#define SERIALDISK_H

#include "bench.h"

#define SERIAL_DISK_NS 3500 /* about what QEMU's controller takes */

/* In a process on BENCH_SERVER_CPU, at `path`. */
int serial_disk_start(struct bench_process *process, const char *path);

#endif
