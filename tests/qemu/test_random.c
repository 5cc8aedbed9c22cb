// SPDX-License-Identifier: MIT
/*
 * Random requests of every kind, several at once, against a model in memory; at the end the image
 * files must be the model. SEED=N repeats a course, OPS=N makes it longer.
 *
 * The disk is cut at random places, anew every so often; each part has a slot of its own, with one
 * request or chain in flight, so that the model knows what every read must give.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "rig.h"

#define DISK_BYTES (32u << 20)
#define SLOTS 8u
#define MOST_BYTES (6u << 20)
#define PART_BYTES (32ull << 20) /* of the pool, for one slot */
#define READ_AT (16u << 20)	 /* in it: what is written lies below, what is read above */
#define POOL_BYTES (SLOTS * PART_BYTES)
#define PIECES 24u
#define GUARD 64u
#define GUARD_BYTE 0x5a
#define EPOCH 64u /* requests between two cuts */

enum kind {
	READ,
	WRITE,
	WRITE_STABLE,
	READV,
	WRITEV,
	ZERO,
	PUNCH,
	FLUSH,
	CHAIN,
	CHAIN_ZERO,
	KINDS
};

static const char *const kind_names[KINDS] = {"read",	"write",	  "stable write", "readv",
					      "writev", "zero",		  "punch",	  "flush",
					      "chain",	"chain of zeroes"};

/* A buffer, and what of the disk it is to hold. */
struct piece {
	uint64_t addr, off;
	uint32_t bytes;
};

struct slot {
	uint64_t first, bytes; /* its part of the disk */
	uint64_t pool;
	enum kind kind;
	unsigned waiting; /* CQEs to come */
	int expect;	  /* of the last one */
	unsigned nread;
	struct piece read[PIECES]; /* to be compared when it is over */
};

static struct rig rig;
static unsigned char *model_a, *model_b, *model;
static struct client c;
static uint32_t block, align, state, seed, ops;
static struct slot slots[SLOTS];
static unsigned nslots, wrong, done[KINDS];

static uint32_t below(uint64_t n)
{
	uint64_t wide = (uint64_t)next_random(&state) << 24 | next_random(&state);

	return (uint32_t)(wide % n);
}

/* Small ones are as likely as large ones: the number of bits is what is even. */
static uint32_t random_bytes(uint64_t most)
{
	uint64_t blocks = most / block, bits = 1;

	while (blocks >> bits)
		bits++;
	blocks = 1 + below(1ull << (1 + below(bits)));
	return (uint32_t)(blocks * block > most ? most / block * block : blocks * block);
}

/* ---- places ---- */

static uint64_t most_of(const struct slot *s)
{
	uint64_t most = c.info->max_bytes && c.info->max_bytes < MOST_BYTES ? c.info->max_bytes
									    : MOST_BYTES;

	return s->bytes < most ? s->bytes : most;
}

static uint64_t random_off(const struct slot *s, uint32_t bytes)
{
	return s->first + (uint64_t)block * below((s->bytes - bytes) / block + 1);
}

/* Any alignment that the disk allows, within a page or two. */
static uint64_t random_addr(uint64_t from)
{
	return from + GUARD + (uint64_t)align * below(2 * 4096 / align);
}

static void set_guards(const struct piece *p)
{
	memset(c.base + p->addr - GUARD, GUARD_BYTE, GUARD);
	memset(c.base + p->addr + p->bytes, GUARD_BYTE, GUARD);
}

static bool guards_hold(const struct piece *p)
{
	for (uint32_t i = 0; i < GUARD; i++)
		if (c.base[p->addr - GUARD + i] != GUARD_BYTE ||
		    c.base[p->addr + p->bytes + i] != GUARD_BYTE)
			return false;
	return true;
}

static void will_read(struct slot *s, uint64_t addr, uint64_t off, uint32_t bytes)
{
	struct piece *p = &s->read[s->nread++];

	*p = (struct piece){.addr = addr, .off = off, .bytes = bytes};
	set_guards(p);
	c.base[addr] ^= 0xff; /* or what lies there already could pass */
	c.base[addr + bytes - 1] ^= 0xff;
}

static void will_write(uint64_t addr, uint64_t off, uint32_t bytes)
{
	fill_random(&state, c.base + addr, bytes);
	memcpy(model + off, c.base + addr, bytes);
}

/* ---- requests ---- */

static struct io_uring_sqe *get(struct slot *s)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(c.consumer);

	s->waiting++;
	return sqe;
}

static void finish(struct slot *s, struct io_uring_sqe *sqe, int expect, unsigned flags)
{
	sqe->user_data = (uint64_t)(s - slots) << 32 | (uint32_t)expect;
	sqe->flags |= (uint8_t)flags;
}

static void submit_read(struct slot *s, uint64_t off, uint32_t bytes)
{
	uint64_t addr = random_addr(s->pool + READ_AT);
	struct io_uring_sqe *sqe = get(s);

	will_read(s, addr, off, bytes);
	io_uring_prep_read_fixed(sqe, 0, (void *)(uintptr_t)addr, bytes, (off_t)off, c.index);
	finish(s, sqe, (int)bytes, 0);
}

static void submit_write(struct slot *s, uint64_t off, uint32_t bytes, bool stable, unsigned flags)
{
	uint64_t addr = random_addr(s->pool + 4096);
	struct io_uring_sqe *sqe = get(s);

	will_write(addr, off, bytes);
	io_uring_prep_write_fixed(sqe, 0, (void *)(uintptr_t)addr, bytes, off, c.index);
	sqe->rw_flags = stable ? RWF_DSYNC : 0;
	finish(s, sqe, (int)bytes, flags);
}

static void submit_zero(struct slot *s, uint64_t off, uint32_t bytes, bool punch, unsigned flags)
{
	struct io_uring_sqe *sqe = get(s);
	int mode = FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);

	memset(model + off, 0, bytes);
	io_uring_prep_fallocate(sqe, 0, mode, (off_t)off, bytes);
	finish(s, sqe, 0, flags);
}

static void submit_flush(struct slot *s, unsigned flags)
{
	struct io_uring_sqe *sqe = get(s);

	io_uring_prep_fsync(sqe, 0, 0);
	finish(s, sqe, 0, flags);
}

/* The vector lies at the start of the slot's part of the pool, its buffers behind one another. */
static void submit_vector(struct slot *s, uint64_t off, uint32_t bytes, bool write)
{
	struct iovec *iov = (void *)(c.base + s->pool + 64);
	uint64_t addr = s->pool + (write ? 4096 : READ_AT);
	uint32_t left = bytes / block, n = 0;
	struct io_uring_sqe *sqe = get(s);

	while (left && n < PIECES) {
		uint32_t blocks = n + 1 < PIECES ? 1 + below(left) : left;

		addr = random_addr(addr);
		iov[n].iov_base = (void *)(uintptr_t)addr;
		iov[n].iov_len = (size_t)blocks * block;
		if (write)
			will_write(addr, off, blocks * block);
		else
			will_read(s, addr, off, blocks * block);
		addr += (uint64_t)blocks * block + GUARD;
		off += (uint64_t)blocks * block;
		left -= blocks;
		n++;
	}
	off -= bytes;
	if (write)
		io_uring_prep_writev(sqe, 0, NULL, n, off);
	else
		io_uring_prep_readv(sqe, 0, NULL, n, off);
	sqe->addr = s->pool + 64;
	sqe->buf_index = c.index;
	finish(s, sqe, (int)bytes, 0);
}

static void submit(struct slot *s)
{
	uint32_t bytes = random_bytes(most_of(s));
	uint64_t off = random_off(s, bytes);

	s->kind = below(KINDS);
	s->nread = 0;
	switch (s->kind) {
	case READ:
		submit_read(s, off, bytes);
		break;
	case WRITE:
	case WRITE_STABLE:
		submit_write(s, off, bytes, s->kind == WRITE_STABLE, 0);
		break;
	case READV:
	case WRITEV:
		submit_vector(s, off, bytes, s->kind == WRITEV);
		break;
	case ZERO:
	case PUNCH:
		submit_zero(s, off, bytes, s->kind == PUNCH, 0);
		break;
	case FLUSH:
		submit_flush(s, 0);
		break;
	case CHAIN:
		submit_write(s, off, bytes, false, IOSQE_IO_LINK);
		submit_flush(s, IOSQE_IO_LINK);
		submit_read(s, off, bytes);
		break;
	default:
		submit_write(s, off, bytes, false, IOSQE_IO_LINK);
		submit_zero(s, off, bytes / block / 2 * block ?: block, below(2), IOSQE_IO_LINK);
		submit_read(s, off, bytes);
	}
}

/* ---- what comes of them ---- */

static void is_wrong(const struct slot *s, const char *what, uint64_t off, uint32_t bytes)
{
	if (wrong++ < 10)
		fprintf(stderr, "seed %u, %s: %s at %llu, %u bytes\n", seed, kind_names[s->kind],
			what, (unsigned long long)off, bytes);
}

static void check(struct slot *s)
{
	done[s->kind]++;
	for (unsigned i = 0; i < s->nread; i++) {
		const struct piece *p = &s->read[i];

		if (memcmp(c.base + p->addr, model + p->off, p->bytes))
			is_wrong(s, "wrong data", p->off, p->bytes);
		if (!guards_hold(p))
			is_wrong(s, "bytes beside the buffer were changed", p->off, p->bytes);
	}
}

/* The slot that is free now; NULL: the connection has failed. */
static struct slot *reap(void)
{
	uint64_t user_data = UINT64_MAX;
	int res = client_reap(&c, &user_data);
	struct slot *s = &slots[user_data >> 32];

	if (user_data >> 32 >= nslots || !s->waiting)
		return NULL;
	if (res != (int)(uint32_t)user_data)
		is_wrong(s, strerror(res < 0 ? -res : EIO), s->first, (uint32_t)user_data);
	if (--s->waiting)
		return reap();
	check(s);
	return s;
}

static int compare(const void *a, const void *b)
{
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

/* 1 to SLOTS parts, of a block at least. */
static void cut(void)
{
	uint32_t at[SLOTS + 1] = {0}, blocks = DISK_BYTES / block;

	nslots = 1 + below(SLOTS);
	for (unsigned i = 1; i < nslots; i++)
		at[i] = 1 + below(blocks - SLOTS);
	qsort(at + 1, nslots - 1, sizeof(*at), compare);
	for (unsigned i = 1; i < nslots; i++)
		at[i] = at[i] <= at[i - 1] ? at[i - 1] + 1 : at[i];
	at[nslots] = blocks;
	for (unsigned i = 0; i < nslots; i++)
		slots[i] = (struct slot){.first = (uint64_t)at[i] * block,
					 .bytes = (uint64_t)(at[i + 1] - at[i]) * block,
					 .pool = i * PART_BYTES};
}

static bool epoch(void)
{
	unsigned sent = 0, over = 0;

	cut();
	for (; sent < nslots; sent++)
		submit(&slots[sent]);
	while (over < sent) {
		struct slot *s = reap();

		if (!s)
			return false;
		over++;
		if (sent < EPOCH) {
			submit(s);
			sent++;
		}
	}
	return true;
}

static void course(const char *disk, const char *image, uint32_t block_bytes, unsigned char *of)
{
	model = of;
	block = block_bytes;
	wrong = 0;
	memset(done, 0, sizeof(done));
	CU_ASSERT_EQUAL_FATAL(client_open(&c, disk, 0, POOL_BYTES), 0);
	align = c.info->dma_align;
	CU_ASSERT_TRUE_FATAL(c.info->block_bytes == block && align && align <= GUARD);
	for (uint32_t n = 0; n < ops && !wrong; n += EPOCH)
		if (!epoch())
			is_wrong(&slots[0], "the connection failed", 0, 0);
	CU_ASSERT_EQUAL(wrong, 0);
	for (unsigned kind = 0; kind < KINDS; kind++)
		CU_ASSERT_TRUE(done[kind] > 0 || ops < 20 * KINDS);
	client_close(&c);
	CU_ASSERT_EQUAL(rig_compare(&rig, image, model, DISK_BYTES), 0);
}

static void test_512(void)
{
	course("nvme0n1", "a", 512, model_a);
}

static void test_4096(void)
{
	course("nvme0n2", "b", 4096, model_b);
}

static uint32_t number(const char *name, uint32_t usual)
{
	const char *text = getenv(name);

	return text && *text ? (uint32_t)strtoul(text, NULL, 0) : usual;
}

static CU_TestInfo tests[] = {
	{"blocks of 512", test_512},
	{"blocks of 4096", test_4096},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"random requests against a model", NULL, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	int started, ret;

	seed = state = number("SEED", 20201);
	ops = number("OPS", 1024);
	printf("SEED=%u OPS=%u\n", seed, ops);
	started = rig_two_namespaces(&rig, 600, DISK_BYTES, &model_a, &model_b);
	ret = rig_main(&rig, started, suites);
	free(model_a);
	free(model_b);
	return ret;
}
