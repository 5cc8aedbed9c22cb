/* SPDX-License-Identifier: MIT */
/* Random numbers that are the same in every run. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* The next of 24 bits. */
uint32_t next_random(uint32_t *state);
/* `bytes` of them; a multiple of 4. */
void fill_random(uint32_t *state, void *to, size_t bytes);

/* The next of 64 bits; `state` is not 0. */
uint64_t random_next(uint64_t *state);
/* 0 to limit - 1. */
uint64_t random_below(uint64_t *state, uint64_t limit);
/* 1 to max: as many small numbers as large ones. */
uint64_t random_size(uint64_t *state, uint64_t max);

#endif
