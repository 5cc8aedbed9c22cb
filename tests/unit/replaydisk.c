// SPDX-License-Identifier: MIT
#include "replaydisk.h"

#include <stdio.h>

void take_service(bool away)
{
	char aside[160];

	snprintf(aside, sizeof(aside), "%s.aside", rd.path);
	CU_ASSERT_EQUAL_FATAL(rename(away ? rd.path : aside, away ? aside : rd.path), 0);
}

/* ---- the client ---- */

void open_client(struct client *c)
{
	rd.shared->mode = RAMDISK_MIXED;
	CU_ASSERT_EQUAL_FATAL(client_open(c, "ram0", 0), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_blockdev_replay(c->dev), 0);
}

void close_client(struct client *c)
{
	client_close(c);
	promises_kept();
}

void submit_held(struct client *c, unsigned n)
{
	uint32_t held = rd.shared->held;

	rd.shared->mode = RAMDISK_HOLD;
	CU_ASSERT_EQUAL(pcidipc_submit(c->consumer), 0);
	CU_ASSERT_EQUAL_FATAL(ramdisk_wait(&rd, &rd.shared->held, held + n), 0);
}

void await_held(struct client *c, unsigned n)
{
	uint32_t held = rd.shared->held;
	struct pcidipc_cqe cqe;

	while (rd.shared->held < held + n)
		CU_ASSERT_EQUAL_FATAL(pcidipc_next_cqe(c->consumer, &cqe), 0);
}

void expect_result(struct client *c, uint64_t user_data, int res)
{
	uint64_t seen = 0;

	CU_ASSERT_EQUAL(client_reap(c, &seen), res);
	CU_ASSERT_EQUAL(seen, user_data);
}

void expect_silence(struct client *c)
{
	struct pcidipc_cqe cqe;

	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c->dev), 0); /* whatever came before it has come */
	CU_ASSERT_EQUAL(pcidipc_next_cqe(c->consumer, &cqe), 0);
}

struct io_uring_sqe flagged(struct io_uring_sqe sqe, unsigned flags)
{
	sqe.flags |= (uint8_t)flags;
	return sqe;
}

struct io_uring_sqe linked(struct io_uring_sqe sqe, unsigned flags)
{
	return flagged(sqe, IOSQE_IO_LINK | flags);
}
