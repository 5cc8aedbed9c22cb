/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One configuration file, by libconfuse. */
#ifndef PCID_CONFIG_FILE_H
#define PCID_CONFIG_FILE_H

#include <stdio.h>

#include "config.h"

/* Add what `file` says to `config`: all of it, or, with a message, nothing. `name` is for messages.
 */
int pcid_config_read(struct pcid_config *config, FILE *file, const char *name);
void pcid_strings_free(char **strings);
/* Half of the machine's memory: what devices may reach where the configuration does not say. */
uint64_t pcid_default_dma_quota(void);

#endif
