// SPDX-License-Identifier: MIT
#include "disksuite.h"

#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>

#include "suites.h"

#define BLOCK 512u

struct ramdisk rd;
const char *disk_loop;
static int (*open_hook)(void);
static void (*close_hook)(void);

void kill_driver(void)
{
	ramdisk_kill(&rd);
	rd.shared->closes = rd.shared->opens; /* the dead close nothing */
	rd.shared->detaches = rd.shared->attaches;
}

void start_driver(enum ramdisk_mode mode)
{
	rd.shared->mode = mode;
	CU_ASSERT_EQUAL_FATAL(ramdisk_start(&rd, disk_loop), 0);
}

void restart_driver(void)
{
	kill_driver();
	start_driver(RAMDISK_MIXED);
}

void promises_kept(void)
{
	CU_ASSERT_EQUAL(rd.shared->broken, 0);
}

void read_and_write(struct client *c)
{
	uint32_t seed = 1;

	for (int i = 0; i < 300; i++) {
		uint32_t bytes = (1 + next_random(&seed) % (i % 10 ? 16 : 2048)) * BLOCK;
		uint64_t off = next_random(&seed) % ((RAMDISK_BYTES - bytes) / BLOCK + 1) * BLOCK;
		uint64_t addr = next_random(&seed) % (CLIENT_POOL - bytes) & ~3ull;

		fill_random(&seed, c->base + addr, bytes);
		CU_ASSERT_EQUAL(pcidipc_blockdev_write(c->dev, c->index, addr, bytes, off, false),
				(int)bytes);
		CU_ASSERT_EQUAL(memcmp(rd.shared->data + off, c->base + addr, bytes), 0);
		CU_ASSERT_FALSE(rd.shared->last.fua);
		memset(c->base + addr, 0, bytes);
		CU_ASSERT_EQUAL(pcidipc_blockdev_read(c->dev, c->index, addr, bytes, off),
				(int)bytes);
		CU_ASSERT_EQUAL(memcmp(rd.shared->data + off, c->base + addr, bytes), 0);
	}
	promises_kept();
}

static int begin(const char *loop)
{
	int ret;

	disk_loop = loop;
	ret = ramdisk_start(&rd, loop);
	return ret || !open_hook ? ret : open_hook();
}

static int begin_epoll(void)
{
	return begin("epoll");
}

static int begin_uring(void)
{
	return begin("io_uring");
}

static int end(void)
{
	if (close_hook)
		close_hook();
	return ramdisk_stop(&rd);
}

int disk_main(const char *name, CU_TestInfo *tests, int (*open)(void), void (*close)(void))
{
	CU_SuiteInfo suites[] = {
		{"driver on epoll", begin_epoll, end, NULL, NULL, tests},
		{"driver on io_uring", begin_uring, end, NULL, NULL, tests},
		CU_SUITE_INFO_NULL,
	};
	int ret;

	open_hook = open;
	close_hook = close;
	pcidipc_log_init(name, getenv("VERBOSE") ? PCIDIPC_DEBUG : PCIDIPC_ERROR);
	if (ramdisk_create(&rd))
		return 2;
	ret = run_suites(suites);
	ramdisk_destroy(&rd);
	return ret;
}
