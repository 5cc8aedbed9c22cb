/* SPDX-License-Identifier: MIT */
/*
 * What of a client's pool a process's CPU has touched. A page is in a process's page tables only
 * when the process (or the kernel, on its behalf) has read or written it through its mapping, so a
 * daemon that has none of the pool's pages has copied nothing out of it or into it.
 */
#ifndef TOUCHED_H
#define TOUCHED_H

#include <sys/types.h>

/* The inode of the memfd that is mapped here. 0: none. */
unsigned long memory_inode(const void *at);
/* How many bytes of that memfd are in the process's page tables; NAN: there is no such process. */
double memory_touched(pid_t pid, unsigned long inode);

#endif
