/* SPDX-License-Identifier: MIT */
/* How many CPUs the machine has, also for who may no longer open the files that tell it. */
#include "spin.h"

static long remembered;

void spin_remember_cpus(void)
{
	remembered = sysconf(_SC_NPROCESSORS_ONLN);
}

long spin_cpus(void)
{
	return remembered ? remembered : sysconf(_SC_NPROCESSORS_ONLN);
}
