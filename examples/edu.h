/* SPDX-License-Identifier: MIT */
/* What the edu driver and its clients agree on. */
#ifndef EDU_H
#define EDU_H

#include <ringabi/ring.h>

/* cmd_op of an IORING_OP_URING_CMD, addr = n: the CQE's res is n!. -ERANGE: it does not fit. */
#define EDU_FACTORIAL RINGABI_CMD_OP(RINGABI_INTERFACE_PRIVATE, 1u)

#endif
