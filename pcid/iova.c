// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Addresses for pools in an IOMMU domain. Next fit: an address that was freed is used again as late
 * as possible, in the function's next domains too, so that a device that goes wrong hits nothing
 * rather than somebody else's memory. Extents start on a 2 MiB boundary for the sake of large IOMMU
 * pages, and never below 2 MiB: there an address that nobody set would lie.
 */
#include <errno.h>
#include <ringabi/ring.h>
#include <stdlib.h>

#include "iova.h"

#define ALIGN ((uint64_t)RINGABI_POOL_ALIGN)
#define LOWEST ALIGN
#define NOWHERE UINT64_MAX

static uint64_t align_up(uint64_t address)
{
	return address > UINT64_MAX - ALIGN ? NOWHERE : (address + ALIGN - 1) & ~(ALIGN - 1);
}

/* The lowest place in [from, last] that does not overlap what is used. */
static uint64_t fit(const struct pcid_iova *space, uint64_t from, uint64_t last, uint64_t bytes)
{
	uint64_t at = align_up(from);

	for (const struct pcid_iova_used *u = space->used; u && at != NOWHERE; u = u->next)
		if (u->last >= at && (u->start <= at || u->start - at < bytes))
			at = u->last == UINT64_MAX ? NOWHERE : align_up(u->last + 1);
	return at <= last && bytes - 1 <= last - at ? at : NOWHERE;
}

static uint64_t search(const struct pcid_iova *space, uint64_t from, uint64_t last, uint64_t bytes)
{
	for (unsigned i = 0; i < space->ranges; i++) {
		uint64_t start = space->range[i].start > from ? space->range[i].start : from;
		uint64_t end = space->range[i].last < last ? space->range[i].last : last;
		uint64_t at = fit(space, start, end, bytes);

		if (at != NOWHERE)
			return at;
	}
	return NOWHERE;
}

static void insert(struct pcid_iova *space, struct pcid_iova_used *new)
{
	struct pcid_iova_used **at = &space->used;

	while (*at && (*at)->start < new->start)
		at = &(*at)->next;
	new->next = *at;
	*at = new;
}

int pcid_iova_alloc(struct pcid_iova *space, uint64_t bytes, uint64_t last, uint64_t *iova)
{
	struct pcid_iova_used *new;
	uint64_t at = search(space, space->next > LOWEST ? space->next : LOWEST, last, bytes);

	if (at == NOWHERE)
		at = search(space, LOWEST, last, bytes);
	if (at == NOWHERE || !bytes)
		return -ENOSPC;
	new = malloc(sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->start = at;
	new->last = at + bytes - 1;
	insert(space, new);
	space->next = at + bytes;
	*iova = at;
	return 0;
}

void pcid_iova_free(struct pcid_iova *space, uint64_t iova)
{
	for (struct pcid_iova_used **at = &space->used; *at; at = &(*at)->next) {
		struct pcid_iova_used *u = *at;

		if (u->start != iova)
			continue;
		*at = u->next;
		free(u);
		return;
	}
}

void pcid_iova_free_all(struct pcid_iova *space)
{
	while (space->used)
		pcid_iova_free(space, space->used->start);
}
