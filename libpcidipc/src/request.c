/* SPDX-License-Identifier: MIT */
/* What a handler may do with a request besides answering it: refuse it with a message, hand it to a
 * task. */
#include <pcidipc/log.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <stdarg.h>
#include <stdio.h>

int pcidipc_refuse(struct pcidipc_request *rq, int error, const char *format, ...)
{
	static struct pcidipc_ratelimit limit;
	char why[160], command[24] = "";
	va_list args;

	if (!pcidipc_ratelimit(&limit))
		return error;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	if (rq->sqe.opcode == IORING_OP_URING_CMD)
		snprintf(command, sizeof(command), ", cmd_op %#x", rq->sqe.cmd_op);
	pcidipc_warn("%s: pid %d: opcode %u%s: %s (%s)", pcidipc_session_scheme(rq->session)->name,
		     pcidipc_session_pid(rq->session), rq->sqe.opcode, command, why,
		     strerror(-error));
	return error;
}

static void run(void *arg)
{
	struct pcidipc_request *rq = arg;

	pcidipc_complete(rq, rq->task(rq));
}

int pcidipc_request_task(struct pcidipc_request *rq, int (*task)(struct pcidipc_request *))
{
	int ret = pcidipc_spawn(pcidipc_session_loop(rq->session), run, rq);

	if (ret)
		return ret;
	rq->task = task;
	return PCIDIPC_PENDING;
}
