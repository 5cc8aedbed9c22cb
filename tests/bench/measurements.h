/* SPDX-License-Identifier: MIT */
/* Every measurement there is. groups.c says what is compared with what. */
#ifndef MEASUREMENTS_H
#define MEASUREMENTS_H

#include "bench.h"

/* floor.c, ring.c, rtering.c, iouring.c, pingpong.c */
extern const struct bench_measurement bench_floor;
extern const struct bench_measurement bench_ring_rtt, bench_ring_sleep_rtt, bench_ring_nops;
extern const struct bench_measurement bench_rte_rtt, bench_rte_nops;
extern const struct bench_measurement bench_uring_rtt, bench_uring_nops, bench_sqpoll_rtt, bench_sqpoll_nops;
extern const struct bench_measurement bench_eventfd_rtt, bench_futex_rtt, bench_socket_rtt;
/* alloc.c */
extern const struct bench_measurement bench_pool, bench_malloc;

#endif
