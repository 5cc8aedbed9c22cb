// SPDX-License-Identifier: MIT
/*
 * Mask and unmask through pcid, told to the driver in subdriver.c, against the same requests over a
 * Unix socket: a server that checks the message, keeps the mask, and answers. "Posted" ones are not
 * waited for, but the last.
 */
#include "measurements.h"

#include <pcidipc/consumer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

#define COUNT 2000	 /* pairs per round */
#define SOCKET_COUNT 200 /* the same takes the socket longer */

/* ---- pcid ---- */

struct driver {
	struct pcidipc_consumer *consumer;
	bool posted;
};

static int setup(const struct bench_measurement *m, void **state)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_PRIVATE,
						 .sq_entries = 4};
	struct driver *d = calloc(1, sizeof(*d));
	int ret = d ? rig_await(&rig, rig.service) : -ENOMEM;

	if (!ret)
		ret = pcidipc_consumer_open(rig.service, &params, &d->consumer);
	if (ret) {
		free(d);
		return ret;
	}
	d->posted = m->arg;
	bench_pin(rig.driver, BENCH_CLIENT_CPU);
	bench_pin(rig.pcid, BENCH_SERVER_CPU);
	*state = d;
	return 0;
}

static void teardown(void *state)
{
	struct driver *d = state;

	pcidipc_consumer_close(d->consumer);
	bench_unpin(rig.pcid);
	free(d);
}

/* Only the driver's own time counts, which it answers with. */
static int one_round(void *state, double *results)
{
	struct driver *d = state;
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .len = COUNT};
	struct pcidipc_cqe cqe;
	int ret;

	sqe.cmd_op = RINGABI_CMD_OP(RINGABI_INTERFACE_PRIVATE, d->posted);
	ret = pcidipc_call(d->consumer, &sqe, &cqe);
	if (!ret)
		results[0] = COUNT * 1e9 / (double)cqe.big[0];
	return ret;
}

/* ---- a socket ---- */

struct message {
	uint32_t type, vector, masked, wait;
	int32_t result;
};

struct socket_peer {
	struct bench_process server;
	int ends[2];
	bool posted;
};

/* What pcid keeps of such a vector. */
struct vector {
	bool masked, pending;
	uint64_t masks, unmasks;
};

static int32_t obey(struct vector *vectors, unsigned count, const struct message *m)
{
	struct vector *v;

	if (m->type != 1 || m->masked > 1)
		return -EINVAL;
	if (m->vector >= count)
		return -ERANGE;
	v = &vectors[m->vector];
	v->masked = m->masked;
	if (!v->masked)
		v->pending = false;
	v->masks += m->masked;
	v->unmasks += !m->masked;
	return 0;
}

static void serve(struct bench_process *process, void *arg)
{
	static struct vector vectors[32];
	struct socket_peer *p = arg;
	struct message m;

	(void)process;
	while (recv(p->ends[1], &m, sizeof(m), 0) == sizeof(m)) {
		m.result = obey(vectors, 32, &m);
		if (m.wait && send(p->ends[1], &m, sizeof(m), MSG_NOSIGNAL) != sizeof(m))
			break;
	}
	_exit(0);
}

static int socket_setup(const struct bench_measurement *m, void **state)
{
	struct socket_peer *p = calloc(1, sizeof(*p));
	int ret = -ENOMEM;

	if (p)
		ret = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p->ends) ? -errno : 0;
	if (!ret)
		ret = bench_spawn(&p->server, BENCH_SERVER_CPU, serve, p);
	if (ret) {
		free(p);
		return ret;
	}
	p->posted = m->arg;
	bench_go(&p->server);
	*state = p;
	return 0;
}

static void socket_teardown(void *state)
{
	struct socket_peer *p = state;

	bench_kill(&p->server);
	close(p->ends[0]);
	close(p->ends[1]);
	free(p);
}

static int socket_mask(struct socket_peer *p, bool masked, bool wait)
{
	struct message m = {.type = 1, .masked = masked, .wait = wait};

	if (send(p->ends[0], &m, sizeof(m), MSG_NOSIGNAL) != sizeof(m))
		return -errno;
	if (!wait)
		return 0;
	return recv(p->ends[0], &m, sizeof(m), 0) == sizeof(m) ? m.result : -EPIPE;
}

static int socket_round(void *state, double *results)
{
	struct socket_peer *p = state;
	unsigned count = p->posted ? COUNT : SOCKET_COUNT;
	uint64_t start = bench_now();
	int ret = 0;

	for (unsigned i = 1; i <= count && !ret; i++) {
		ret = socket_mask(p, true, !p->posted);
		if (!ret)
			ret = socket_mask(p, false, !p->posted || i == count);
	}
	results[0] = count * 1e9 / (double)(bench_now() - start);
	return ret;
}

const struct bench_measurement bench_mask = {
	.values =
		(const struct bench_value[]){
			{"mask_unmask_per_s", "mask and unmask through pcid", "/s"}, {0}},
	.setup = setup,
	.round = one_round,
	.teardown = teardown,
};

const struct bench_measurement bench_mask_posted = {
	.values =
		(const struct bench_value[]){{"mask_unmask_posted_per_s", "the same, posted", "/s"},
					     {0}},
	.arg = "posted",
	.setup = setup,
	.round = one_round,
	.teardown = teardown,
};

const struct bench_measurement bench_mask_socket = {
	.values =
		(const struct bench_value[]){
			{"mask_unmask_socket_per_s", "the same over a Unix socket", "/s"}, {0}},
	.setup = socket_setup,
	.round = socket_round,
	.teardown = socket_teardown,
};

const struct bench_measurement bench_mask_socket_posted = {
	.values = (const struct bench_value[]){{"mask_unmask_socket_posted_per_s",
						"the same over a Unix socket, posted", "/s"},
					       {0}},
	.arg = "posted",
	.setup = socket_setup,
	.round = socket_round,
	.teardown = socket_teardown,
};
