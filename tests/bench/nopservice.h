/* SPDX-License-Identifier: MIT */
/* A producer that serves NOPs, in a process of its own, and a consumer connected to it. */
#ifndef NOPSERVICE_H
#define NOPSERVICE_H

#include <pcidipc/consumer.h>

#include "bench.h"

#define NOP_DEPTH 128

struct nop_service {
	struct bench_process producer;
	struct pcidipc_consumer *consumer;
	bool sleepy; /* neither side ever spins */
};

int nop_service_open(struct nop_service *service, bool sleepy);
void nop_service_close(struct nop_service *service);

/*
 * As if this process had one CPU: libpcidipc then does not spin. There is no option for that,
 * because no client needs one; so sysconf is replaced in this program. The measurement checks that
 * it took effect.
 */
void bench_one_cpu(bool one);

#endif
