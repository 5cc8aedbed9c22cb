/* SPDX-License-Identifier: MIT */
/* A bus of one function, made of memory: for pcid's core without any device. Used on the core's
 * thread. */
#ifndef FAKE_BUS_H
#define FAKE_BUS_H

#include <pcid/bus.h>

#define FAKE_MSIX_TABLE 0x2000u
#define FAKE_MSIX_PBA 0x3000u
#define FAKE_REGS 0x4000u

struct fake_bus {
	struct pcid_bus bus;
	struct pcid_function f;
	uint8_t config[4096];
	uint8_t regs[FAKE_REGS];
	unsigned offered; /* vectors */
	bool maskable;
	bool masked[64], pending[64];
	int efd[64]; /* the device's own copies */
	unsigned nvec;
	bool full;	 /* posted requests get -EAGAIN */
	unsigned room;	 /* how many a full bus takes first */
	int reset_error; /* what reset answers */
	bool hold_reset; /* it takes its time */
	uint64_t next_iova;
	unsigned mask_calls, maps, attached;
	char log[4096]; /* order of what happened: one letter each, see fake_bus.c */
};

struct fake_bus *fake_bus_create(struct pcidipc_loop *loop);
void fake_bus_destroy(struct fake_bus *fake);
/* The device raises vector i. */
void fake_bus_fire(struct fake_bus *fake, unsigned i);
/* The bus takes posted requests again. */
void fake_bus_drain(struct fake_bus *fake);

#endif
