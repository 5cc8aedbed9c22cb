/* SPDX-License-Identifier: MIT */
/* A loop, and a trace of what happened on it, a letter each. For one test program each. */
#ifndef LOOPTRACE_H
#define LOOPTRACE_H

#include <string.h>

#include "harness.h"

static struct pcidipc_loop *loop;
static char trace[128];

static void start(void)
{
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(rig_loop_flags, &loop), 0);
	trace[0] = 0;
}

static void stop(void)
{
	pcidipc_loop_destroy(loop);
}

static void say(char what)
{
	size_t n = strlen(trace);

	if (n + 1 < sizeof(trace)) {
		trace[n] = what;
		trace[n + 1] = 0;
	}
}

#endif
