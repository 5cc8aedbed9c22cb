// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pcidctl disk read and disk write: a stream between a file and a disk, with several requests in
 * flight. Slots are a FIFO in disk order: a read's slots are written to the file in order, a
 * write's are filled in order. The bytes go from the file straight into the pool that the device
 * reads (or the other way); nothing is copied here.
 *
 * Offsets and lengths may be any; a disk takes whole blocks only. What a read fetches too much is
 * dropped; the rest of a block that a write covers in part is read first and written back with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <pcidipc/disk.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ctl.h"

#define OVERFLOW_TEXT "the input goes on at the disk's end,"
#define DEFAULT_DEPTH 16u
#define CHUNK_MIN (64u << 10)
#define CHUNK_MAX (1u << 20)

struct slot {
	struct pcidipc_buf *buf;
	uint64_t off;	/* on the disk, of the first block */
	uint32_t bytes; /* whole blocks */
	uint32_t skip;	/* of the first block that are not the user's */
	uint32_t used;	/* the user's bytes, from skip on */
	int res;
	bool done;
};

struct transfer {
	struct ctl *ctl;
	struct pcidipc_blockdev *dev;
	struct pcidipc_consumer *consumer;
	struct ringabi_block_info info;
	struct pcidipc_pool *pool;
	struct pcidipc_buf *scratch; /* one block, for partial ones */
	uint16_t index;
	bool writing;
	int fd;
	uint64_t next; /* where the next slot begins, for the user */
	uint64_t end;  /* where the last one ends at the latest */
	uint32_t chunk;
	uint32_t depth;
	uint32_t head, tail; /* free-running */
	struct slot *slots;
	uint64_t moved;	  /* bytes, in order, without a gap */
	unsigned partial; /* blocks that were read to be written */
	bool input_ended;
	bool failed;	      /* in retire: what lies behind does not count */
	int error;	      /* first one, in disk order */
	const char *error_at; /* what failed */
	uint64_t error_off;
	struct progress progress;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* The first Ctrl-C ends the transfer in good order, the second one the program. */
static void catch_interrupt(void)
{
	struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static void stop_with(struct transfer *t, int error, const char *what, uint64_t off)
{
	if (t->error)
		return;
	t->error = error;
	t->error_at = what;
	t->error_off = off;
}

static struct slot *slot_at(struct transfer *t, uint32_t index)
{
	return &t->slots[index % t->depth];
}

static uint64_t block_down(const struct transfer *t, uint64_t off)
{
	return off - off % t->info.block_bytes;
}

/* Where the user's bytes [next, ...) lie in the next slot. 0: nothing left. */
static uint32_t slot_place(struct transfer *t, struct slot *slot)
{
	uint64_t room;

	slot->off = block_down(t, t->next);
	slot->skip = (uint32_t)(t->next - slot->off);
	room = t->chunk - slot->skip;
	if (room > t->end - t->next)
		room = t->end - t->next;
	slot->used = (uint32_t)room;
	slot->done = false;
	return slot->used;
}

static void slot_round(struct transfer *t, struct slot *slot)
{
	uint32_t block = t->info.block_bytes;

	slot->bytes = (slot->skip + slot->used + block - 1) / block * block;
}

/* ---- the file ---- */

/* Read until `bytes` or the end of the input. */
static uint32_t read_input(struct transfer *t, char *to, uint32_t bytes)
{
	uint32_t have = 0;

	while (have < bytes && !interrupted) {
		ssize_t got = read(t->fd, to + have, bytes - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			stop_with(t, -errno, "reading the input for", t->next + have);
		if (got <= 0) {
			t->input_ended = true;
			break;
		}
		have += (uint32_t)got;
	}
	return have;
}

static int write_output(struct transfer *t, const char *from, uint32_t bytes)
{
	while (bytes) {
		ssize_t put = write(t->fd, from, bytes);

		if (put < 0 && errno == EINTR && !interrupted)
			continue;
		if (put < 0) {
			if (errno != EINTR)
				stop_with(t, -errno, "writing the output for",
					  t->ctl->offset + t->moved);
			return -errno;
		}
		from += put;
		bytes -= (uint32_t)put;
		t->moved += (uint64_t)put;
	}
	return 0;
}

/* ---- the disk ---- */

/* Fetch the block at `off` and copy the part of it that is not the user's. */
static int keep_block(struct transfer *t, uint64_t off, char *to, uint32_t from, uint32_t until)
{
	int res = pcidipc_blockdev_read(t->dev, t->index, t->scratch->offset, t->info.block_bytes,
					off);

	if (res < 0) {
		stop_with(t, res, "reading a block that is written in part, at", off);
		return res;
	}
	memcpy(to + from, (char *)pcidipc_buf_ptr(t->scratch) + from, until - from);
	t->partial++;
	return 0;
}

/* Complete the first and the last block of a write. The slots in flight hold other blocks. */
static int keep_rest(struct transfer *t, struct slot *slot)
{
	uint32_t block = t->info.block_bytes;
	uint32_t user_end = slot->skip + slot->used, tail = user_end % block;
	char *data = pcidipc_buf_ptr(slot->buf);
	uint32_t last = slot->bytes - block;

	if (slot->skip && keep_block(t, slot->off, data, 0, slot->skip))
		return t->error;
	if (tail && keep_block(t, slot->off + last, data + last, tail, block))
		return t->error;
	return 0;
}

static int fill_slot(struct transfer *t, struct slot *slot)
{
	if (t->writing)
		slot->used =
			read_input(t, (char *)pcidipc_buf_ptr(slot->buf) + slot->skip, slot->used);
	if (t->error || interrupted || !slot->used)
		return -ECANCELED;
	slot_round(t, slot);
	return t->writing ? keep_rest(t, slot) : 0;
}

static int submit_slot(struct transfer *t, struct slot *slot)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(t->consumer);
	void *addr = (void *)(uintptr_t)slot->buf->offset;
	int error;

	if (!sqe)
		return -EAGAIN;
	if (t->writing)
		io_uring_prep_write_fixed(sqe, 0, addr, slot->bytes, slot->off, t->index);
	else
		io_uring_prep_read_fixed(sqe, 0, addr, slot->bytes, slot->off, t->index);
	io_uring_sqe_set_data64(sqe, t->tail % t->depth);
	t->tail++;
	t->next += slot->used;
	error = pcidipc_submit(t->consumer);
	if (error)
		stop_with(t, error, t->writing ? "writing at" : "reading at", slot->off);
	return error;
}

static bool want_more(const struct transfer *t)
{
	return !t->error && !interrupted && !t->input_ended && t->next < t->end;
}

static void issue(struct transfer *t)
{
	while (want_more(t) && t->tail - t->head < t->depth && pcidipc_sq_space(t->consumer)) {
		struct slot *slot = slot_at(t, t->tail);

		if (!slot_place(t, slot) || fill_slot(t, slot) || submit_slot(t, slot))
			return;
	}
}

static void take_cqe(struct transfer *t, const struct pcidipc_cqe *cqe)
{
	struct slot *slot;

	if (cqe->user_data >= t->depth || t->slots[cqe->user_data].done) {
		stop_with(t, -EPROTO, "an unknown completion came at", t->next);
		return;
	}
	slot = &t->slots[cqe->user_data];
	slot->done = true;
	slot->res = cqe->res >= 0 && (uint32_t)cqe->res != slot->bytes ? -EIO : cqe->res;
}

/* Retire what is done, in order. Nothing behind a failure counts as moved. */
static void retire(struct transfer *t)
{
	while (t->head != t->tail && slot_at(t, t->head)->done) {
		struct slot *slot = slot_at(t, t->head++);

		if (slot->res < 0 && !t->failed) {
			t->failed = true;
			t->error = 0; /* one of the input comes later on the disk */
			stop_with(t, slot->res, t->writing ? "writing at" : "reading at",
				  slot->off);
		}
		if (t->failed || (interrupted && !t->writing))
			continue;
		if (t->writing)
			t->moved += slot->used;
		else if (write_output(t, (char *)pcidipc_buf_ptr(slot->buf) + slot->skip,
				      slot->used))
			t->failed = true;
	}
}

/* Wait for one completion at least. False: the connection is lost. */
static bool collect(struct transfer *t)
{
	struct pcidipc_cqe cqe;
	int got = pcidipc_submit_and_wait(t->consumer, 1);

	if (got == -EINTR)
		return true;
	while (got >= 0 && (got = pcidipc_next_cqe(t->consumer, &cqe)) > 0)
		take_cqe(t, &cqe);
	if (got >= 0)
		return true;
	stop_with(t, got, "the connection was lost at",
		  slot_at(t, t->head)->off + slot_at(t, t->head)->skip);
	return false;
}

static void run(struct transfer *t)
{
	for (;;) {
		issue(t);
		if (t->head == t->tail)
			return;
		if (!collect(t))
			return;
		retire(t);
		progress_update(&t->progress, t->moved);
	}
}

/* The disk is full: is that all of the input too? */
static void check_overflow(struct transfer *t)
{
	char byte;

	if (!t->writing || t->ctl->given & CTL_BYTES || t->next < t->info.bytes || t->error)
		return;
	if (read_input(t, &byte, 1))
		stop_with(t, -ENOSPC, OVERFLOW_TEXT, t->next);
}

static void flush(struct transfer *t)
{
	int error;

	if (t->error || !(t->ctl->given & CTL_FLUSH))
		return;
	error = pcidipc_blockdev_flush(t->dev);
	if (error < 0)
		stop_with(t, error, "flushing the disk's cache after", t->next);
}

/* ---- set-up ---- */

static int allocate(struct transfer *t)
{
	size_t align = t->info.dma_align > 4096 ? t->info.dma_align : 4096;

	t->slots = calloc(t->depth, sizeof(*t->slots));
	if (!t->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->depth; i++) {
		t->slots[i].buf = pcidipc_pool_alloc(t->pool, t->chunk, align);
		if (!t->slots[i].buf)
			return -ENOMEM;
	}
	t->scratch = pcidipc_pool_alloc(t->pool, t->info.block_bytes, align);
	return t->scratch ? 0 : -ENOMEM;
}

static int set_up_memory(struct transfer *t)
{
	uint64_t bytes;
	int error;

	t->chunk = t->info.best_bytes;
	if (t->chunk < CHUNK_MIN)
		t->chunk = CHUNK_MIN;
	if (t->chunk > CHUNK_MAX)
		t->chunk = CHUNK_MAX;
	if (t->info.max_bytes && t->chunk > t->info.max_bytes)
		t->chunk = t->info.max_bytes;
	t->chunk -= t->chunk % t->info.block_bytes;
	if (!t->chunk)
		t->chunk = t->info.block_bytes;
	bytes = ((uint64_t)t->depth + 1) * t->chunk + t->info.block_bytes + RINGABI_POOL_ALIGN;
	error = pcidipc_pool_create(bytes, 0, &t->pool);
	if (!error)
		error = allocate(t);
	if (!error)
		error = pcidipc_consumer_attach_pool(t->consumer, t->pool, &t->index);
	if (!error)
		return CTL_OK;
	return ctl_fail(t->ctl, CTL_FAILED, error,
			"sharing %" PRIu64 " bytes of buffers with the driver of %s: %s", bytes,
			t->ctl->args[0], strerror(-error));
}

/* The input's size where it is known beforehand, else 0. */
static uint64_t file_bytes(int fd)
{
	struct stat st;
	off_t at = lseek(fd, 0, SEEK_CUR);

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || at < 0 || at > st.st_size)
		return 0;
	return (uint64_t)(st.st_size - at);
}

static int check_disk(const struct transfer *t)
{
	const struct ctl *ctl = t->ctl;

	if (t->info.flags & RINGABI_BLOCK_NO_MEDIUM || !t->info.block_bytes)
		return ctl_fail(ctl, CTL_FAILED, -ENOMEDIUM, "disk %s has no medium", ctl->args[0]);
	if (t->writing && t->info.flags & RINGABI_BLOCK_READ_ONLY)
		return ctl_fail(ctl, CTL_FAILED, -EROFS, "disk %s is read-only", ctl->args[0]);
	if (ctl->offset > t->info.bytes)
		return ctl_fail(ctl, CTL_USAGE, -ENOSPC,
				"--offset %" PRIu64 " is beyond the disk's end: %s has %" PRIu64
				" bytes",
				ctl->offset, ctl->args[0], (uint64_t)t->info.bytes);
	if (ctl->given & CTL_BYTES && ctl->bytes > t->info.bytes - ctl->offset)
		return ctl_fail(ctl, CTL_USAGE, -ENOSPC,
				"--bytes %" PRIu64 " is more than the %" PRIu64
				" bytes that %s has from --offset %" PRIu64 " on",
				ctl->bytes, (uint64_t)t->info.bytes - ctl->offset, ctl->args[0],
				ctl->offset);
	return CTL_OK;
}

static int set_range(struct transfer *t)
{
	const struct ctl *ctl = t->ctl;
	uint64_t room, have = t->writing ? file_bytes(t->fd) : 0;

	room = t->info.bytes - ctl->offset;
	if (have && !(ctl->given & CTL_BYTES) && have > room)
		return ctl_fail(ctl, CTL_FAILED, -ENOSPC,
				"the input has %" PRIu64 " bytes, %s only %" PRIu64
				" from --offset %" PRIu64 " on; nothing was written",
				have, ctl->args[0], room, ctl->offset);
	t->next = ctl->offset;
	t->end = ctl->given & CTL_BYTES ? ctl->offset + ctl->bytes : t->info.bytes;
	if (ctl->given & CTL_BYTES && (!have || have > ctl->bytes))
		have = ctl->bytes;
	progress_start(&t->progress, t->writing ? have : t->end - t->next);
	return CTL_OK;
}

static const char *file_path(const struct transfer *t)
{
	return t->writing ? t->ctl->input : t->ctl->output;
}

static int check_file(const struct transfer *t)
{
	const char *path = file_path(t), *option = t->writing ? "input" : "output";

	if (path && strcmp(path, "-"))
		return CTL_OK;
	if (!path && isatty(t->writing ? STDIN_FILENO : STDOUT_FILENO))
		return ctl_fail(t->ctl, CTL_USAGE, -EINVAL,
				"standard %s is a terminal: give --%s FILE, or --%s - to use it "
				"all the same",
				option, option, option);
	if (!t->writing && t->ctl->json)
		return ctl_fail(t->ctl, CTL_USAGE, -EINVAL,
				"--json needs --output FILE: the disk's data would go to standard "
				"output too");
	return CTL_OK;
}

/* Only once everything else is in order: an output file loses what it held. */
static int open_file(struct transfer *t)
{
	const char *path = file_path(t);

	if (!path || !strcmp(path, "-")) {
		t->fd = t->writing ? STDIN_FILENO : STDOUT_FILENO;
		return CTL_OK;
	}
	if (t->writing)
		t->fd = open(path, O_RDONLY | O_CLOEXEC);
	else
		t->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (t->fd < 0)
		return ctl_fail(t->ctl, CTL_FAILED, -errno, "%s: %s", path, strerror(errno));
	return CTL_OK;
}

/* ---- the end ---- */

static int result_code(const struct transfer *t)
{
	if (t->error)
		return CTL_FAILED;
	if (interrupted)
		return CTL_INTERRUPTED;
	return CTL_OK;
}

static void report_text(const struct transfer *t, double seconds)
{
	char size[32], rate[32];

	fprintf(stderr, "%" PRIu64 " bytes", t->moved);
	if (t->moved >= 1024)
		fprintf(stderr, " (%s)", format_size(t->moved, size, sizeof(size)));
	fprintf(stderr, " %s in %.3f s", t->writing ? "written" : "read", seconds);
	if (t->moved && seconds > 0)
		fprintf(stderr, ", %s/s",
			format_size((uint64_t)((double)t->moved / seconds), rate, sizeof(rate)));
	fputs(interrupted ? ", interrupted\n" : "\n", stderr);
	if (t->partial)
		fprintf(stderr,
			"note: %u %u-byte block%s written in part; the rest of %s was read first "
			"and kept\n",
			t->partial, t->info.block_bytes, t->partial == 1 ? " was" : "s were",
			t->partial == 1 ? "it" : "them");
}

static int report_json(const struct transfer *t, double seconds)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "name", json_object_new_string(t->ctl->args[0]));
	json_object_object_add(object, "offset", json_object_new_uint64(t->ctl->offset));
	json_object_object_add(object, "bytes", json_object_new_uint64(t->moved));
	json_object_object_add(object, "seconds", json_object_new_double(seconds));
	json_object_object_add(
		object, "bytes_per_second",
		json_object_new_uint64(seconds > 0 ? (uint64_t)((double)t->moved / seconds) : 0));
	json_object_object_add(object, "partial_blocks", json_object_new_uint64(t->partial));
	json_object_object_add(object, "interrupted", json_object_new_boolean(interrupted != 0));
	return ctl_print_json(t->ctl, object);
}

static int report(struct transfer *t)
{
	double seconds = (double)(clock_ns() - t->progress.start) / 1e9;
	int code = result_code(t);

	progress_end(&t->progress);
	if (!t->error && !interrupted && t->ctl->given & CTL_BYTES && t->moved < t->ctl->bytes) {
		report_text(t, seconds);
		return ctl_fail(t->ctl, CTL_FAILED, -ENODATA,
				"the input ended after %" PRIu64 " of the %" PRIu64
				" bytes of --bytes",
				t->moved, t->ctl->bytes);
	}
	if (!t->error && t->ctl->json)
		return report_json(t, seconds) ? CTL_FAILED : code;
	report_text(t, seconds);
	if (t->error)
		ctl_fail(t->ctl, code, t->error, "disk %s: %s byte %" PRIu64 ": %s",
			 t->ctl->args[0], t->error_at, t->error_off,
			 t->error == -ENOTCONN ? "its driver died; pcid starts it again"
					       : strerror(-t->error));
	return code;
}

static int finish_file(struct transfer *t, int code)
{
	if (t->fd <= STDERR_FILENO || !close(t->fd) || t->writing || code)
		return code;
	return ctl_fail(t->ctl, CTL_FAILED, -errno, "%s: %s", t->ctl->output, strerror(errno));
}

static int transfer_run(struct transfer *t)
{
	int code;

	t->consumer = pcidipc_blockdev_consumer(t->dev);
	t->info = *pcidipc_blockdev_info(t->dev);
	code = check_disk(t);
	if (!code)
		code = open_file(t);
	if (!code)
		code = set_range(t);
	if (!code)
		code = set_up_memory(t);
	if (!code) {
		catch_interrupt();
		run(t);
		check_overflow(t);
		flush(t);
		code = report(t);
	}
	return code;
}

static int transfer(struct ctl *ctl, bool writing)
{
	struct transfer t = {.ctl = ctl, .writing = writing, .fd = -1};
	uint32_t flags = (writing ? 0 : RINGABI_OPEN_READ_ONLY) |
			 (ctl->given & CTL_EXCLUSIVE ? RINGABI_OPEN_EXCLUSIVE : 0);
	unsigned entries = 4;
	int code = check_file(&t);

	if (code)
		return code;
	t.depth = ctl->given & CTL_DEPTH ? ctl->depth : DEFAULT_DEPTH;
	while (entries < t.depth + 1)
		entries *= 2;
	code = disk_open(ctl, flags, entries, &t.dev);
	if (!code) {
		code = transfer_run(&t);
		pcidipc_blockdev_close(t.dev);
		if (t.pool)
			pcidipc_pool_destroy(t.pool);
		free(t.slots);
	}
	return finish_file(&t, code);
}

int cmd_disk_read(struct ctl *ctl)
{
	return transfer(ctl, false);
}

int cmd_disk_write(struct ctl *ctl)
{
	return transfer(ctl, true);
}
