/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <CUnit/CUnit.h>
#include <pcidipc/log.h>
#include <pcidipc/task.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_IOVA 0x40000000ull

unsigned rig_loop_flags;

/* ---- the producer's process ---- */

static struct {
	struct pcidipc_loop *loop;
	struct pcidipc_scheme scheme;
	struct pcidipc_users users;
	struct pcidipc_listener *listener;
	struct rig_knobs *knobs;
	struct pcidipc_request *held;
	struct pcidipc_completion gate;
	bool gate_open, leaving;
	int log;
} p;

static void note(char what, char who)
{
	char entry[2] = {what, who};

	if (write(p.log, entry, 2) != 2)
		_exit(3);
}

static struct pcidipc_request *unhold(uint64_t user_data, struct pcidipc_request *which)
{
	for (struct pcidipc_request **at = &p.held; *at; at = &(*at)->next) {
		struct pcidipc_request *rq = *at;

		if (which ? rq != which : rq->sqe.user_data != user_data)
			continue;
		*at = rq->next;
		return rq;
	}
	return NULL;
}

static int hold(struct pcidipc_request *rq)
{
	rq->next = p.held;
	p.held = rq;
	return PCIDIPC_PENDING;
}

static int release(const struct io_uring_sqe *sqe)
{
	struct pcidipc_request *rq = unhold(sqe->addr, NULL);

	note('L', (char)sqe->addr);
	if (!rq)
		return -ENOENT;
	pcidipc_complete(rq, (int32_t)sqe->len);
	return 0;
}

static int reach(struct pcidipc_request *rq)
{
	uint64_t iova = 0;
	int ret = pcidipc_request_reach(rq, rq->sqe.buf_index, rq->sqe.addr, rq->sqe.len, &iova);

	if (ret)
		return ret;
	if (!pcidipc_request_pool(rq, rq->sqe.buf_index))
		return -EBADF;
	if (rq->sqe.len && iova != POOL_IOVA * (rq->sqe.buf_index + 1u) + rq->sqe.addr)
		return -EBADMSG;
	return 0;
}

static int reach_in_task(struct pcidipc_request *rq)
{
	uint64_t iova = 0;
	int ret = pcidipc_request_await_reach(rq, rq->sqe.buf_index, rq->sqe.addr, rq->sqe.len,
					      &iova);

	if (ret)
		return ret;
	note('t', (char)rq->sqe.user_data);
	return iova == POOL_IOVA * (rq->sqe.buf_index + 1u) + rq->sqe.addr ? 7 : -EBADMSG;
}

static int mapped(struct pcidipc_request *rq)
{
	void *address;
	int ret = pcidipc_request_map(rq, rq->sqe.buf_index, rq->sqe.addr, 1, &address);

	return ret ? ret : *(unsigned char *)address;
}

static void quit_task(void *arg)
{
	(void)arg;
	p.leaving = true;
	pcidipc_listener_close(p.listener);
	pcidipc_scheme_end_sessions(&p.scheme);
	pcidipc_loop_stop(p.loop, 0);
}

static int request(struct pcidipc_request *rq)
{
	const struct io_uring_sqe *sqe = &rq->sqe;
	static const char letters[] = "?RHLBGYEVQT";

	if (sqe->opcode != IORING_OP_URING_CMD)
		return -EOPNOTSUPP;
	if (sqe->cmd_op != RIG_RELEASE && sqe->cmd_op != RIG_QUIT && sqe->user_data < 128 &&
	    (sqe->cmd_op & 0xff) < sizeof(letters))
		note(letters[sqe->cmd_op & 0xff], (char)sqe->user_data);
	rq->big[0] = sqe->addr;
	rq->big[1] = ~sqe->addr;
	switch (sqe->cmd_op) {
	case RIG_ECHO:
		return (int)sqe->len;
	case RIG_HOLD:
		return hold(rq);
	case RIG_RELEASE:
		return release(sqe);
	case RIG_REACH:
		return reach(rq);
	case RIG_TASK:
		return pcidipc_request_task(rq, reach_in_task);
	case RIG_GATE:
		p.gate_open = true;
		pcidipc_post(&p.gate, 0);
		return 0;
	case RIG_MAPPED:
		return mapped(rq);
	case RIG_END:
		pcidipc_session_end(rq->session, -ESHUTDOWN);
		return 0;
	case RIG_EVENT:
		pcidipc_scheme_event(&p.scheme, sqe->len);
		return 0;
	case RIG_QUIT:
		return pcidipc_spawn(p.loop, quit_task, NULL);
	}
	return -EOPNOTSUPP;
}

static int cancel(struct pcidipc_request *rq)
{
	note('X', (char)rq->sqe.user_data);
	if (rq->sqe.cmd_op != RIG_HOLD)
		abort(); /* not one that this scheme was ever given */
	if (!p.leaving && p.knobs->cancel == RIG_CANCEL_REFUSES)
		return -EALREADY;
	pcidipc_complete(unhold(0, rq), -ECANCELED);
	return 0;
}

static int open_session(struct pcidipc_session *s, uint32_t flags)
{
	(void)s;
	note('O', (char)('0' + flags));
	pcidipc_task_yield();
	return p.knobs->open_result;
}

static void close_session(struct pcidipc_session *s)
{
	struct pcidipc_session_stats stats;

	pcidipc_session_stats(s, &stats);
	note('C', (char)('0' + stats.pending));
	pcidipc_task_yield();
}

static void pass_gate(int level)
{
	if (p.knobs->gated < level) {
		pcidipc_task_yield();
		return;
	}
	if (!p.gate_open)
		pcidipc_await(&p.gate);
	p.gate = (struct pcidipc_completion){0};
	p.gate_open = false;
}

static int pool_attach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	(void)s;
	note('A', (char)('0' + pool->index));
	pass_gate(2);
	pool->iova = POOL_IOVA * (pool->index + 1);
	return 0;
}

static int pool_map(struct pcidipc_session *s, struct pcidipc_pool_view *pool, uint64_t offset,
		    uint64_t bytes)
{
	(void)s;
	if (offset % RINGABI_POOL_CHUNK || !bytes || bytes > pool->bytes - offset)
		abort();
	note('M', (char)('0' + offset / RINGABI_POOL_CHUNK));
	pass_gate(1);
	return p.knobs->map_result;
}

static void pool_detach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	(void)s;
	pcidipc_task_yield();
	note('D', (char)('0' + pool->index));
}

static void produce(int fd, const struct rig_params *params)
{
	int ret = pcidipc_loop_create(rig_loop_flags, &p.loop);

	p.users = params->users;
	p.scheme = (struct pcidipc_scheme){
		.name = "rig",
		.interface = RIG_INTERFACE,
		.ring_features = params->features,
		.flags = PCIDIPC_SCHEME_DMA | PCIDIPC_SCHEME_MAP_POOLS,
		.max_sq_entries = params->sq_entries ? params->sq_entries : 256,
		.max_cq_entries = params->cq_entries ? params->cq_entries : 512,
		.max_sessions = params->max_sessions ? params->max_sessions : 16,
		.users = params->own_limits ? NULL : &p.users,
		.hello_ms = params->hello_ms,
		.max_pool_bytes = params->max_pool_bytes,
		.open = open_session,
		.request = request,
		.cancel = cancel,
		.close = close_session,
		.pool_attach = pool_attach,
		.pool_map = pool_map,
		.pool_detach = pool_detach,
	};
	if (!ret)
		ret = pcidipc_listen(p.loop, &p.scheme, fd, 0, &p.listener);
	if (ret)
		_exit(2);
	pcidipc_loop_run(p.loop);
	pcidipc_loop_destroy(p.loop);
	close(fd);
	exit(0); /* and not _exit: the leak checker looks now */
}

/* ---- the test's process ---- */

static void fork_producer(struct rig *rig)
{
	int ends[2];

	if (pipe(ends))
		abort();
	fflush(stdout);
	rig->pid = fork();
	if (!rig->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(TEST_SECONDS);
		p.knobs = rig->knobs;
		p.log = ends[1];
		close(ends[0]);
		produce(rig->listen, &rig->params);
	}
	close(ends[1]);
	rig->log = ends[0];
}

void rig_start(struct rig *rig, const struct rig_params *params)
{
	static unsigned number;
	static const struct rig_params none;

	snprintf(rig->path, sizeof(rig->path), "/tmp/pcidipc-rig.%d.%u", getpid(), number++);
	rig->knobs = mmap(NULL, sizeof(*rig->knobs), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rig->listen = pcidipc_listen_socket(rig->path, 0600);
	rig->params = params ? *params : none;
	if (rig->knobs == MAP_FAILED || rig->listen < 0)
		abort();
	fork_producer(rig);
	rig->ctl = rig_open(rig, 0, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig->ctl);
	rig_expect(rig, "O0");
}

void rig_restart(struct rig *rig)
{
	kill(rig->pid, SIGKILL);
	waitpid(rig->pid, NULL, 0);
	close(rig->log);
	fork_producer(rig);
}

static void forget(struct rig *rig)
{
	pcidipc_consumer_close(rig->ctl);
	close(rig->log);
	close(rig->listen);
	unlink(rig->path);
	munmap(rig->knobs, sizeof(*rig->knobs));
}

void rig_stop(struct rig *rig)
{
	char rest[512];
	int status = -1;

	rig_do(rig, RIG_QUIT, 0, 0);
	while (read(rig->log, rest, sizeof(rest)) > 0)
		;
	waitpid(rig->pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	forget(rig);
}

void rig_kill(struct rig *rig)
{
	kill(rig->pid, SIGKILL);
	waitpid(rig->pid, NULL, 0);
	forget(rig);
}

int rig_channel(struct rig *rig)
{
	int fd = pcidipc_channel_connect(rig->path);

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	return fd;
}

struct pcidipc_consumer *rig_open(struct rig *rig, uint32_t sq, uint32_t cq)
{
	struct pcidipc_consumer_params params = {
		.interface = RIG_INTERFACE, .sq_entries = sq, .cq_entries = cq};
	struct pcidipc_consumer *c = NULL;

	CU_ASSERT_EQUAL(pcidipc_consumer_adopt(rig_channel(rig), &params, &c), 0);
	return c;
}

void rig_expect(struct rig *rig, const char *entries)
{
	for (; *entries; entries += 2) {
		char entry[2] = "??";

		if (read(rig->log, entry, 2) != 2 || entry[0] != entries[0] ||
		    (entries[1] != '.' && entry[1] != entries[1])) {
			printf("\nlog: '%.2s' instead of '%s'\n", entry, entries);
			CU_FAIL("log");
		}
	}
}

int rig_do(struct rig *rig, uint32_t op, uint64_t addr, uint32_t len)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_URING_CMD, .cmd_op = op, .addr = addr, .len = len};

	return pcidipc_call(rig->ctl, &sqe, NULL);
}

void rig_release(struct rig *rig, uint64_t user_data, int res)
{
	CU_ASSERT_EQUAL(rig_do(rig, RIG_RELEASE, user_data, (uint32_t)res), 0);
}

struct io_uring_sqe *put(struct pcidipc_consumer *c, char user_data, uint32_t op, uint32_t len,
			 unsigned flags)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(c);

	CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
	*sqe = (struct io_uring_sqe){.opcode = IORING_OP_URING_CMD,
				     .flags = (__u8)flags,
				     .cmd_op = op,
				     .len = len,
				     .user_data = (__u64)user_data};
	return sqe;
}

void expect_cqe(struct pcidipc_consumer *c, char user_data, int res)
{
	struct pcidipc_cqe cqe = {0};
	int got = pcidipc_submit_and_wait(c, 1);

	if (!got)
		got = pcidipc_next_cqe(c, &cqe);
	if (got == 1 && cqe.user_data == (__u64)user_data && cqe.res == res)
		return;
	printf("\n%d: CQE %c with %d instead of %c with %d\n", got, (char)cqe.user_data, cqe.res,
	       user_data, res);
	CU_FAIL("CQE");
}

static int use_uring(void)
{
	rig_loop_flags = 0;
	return 0;
}

static int use_epoll(void)
{
	rig_loop_flags = PCIDIPC_LOOP_EPOLL;
	return 0;
}

int harness_main(const char *name, CU_TestInfo *tests)
{
	char names[2][64];
	CU_SuiteInfo suites[] = {
		{names[0], use_uring, NULL, NULL, NULL, tests},
		{names[1], use_epoll, NULL, NULL, NULL, tests},
		CU_SUITE_INFO_NULL,
	};

	pcidipc_log_init(name, getenv("VERBOSE") ? PCIDIPC_DEBUG : 0);
	snprintf(names[0], sizeof(names[0]), "%s, io_uring", name);
	snprintf(names[1], sizeof(names[1]), "%s, epoll", name);
	return run_suites(suites);
}
