/* SPDX-License-Identifier: MIT */
/* A client of the edu driver: "factorial 5" prints 120. */
#include <pcidipc/consumer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edu.h"

int main(int argc, char **argv)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_PRIVATE};
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = EDU_FACTORIAL};
	const char *run = getenv("PCID_RUNTIME_DIR");
	struct pcidipc_consumer *consumer;
	char path[256];
	int ret;

	snprintf(path, sizeof(path), "%s/calc/edu0", run ? run : "/run/pcid");
	ret = pcidipc_consumer_open(path, &params, &consumer);
	if (!ret) {
		sqe.addr = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
		ret = pcidipc_call(consumer, &sqe, NULL);
		pcidipc_consumer_close(consumer);
	}
	if (ret < 0) {
		fprintf(stderr, "factorial: %s\n", strerror(-ret));
		return 1;
	}
	printf("%d\n", ret);
	return 0;
}
