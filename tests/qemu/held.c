// SPDX-License-Identifier: MIT
#include "held.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "procfs.h"

#define GROWTH_KIB 768 /* what allocators keep */
#define GROWTH_MAPS 16

static const char *const names[HELD] = {"pcid", "QEMU", "nvmed", "xhcid", "usbscsid"};

void held_count(struct rig *rig, struct held *held)
{
	struct daemons d = rig_daemons(rig);
	pid_t pids[HELD] = {d.pcid, d.qemu};

	memset(held, 0, sizeof(*held));
	for (unsigned i = 0; i < HELD; i++) {
		if (i >= 2)
			pids[i] = (pid_t)rig_number(rig, "drivers", names[i], "pid");
		if (pids[i] > 0)
			leaks_count(pids[i], &held->of[i]);
	}
	held->pools = rig_pools(rig);
}

/* QEMU's own memory is not ours to judge, and a sanitizer keeps what was freed. */
static bool has_grown(unsigned i, const struct leaks *now, const struct leaks *was)
{
#ifdef __SANITIZE_ADDRESS__
	(void)i, (void)now, (void)was;
	return false;
#else
	return i != 1 &&
	       (now->anon_kib > was->anon_kib + GROWTH_KIB || now->maps > was->maps + GROWTH_MAPS);
#endif
}

/* What must not grow at all. It may have been more: QEMU closes what it was told to a little late.
 */
static bool no_more(const struct held *now, const struct held *was)
{
	for (unsigned i = 0; i < HELD; i++)
		if (now->of[i].fds > was->of[i].fds ||
		    now->of[i].shared_maps > was->of[i].shared_maps)
			return false;
	return now->pools <= was->pools;
}

static bool same(const struct held *now, const struct held *was)
{
	for (unsigned i = 0; i < HELD; i++)
		if (has_grown(i, &now->of[i], &was->of[i]))
			return false;
	return no_more(now, was);
}

static void say(const struct held *now, const struct held *was)
{
	fprintf(stderr, "%u pools, %u were\n", now->pools, was->pools);
	for (unsigned i = 0; i < HELD; i++)
		fprintf(stderr,
			"%s: %u file descriptors, %u were; %u mappings of memfds, %u were; %u "
			"mappings "
			"in all, %u were; %u KiB, %u were\n",
			names[i], now->of[i].fds, was->of[i].fds, now->of[i].shared_maps,
			was->of[i].shared_maps, now->of[i].maps, was->of[i].maps,
			now->of[i].anon_kib, was->of[i].anon_kib);
}

bool held_again(struct rig *rig, const struct held *was)
{
	struct held now;

	if (RIG_UNTIL((held_count(rig, &now), same(&now, was))))
		return true;
	say(&now, was);
	return false;
}

void held_over(struct rig *rig, void (*once)(uint32_t round, const void *arg), const void *arg)
{
	struct held first, then;

	held_count(rig, &first);
	once(1, arg);
	CU_ASSERT_TRUE(RIG_UNTIL((held_count(rig, &then), no_more(&then, &first))));
	if (!no_more(&then, &first))
		say(&then, &first);
	for (uint32_t round = 2; round <= 4; round++)
		once(round, arg);
	CU_ASSERT_TRUE(held_again(rig, &then));
}
