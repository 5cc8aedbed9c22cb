/* SPDX-License-Identifier: MIT */
/* A client of edud: "educlient 5 hello" prints 120, and what has become of hello in the device. */
#include <pcidipc/consumer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edu.h"

static int copy(struct pcidipc_consumer *edu, const char *text)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = EDU_COPY};
	struct pcidipc_pool *pool;
	uint16_t index;

	if (pcidipc_pool_create(1 << 20, 0, &pool) ||
	    pcidipc_consumer_attach_pool(edu, pool, &index))
		return -ENOMEM;
	sqe.buf_index = index;
	sqe.len = (uint32_t)strlen(text);
	strcpy(pcidipc_pool_base(pool), text); /* at offset 0: nobody else uses this pool */
	return pcidipc_call(edu, &sqe, NULL) ?: puts((char *)pcidipc_pool_base(pool) + sqe.len);
}

int main(int argc, char **argv)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_PRIVATE};
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = EDU_FACTORIAL};
	struct pcidipc_consumer *edu;
	int ret = pcidipc_consumer_open("calc/edu0", &params, &edu);

	sqe.addr = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	if (!ret && (ret = pcidipc_call(edu, &sqe, NULL)) > 0)
		printf("%d\n", ret);
	if (ret > 0 && argc > 2)
		ret = copy(edu, argv[2]);
	if (ret < 0)
		fprintf(stderr, "educlient: %s\n", strerror(-ret));
	return ret < 0;
}
