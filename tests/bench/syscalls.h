/* SPDX-License-Identifier: MIT */
/* Counting a process's system calls with the kernel's own tracepoint: it slows them a little and
 * stops nobody. */
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include <sys/types.h>

/* A counter's fd, or -1: no permission, or no tracefs. Counts the thread `pid` (0: this one) from
 * now on. */
int syscalls_open(pid_t pid);
double syscalls_read(int fd); /* NAN for -1 */

#endif
