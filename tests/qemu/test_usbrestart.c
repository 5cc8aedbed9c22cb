// SPDX-License-Identifier: MIT
/*
 * The controller's driver dies under load. Clients of its sticks get -ENODEV or -ENOTCONN, and from
 * then on nothing is written into their memory; the sticks come back, with all that was
 * acknowledged. Sticks are known by their serial numbers: a name may go to another one.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usbrig.h"

#define MIB (1u << 20)
#define BYTES (16 * MIB)
#define PIECE 65536u
#define PIECES 64u /* of the upper half */
#define DEPTH 16u
#define FIRST (BYTES / 2)
#define POOL_BYTES (16 * MIB)

static struct rig rig;

/* Bulk-Only, UAS, and one behind a hub, which is a full-speed one: QEMU's UAS cannot be there. */
static const char *const sticks[] = {"bot", "uas", "hub"};
static const char *const ports[] = {"1", "2", "3.1"};
#define STICKS 3
static unsigned char *shadow[STICKS];

static bool is_uas(unsigned n)
{
	return n == 1;
}

/* ---- a load that remembers what was acknowledged ---- */

struct load {
	struct client c;
	unsigned n;
	uint8_t acked[PIECES];
	unsigned sent, got;
};

static unsigned char *piece(struct load *l, unsigned i)
{
	return l->c.base + (uint64_t)i * PIECE;
}

/* Writes in the upper half, reads from the lower one. */
static bool send_piece(struct load *l)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(l->c.consumer);
	unsigned i = l->sent % PIECES;
	void *at = (void *)(uintptr_t)((uint64_t)i * PIECE);

	if (!sqe)
		return false;
	if (i % 2)
		io_uring_prep_read_fixed(sqe, 0, at, PIECE, (uint64_t)i * PIECE, l->c.index);
	else
		io_uring_prep_write_fixed(sqe, 0, at, PIECE, FIRST + (uint64_t)i * PIECE,
					  l->c.index);
	sqe->user_data = i;
	l->sent++;
	return true;
}

static void load_start(struct load *l, unsigned n, uint32_t seed)
{
	memset(l, 0, sizeof(*l));
	l->n = n;
	CU_ASSERT_EQUAL_FATAL(usb_open(&l->c, sticks[n], POOL_BYTES), 0);
	fill_random(&seed, l->c.base, (size_t)PIECES * PIECE);
	for (unsigned i = 0; i < PIECES; i += 2)
		memcpy(shadow[n] + FIRST + (size_t)i * PIECE, piece(l, i), PIECE);
	while (l->sent < DEPTH && send_piece(l))
		;
}

static bool right_error(int res)
{
	return res == -ENODEV || res == -ENOTCONN;
}

/* The memory of a read that has ended is ours: it must stay as we leave it. */
static void leave_mark(struct load *l, unsigned i)
{
	memset(piece(l, i), 0xee, PIECE);
}

static bool untouched(struct load *l)
{
	static unsigned char mark[PIECE];

	memset(mark, 0xee, PIECE);
	for (unsigned i = 1; i < PIECES; i += 2)
		if (memcmp(piece(l, i), mark, PIECE))
			return false;
	return true;
}

/* One completion, or the connection's end, which ends what is still in flight. */
static bool take(struct load *l)
{
	uint64_t i = UINT64_MAX;
	int res = client_reap(&l->c, &i);

	CU_ASSERT_TRUE(res == (int)PIECE || right_error(res));
	if (i >= PIECES) {
		for (i = 1; i < PIECES; i += 2)
			leave_mark(l, (unsigned)i);
		return false;
	}
	if (i % 2)
		leave_mark(l, (unsigned)i);
	l->acked[i] = res == (int)PIECE;
	l->got += res == (int)PIECE;
	return true;
}

static void run(struct load *l, unsigned until)
{
	while (l->got < until && take(l))
		send_piece(l);
	CU_ASSERT_TRUE(l->got >= until);
}

static void run_out(struct load *l)
{
	for (unsigned i = 0; i < 2 * PIECES && take(l); i++)
		;
	CU_ASSERT_TRUE(right_error(pcidipc_consumer_error(l->c.consumer)));
}

/* What was acknowledged is on the stick, and the lower half is as it was. */
static void check_stick(struct load *l)
{
	struct client c;

	CU_ASSERT_EQUAL_FATAL(usb_open(&c, sticks[l->n], POOL_BYTES), 0);
	CU_ASSERT_STRING_EQUAL(c.info->transport, is_uas(l->n) ? "usb-uas" : "usb-bot");
	for (uint32_t off = 0; off < FIRST; off += MIB)
		CU_ASSERT_TRUE(usb_reads(&c, shadow[l->n], 0, MIB, off));
	for (unsigned i = 0; i < PIECES; i += 2)
		if (l->acked[i])
			CU_ASSERT_TRUE(usb_reads(&c, shadow[l->n], 0, PIECE, FIRST + i * PIECE));
	client_close(&c);
}

/* ---- the tests ---- */

static void kill_driver(void)
{
	int64_t pid = -1;

	CU_ASSERT_TRUE_FATAL(RIG_UNTIL((pid = rig_number(&rig, "drivers", "xhcid", "pid")) > 1));
	CU_ASSERT_EQUAL(kill((pid_t)pid, SIGKILL), 0);
}

static void die(uint32_t seed, unsigned until)
{
	int64_t restarts = rig_number(&rig, "drivers", "xhcid", "restarts");
	struct load load[STICKS];

	for (unsigned n = 0; n < STICKS; n++)
		load_start(&load[n], n, seed + n);
	for (unsigned n = 0; n < STICKS; n++)
		run(&load[n], until);
	kill_driver();
	for (unsigned n = 0; n < STICKS; n++)
		run_out(&load[n]);
	for (unsigned n = 0; n < STICKS; n++)
		check_stick(&load[n]);
	for (unsigned n = 0; n < STICKS; n++) {
		CU_ASSERT_TRUE(untouched(&load[n]));
		client_close(&load[n].c);
	}
	CU_ASSERT_EQUAL(rig_number(&rig, "drivers", "xhcid", "restarts"), restarts + 1);
}

static void test_early(void)
{
	die(1, 0);
}

static void test_under_load(void)
{
	die(101, 40);
	die(201, 99);
}

/* In the middle of bringing its devices up. */
static void test_while_starting(void)
{
	struct load load = {.n = 0};

	for (unsigned i = 0; i < 3; i++) {
		int64_t restarts = rig_number(&rig, "drivers", "xhcid", "restarts");

		kill_driver();
		CU_ASSERT_TRUE_FATAL(
			RIG_UNTIL(rig_number(&rig, "drivers", "xhcid", "restarts") > restarts));
	}
	for (load.n = 0; load.n < STICKS; load.n++)
		check_stick(&load);
}

/* At pcid's word all of them end in order: the sticks are there, so they are flushed and not taken
 * for gone. */
static void test_told(void)
{
	int64_t restarts = rig_number(&rig, "drivers", "xhcid", "restarts");
	size_t mark = rig_mark(&rig);
	struct load load;
	struct json_object *show = rig_show(&rig, "xhcid"), *answer;
	char command[128];

	memset(&load, 0, sizeof(load));
	for (load.n = 0; load.n < STICKS; load.n++) /* they are up */
		check_stick(&load);
	snprintf(command, sizeof(command), "restart\",\"function\":\"%s",
		 json_object_get_string(json_object_object_get(show, "address")));
	answer = rig_ask(&rig, command);
	CU_ASSERT_PTR_NOT_NULL(answer);
	json_object_put(answer);
	json_object_put(show);
	CU_ASSERT_TRUE_FATAL(
		RIG_UNTIL(rig_number(&rig, "drivers", "xhcid", "restarts") > restarts));
	CU_ASSERT_FALSE(rig_logged_since(&rig, mark, "the device is gone"));
	for (load.n = 0; load.n < STICKS; load.n++)
		check_stick(&load);
}

/* ---- the rig ---- */

static const char *config(void)
{
	static char text[2048];
	const char *at = strstr(usb_config, "	service = \"xhci\"\n");

	snprintf(text, sizeof(text), "%.*s	restart_limit = -1\n%s", (int)(at - usb_config),
		 usb_config, at);
	return text;
}

static int start(void)
{
	int ret = rig_create(&rig, 300);

	for (unsigned n = 0; n < STICKS && !ret; n++)
		ret = rig_image(&rig, sticks[n], BYTES, n + 1, &shadow[n]);
	if (ret)
		return ret;
	usb_controller(&rig);
	rig_arg(&rig, "-device");
	rig_arg(&rig, "usb-hub,bus=x.0,port=3");
	for (unsigned n = 0; n < STICKS; n++) {
		usb_drive(&rig, sticks[n], "");
		if (!is_uas(n)) {
			usb_stick(&rig, sticks[n], ports[n], "");
			continue;
		}
		usb_adapter(&rig, "usb-uas", sticks[n], ports[n]);
		usb_unit(&rig, sticks[n], "scsi-hd", 0, sticks[n], "");
	}
	return rig_start(&rig, config());
}

static CU_TestInfo tests[] = {{"told to restart", test_told},
			      {"killed early", test_early},
			      {"killed under load", test_under_load},
			      {"killed while it starts", test_while_starting},
			      CU_TEST_INFO_NULL};
static CU_SuiteInfo suites[] = {{.pName = "usb restart", .pTests = tests}, CU_SUITE_INFO_NULL};

int main(void)
{
	int ret = rig_main(&rig, start(), suites);

	for (unsigned n = 0; n < STICKS; n++)
		free(shadow[n]);
	return ret;
}
