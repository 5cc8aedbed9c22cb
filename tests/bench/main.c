// SPDX-License-Identifier: MIT
/* The program that make bench runs, and that pcid starts as a driver. */
#include <string.h>

#include "bench.h"
#include "subdriver.h"

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--subdriver"))
		return subdriver_main();
	return bench_main(argc, argv);
}
