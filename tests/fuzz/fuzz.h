/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share. An input is a program: every target takes bytes from it to decide
 * what the hostile side does next, and ends when there are none left. No thread, no sleep, no
 * clock: the same input does the same.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <pcidipc/channel.h>
#include <pcidipc/loop.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The target, called by libFuzzer, or by replay.c for each file of a corpus. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* ---- taking the input apart: zeroes once it has ended ---- */

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes);
void fuzz_copy(struct fuzz_input *in, void *to, size_t bytes);

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	return (uint8_t)fuzz_take(in, 1);
}

/* ---- the loop ---- */

/* No messages, no tasks of old inputs: made once, kept for all inputs. */
struct pcidipc_loop *fuzz_loop(void);
/* So many turns that what the kernel has to tell was told, and what followed from it is done. */
void fuzz_run(void);
/* A step: up to two turns of the loop, or all that fuzz_run has and three. */
void fuzz_turn(struct fuzz_input *in);
/* Until `done` says so. A promise was broken when that does not come about: abort with `what`. */
void fuzz_run_until(bool (*done)(void *arg), void *arg, const char *what);
/* A promise: abort with a message if it was not kept. */
void fuzz_expect(bool kept, const char *what);

/* At the beginning of an input and at its end: no fd may be left open. */
void fuzz_begin(void);
void fuzz_end(void);

/* ---- file descriptors that a peer may pass ---- */

enum {
	FUZZ_FD_POOL,	  /* sealed as a pool must be, FUZZ_POOL_BYTES */
	FUZZ_FD_BIG_POOL, /* likewise, FUZZ_BIG_POOL_BYTES */
	FUZZ_FD_UNSEALED,
	FUZZ_FD_UNALIGNED, /* sealed, but no multiple of the granule */
	FUZZ_FD_READ_ONLY, /* sealed against writing too */
	FUZZ_FD_NULL,
	FUZZ_FD_DIRECTORY,
	FUZZ_FD_SOCKET,
	FUZZ_FDS,
};
#define FUZZ_POOL_BYTES (2u << 20)
#define FUZZ_BIG_POOL_BYTES (66u << 20) /* three chunks, the last one short */

/* Stays ours. */
int fuzz_fd(unsigned which);

/* Two ends; without fail. */
void fuzz_channel(int ends[2]);
/* Send whatever bytes the input says, with its choice of fds. */
void fuzz_send_raw(int channel, struct fuzz_input *in);

#endif
