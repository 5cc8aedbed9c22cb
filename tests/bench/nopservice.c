// SPDX-License-Identifier: MIT
#include "nopservice.h"

#include <dlfcn.h>
#include <pcidipc/scheme.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool one_cpu;

void bench_one_cpu(bool one)
{
	one_cpu = one;
}

/* In place of the C library's. */
long sysconf(int name)
{
	static long (*real)(int);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "sysconf");
	return one_cpu && name == _SC_NPROCESSORS_ONLN ? 1 : real(name);
}

static int refuse(struct pcidipc_request *rq)
{
	(void)rq;
	return -EOPNOTSUPP;
}

/* NOPs are the library's own; the scheme has nothing to do. */
static void serve(struct bench_process *process, void *arg)
{
	static struct pcidipc_scheme scheme = {.name = "nop",
					       .interface = RINGABI_INTERFACE_PRIVATE,
					       .max_sq_entries = 256,
					       .max_cq_entries = 512,
					       .max_sessions = 1,
					       .request = refuse};
	struct pcidipc_loop *loop;
	struct pcidipc_session *session;

	(void)process;
	if (pcidipc_loop_create(0, &loop) ||
	    pcidipc_session_create(loop, &scheme, *(int *)arg, 0, &session))
		_exit(1);
	_exit(pcidipc_loop_run(loop));
}

static int connect_consumer(struct nop_service *service, int channel)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_PRIVATE,
						 .sq_entries = NOP_DEPTH};
	int ret;

	bench_go(&service->producer);
	bench_one_cpu(service->sleepy);
	ret = pcidipc_consumer_adopt(channel, &params, &service->consumer);
	bench_one_cpu(false);
	if (ret)
		bench_kill(&service->producer);
	return ret;
}

int nop_service_open(struct nop_service *service, bool sleepy)
{
	int ends[2];
	int ret = pcidipc_channel_pair(ends);

	service->sleepy = sleepy;
	if (ret)
		return ret;
	bench_one_cpu(sleepy); /* the child inherits it */
	ret = bench_spawn(&service->producer, BENCH_SERVER_CPU, serve, &ends[1]);
	bench_one_cpu(false);
	close(ends[1]);
	if (!ret)
		return connect_consumer(service, ends[0]);
	close(ends[0]);
	return ret;
}

void nop_service_close(struct nop_service *service)
{
	pcidipc_consumer_close(service->consumer);
	bench_kill(&service->producer);
}
