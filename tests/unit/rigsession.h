/* SPDX-License-Identifier: MIT */
/* The rig's producer, and a session with it. For one test program each. */
#ifndef RIGSESSION_H
#define RIGSESSION_H

#include "harness.h"

static struct rig rig;
static struct pcidipc_consumer *c;

static void start(uint32_t sq, uint32_t cq)
{
	rig_start(&rig, NULL);
	c = rig_open(&rig, sq, cq);
	rig_expect(&rig, "O0");
}

static void stop(void)
{
	rig_stop(&rig);
	pcidipc_consumer_close(c);
}

#endif
