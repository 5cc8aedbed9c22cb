// SPDX-License-Identifier: MIT
/* The same tests on the VFIO bus of a guest (tests/guest/integration.sh), and what differs there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

bool rig_on_vfio(void)
{
	const char *bus = getenv("RIG_BUS");

	return bus && !strcmp(bus, "vfio");
}

/* Over all drivers. */
static int64_t stat_of(struct rig *rig, const char *key)
{
	return rig_sum(rig, "stats", "", key);
}

/* VFIO accounts what it pins as memory that pcid has locked. */
static int64_t pinned_bytes(struct rig *rig)
{
	long long kib = -1;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", rig->pid);
	file = fopen(path, "re");
	while (file && kib < 0 && fgets(line, sizeof(line), file))
		sscanf(line, "VmLck: %lld", &kib);
	if (file)
		fclose(file);
	return kib * 1024;
}

unsigned rig_pools(struct rig *rig)
{
	if (!rig_on_vfio())
		return rig_dimms(rig);
	if (RIG_UNTIL(pinned_bytes(rig) == stat_of(rig, "mapped_bytes")))
		return (unsigned)stat_of(rig, "pools");
	fprintf(stderr, "pcid says that it has mapped %lld bytes, and %lld are pinned\n",
		(long long)stat_of(rig, "mapped_bytes"), (long long)pinned_bytes(rig));
	return 0;
}
