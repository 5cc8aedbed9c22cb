/* SPDX-License-Identifier: MIT */
/*
 * What one user may have: all the consumers that run as one uid together, as the kernel told it
 * when each connected (SO_PEERCRED), so that however many connections a user opens, another one
 * finds room. Root is a user like others, and so is the producer's own. One process's schemes may
 * share the account: disks of one controller use the same memory slots, addresses and quota.
 */
#ifndef PCIDIPC_USERS_H
#define PCIDIPC_USERS_H

#include <pcidipc/list.h>
#include <stdint.h>

/* Set the limits before the first scheme is served; 0 is no limit. It stays in place as long as the
 * schemes. Used by the loop's thread only. */
struct pcidipc_users {
	uint32_t max_sessions;	   /* connections, those without a hello among them */
	uint32_t max_pools;	   /* attached */
	uint64_t max_pool_bytes;   /* their sizes: addresses */
	uint64_t max_mapped_bytes; /* of them, in whole chunks, that the device reaches: memory */

	struct pcidipc_list users; /* the library's; zero it */
};

#endif
