/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PCID_BREATHER_H
#define PCID_BREATHER_H

#include <pcidipc/loop.h>

/* Zero it before use; cancel it before its watch is removed for good. */
struct pcid_breather {
	struct pcidipc_timer timer;
	struct pcidipc_watch *watch;
};
/* accept failed with `error` (errno's, positive): look at the socket again later. */
void pcid_breathe(struct pcid_breather *breather, struct pcidipc_watch *watch, int error);
void pcid_breather_cancel(struct pcid_breather *breather);

#endif
