// SPDX-License-Identifier: MIT
/* xhcid's pure parts: the ring that is written to, and descriptors as hostile devices give them. */
#include <CUnit/CUnit.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../xhcid/descriptor.h"
#include "../../xhcid/ring.h"
#include "suites.h"

/* ---- the ring, as the controller reads it ---- */

#define ENTRIES 16
#define IOVA 0x40000ull

static struct trb memory[ENTRIES];
static struct ring ring;
static unsigned at; /* where the controller is */
static bool cycle;
static unsigned links; /* that it followed */

static void begin(void)
{
	ring_init(&ring, memory, IOVA, ENTRIES);
	at = 0;
	cycle = true;
	links = 0;
}

/* The next TRB that is valid, Links followed; -1: none. */
static int fetch(uint64_t *parameter)
{
	for (unsigned i = 0; i < ENTRIES + 1; i++) {
		uint32_t control = le32toh(memory[at].control);
		unsigned was = at;

		if ((control & TRB_CYCLE) != cycle)
			return -1;
		*parameter = le64toh(memory[at].parameter);
		if (TRB_TYPE_OF(control) != TRB_LINK) {
			at++;
			return (int)was;
		}
		links++;
		cycle ^= (control & TRB_TOGGLE) != 0;
		at = (unsigned)((*parameter - IOVA) / TRB_BYTES);
	}
	CU_FAIL("Links in a circle");
	return -1;
}

static bool put(unsigned n, uint64_t number)
{
	if (!ring_reserve(&ring, (uint16_t)n))
		return false;
	for (unsigned i = 0; i < n; i++)
		ring_write(&ring, (uint16_t)i, number + i, 0, TRB_TYPE(TRB_NORMAL));
	ring_commit(&ring, (uint16_t)n);
	return true;
}

/* Any lengths, for many rounds: all comes out, once, in order, and each side by side. */
static void test_rounds(void)
{
	uint64_t sent = 0, got = 0, parameter;
	uint32_t seed = 1;

	begin();
	for (unsigned round = 0; round < 5000; round++) {
		unsigned n = 1 + (seed = seed * 1103515245u + 12345) / 65536 % ring_most(&ring);
		int before = -1;

		CU_ASSERT_TRUE_FATAL(put(n, sent));
		for (unsigned i = 0; i < n; i++) {
			int index = fetch(&parameter);

			CU_ASSERT_TRUE_FATAL(index >= 0);
			CU_ASSERT_EQUAL_FATAL(parameter, got++);
			CU_ASSERT_TRUE_FATAL(before < 0 || index == before + 1);
			before = index;
		}
		sent += n;
		CU_ASSERT_EQUAL_FATAL(fetch(&parameter), -1);
		ring.dequeue = (uint16_t)at;
	}
	CU_ASSERT_TRUE(links > 100);
}

/* What is not read yet is never written over, and the controller never sees more than there is. */
static void test_full(void)
{
	uint64_t sent = 0, got = 0, parameter;
	uint32_t seed = 7;

	begin();
	for (unsigned round = 0; round < 5000; round++) {
		unsigned n = 1 + (seed = seed * 1103515245u + 12345) / 65536 % 5;

		if (put(n, sent))
			sent += n;
		for (unsigned i = (seed >> 8) % 4; i && fetch(&parameter) >= 0; i--) {
			CU_ASSERT_EQUAL_FATAL(parameter, got++);
			ring.dequeue = (uint16_t)at;
		}
	}
	while (fetch(&parameter) >= 0)
		CU_ASSERT_EQUAL_FATAL(parameter, got++);
	CU_ASSERT_EQUAL(got, sent);
	CU_ASSERT_TRUE(sent > 5000);
}

static void test_skip(void)
{
	uint64_t parameter;

	begin();
	put(2, 10);
	put(3, 20); /* to be left out */
	put(1, 30);
	ring_skip(&ring, 2, 5, true);
	CU_ASSERT_EQUAL(fetch(&parameter), 0);
	CU_ASSERT_EQUAL(fetch(&parameter), 1);
	CU_ASSERT_EQUAL(fetch(&parameter), 5);
	CU_ASSERT_EQUAL(parameter, 30);
	CU_ASSERT_EQUAL(fetch(&parameter), -1);
}

static void test_index(void)
{
	begin();
	CU_ASSERT_EQUAL(ring_index(&ring, IOVA), 0);
	CU_ASSERT_EQUAL(ring_index(&ring, IOVA + 15 * 16), 15);
	CU_ASSERT_EQUAL(ring_index(&ring, IOVA + 16 * 16), -1);
	CU_ASSERT_EQUAL(ring_index(&ring, IOVA - 16), -1);
	CU_ASSERT_EQUAL(ring_index(&ring, IOVA + 8), -1);
	CU_ASSERT_EQUAL(ring_index(&ring, 0), -1);
}

/* ---- descriptors ---- */

/* A UAS device's, as QEMU has it: two alternate settings here, companions and pipe usages. */
static const uint8_t config[] = {
	9, 2, 0,    0, 1,    1,	 0, 0xc0, 0,			/* wTotalLength: set below */
	9, 4, 0,    0, 2,    8,	 6, 0x50, 0,			/* BOT */
	7, 5, 0x81, 2, 0,    4,	 0, 6,	  0x30, 15, 0,	  0, 0, /* IN, burst 15 */
	7, 5, 0x02, 2, 0,    4,	 0, 6,	  0x30, 15, 0,	  0, 0, /* OUT */
	9, 4, 0,    1, 3,    8,	 6, 0x62, 5,			/* UAS */
	7, 5, 0x81, 2, 0,    4,	 0, 6,	  0x30, 15, 4,	  0, 0, 4, 0x24, 3,    0, 7, 5, 0x02, 2,
	0, 4, 0,    6, 0x30, 15, 4, 0,	  0,	4,  0x24, 4, 0, 7, 5,	 0x83, 3, 8, 0, 4,
};

static uint8_t *copy_config(void)
{
	uint8_t *raw = malloc(sizeof(config)); /* exactly: reading past it is seen */

	memcpy(raw, config, sizeof(config));
	raw[2] = sizeof(config);
	return raw;
}

static void test_config(void)
{
	struct endpoint_info list[MAX_ENDPOINTS];
	struct interface_info interfaces[MAX_INTERFACES];
	uint8_t *raw = copy_config();
	const char *fault = NULL;

	CU_ASSERT_EQUAL(descriptor_check_config(raw, sizeof(config), &fault), 0);
	CU_ASSERT_EQUAL(descriptor_interfaces(raw, sizeof(config), interfaces), 1);
	CU_ASSERT_EQUAL(interfaces[0].alternates, 2);
	CU_ASSERT_EQUAL(interfaces[0].protocol, 0x50);
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 0, 0, SPEED_SUPER, list, &fault),
			2);
	CU_ASSERT_EQUAL(list[0].address, 0x81);
	CU_ASSERT_EQUAL(list[0].packet, 1024);
	CU_ASSERT_EQUAL(list[0].burst, 15);
	CU_ASSERT_EQUAL(list[0].streams, 0);
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 0, 1, SPEED_SUPER, list, &fault),
			3);
	CU_ASSERT_EQUAL(list[1].streams, 4);
	CU_ASSERT_EQUAL(list[2].type, LIBUSB_TRANSFER_TYPE_INTERRUPT);
	CU_ASSERT_EQUAL(list[2].interval, 4);
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 0, 2, SPEED_SUPER, list, &fault),
			-ENOENT);
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 1, 0, SPEED_SUPER, list, &fault),
			-ENOENT);
	/* a packet that no high-speed bulk endpoint can have */
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 0, 0, SPEED_HIGH, list, &fault),
			-EPROTO);
	free(raw);
}

static void test_lengths(void)
{
	uint8_t *raw = copy_config();

	for (unsigned total = 0; total < 256; total++) {
		raw[2] = (uint8_t)total;
		if (total < 9 || total > sizeof(config))
			CU_ASSERT_EQUAL(descriptor_check_config(raw, sizeof(config), NULL),
					-EPROTO);
	}
	raw[2] = sizeof(config);
	raw[9] = 0; /* a bLength of 0 would be walked for ever */
	CU_ASSERT_EQUAL(descriptor_check_config(raw, sizeof(config), NULL), -EPROTO);
	raw[9] = 1;
	CU_ASSERT_EQUAL(descriptor_check_config(raw, sizeof(config), NULL), -EPROTO);
	raw[9] = 255;
	CU_ASSERT_EQUAL(descriptor_check_config(raw, sizeof(config), NULL), -EPROTO);
	CU_ASSERT_EQUAL(descriptor_check_config(raw, 8, NULL), -EPROTO);
	free(raw);
}

/* Every byte with every value: nothing reads past the end, whatever it says. */
static void test_any_byte(void)
{
	struct endpoint_info list[MAX_ENDPOINTS];
	struct interface_info interfaces[MAX_INTERFACES];
	unsigned refused = 0;

	for (size_t i = 0; i < sizeof(config); i++)
		for (unsigned value = 0; value < 256; value++) {
			uint8_t *raw = copy_config();
			const char *fault = NULL;

			raw[i] = (uint8_t)value;
			if (descriptor_check_config(raw, sizeof(config), &fault)) {
				CU_ASSERT_PTR_NOT_NULL(fault);
				refused++;
			}
			CU_ASSERT_TRUE(descriptor_interfaces(raw, sizeof(config), interfaces) <=
				       MAX_INTERFACES);
			for (uint8_t alt = 0; alt < 2; alt++)
				CU_ASSERT_TRUE(descriptor_endpoints(raw, sizeof(config), 0, alt,
								    SPEED_SUPER, list,
								    &fault) <= MAX_ENDPOINTS);
			free(raw);
		}
	CU_ASSERT_TRUE(refused > 256);
}

static void test_endpoints(void)
{
	struct endpoint_info list[MAX_ENDPOINTS];
	const char *fault;
	uint8_t *raw = copy_config();

	raw[20] = 0x80; /* number 0 */
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 0, 0, SPEED_SUPER, list, &fault),
			-EPROTO);
	raw[20] = 0x02; /* twice the same */
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 0, 0, SPEED_SUPER, list, &fault),
			-EPROTO);
	raw[20] = 0x81;
	raw[22] = raw[23] = 0; /* packets of nothing */
	CU_ASSERT_EQUAL(descriptor_endpoints(raw, sizeof(config), 0, 0, SPEED_SUPER, list, &fault),
			-EPROTO);
	free(raw);
}

static void test_text(void)
{
	static const uint8_t raw[] = {14, 3, 'A', 0, 0xe9, 0, 7, 0, 0xac, 0x20, 0, 0xd8, 0x7f, 0};
	char text[16], small[6];

	descriptor_text(raw, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "A\xc3\xa9?\xe2\x82\xac??");
	descriptor_text(raw, small, sizeof(small));
	CU_ASSERT_STRING_EQUAL(small, "A\xc3\xa9");
}

static CU_TestInfo tests[] = {
	{"a ring, for many rounds", test_rounds},
	{"a ring that is full most of the time", test_full},
	{"a ring's skipped transfers", test_skip},
	{"addresses in a ring", test_index},
	{"a configuration", test_config},
	{"lengths that are wrong", test_lengths},
	{"any byte wrong", test_any_byte},
	{"endpoints that cannot be", test_endpoints},
	{"strings", test_text},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("xhcid's parts", tests);
}
