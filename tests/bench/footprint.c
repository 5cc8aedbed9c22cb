// SPDX-License-Identifier: MIT
/* Memory of the daemons, the time to the first block, and what they do when nothing happens. */
#include "measurements.h"

#include <string.h>
#include <time.h>

#include "client.h"
#include "rig.h"

#define CLIENTS 32
#define IDLE_S 2

static int setup(const struct bench_measurement *m, void **state)
{
	(void)m;
	*state = NULL;
	return 0;
}

static void teardown(void *state)
{
	(void)state;
}

static double switches(void)
{
	return rig_switches(rig.pcid) + rig_switches(rig.nvmed);
}

/* Until the daemons have done with clients that came or went: quiet for `ms`, or 50 times no quiet.
 */
static void settle(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	double before = -1;

	for (unsigned i = 0; i < 50 && switches() != before; i++) {
		before = switches();
		nanosleep(&t, NULL);
	}
}

static double both_rss(void)
{
	settle(100);
	return rig_rss_kib(rig.pcid) + rig_rss_kib(rig.nvmed);
}

/* ---- memory ---- */

/* With one client, which has read; then with CLIENTS more of a client library's usual depth. */
static int memory(void *state, double *results)
{
	struct client_process first, more[CLIENTS];
	int ret = client_spawn(&first, rig.disk, 4096, 128);
	unsigned n = 0;
	double before;

	(void)state;
	if (ret)
		return ret;
	before = both_rss();
	results[0] = rig_rss_kib(rig.pcid);
	results[1] = rig_rss_kib(rig.nvmed);
	results[2] = rig_pss_kib(rig.pcid);
	results[3] = rig_pss_kib(rig.nvmed);
	while (n < CLIENTS && !ret) {
		ret = client_spawn(&more[n], rig.disk, 4096, 128);
		n += !ret;
	}
	if (!ret)
		results[4] = (both_rss() - before) / CLIENTS;
	else
		fprintf(stderr, "bench: client %u of %d: %s\n", n + 2, CLIENTS + 1, strerror(-ret));
	while (n--)
		client_kill(&more[n]);
	client_kill(&first);
	return 0; /* the others stand */
}

const struct bench_measurement bench_memory = {
	.values =
		(const struct bench_value[]){
			{"pcid_rss_kib", "pcid's memory (Rss, without pools)", "KiB"},
			{"nvmed_rss_kib", "nvmed's memory (Rss, without pools)", "KiB"},
			{"pcid_pss_kib", "pcid's share of it (Pss)", "KiB"},
			{"nvmed_pss_kib", "nvmed's share of it (Pss)", "KiB"},
			{"client_rss_kib", "one client more, of depth 128, in both", "KiB"},
			{0}},
	.setup = setup,
	.round = memory,
	.teardown = teardown,
};

/* ---- idle ---- */

/* With a connected client that asks for nothing. */
static int idle(void *state, double *results)
{
	struct timespec t = {.tv_sec = IDLE_S};
	struct client_process client;
	int ret = client_spawn(&client, rig.disk, 4096, 128);
	double before;

	(void)state;
	if (ret)
		return ret;
	settle(1200); /* a second after the last command nvmed's clock of timeouts stops */
	before = switches();
	nanosleep(&t, NULL);
	results[0] = switches() - before;
	client_kill(&client);
	return 0;
}

const struct bench_measurement bench_idle = {
	.values =
		(const struct bench_value[]){
			{"idle_wakeups", "wake-ups of pcid and nvmed in 2 idle seconds", ""}, {0}},
	.setup = setup,
	.round = idle,
	.teardown = teardown,
};

/* ---- the start ---- */

static int first_read(struct rig *r)
{
	struct client client;
	int ret = client_open(&client, r->disk, 4096, 1);

	if (ret)
		return ret;
	ret = client_step(&client);
	if (!ret)
		ret = client_drain(&client);
	client_close(&client);
	return ret;
}

static int start(void *state, double *results)
{
	double qemu = rig_qemu_start() / 1e6;
	uint64_t begin = bench_now();
	double total;
	struct rig r;
	int ret = rig_start(&r);

	(void)state;
	if (ret)
		return ret;
	ret = first_read(&r);
	total = (double)(bench_now() - begin) / 1e6;
	rig_stop(&r);
	results[0] = total - qemu;
	results[1] = qemu;
	return ret;
}

const struct bench_measurement bench_start = {
	.values =
		(const struct bench_value[]){
			{"start_to_first_read_ms", "pcid's start to the first block, beyond QEMU's",
			 "ms"},
			{"qemu_start_ms", "QEMU's own start, for comparison", "ms"},
			{0}},
	.setup = setup,
	.round = start,
	.teardown = teardown,
};
