/* SPDX-License-Identifier: MIT */
/*
 * What hostile clients of a disk do, by a channel and a ring's memory and no library in between.
 * Each ends by itself, and is to be called in a process of its own, which exits afterwards.
 * Requests that are right by chance stay within the disk's first MiB.
 */
#ifndef ATTACKS_H
#define ATTACKS_H

#include <stdint.h>

/* Against the service at this path. The same seed, the same course. */
void attack_begin(const char *service, uint32_t seed);

void attack_leave_early(void); /* at every step, answers read and unread */
void attack_die(void);	       /* the same by SIGKILL, requests under way */
void attack_scribble(void);    /* over every index, flag and entry, at any time */
void attack_change_memory(void);
void attack_reshape_ring(void);
void attack_wrong_pools(void);
void attack_replace_pools(void);
void attack_many_fds(void);
void attack_talk(void); /* and never listen */
void attack_crowd(void);

/* A file descriptor that is no pool of 2 MiB, and why not is its number's affair. -1: not here. */
#define ATTACK_WRONG_FDS 13
int attack_wrong_fd(unsigned which);

#endif
