/* SPDX-License-Identifier: MIT */
/* Memory that two processes share: sealed, so that neither can pull it away from under the other.
 */
#ifndef MEMFD_H
#define MEMFD_H

#include <fcntl.h>
#include <stdint.h>

#define MEMFD_FIXED_SIZE (F_SEAL_SHRINK | F_SEAL_GROW)

/* A new one of `bytes`, sealed: its fd, or -errno. */
int memfd_make(const char *name, uint64_t bytes, int seals);
/* Why somebody else's must not be mapped (for a log line), or NULL. */
const char *memfd_fault(int fd, int seals);

#endif
