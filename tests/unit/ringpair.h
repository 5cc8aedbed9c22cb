/* SPDX-License-Identifier: MIT */
/* A ring's two sides in one process, without their library. For one test program each. */
#ifndef RINGPAIR_H
#define RINGPAIR_H

#include <pcidipc/ring.h>
#include <unistd.h>

#include "suites.h"

#define NEAR_WRAP 0xfffffff0u

static struct pcidipc_producer_ring p;
static struct pcidipc_consumer_ring c;

/* A ring that has done `start` requests before. */
static void make(uint32_t sq, uint32_t cq, uint32_t features, uint32_t start)
{
	struct ringabi_ring *shared;
	int fd = -1;

	CU_ASSERT_EQUAL_FATAL(pcidipc_producer_ring_create(&p, sq, cq, features, &fd), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_ring_attach(&c, fd, features), 0);
	close(fd);
	shared = p.map.shared;
	shared->sq_tail = shared->sq_head = shared->cq_tail = shared->cq_head = start;
	p.sq_head = p.sq_head_told = p.sq_head_woke = p.sq_tail = start;
	p.cq_tail = p.cq_tail_told = p.cq_head = start;
	c.sqe_tail = c.sq_tail = c.sq_head = c.cq_head = c.cq_head_told = c.cq_tail = start;
}

static void unmake(void)
{
	pcidipc_producer_ring_unmap(&p);
	pcidipc_consumer_ring_unmap(&c);
}

#endif
