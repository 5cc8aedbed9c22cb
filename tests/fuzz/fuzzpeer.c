// SPDX-License-Identifier: MIT
#include "fuzzpeer.h"

struct rawpeer peer;

void step_any(struct fuzz_input *in)
{
	struct io_uring_sqe sqe;

	fuzz_copy(in, &sqe, sizeof(sqe));
	rawpeer_push(&peer, &sqe);
}

void step_scribble(struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);
	int32_t value = (int32_t)fuzz_take(in, 4);

	rawpeer_scribble(&peer, which & 0x7f, which & 0x80,
			 (uint32_t)(which & 0x80 ? value : value % 64));
}

void step_pool(struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);

	rawpeer_attach_pool(&peer, which >> 4, fuzz_fd(which & 7),
			    (which & 7) == FUZZ_FD_BIG_POOL ? FUZZ_BIG_POOL_BYTES
							    : FUZZ_POOL_BYTES);
}

void push_batch(struct fuzz_input *in, void (*fill)(struct fuzz_input *, struct io_uring_sqe *))
{
	unsigned n = 1 + fuzz_u8(in) % 8;
	struct io_uring_sqe sqe;

	for (unsigned i = 0; i < n; i++) {
		fill(in, &sqe);
		rawpeer_put(&peer, i, &sqe);
	}
	rawpeer_publish(&peer, n);
}
