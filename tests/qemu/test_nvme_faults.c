// SPDX-License-Identifier: MIT
/* Controllers that take too long, that are pulled out, and that are told to stop, all under load:
 * who suffers from it, who does not, and that the data is right afterwards. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "monitor.h"

#define MIB (1u << 20)
#define PIECE (16u << 10)
#define PIECES 24u
#define POOL_BYTES (8u << 20)
#define SLOTTED 8u /* controllers that the slot sees one after the other */

/* nvme0: namespaces a and b, with a short timeout; a can be frozen. nvme1: d, left alone. nvme2: c,
 * in a slot. */
static struct rig rig;

/* The impatient one is for those with use-intel-id=on. */
static const char config[] = RIG_NVMED("") "driver \"nvmed-impatient\" {\n"
					   "	vendor = 0x8086\n"
					   "	device = 0x5845\n"
					   "	command = \"nvmed\"\n"
					   "	args = { \"--timeout\", \"2\" }\n"
					   "	service = \"nvme\"\n"
					   "}\n";

/* One byte in a second: nothing that begins now ends, until it is let go or drained. */
static bool freeze(bool frozen)
{
	return monitor_throttle(&rig, "da", frozen);
}

static unsigned count_logged(const char *text)
{
	FILE *log = fopen(rig.log, "re");
	char *line = NULL;
	size_t room = 0;
	unsigned n = 0;

	while (log && getline(&line, &room, log) > 0)
		n += strstr(line, text) != NULL;
	free(line);
	if (log)
		fclose(log);
	return n;
}

/* ---- a neighbour that works all the while ---- */

struct neighbour {
	pid_t pid;
	volatile uint32_t *progress;
};

static void neighbour_start(struct neighbour *n, const char *disk)
{
	struct work work = {.disk = disk,
			    .first = 8u * MIB,
			    .bytes = 8u * MIB,
			    .depth = 8,
			    .largest = 64u << 10,
			    .pool_bytes = POOL_BYTES,
			    .stride = 128u << 10,
			    .seed = 9};

	n->progress = work.progress = shared_words();
	n->pid = work_fork(&work);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(*n->progress > 0));
}

static bool goes_on(const struct neighbour *n)
{
	uint32_t seen = *n->progress;

	return RIG_UNTIL(*n->progress > seen + 3);
}

static void neighbour_stop(struct neighbour *n)
{
	CU_ASSERT_TRUE(goes_on(n));
	kill(n->pid, SIGKILL);
	CU_ASSERT_EQUAL(work_wait(n->pid), -1);
}

/* Work until something fails; the errno. */
static pid_t victim_start(const char *disk, volatile uint32_t *progress)
{
	struct work work = {.disk = disk,
			    .first = 0,
			    .bytes = 8u * MIB,
			    .depth = 32,
			    .largest = 128u << 10,
			    .pool_bytes = POOL_BYTES,
			    .stride = 128u << 10,
			    .seed = 3,
			    .progress = progress};

	return work_fork(&work);
}

/* ---- a disk that takes too long ---- */

/* Piece i of the disk from piece i of the pool, all at once. */
static void queue_pieces(struct client *c)
{
	for (unsigned i = 0; i < PIECES; i++) {
		struct io_uring_sqe *sqe = pcidipc_get_sqe(c->consumer);

		CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
		io_uring_prep_write_fixed(sqe, 0, (void *)(uintptr_t)(i * PIECE), PIECE,
					  (uint64_t)i * PIECE, c->index);
		sqe->user_data = i;
	}
	CU_ASSERT_EQUAL(pcidipc_submit(c->consumer), 0);
}

/* Reap all pieces: how many timed out. Nothing fails but by a reset of the controller, of which the
 * log tells later. */
static unsigned reap_pieces(struct client *c, int results[PIECES])
{
	unsigned timeouts = 0;

	for (unsigned i = 0; i < PIECES; i++) {
		uint64_t piece = PIECES;
		int res = client_reap(c, &piece);

		CU_ASSERT_TRUE_FATAL(piece < PIECES);
		CU_ASSERT_TRUE(res == (int)PIECE || res == -ETIMEDOUT || res == -EIO);
		if (res < 0)
			CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "resetting the controller")));
		timeouts += res == -ETIMEDOUT;
		results[piece] = res;
	}
	return timeouts;
}

static void check_pieces(struct client *c, const int results[PIECES], uint64_t scratch)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < PIECES; i++)
		if (results[i] == (int)PIECE)
			wrong +=
				client_read(c, scratch, PIECE, (uint64_t)i * PIECE) != (int)PIECE ||
				memcmp(c->base + scratch, c->base + i * PIECE, PIECE);
	CU_ASSERT_EQUAL(wrong, 0);
}

static int64_t restarts(void)
{
	return rig_sum(&rig, "drivers", "nvmed", "restarts");
}

static void test_timeout(void)
{
	const uint64_t scratch = (uint64_t)PIECES * PIECE;
	struct neighbour other;
	int results[PIECES];
	uint32_t seed = 4;
	struct client c;

	neighbour_start(&other, "nvme1n1");
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme0n1", 0, POOL_BYTES), 0);
	fill_random(&seed, c.base, PIECES * PIECE);
	CU_ASSERT_TRUE(freeze(true));
	queue_pieces(&c);
	CU_ASSERT_TRUE(goes_on(&other));
	CU_ASSERT_TRUE(reap_pieces(&c, results) > 0);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "aborting it")));
	CU_ASSERT_TRUE(freeze(false));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "works again")));
	check_pieces(&c, results, scratch);
	queue_pieces(&c);
	CU_ASSERT_EQUAL(reap_pieces(&c, results), 0);
	check_pieces(&c, results, scratch);
	client_close(&c);
	neighbour_stop(&other);
	CU_ASSERT_EQUAL(restarts(), 0);
}

static unsigned resets(void)
{
	return count_logged("resetting the controller");
}

/* Another namespace of the same controller: what it has in flight may fail with the reset, and what
 * comes later does not. Who opens the disk meanwhile waits for it. */
static void test_timeout_neighbours(void)
{
	unsigned before = resets(), recovered = count_logged("works again"), failed = 0;
	struct client slow, other, late;
	int results[PIECES];

	CU_ASSERT_EQUAL_FATAL(client_open(&slow, "nvme0n1", 0, POOL_BYTES), 0);
	CU_ASSERT_EQUAL_FATAL(client_open(&other, "nvme0n2", 0, POOL_BYTES), 0);
	CU_ASSERT_TRUE(freeze(true));
	queue_pieces(&slow);
	for (unsigned i = 0; count_logged("works again") == recovered; i++) {
		int ret = client_write(&other, 0, 4096, 4096ull * (i % 1024));

		CU_ASSERT_TRUE(ret == 4096 || ret == -EIO || ret == -ETIMEDOUT);
		failed += ret != 4096;
		CU_ASSERT_EQUAL_FATAL(client_open(&late, "nvme0n2", 0, MIB), 0);
		client_close(&late);
		rig_pause();
	}
	CU_ASSERT_TRUE(failed <= resets() - before);
	CU_ASSERT_TRUE(freeze(false));
	CU_ASSERT_TRUE(reap_pieces(&slow, results) > 0);
	CU_ASSERT_EQUAL(client_read(&other, 0, 4096, 0), 4096);
	client_close(&slow);
	client_close(&other);
	CU_ASSERT_EQUAL(restarts(), 0);
}

/* The whole of it works as ever. */
static void test_after(void)
{
	struct work work = {.disk = "nvme0n1",
			    .bytes = 16u * MIB,
			    .depth = 16,
			    .largest = 256u << 10,
			    .rounds = 200,
			    .pool_bytes = 16u * MIB,
			    .stride = 256u << 10,
			    .seed = 6};

	CU_ASSERT_EQUAL(work_run(&work), 0);
	work.disk = "nvme0n2";
	CU_ASSERT_EQUAL(work_run(&work), 0);
}

/* ---- pulled out ---- */

static unsigned plugged; /* the number of the one in the slot */

/* Each with a node of its own on the same file: QEMU lets go of the last one in its own time. */
static bool plug(void)
{
	return monitor_do(&rig,
			  "\"execute\":\"device_add\",\"arguments\":{\"driver\":\"nvme\",\"id\":"
			  "\"slotted%u\",\"bus\":\"r1\",\"drive\":\"c%u\",\"serial\":\"c\"}",
			  plugged, plugged);
}

static bool unplug(void)
{
	return monitor_do(&rig, "\"execute\":\"device_del\",\"arguments\":{\"id\":\"slotted%u\"}",
			  plugged++);
}

/*
 * A guest's kernel takes the slot's power some time after it has let go of the function, and with
 * the power QEMU takes whatever is in the slot by then.
 */
static bool is_out(void)
{
	struct json_object *there = monitor_ask(&rig, "\"execute\":\"qom-list\",\"arguments\":{"
						      "\"path\":\"/machine/peripheral\"}");
	char id[32];
	bool out;

	snprintf(id, sizeof(id), "\"slotted%u\"", plugged - 1);
	out = there && !strstr(json_object_to_json_string(there), id);
	json_object_put(there);
	return out;
}

static bool opens(const char *disk)
{
	struct client c;
	int ret = client_open(&c, disk, 0, MIB);

	if (!ret)
		client_close(&c);
	return !ret;
}

static void pull_out(bool busy)
{
	struct neighbour same, other;
	volatile uint32_t *progress = shared_words();
	struct client idle;
	pid_t pid = 0;

	neighbour_start(&same, "nvme0n1");
	neighbour_start(&other, "nvme1n1");
	CU_ASSERT_EQUAL_FATAL(client_open(&idle, "nvme2n1", 0, MIB), 0);
	if (busy) {
		pid = victim_start("nvme2n1", progress);
		CU_ASSERT_TRUE(RIG_UNTIL(*progress > 5));
	}
	CU_ASSERT_TRUE(unplug());
	if (busy)
		CU_ASSERT_EQUAL(work_wait(pid), ENODEV);
	CU_ASSERT_TRUE(RIG_UNTIL(!opens("nvme2n1")));
	/* Before its connection ends as after it. */
	CU_ASSERT_EQUAL(client_read(&idle, 0, 4096, 0), -ENODEV);
	CU_ASSERT_TRUE(RIG_UNTIL(pcidipc_consumer_error(idle.consumer) == -ENODEV ||
				 client_read(&idle, 0, 4096, 0) != -ENODEV));
	CU_ASSERT_EQUAL(client_read(&idle, 0, 4096, 0), -ENODEV);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(idle.consumer), -ENOENT);
	client_close(&idle);
	CU_ASSERT_TRUE(goes_on(&same));
	CU_ASSERT_TRUE(goes_on(&other));
	CU_ASSERT_TRUE(RIG_UNTIL(is_out()));
	CU_ASSERT_TRUE(plug());
	CU_ASSERT_TRUE(RIG_UNTIL(opens("nvme2n1")));
	neighbour_stop(&same);
	neighbour_stop(&other);
}

static void test_pulled_busy(void)
{
	pull_out(true);
}

static void test_pulled_idle(void)
{
	pull_out(false);
}

static void test_pulled_again(void)
{
	for (unsigned i = 0; i < 3; i++)
		pull_out(true);
}

/* ---- told to stop ---- */

static bool on_image(const char *name, const struct client *c, unsigned piece)
{
	static unsigned char bytes[PIECE];
	char path[RIG_PATH];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.img", rig.dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = pread(fd, bytes, PIECE, (off_t)piece * PIECE);
	close(fd);
	return n == (ssize_t)PIECE && !memcmp(bytes, c->base + piece * PIECE, PIECE);
}

static bool write_piece(struct client *c, unsigned piece)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(c->consumer);

	if (!sqe)
		return false;
	io_uring_prep_write_fixed(sqe, 0, (void *)(uintptr_t)(piece * PIECE), PIECE,
				  (uint64_t)piece * PIECE, c->index);
	sqe->user_data = piece;
	return true;
}

/* Writes one piece after the other, over and over, until there is no disk any more. The error. */
static int write_until_stopped(struct client *c, bool acked[PIECES], unsigned stop_after)
{
	unsigned done = 0;
	uint64_t piece;
	int res;

	for (unsigned i = 0; i < PIECES; i++)
		CU_ASSERT_TRUE(write_piece(c, i));
	while ((res = client_reap(c, &piece)) == (int)PIECE && piece < PIECES) {
		acked[piece] = true;
		if (++done == stop_after)
			kill(rig.pid, SIGTERM);
		if (!write_piece(c, (unsigned)piece))
			break;
	}
	return res == (int)PIECE ? pcidipc_consumer_error(c->consumer) : res;
}

/* Last: pcid ends. The controllers are shut down as the specification asks for, and what was
 * acknowledged is in the image. */
static void test_stop(void)
{
	bool acked[PIECES] = {false};
	uint32_t seed = 11;
	struct client c;
	int status = -1, error;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme1n1", 0, POOL_BYTES), 0);
	fill_random(&seed, c.base, PIECES * PIECE);
	error = write_until_stopped(&c, acked, 200);
	CU_ASSERT_TRUE(error == -ESHUTDOWN || error == -ENODEV || error == -ENOTCONN);
	CU_ASSERT_EQUAL(waitpid(rig.pid, &status, 0), rig.pid);
	CU_ASSERT_EQUAL(status, 0);
	rig.pid = 0;
	for (unsigned i = 0; i < PIECES; i++)
		CU_ASSERT_TRUE(acked[i] && on_image("d", &c, i));
	CU_ASSERT_TRUE(rig_logged(&rig, "pci_nvme_mmio_shutdown_set"));
	client_close(&c);
}

/* ---- the rig ---- */

static void drive(const char *name)
{
	rig_arg(&rig, "-drive");
	rig_arg(&rig, "file=@/%s.img,if=none,id=d%s,format=raw", name, name);
}

static void device(const char *text)
{
	rig_arg(&rig, "-device");
	rig_arg(&rig, "%s", text);
}

static int start(void)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	int ret = rig_create(&rig, 600);

	for (uint32_t i = 0; i < 4 && !ret; i++)
		ret = rig_image(&rig, names[i], 16u * MIB, i + 1, NULL);
	drive("a");
	drive("b");
	drive("d");
	for (unsigned i = 0; i < SLOTTED; i++) {
		rig_arg(&rig, "-blockdev");
		rig_arg(&rig, "driver=file,node-name=c%u,filename=@/c.img,locking=off", i);
	}
	device("nvme,id=ctl,serial=a,addr=2,use-intel-id=on");
	device("nvme-ns,bus=ctl,drive=da,nsid=1");
	device("nvme-ns,bus=ctl,drive=db,nsid=2");
	device("pcie-root-port,id=r1,chassis=1,slot=1,addr=3");
	device("nvme,id=slotted0,bus=r1,drive=c0,serial=c");
	device("nvme,drive=dd,serial=d,addr=4");
	rig_arg(&rig, "-trace");
	rig_arg(&rig, "pci_nvme_mmio_shutdown_set");
	return ret ? ret : rig_start(&rig, config);
}

static CU_TestInfo tests[] = {
	{"a disk that takes too long: abort, reset", test_timeout},
	{"its neighbours", test_timeout_neighbours},
	{"all is well afterwards", test_after},
	{"pulled out under load", test_pulled_busy},
	{"pulled out while idle", test_pulled_idle},
	{"pulled out again and again", test_pulled_again},
	{"told to stop under load", test_stop},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"NVMe faults", NULL, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	return rig_main(&rig, start(), suites);
}
