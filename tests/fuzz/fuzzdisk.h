/* SPDX-License-Identifier: MIT */
/* A disk of nothing behind pcidipc_disk_serve, in the fuzzer's own process, which checks what the
 * helper promises. */
#ifndef FUZZDISK_H
#define FUZZDISK_H

#include <pcidipc/blockserve.h>

#include "fuzz.h"

#define FUZZDISK_BYTES (1u << 20)

/* How requests are answered from now on. */
enum fuzzdisk_mode {
	FUZZDISK_NOW,
	FUZZDISK_LATER, /* by fuzzdisk_complete */
	FUZZDISK_FAIL,
	FUZZDISK_MODES,
};

struct fuzzdisk {
	struct pcidipc_disk disk;
	enum fuzzdisk_mode mode;
	bool refuse_pools, refuse_growth;
	struct pcidipc_request *held; /* linked by next */
	unsigned opens, closes, attaches, detaches;
};

/* The one there is, made with the first call. */
struct fuzzdisk *fuzzdisk(void);
/* Serve this channel. */
void fuzzdisk_session(int channel, bool admin);
/* Complete the nth held request, counted from the newest; none, when there are fewer. */
void fuzzdisk_complete(unsigned nth, int res);
/* The consumers have gone: everything must come to its end, and nothing may be left. */
void fuzzdisk_settle(void);

#endif
