// SPDX-License-Identifier: MIT
/* What is measured together, what is compared with what, and what it should come to. */
#include "measurements.h"
#include "rig.h"

#define MEASUREMENTS(...)                         \
	(const struct bench_measurement *const[]) \
	{                                         \
		__VA_ARGS__, NULL                 \
	}
#define ALONE(name)                                \
	{                                          \
		name, NULL, NULL, BENCH_NO_GOAL, 0 \
	}
#define LINES(...)                  \
	(const struct bench_line[]) \
	{                           \
		__VA_ARGS__,        \
		{                   \
			0           \
		}                   \
	}

static const struct bench_group round_trip = {
	.name = "roundtrip",
	.title = "Round trip of one NOP",
	.rounds = 51,
	.measurements = MEASUREMENTS(&bench_floor, &bench_ring_rtt, &bench_rte_rtt,
				     &bench_uring_rtt, &bench_sqpoll_rtt),
	.lines = LINES(
		{"ring_rtt_ns", "floor_rtt_ns", "ring_rtt_floor_ratio", BENCH_AT_MOST, 1.6},
		{"ring_rtt_ns", "rte_ring_rtt_ns", "ring_rtt_rte_ring_ratio", BENCH_NO_GOAL, 0},
		{"ring_rtt_ns", "io_uring_rtt_ns", "ring_rtt_io_uring_ratio", BENCH_NO_GOAL, 0},
		{"ring_rtt_ns", "sqpoll_rtt_ns", "ring_rtt_sqpoll_ratio", BENCH_NO_GOAL, 0}),
};

static const struct bench_group asleep = {
	.name = "asleep",
	.title = "Round trip where both sides sleep",
	.rounds = 31,
	.measurements = MEASUREMENTS(&bench_ring_sleep_rtt, &bench_eventfd_rtt, &bench_futex_rtt,
				     &bench_socket_rtt),
	.lines = LINES({"ring_sleep_rtt_ns", "eventfd_rtt_ns", "ring_sleep_rtt_eventfd_ratio",
			BENCH_NO_GOAL, 0},
		       {"ring_sleep_rtt_ns", "futex_rtt_ns", "ring_sleep_rtt_futex_ratio",
			BENCH_NO_GOAL, 0},
		       {"ring_sleep_rtt_ns", "socket_rtt_ns", "ring_sleep_rtt_socket_ratio",
			BENCH_NO_GOAL, 0}),
};

static const struct bench_group rate = {
	.name = "rate",
	.title = "NOPs per second",
	.rounds = 51,
	.measurements = MEASUREMENTS(&bench_ring_nops, &bench_sqpoll_nops, &bench_rte_nops,
				     &bench_uring_nops),
	.lines = LINES({"ring_nops_per_s", "sqpoll_nops_per_s", "ring_nops_sqpoll_ratio",
			BENCH_AT_LEAST, 2},
		       {"ring_nops_per_s", "rte_ring_nops_per_s", "ring_nops_rte_ring_ratio",
			BENCH_AT_LEAST, 1},
		       {"ring_nops_per_s", "io_uring_nops_per_s", "ring_nops_io_uring_ratio",
			BENCH_NO_GOAL, 0}),
};

static const struct bench_group allocation = {
	.name = "pool",
	.title = "Memory: 512 bytes to 128 KiB, at random, 256 buffers at a time",
	.rounds = 51,
	.measurements = MEASUREMENTS(&bench_pool, &bench_malloc),
	.lines = LINES(
		{"pool_alloc_free_ns", "malloc_free_ns", "pool_malloc_ratio", BENCH_AT_MOST, 1}),
};

static const struct bench_group masks = {
	.name = "mask",
	.title = "Mask and unmask of a vector whose mask pcid keeps",
	.rounds = 31,
	.setup = rig_setup,
	.teardown = rig_teardown,
	.measurements = MEASUREMENTS(&bench_mask, &bench_mask_socket, &bench_mask_posted,
				     &bench_mask_socket_posted),
	.lines = LINES({"mask_unmask_per_s", "mask_unmask_socket_per_s", "mask_unmask_socket_ratio",
			BENCH_AT_LEAST, 5},
		       {"mask_unmask_posted_per_s", "mask_unmask_socket_posted_per_s",
			"mask_unmask_socket_posted_ratio", BENCH_NO_GOAL, 0}),
};

#define READ_LINES(key, calls)                                                             \
	ALONE(key "_iops"), ALONE(key "_cpu_us"), ALONE(key "_pcid_cpu_us"), ALONE(calls), \
		ALONE(key "_register_writes")

static const struct bench_group reads = {
	.name = "nvme",
	.title = "Random reads on QEMU's NVMe controller, per read",
	.rounds = 11,
	.setup = rig_setup,
	.teardown = rig_teardown,
	.measurements = MEASUREMENTS(&bench_nvme_512_1, &bench_nvme_512_32, &bench_nvme_512_128,
				     &bench_nvme_4k_1, &bench_nvme_4k_32, &bench_nvme_4k_128),
	.lines = LINES(READ_LINES("nvme_512_qd1", "nvme_512_qd1_syscalls"),
		       READ_LINES("nvme_512_qd32", "nvme_syscalls_per_io"),
		       READ_LINES("nvme_512_qd128", "nvme_512_qd128_syscalls"),
		       READ_LINES("nvme_4k_qd1", "nvme_4k_qd1_syscalls"),
		       READ_LINES("nvme_4k_qd32", "nvme_4k_qd32_syscalls"),
		       READ_LINES("nvme_4k_qd128", "nvme_4k_qd128_syscalls")),
};

#define STICK_LINES(key, rate)                                         \
	ALONE(key rate), ALONE(key "_cpu_us"), ALONE(key "_syscalls"), \
		ALONE(key "_register_writes"),                         \
	{                                                              \
		key "_touched_per_byte", NULL, NULL, BENCH_AT_MOST, 0  \
	}

static const struct bench_group sticks = {
	.name = "usb",
	.title = "Reads of null-backed sticks on QEMU's xHCI controller, per read",
	.rounds = 7,
	.setup = rig_setup_sticks,
	.teardown = rig_teardown,
	.measurements = MEASUREMENTS(&bench_bot_seq, &bench_bot_4k_1, &bench_bot_4k_32,
				     &bench_uas_seq, &bench_uas_4k_1, &bench_uas_4k_32),
	.lines = LINES(
		STICK_LINES("qemu_bot_seq", "_mib_s"), STICK_LINES("qemu_bot_4k_qd1", "_iops"),
		STICK_LINES("qemu_bot_4k_qd32", "_iops"), STICK_LINES("qemu_uas_seq", "_mib_s"),
		STICK_LINES("qemu_uas_4k_qd1", "_iops"), STICK_LINES("qemu_uas_4k_qd32", "_iops")),
};

static const struct bench_group clients = {
	.name = "clients",
	.title = "Several clients of that controller, 512 bytes",
	.rounds = 9,
	.setup = rig_setup,
	.teardown = rig_teardown,
	.measurements = MEASUREMENTS(&bench_clients_1, &bench_clients_8, &bench_clients_64,
				     &bench_serial_1, &bench_serial_8, &bench_serial_64,
				     &bench_beside_greedy, &bench_beside_equal),
	.lines = LINES({"nvme_clients_8_iops", "nvme_clients_1_iops", "nvme_clients_8_ratio",
			BENCH_AT_LEAST, 0.95},
		       {"nvme_clients_64_iops", "nvme_clients_1_iops", "nvme_clients_64_ratio",
			BENCH_AT_LEAST, 0.95},
		       {"serial_clients_8_iops", "serial_clients_1_iops", "serial_clients_8_ratio",
			BENCH_NO_GOAL, 0},
		       {"serial_clients_64_iops", "serial_clients_1_iops",
			"serial_clients_64_ratio", BENCH_NO_GOAL, 0},
		       {"nvme_beside_greedy_iops", "nvme_beside_equal_iops", "nvme_fairness_ratio",
			BENCH_NO_GOAL, 0}),
};

static const struct bench_group footprint = {
	.name = "memory",
	.title = "Memory, and rest",
	.rounds = 1,
	.setup = rig_setup,
	.teardown = rig_teardown,
	.measurements = MEASUREMENTS(&bench_idle, &bench_memory),
	.lines = LINES({"pcid_rss_kib", NULL, NULL, BENCH_AT_MOST, 6144},
		       {"nvmed_rss_kib", NULL, NULL, BENCH_AT_MOST, 6144}, ALONE("pcid_pss_kib"),
		       ALONE("nvmed_pss_kib"), {"client_rss_kib", NULL, NULL, BENCH_AT_MOST, 64},
		       {"idle_wakeups", NULL, NULL, BENCH_AT_MOST, 0}),
};

static const struct bench_group start = {
	.name = "start",
	.title = "From the start to the first block read",
	.rounds = 5,
	.measurements = MEASUREMENTS(&bench_start),
	.lines = LINES({"start_to_first_read_ms", NULL, NULL, BENCH_AT_MOST, 1000},
		       ALONE("qemu_start_ms")),
};

const struct bench_group *const bench_groups[] = {&round_trip, &asleep, &rate,	 &allocation,
						  &masks,      &reads,	&sticks, &clients,
						  &footprint,  &start,	NULL};
