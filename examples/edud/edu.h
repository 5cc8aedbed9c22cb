/* SPDX-License-Identifier: MIT */
/* What edud and its clients agree on: two commands (IORING_OP_URING_CMD) of a ring to calc/edu0. */
#ifndef EDU_H
#define EDU_H

#include <ringabi/ring.h>

/* addr = n, at most EDU_MOST_N. res = n! */
#define EDU_FACTORIAL RINGABI_CMD_OP(RINGABI_INTERFACE_PRIVATE, 1u)
#define EDU_MOST_N 12u /* 13! has more than 31 bits */

/* len bytes at offset addr of pool buf_index go into the device, and come back right behind them. */
#define EDU_COPY RINGABI_CMD_OP(RINGABI_INTERFACE_PRIVATE, 2u)
#define EDU_MOST_BYTES 2048u

#endif
