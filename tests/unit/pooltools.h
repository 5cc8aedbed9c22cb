/* SPDX-License-Identifier: MIT */
/* What the tests of the pool share: units, and a look at a pool that has everything back. */
#ifndef POOLTOOLS_H
#define POOLTOOLS_H

#include <CUnit/CUnit.h>
#include <pcidipc/pool.h>

#include "random.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)

/* One free extent, and no buffer. */
void assert_all_free(struct pcidipc_pool *pool);

#endif
