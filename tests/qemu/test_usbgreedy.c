// SPDX-License-Identifier: MIT
/*
 * Limits of one user at a USB device: what its clients take of two units counts together, the log
 * names user and limit, and whoever is another user is served meanwhile. The second user needs
 * root.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "greedy.h"
#include "usbrig.h"

#define QUOTA_MIB 256 /* of the controller, xhcid's own 64 MiB included */
#define CONNECTIONS 512
#define POOLS 192
#define CLIENTS 16
#define MORE_POOLS 12 /* of each: together more than that */
#define MAPPED_MIB ((QUOTA_MIB - 64) / 2)

static const char config[] = "driver \"xhcid\" {\n"
			     "	class = 0x0c\n"
			     "	subclass = 0x03\n"
			     "	interface = 0x30\n"
			     "	command = \"xhcid\"\n"
			     "	service = \"xhci\"\n"
			     "	dma_quota_mib = %u\n"
			     "}\n"
			     "driver \"usbscsid\" {\n"
			     "	below = \"usb\"\n"
			     "	class = 0x08\n"
			     "	command = \"usbscsid\"\n"
			     "	service = \"usb\"\n"
			     "	mode = \"0666\"\n"
			     "}\n";

static struct rig rig;
static const char *const units[] = {"disk/usb0", "disk/usb0l1"};

/* ---- the greedy one ---- */

/* Connections without a pool. */
static struct got take_connections(void)
{
	const struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_BLOCK,
						       .sq_entries = 2};
	struct got got = {0};

	for (; got.connections < CONNECTIONS + 8; got.connections++) {
		struct pcidipc_consumer *consumer;

		got.errors[0] =
			pcidipc_consumer_open(units[got.connections % 2], &params, &consumer);
		if (got.errors[0])
			break;
	}
	return got;
}

static struct got take_memory(void)
{
	static struct client clients[CLIENTS];
	struct got got = {0};

	for (int i = 0; i < CLIENTS; i++) {
		got.errors[0] = client_open(&clients[i], units[i % 2], 0, 4ull * GREEDY_CHUNK);
		if (got.errors[0])
			return got;
	}
	got.connections = CLIENTS;
	got.pools = 2 * CLIENTS; /* each client has one for answers, too */
	for (int i = 0; i < CLIENTS && got.errors[1] != -EDQUOT; i++)
		greedy_pools(&clients[i], &got, got.pools + MORE_POOLS, 8);
	greedy_chunks(&clients[0], &got, 8);
	return got;
}

/* ---- tests ---- */

static void others_are_served(void)
{
	if (geteuid())
		fprintf(stderr, "not root: NOT TESTED that another user is served\n");
	else
		CU_ASSERT_TRUE(greedy_served(units[0]) && greedy_served(units[1]));
}

/* All of it comes back. */
static void takes_the_same_again(struct got (*take)(void), const struct got *first)
{
	struct got again = greedy_again(take, first);

	CU_ASSERT_EQUAL(memcmp(&again, first, sizeof(again)), 0);
	greedy_end();
}

static void test_connections(void)
{
	struct got got = greedy_start(take_connections);

	CU_ASSERT_EQUAL(got.connections, CONNECTIONS);
	CU_ASSERT_EQUAL(got.errors[0], -EDQUOT);
	CU_ASSERT_TRUE(greedy_said(
		&rig, "connections, the limit for one user; one more turned away", CONNECTIONS));
	others_are_served();
	greedy_end();
	takes_the_same_again(take_connections, &got);
}

static void test_memory(void)
{
	struct got got = greedy_start(take_memory);
	char mapped[100];

	CU_ASSERT_EQUAL(got.connections, CLIENTS);
	CU_ASSERT_EQUAL(got.pools, POOLS);
	CU_ASSERT_EQUAL(got.errors[1], -EDQUOT);
	CU_ASSERT_EQUAL(got.chunks, MAPPED_MIB / 32);
	CU_ASSERT_EQUAL(got.errors[2], -EDQUOT);
	CU_ASSERT_TRUE(
		greedy_said(&rig, "pools, the limit for one user; one more was refused", POOLS));
	snprintf(mapped, sizeof(mapped),
		 "MiB mapped for the device and wants 32 more, the limit for one user is %u",
		 MAPPED_MIB);
	CU_ASSERT_TRUE(greedy_said(&rig, mapped, MAPPED_MIB));
	others_are_served();
	greedy_end();
	takes_the_same_again(take_memory, &got);
}

/* ---- the rig ---- */

static int start(void)
{
	char text[sizeof(config) + 64], name[32];
	int ret = rig_create(&rig, 300);

	if (!ret)
		ret = rig_image(&rig, "a", 4u << 20, 1, NULL);
	if (!ret)
		ret = rig_image(&rig, "b", 4u << 20, 2, NULL);
	if (ret)
		return ret;
	usb_controller(&rig);
	usb_drive(&rig, "a", "");
	usb_drive(&rig, "b", "");
	usb_adapter(&rig, "usb-uas", "u", "1");
	usb_unit(&rig, "u", "scsi-hd", 0, "a", "");
	usb_unit(&rig, "u", "scsi-hd", 1, "b", "");
	snprintf(text, sizeof(text), config, QUOTA_MIB);
	ret = rig_start(&rig, text);
	/* For the other user. */
	if (!ret && (!usb_find("a", name) || !usb_find("b", name) || chmod(rig.dir, 0711)))
		ret = -ENOENT;
	return ret;
}

static CU_TestInfo tests[] = {
	{"connections", test_connections},
	{"pools and memory", test_memory},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"limits of a user at a USB device", NULL, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	return rig_main(&rig, start(), suites);
}
