// SPDX-License-Identifier: MIT
/* All sets of rows, and the program. */
#include "guest.h"

const struct bench_group *const bench_groups[] = {&guest_nvme, NULL};

int main(int argc, char **argv)
{
	return bench_main(argc, argv);
}
