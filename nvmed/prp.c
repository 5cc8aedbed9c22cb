/* SPDX-License-Identifier: MIT */
#include "prp.h"

#include <endian.h>

static void advance(struct prp_cursor *c, uint64_t bytes)
{
	while (bytes) {
		uint64_t left = c->segments[c->index].bytes - c->offset;
		uint64_t step = bytes < left ? bytes : left;

		c->offset += step;
		bytes -= step;
		if (c->offset == c->segments[c->index].bytes) {
			c->index++;
			c->offset = 0;
		}
	}
}

/* One entry: its address, and how many bytes of its page the segments give in a row. */
static uint64_t next_piece(struct prp_cursor *at, uint64_t most, uint32_t page, uint64_t *address)
{
	uint64_t left, page_left;

	if (at->index == at->nsegments)
		return 0;
	*address = at->segments[at->index].iova + at->offset;
	left = at->segments[at->index].bytes - at->offset;
	page_left = page - (*address & (page - 1));
	left = left < page_left ? left : page_left;
	return left < most ? left : most;
}

/*
 * The last entry of a page is data if the list ends there, and else the next page's address. Which
 * it is shows when one more entry comes: then the one that lies there moves on.
 */
static bool put(const struct prp_list *list, uint32_t *n, uint32_t page, uint64_t address)
{
	uint32_t slots = list->bytes / 8;
	uint64_t here = list->iova + *n * 8ull;

	if (*n && !(here & (page - 1))) {
		if (*n + 2 > slots)
			return false;
		list->entries[*n] = list->entries[*n - 1];
		list->entries[*n - 1] = htole64(here);
		++*n;
	}
	if (*n == slots)
		return false;
	list->entries[(*n)++] = htole64(address);
	return true;
}

static uint64_t fill(struct prp_cursor at, uint64_t most, uint32_t page,
		     const struct prp_list *list, uint64_t *prp1, uint64_t *prp2)
{
	uint64_t total = 0, address, bytes;
	uint32_t n = 0;

	while (total < most && (bytes = next_piece(&at, most - total, page, &address))) {
		if (total && (address & (page - 1) || !put(list, &n, page, address)))
			break;
		if (!total)
			*prp1 = htole64(address);
		total += bytes;
		advance(&at, bytes);
		if ((address + bytes) & (page - 1))
			break;
	}
	*prp2 = !n ? 0 : n == 1 ? list->entries[0] : htole64(list->iova);
	return total;
}

uint64_t prp_build(struct prp_cursor *cursor, uint64_t max_bytes, uint32_t granule, uint32_t page,
		   const struct prp_list *list, uint64_t *prp1, uint64_t *prp2)
{
	uint64_t total = fill(*cursor, max_bytes, page, list, prp1, prp2);

	/* Entries too many would turn PRP2, or the end of a list's page, into something else. */
	if (total % granule) {
		total -= total % granule;
		total = fill(*cursor, total, page, list, prp1, prp2);
	}
	advance(cursor, total);
	return total;
}

uint32_t prp_list_bytes(uint64_t max_bytes, uint32_t page)
{
	/* The data may begin inside a page, which makes one entry more; but one is PRP1. */
	uint64_t entries = max_bytes / page;
	uint32_t per_page = page / 8, bytes = 64;

	if (entries > per_page)
		return (uint32_t)((entries + per_page - 2) / (per_page - 1)) * page;
	while (bytes < entries * 8)
		bytes *= 2;
	return bytes;
}
