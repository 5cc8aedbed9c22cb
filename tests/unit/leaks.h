/* SPDX-License-Identifier: MIT */
/* What a process holds, counted from outside: to compare before and after. */
#ifndef LEAKS_H
#define LEAKS_H

#include <sys/types.h>

struct leaks {
	unsigned fds;
	unsigned shared_maps; /* of memfds: rings and pools */
	unsigned maps;
	unsigned anon_kib; /* resident memory of its own: heap, stacks */
};

void leaks_count(pid_t pid, struct leaks *leaks);

#endif
