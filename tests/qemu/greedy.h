/* SPDX-License-Identifier: MIT */
/* A process of another user that takes of a disk what it gets, and what is said and served
 * meanwhile. The second user needs root. */
#ifndef TESTS_QEMU_GREEDY_H
#define TESTS_QEMU_GREEDY_H

#include "client.h"
#include "rig.h"

#define GREEDY_CHUNK (32u << 20) /* that a pool is mapped by */

/* What it got, and the error that each stopped at. */
struct got {
	int connections, pools, chunks;
	int errors[3];
};

/* In that process: attach a pool of as many chunks, of which nothing is mapped yet, until it is
 * refused or there are `most` pools; have chunks of the last one mapped until one is refused. */
void greedy_pools(struct client *client, struct got *got, int most, uint64_t chunks);
void greedy_chunks(struct client *client, struct got *got, int most);

/* Have `take` run there, and hold what it got until greedy_end. */
struct got greedy_start(struct got (*take)(void));
/* The same until it gets what it got before (*first): the connections of a moment ago may not be
 * gone yet. */
struct got greedy_again(struct got (*take)(void), const struct got *first);
void greedy_end(void);
/* Does the log say of this user that it has `limit` of `what`? */
bool greedy_said(struct rig *rig, const char *what, unsigned limit);
/* Does the disk work for us? */
bool greedy_served(const char *disk);

#endif
