// SPDX-License-Identifier: MIT
/* What is measured together, what is compared with what, and what it should come to. */
#include "measurements.h"

#define MEASUREMENTS(...) (const struct bench_measurement *const[]){__VA_ARGS__, NULL}
#define LINES(...) (const struct bench_line[]){__VA_ARGS__, {0}}

static const struct bench_group round_trip = {
	.name = "roundtrip",
	.title = "Round trip of one NOP",
	.rounds = 51,
	.measurements = MEASUREMENTS(&bench_floor, &bench_ring_rtt, &bench_rte_rtt, &bench_uring_rtt,
				     &bench_sqpoll_rtt),
	.lines = LINES({"ring_rtt_ns", "floor_rtt_ns", "ring_rtt_floor_ratio", BENCH_AT_MOST, 1.6},
		       {"ring_rtt_ns", "rte_ring_rtt_ns", "ring_rtt_rte_ring_ratio", BENCH_NO_GOAL, 0},
		       {"ring_rtt_ns", "io_uring_rtt_ns", "ring_rtt_io_uring_ratio", BENCH_NO_GOAL, 0},
		       {"ring_rtt_ns", "sqpoll_rtt_ns", "ring_rtt_sqpoll_ratio", BENCH_NO_GOAL, 0}),
};

static const struct bench_group asleep = {
	.name = "asleep",
	.title = "Round trip where both sides sleep",
	.rounds = 31,
	.measurements = MEASUREMENTS(&bench_ring_sleep_rtt, &bench_eventfd_rtt, &bench_futex_rtt, &bench_socket_rtt),
	.lines = LINES({"ring_sleep_rtt_ns", "eventfd_rtt_ns", "ring_sleep_rtt_eventfd_ratio", BENCH_NO_GOAL, 0},
		       {"ring_sleep_rtt_ns", "futex_rtt_ns", "ring_sleep_rtt_futex_ratio", BENCH_NO_GOAL, 0},
		       {"ring_sleep_rtt_ns", "socket_rtt_ns", "ring_sleep_rtt_socket_ratio", BENCH_NO_GOAL, 0}),
};

static const struct bench_group rate = {
	.name = "rate",
	.title = "NOPs per second",
	.rounds = 51,
	.measurements = MEASUREMENTS(&bench_ring_nops, &bench_sqpoll_nops, &bench_rte_nops, &bench_uring_nops),
	.lines = LINES({"ring_nops_per_s", "sqpoll_nops_per_s", "ring_nops_sqpoll_ratio", BENCH_AT_LEAST, 2},
		       {"ring_nops_per_s", "rte_ring_nops_per_s", "ring_nops_rte_ring_ratio", BENCH_AT_LEAST, 1},
		       {"ring_nops_per_s", "io_uring_nops_per_s", "ring_nops_io_uring_ratio", BENCH_NO_GOAL, 0}),
};

static const struct bench_group allocation = {
	.name = "pool",
	.title = "Memory: 512 bytes to 128 KiB, at random, 256 buffers at a time",
	.rounds = 51,
	.measurements = MEASUREMENTS(&bench_pool, &bench_malloc),
	.lines = LINES({"pool_alloc_free_ns", "malloc_free_ns", "pool_malloc_ratio", BENCH_AT_MOST, 1}),
};

const struct bench_group *const bench_groups[] = {&round_trip, &asleep, &rate, &allocation, NULL};
