// SPDX-License-Identifier: MIT
/*
 * PRP building against an oracle: it walks PRP1, PRP2 and the lists as a controller does, which
 * knows the transfer's length and the page size only, and must come by the segments' own bytes.
 */
#include <CUnit/CUnit.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "../../nvmed/prp.h"
#include "suites.h"

#define ROUNDS 3000
#define GUARD 64
#define MOST_SEGMENTS 24
#define LIST_IOVA 0x7000000000ull
#define LIST_MOST (8u << 16)

static uint32_t state = 1;

static uint32_t next(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static uint32_t below(uint32_t n)
{
	return next() % n;
}

/* ---- the controller ---- */

struct walk {
	uint64_t prp1, prp2;
	const unsigned char *list; /* what lies at LIST_IOVA */
	uint64_t list_iova;
	uint32_t list_bytes, page;
	uint64_t at; /* next entry, 0: PRP2 was the last */
	bool wrong;
};

static uint64_t load(struct walk *w, uint64_t iova)
{
	uint64_t value;

	if (iova < w->list_iova || iova + 8 > w->list_iova + w->list_bytes || iova % 8) {
		w->wrong = true;
		return 0;
	}
	memcpy(&value, w->list + (iova - w->list_iova), 8);
	return le64toh(value);
}

/* The entry for the next page, when `left` bytes are still to come. */
static uint64_t next_entry(struct walk *w, uint64_t left)
{
	uint64_t value;

	if (w->at % w->page == w->page - 8 && left > w->page) {
		w->at = load(w, w->at);
		w->wrong |= w->at % 8 != 0;
	}
	value = load(w, w->at);
	w->at += 8;
	return value;
}

/* Byte `total` of the command lies where? Compare every piece with the segments. */
static void check_walk(struct walk *w, struct prp_cursor *expect, uint64_t total)
{
	uint64_t address = le64toh(w->prp1), left = total;
	bool listed = false;

	while (left && !w->wrong) {
		uint64_t piece = w->page - address % w->page;

		piece = piece < left ? piece : left;
		for (uint64_t done = 0; done < piece && !w->wrong;) {
			const struct pcidipc_segment *s = &expect->segments[expect->index];
			uint64_t n = s->bytes - expect->offset;

			n = n < piece - done ? n : piece - done;
			w->wrong |= expect->index >= expect->nsegments ||
				    address + done != s->iova + expect->offset;
			expect->offset += n;
			done += n;
			if (expect->offset == s->bytes) {
				expect->index++;
				expect->offset = 0;
			}
		}
		left -= piece;
		if (!left)
			break;
		if (!listed && left <= w->page) {
			address = le64toh(w->prp2);
		} else {
			if (!listed)
				w->at = le64toh(w->prp2);
			listed = true;
			address = next_entry(w, left);
		}
		w->wrong |= address % w->page != 0;
	}
}

/* ---- random segments ---- */

static unsigned make_segments(struct pcidipc_segment *s, uint32_t block, uint32_t page)
{
	unsigned n = 1 + below(MOST_SEGMENTS);
	uint64_t iova = (1 + below(1u << 20)) * 65536ull;

	for (unsigned i = 0; i < n; i++) {
		uint32_t blocks = 1 + below(below(4) ? 16 : 3 * page / 8);

		switch (below(4)) {
		case 0:
			iova += below(page) & ~3u;
			break;
		case 1:
			iova = (iova + page - 1) / page * page;
			break;
		case 2:
			iova = (iova + 65536 + below(64) * (uint64_t)page) / page * page;
			break;
		}
		s[i].iova = iova;
		s[i].bytes = (uint64_t)blocks * block;
		if (below(2)) /* to a page's end, so that the next one can join */
			s[i].bytes += (page - (s[i].iova + s[i].bytes) % page) / block * block;
		iova += s[i].bytes;
	}
	return n;
}

static void one_round(unsigned char *memory)
{
	static const uint32_t pages[] = {4096, 4096, 8192, 65536};
	struct pcidipc_segment s[MOST_SEGMENTS];
	uint32_t page = pages[below(4)], block = 512u << below(4);
	uint64_t max_bytes = (uint64_t)page << below(11);
	uint32_t bytes = prp_list_bytes(max_bytes, page);
	struct prp_list list = {.bytes = bytes < LIST_MOST ? bytes : LIST_MOST};
	struct prp_cursor cursor = {.segments = s}, expect;
	uint64_t at_most;

	if (max_bytes < block)
		max_bytes = block;
	list.iova = LIST_IOVA + (list.bytes < page ? below(page / list.bytes) * list.bytes : 0);
	list.entries = (uint64_t *)memory;
	cursor.nsegments = make_segments(s, block, page);
	expect = cursor;
	while (cursor.index < cursor.nsegments) {
		struct walk w = {.list = memory,
				 .list_iova = list.iova,
				 .list_bytes = list.bytes,
				 .page = page};
		struct prp_cursor from = cursor;
		uint64_t n;

		memset(memory, 0xee, list.bytes);
		memset(memory + list.bytes, 0x55, GUARD);
		at_most = block * (1ull + below((uint32_t)(max_bytes / block)));
		n = prp_build(&cursor, at_most, block, page, &list, &w.prp1, &w.prp2);
		CU_ASSERT_FATAL(n <= at_most && n % block == 0);
		if (!n) { /* only where one block cannot be described */
			uint64_t first = s[from.index].iova + from.offset;

			CU_ASSERT_FATAL(list.bytes / 8 < (block + first % page + page - 1) / page);
			return;
		}
		check_walk(&w, &expect, n);
		CU_ASSERT_FATAL(!w.wrong);
		CU_ASSERT_FATAL(expect.index == cursor.index && expect.offset == cursor.offset);
		for (unsigned i = 0; i < GUARD; i++)
			CU_ASSERT_FATAL(memory[list.bytes + i] == 0x55);
		if (n < at_most && cursor.index < cursor.nsegments && !cursor.offset) {
			const struct pcidipc_segment *last = &s[cursor.index - 1];

			CU_ASSERT((last->iova + last->bytes) % page ||
				  s[cursor.index].iova % page ||
				  list.bytes < max_bytes / page * 8 || list.bytes >= page);
		}
	}
}

static void test_random(void)
{
	unsigned char *memory = aligned_alloc(65536, LIST_MOST + 65536);

	for (unsigned i = 0; i < ROUNDS; i++)
		one_round(memory);
	free(memory);
}

/* The largest command at every beginning in a page: the list that prp_list_bytes says is enough. */
static void test_whole_commands(void)
{
	static uint64_t memory[3 * 512];

	for (uint32_t max_bytes = 4096; max_bytes <= 4u << 20; max_bytes *= 2) {
		for (uint32_t offset = 0; offset < 4096; offset += 60) {
			struct pcidipc_segment s = {0x40000000 + offset, max_bytes};
			struct prp_cursor cursor = {.segments = &s, .nsegments = 1},
					  expect = cursor;
			struct prp_list list = {memory, LIST_IOVA, prp_list_bytes(max_bytes, 4096)};
			struct walk w = {.list = (void *)memory,
					 .list_iova = LIST_IOVA,
					 .list_bytes = list.bytes,
					 .page = 4096};

			CU_ASSERT_FATAL(list.bytes <= sizeof(memory));
			CU_ASSERT_FATAL(prp_build(&cursor, max_bytes, 512, 4096, &list, &w.prp1,
						  &w.prp2) == max_bytes);
			check_walk(&w, &expect, max_bytes);
			CU_ASSERT_FATAL(!w.wrong && expect.index == 1);
		}
	}
}

/* Entries that the last whole block leaves over must not make PRP2 a list. */
static void test_left_over(void)
{
	static uint64_t memory[8];
	struct pcidipc_segment s[] = {{0x10ffc, 4}, {0x20000, 4096}, {0x21000, 4092}};
	struct prp_list list = {memory, LIST_IOVA, sizeof(memory)};
	struct prp_cursor cursor = {.segments = s, .nsegments = 3};
	uint64_t prp1, prp2;

	CU_ASSERT_EQUAL(prp_build(&cursor, 8191, 4096, 4096, &list, &prp1, &prp2), 4096);
	CU_ASSERT_EQUAL(le64toh(prp1), 0x10ffc);
	CU_ASSERT_EQUAL(le64toh(prp2), 0x20000);
	CU_ASSERT(cursor.index == 1 && cursor.offset == 4092);
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"random segments, as a controller walks them", test_random},
		{"the largest commands", test_whole_commands},
		{"entries left over", test_left_over},
		CU_TEST_INFO_NULL,
	};

	return run_tests("prp", tests);
}
