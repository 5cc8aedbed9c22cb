/* SPDX-License-Identifier: MIT */
#include "users.h"

#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <sys/socket.h>

uid_t users_peer(int channel)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);

	return getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &cred, &n) ? (uid_t)-1 : cred.uid;
}

/* ---- sessions ---- */

static struct user *find(const struct pcidipc_users *users, uid_t uid)
{
	if (!users->users.next)
		return NULL;
	pcidipc_list_for_each(user, &users->users, struct user, link)
		if (user->uid == uid)
			return user;
	return NULL;
}

bool users_admit(const struct pcidipc_users *users, uid_t uid, const char *name)
{
	const struct user *user = find(users, uid);

	if (!user || !users->max_sessions || user->sessions < users->max_sessions)
		return true;
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: user %u has %u connections, the limit for one user; one more "
				"turned away",
				name, (unsigned)uid, user->sessions);
	return false;
}

struct user *users_enter(struct pcidipc_users *users, uid_t uid)
{
	struct user *user = find(users, uid);

	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return NULL;
		user->users = users;
		user->uid = uid;
		if (!users->users.next)
			pcidipc_list_init(&users->users);
		pcidipc_list_append(&users->users, &user->link);
	}
	user->sessions++;
	return user;
}

void users_leave(struct user *user)
{
	if (--user->sessions)
		return;
	pcidipc_list_remove(&user->link);
	free(user);
}

/* ---- pools ---- */

static bool exceeds(uint64_t used, uint64_t more, uint64_t limit)
{
	return limit && (used > limit || more > limit - used);
}

static int refuse_bytes(const struct user *user, const char *name, const char *what, uint64_t used,
			uint64_t more, uint64_t limit)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: user %u has %llu MiB %s and wants %llu more, the limit for "
				"one user is %llu",
				name, (unsigned)user->uid, (unsigned long long)used >> 20, what,
				(unsigned long long)more >> 20, (unsigned long long)limit >> 20);
	return -EDQUOT;
}

int users_take_pool(struct user *user, uint64_t bytes, const char *name)
{
	const struct pcidipc_users *limits = user->users;

	if (exceeds(user->pools, 1, limits->max_pools)) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: user %u has %u pools, the limit for one user; one "
					"more was refused",
					name, (unsigned)user->uid, user->pools);
		return -EDQUOT;
	}
	if (exceeds(user->pool_bytes, bytes, limits->max_pool_bytes))
		return refuse_bytes(user, name, "of pools", user->pool_bytes, bytes,
				    limits->max_pool_bytes);
	user->pools++;
	user->pool_bytes += bytes;
	return 0;
}

void users_give_pool(struct user *user, uint64_t bytes)
{
	user->pools--;
	user->pool_bytes -= bytes;
}

int users_take_memory(struct user *user, uint64_t bytes, const char *name)
{
	uint64_t limit = user->users->max_mapped_bytes;

	if (exceeds(user->mapped_bytes, bytes, limit))
		return refuse_bytes(user, name, "mapped for the device", user->mapped_bytes, bytes,
				    limit);
	user->mapped_bytes += bytes;
	return 0;
}

void users_give_memory(struct user *user, uint64_t bytes)
{
	user->mapped_bytes -= bytes;
}
