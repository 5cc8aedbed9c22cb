/* SPDX-License-Identifier: MIT */
/* Landlock: an empty rule set, so that what it handles is denied everywhere. */
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

#ifndef SYS_landlock_create_ruleset /* the same numbers on every architecture */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif

#define ASK_VERSION 1u /* LANDLOCK_CREATE_RULESET_VERSION */

/* As struct landlock_ruleset_attr is since version 6; the size tells how much of it is meant. */
struct ruleset {
	uint64_t files;	 /* rights, bit by bit */
	uint64_t ports;	 /* bind, connect */
	uint64_t scoped; /* abstract sockets, signals */
};

/* What each version of Landlock can deny. */
static const struct {
	struct ruleset denied;
	size_t bytes;
} versions[] = {
	{{.files = 0x1fff}, offsetof(struct ruleset, ports)},
	{{.files = 0x3fff}, offsetof(struct ruleset, ports)},		     /* moving */
	{{.files = 0x7fff}, offsetof(struct ruleset, ports)},		     /* truncating */
	{{.files = 0x7fff, .ports = 3}, offsetof(struct ruleset, scoped)},   /* TCP */
	{{.files = 0xffff, .ports = 3}, offsetof(struct ruleset, scoped)},   /* ioctl of devices */
	{{.files = 0xffff, .ports = 3, .scoped = 3}, sizeof(struct ruleset)} /* scopes */
};
#define NEWEST (long)(sizeof(versions) / sizeof(*versions))

bool sandbox_landlock(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION), fd, ret;

	if (version < 1)
		return false;
	if (version > NEWEST)
		version = NEWEST;
	fd = syscall(SYS_landlock_create_ruleset, &versions[version - 1].denied,
		     versions[version - 1].bytes, 0);
	if (fd < 0)
		return false;
	ret = syscall(SYS_landlock_restrict_self, (int)fd, 0);
	close((int)fd);
	return !ret;
}
