// SPDX-License-Identifier: MIT
#include "random.h"

uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

void fill_random(uint32_t *state, void *to, size_t bytes)
{
	uint32_t *words = to;

	for (size_t i = 0; i < bytes / 4; i++)
		words[i] = next_random(state);
}

uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dull;
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

uint64_t random_size(uint64_t *state, uint64_t max)
{
	uint64_t limit = max >> random_below(state, 64 - __builtin_clzll(max));

	return 1 + random_below(state, limit);
}
