/* SPDX-License-Identifier: MIT */
/* What the tests of the pool share: units, random numbers that are the same in every run, and a
 * look at a pool that has everything back. */
#ifndef POOLTOOLS_H
#define POOLTOOLS_H

#include <CUnit/CUnit.h>
#include <pcidipc/pool.h>
#include <stdint.h>

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)

/* The next of 64 bits; `state` is not 0. */
uint64_t random_next(uint64_t *state);
/* 0 to limit - 1. */
uint64_t random_below(uint64_t *state, uint64_t limit);
/* 1 to max: as many small numbers as large ones. */
uint64_t random_size(uint64_t *state, uint64_t max);
/* One free extent, and no buffer. */
void assert_all_free(struct pcidipc_pool *pool);

#endif
