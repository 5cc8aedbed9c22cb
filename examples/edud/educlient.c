/* SPDX-License-Identifier: MIT */
/* A client of edud: "educlient 5 hello" prints 120, and hello when it has been in the device. */
#include <pcidipc/consumer.h>
#include <stdio.h>
#include <stdlib.h>
#include "edu.h"

static int copy(struct pcidipc_consumer *edu, struct pcidipc_pool *pool, const char *text)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = EDU_COPY};
	uint16_t index = 0;
	int ret = pcidipc_consumer_attach_pool(edu, pool, &index);
	char *at = pcidipc_pool_base(pool); /* offset 0: nobody else uses this pool */

	strcpy(at, text);
	sqe.buf_index = index;
	sqe.len = (uint32_t)strlen(text);
	return ret ?: pcidipc_call(edu, &sqe, NULL) ?: puts(at + sqe.len);
}

int main(int argc, char **argv)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_PRIVATE};
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = EDU_FACTORIAL,
				   .addr = argc > 1 ? strtoull(argv[1], NULL, 0) : 0};
	struct pcidipc_consumer *edu = NULL;
	struct pcidipc_pool *pool = NULL;
	int ret = pcidipc_pool_create(1 << 20, 0, &pool) ?:
		pcidipc_consumer_open("calc/edu0", &params, &edu) ?: pcidipc_call(edu, &sqe, NULL);

	if (ret > 0 && printf("%d\n", ret) && argc > 2)
		ret = copy(edu, pool, argv[2]);
	if (ret < 0)
		fprintf(stderr, "educlient: %s\n", strerror(-ret));
	pcidipc_consumer_close(edu);
	pcidipc_pool_destroy(pool);
	return ret < 0;
}
