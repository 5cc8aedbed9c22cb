/* SPDX-License-Identifier: MIT */
/* Every measurement there is. groups.c says what is compared with what. */
#ifndef MEASUREMENTS_H
#define MEASUREMENTS_H

#include "bench.h"

/* floor.c, ring.c, rtering.c, iouring.c, pingpong.c */
extern const struct bench_measurement bench_floor;
extern const struct bench_measurement bench_ring_rtt, bench_ring_sleep_rtt, bench_ring_nops;
extern const struct bench_measurement bench_rte_rtt, bench_rte_nops;
extern const struct bench_measurement bench_uring_rtt, bench_uring_nops, bench_sqpoll_rtt,
	bench_sqpoll_nops;
extern const struct bench_measurement bench_eventfd_rtt, bench_futex_rtt, bench_socket_rtt;
/* alloc.c */
extern const struct bench_measurement bench_pool, bench_malloc;
/* mask.c */
extern const struct bench_measurement bench_mask, bench_mask_posted, bench_mask_socket,
	bench_mask_socket_posted;
/* nvme.c */
extern const struct bench_measurement bench_nvme_512_1, bench_nvme_512_32, bench_nvme_512_128;
extern const struct bench_measurement bench_nvme_4k_1, bench_nvme_4k_32, bench_nvme_4k_128;
/* usb.c */
extern const struct bench_measurement bench_bot_seq, bench_bot_4k_1, bench_bot_4k_32;
extern const struct bench_measurement bench_uas_seq, bench_uas_4k_1, bench_uas_4k_32;
/* clients.c */
extern const struct bench_measurement bench_clients_1, bench_clients_8, bench_clients_64;
extern const struct bench_measurement bench_serial_1, bench_serial_8, bench_serial_64;
extern const struct bench_measurement bench_beside_equal, bench_beside_greedy;
/* footprint.c */
extern const struct bench_measurement bench_memory, bench_idle, bench_start;

#endif
