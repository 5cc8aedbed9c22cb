// SPDX-License-Identifier: MIT
/* Which user a driver gets. */
#include <CUnit/CUnit.h>
#include <pcid/driver.h>
#include <string.h>

#include "harness.h"

#define FIRST 70000u /* any, but for the numbers that mean something */

static struct pcid pcid;
static struct pcid_config config;
static struct pcid_stanza own = {.name = "own", .uid = PCID_OWN_ID, .gid = PCID_OWN_ID};
static struct pcid_stanza named = {.name = "named", .uid = 12, .gid = 34};
static struct pcid_stanza keeping = {.name = "keeping", .uid = PCID_KEEP_ID, .gid = PCID_KEEP_ID};
static struct pcid_driver drivers[5];

static void begin(unsigned uids)
{
	config = (struct pcid_config){.first_driver_uid = FIRST, .driver_uids = uids};
	memset(drivers, 0, sizeof(drivers));
	pcid.config = &config;
	pcidipc_list_init(&pcid.drivers);
}

/* As pcid_driver_start does: first the user, then its place among the others. */
static struct pcid_driver *add(unsigned i, struct pcid_stanza *stanza)
{
	struct pcid_driver *d = &drivers[i];

	*d = (struct pcid_driver){.pcid = &pcid, .stanza = stanza};
	pcid_driver_take_user(d);
	pcidipc_list_append(&pcid.drivers, &d->link);
	return d;
}

static void is(const struct pcid_driver *d, uid_t uid, gid_t gid)
{
	CU_ASSERT_EQUAL(d->uid, uid);
	CU_ASSERT_EQUAL(d->gid, gid);
}

static void test_one_each(void)
{
	begin(8);
	is(add(0, &own), FIRST, FIRST);
	is(add(1, &own), FIRST + 1, FIRST + 1);
	is(add(2, &named), 12, 34);
	is(add(3, &keeping), PCID_KEEP_ID, PCID_KEEP_ID);
	is(add(4, &own), FIRST + 2, FIRST + 2);
}

static void test_again(void)
{
	begin(8);
	for (unsigned i = 0; i < 3; i++)
		add(i, &own);
	pcidipc_list_remove(&drivers[1].link);
	is(add(1, &own), FIRST + 1, FIRST + 1);
	is(add(3, &own), FIRST + 3, FIRST + 3);
}

static void test_no_more(void)
{
	begin(2);
	add(0, &own);
	is(add(1, &own), FIRST + 1, FIRST + 1);
	is(add(2, &own), PCID_NOBODY, PCID_NOBODY);
	begin(0);
	is(add(0, &own), PCID_NOBODY, PCID_NOBODY);
}

/* One that some driver has because its configuration says so is in use, too. */
static void test_named_in_range(void)
{
	struct pcid_stanza first = {.name = "first", .uid = FIRST, .gid = 1};

	begin(8);
	add(0, &first);
	is(add(1, &own), FIRST + 1, FIRST + 1);
}

static CU_TestInfo tests[] = {
	{"one for each", test_one_each},
	{"a number that is free again", test_again},
	{"none left", test_no_more},
	{"a configured one in the range", test_named_in_range},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("users of drivers", tests);
}
