/* SPDX-License-Identifier: MIT */
/* A driver's command line. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <pcidipc/driver.h>

/* -1: go on. Else it has said what there was to say, and this is the program's exit status. */
int options_parse(const struct pcidipc_driver *driver, int argc, char **argv,
		  enum pcidipc_log_level *level);

#endif
