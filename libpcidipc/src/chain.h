/* SPDX-License-Identifier: MIT */
/* What ends a chain (docs/ring-abi.md, "Chains"): the same for who runs it and for who keeps it. */
#ifndef CHAIN_H
#define CHAIN_H

#include <linux/io_uring.h>
#include <stdbool.h>

#define CHAIN_LINKS (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)

/* Are the members behind this one canceled, when this is its result? */
static inline bool chain_breaks(const struct io_uring_sqe *sqe, int res)
{
	if (sqe->flags & IOSQE_IO_HARDLINK)
		return false;
	if (res < 0)
		return true;
	return (sqe->opcode == IORING_OP_READ_FIXED || sqe->opcode == IORING_OP_WRITE_FIXED) &&
	       (__u32)res != sqe->len;
}

#endif
