// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The user that a driver runs as. Where the configuration names none, each driver has one to
 * itself, so that no driver can signal or trace another one: a number out of a range that is
 * pcid's, which needs no entry in /etc/passwd.
 */
#include <pcidipc/log.h>
#include <stdio.h>

#include "driver.h"

static bool uid_used(const struct pcid_driver *d, uid_t uid)
{
	pcidipc_list_for_each(other, &d->pcid->drivers, struct pcid_driver, link)
		if (other != d && other->uid == uid)
			return true;
	return false;
}

/* In a container there may be no such numbers. Without user namespaces there is no such file. */
static bool mapped(const char *map, uid_t id)
{
	FILE *file = fopen(map, "re");
	unsigned long inside, outside, count;
	bool found = !file;

	while (!found && fscanf(file, "%lu %lu %lu", &inside, &outside, &count) == 3)
		found = id >= inside && id - inside < count;
	if (file)
		fclose(file);
	return found;
}

/* The lowest that no other driver has. */
static const char *take_own(struct pcid_driver *d)
{
	const struct pcid_config *config = d->pcid->config;
	unsigned n = 0;

	while (n < config->driver_uids && uid_used(d, config->first_driver_uid + n))
		n++;
	if (n == config->driver_uids)
		return n ? "all of driver_uids are in use" : NULL;
	if (!mapped("/proc/self/uid_map", config->first_driver_uid + n) ||
	    !mapped("/proc/self/gid_map", config->first_driver_uid + n))
		return "the numbers from first_driver_uid on do not exist in this user namespace";
	d->uid = config->first_driver_uid + n;
	d->gid = d->uid;
	return NULL;
}

void pcid_driver_take_user(struct pcid_driver *d)
{
	const char *why;

	d->uid = d->stanza->uid;
	d->gid = d->stanza->gid;
	if (d->uid != PCID_OWN_ID)
		return;
	d->uid = d->gid = PCID_NOBODY;
	why = take_own(d);
	if (why)
		pcidipc_warn("%s: no user of its own, but nobody: %s", d->name, why);
}
