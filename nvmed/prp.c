/* SPDX-License-Identifier: MIT */
#include "prp.h"

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
static uint64_t next_piece(struct prp_cursor *at, uint64_t most, uint64_t *address)
{
	uint64_t left, page_left;

	if (at->index == at->nsegments)
		return 0;
	*address = at->segments[at->index].iova + at->offset;
	left = at->segments[at->index].bytes - at->offset;
	page_left = PRP_PAGE - *address % PRP_PAGE;
	left = left < page_left ? left : page_left;
	return left < most ? left : most;
}

uint64_t prp_build(struct prp_cursor *cursor, uint64_t max_bytes, uint32_t granule, uint64_t *list,
		   uint64_t list_iova, uint64_t *prp1, uint64_t *prp2)
{
	struct prp_cursor at = *cursor;
	uint64_t total = 0, address, bytes;
	unsigned entries = 0;

	while (total < max_bytes && entries <= PRP_LIST_ENTRIES &&
	       (bytes = next_piece(&at, max_bytes - total, &address))) {
		if (entries && address % PRP_PAGE)
			break;
		if (entries)
			list[entries - 1] = address;
		else
			*prp1 = address;
		entries++;
		total += bytes;
		advance(&at, bytes);
		if ((address + bytes) % PRP_PAGE)
			break;
	}
	total -= total % granule;
	*prp2 = entries <= 1 ? 0 : entries == 2 ? list[0] : list_iova;
	advance(cursor, total);
	return total;
}
