/* SPDX-License-Identifier: MIT */
/* What the daemons hold while something goes on beside them, to be compared before and after. */
#ifndef TESTS_QEMU_HELD_H
#define TESTS_QEMU_HELD_H

#include <stdbool.h>
#include <tests/unit/leaks.h>

#include "rig.h"

#define HELD 5

/* pcid, its QEMU, and drivers of disks, those that there are: descriptors, mappings, memory; and
 * how many pools devices reach. */
struct held {
	struct leaks of[HELD];
	unsigned pools;
};

void held_count(struct rig *rig, struct held *held);
/* Wait until they hold no more and no less than that, mappings of memory of their own and memory
 * aside: those may be a little more. False after 30 s, with lines that say what it was. */
bool held_again(struct rig *rig, const struct held *was);

/*
 * Do it four times: after the first they hold what is kept for use again, after the others no more
 * than that, and never a descriptor, a shared mapping or a pool more than before.
 */
void held_over(struct rig *rig, void (*once)(uint32_t round, const void *arg), const void *arg);

#endif
