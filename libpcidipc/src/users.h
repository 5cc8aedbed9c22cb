/* SPDX-License-Identifier: MIT */
/* Accounts of users: who has how much. */
#ifndef USERS_H
#define USERS_H

#include <pcidipc/users.h>
#include <stdbool.h>
#include <sys/types.h>

/* There while one of the user's sessions is. */
struct user {
	struct pcidipc_list link;
	struct pcidipc_users *users;
	uid_t uid;
	uint32_t sessions, pools;
	uint64_t pool_bytes, mapped_bytes;
};

/* Of a connected socket's other end; (uid_t)-1 when the kernel does not know. */
uid_t users_peer(int channel);
/* May one more of this uid connect? Otherwise a message that begins with `name`. */
bool users_admit(const struct pcidipc_users *users, uid_t uid, const char *name);
/* The account that a new session is counted in, or NULL: no memory. */
struct user *users_enter(struct pcidipc_users *users, uid_t uid);
/* The session is gone. */
void users_leave(struct user *user);

/* 0, or -EDQUOT with a message. What was taken is given back by the opposite. */
int users_take_pool(struct user *user, uint64_t bytes, const char *name);
void users_give_pool(struct user *user, uint64_t bytes);
int users_take_memory(struct user *user, uint64_t bytes, const char *name);
void users_give_memory(struct user *user, uint64_t bytes);

#endif
