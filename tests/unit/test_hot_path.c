/* SPDX-License-Identifier: MIT */
/* Two sides that are both busy make no system call and allocate nothing. Both are in one process,
 * which a filter kills at its first system call. */
#include "harness.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_CANNOT 77
#define ROUNDS 20000u

static struct pcidipc_consumer *c;
static uint64_t allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t bytes);
void *malloc(size_t bytes)
{
	allocations++;
	return __libc_malloc(bytes);
}
#endif

static struct pcidipc_request *later[64];
static unsigned nlater;

static int hot_request(struct pcidipc_request *rq)
{
	if (rq->sqe.opcode == IORING_OP_URING_CMD)
		pcidipc_loop_stop(pcidipc_session_loop(rq->session), 0);
	if (rq->sqe.opcode == IORING_OP_URING_CMD || rq->sqe.user_data % 3)
		return (int)rq->sqe.len;
	later[nlater++] = rq;
	return PCIDIPC_PENDING;
}

/* From the loop, as an interrupt's handler would. */
static void answer_later(void)
{
	while (nlater)
		pcidipc_complete(later[--nlater], 1);
}

static struct pcidipc_scheme hot = {
	.name = "hot",
	.interface = RIG_INTERFACE,
	.max_sq_entries = 64,
	.max_cq_entries = 64,
	.max_sessions = 1,
	.request = hot_request,
};

/* Kills the process at any system call but these. epoll is asked now and then, and some clocks are
 * system calls. */
static int forbid_system_calls(void)
{
#define ALLOW(number)                                        \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_clock_gettime),
		ALLOW(SYS_exit_group),
		ALLOW(rig_loop_flags & PCIDIPC_LOOP_EPOLL ? SYS_epoll_wait : SYS_exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

/* One turn of two sides that are both busy: some requests out, some answers in. */
static unsigned hot_turn(struct pcidipc_loop *loop, uint64_t *next)
{
	struct pcidipc_cqe cqe;
	unsigned n = 0;

	for (int i = 0; i < 16; i++) {
		struct io_uring_sqe *sqe = pcidipc_get_sqe(c);

		if (!sqe)
			break;
		io_uring_prep_read_fixed(sqe, 0, NULL, 512, 0, 0);
		sqe->user_data = (*next)++;
	}
	pcidipc_submit(c);
	pcidipc_loop_turn(loop, false);
	answer_later();
	pcidipc_loop_turn(loop, false);
	while (pcidipc_next_cqe(c, &cqe) == 1)
		n++;
	return n;
}

static void *serve_thread(void *loop)
{
	pcidipc_loop_run(loop);
	return NULL;
}

/* The consumer's set-up blocks, so for that long its producer has a thread of its own. */
static struct pcidipc_loop *hot_set_up(void)
{
	struct pcidipc_consumer_params params = {
		.interface = RIG_INTERFACE, .sq_entries = 64, .cq_entries = 64};
	struct io_uring_sqe stop = {.opcode = IORING_OP_URING_CMD, .cmd_op = RIG_QUIT};
	struct pcidipc_loop *loop;
	pthread_t thread;
	int ends[2];

	if (pcidipc_channel_pair(ends) || pcidipc_loop_create(rig_loop_flags, &loop) ||
	    pcidipc_session_create(loop, &hot, ends[0], 0, NULL) ||
	    pthread_create(&thread, NULL, serve_thread, loop) ||
	    pcidipc_consumer_adopt(ends[1], &params, &c) || pcidipc_call(c, &stop, NULL))
		_exit(1);
	pthread_join(thread, NULL);
	return loop;
}

static int hot_verdict(uint64_t got, uint64_t sent, uint64_t allocated,
		       const struct pcidipc_consumer_stats *before,
		       const struct pcidipc_consumer_stats *after)
{
	if (got != sent || sent < 16 * ROUNDS)
		return 2;
	if (allocated)
		return 3;
	return after->wakes == before->wakes && after->sleeps == before->sleeps ? 0 : 4;
}

static void hot_child(void)
{
	struct pcidipc_loop *loop = hot_set_up();
	struct pcidipc_consumer_stats before, after;
	uint64_t next = 1, got = 0, allocated;

	for (unsigned i = 0; i < 100; i++) /* everything is touched once */
		got += hot_turn(loop, &next);
	pcidipc_consumer_stats(c, &before);
	allocated = allocations;
	if (forbid_system_calls())
		_exit(CHILD_CANNOT);
	for (unsigned i = 0; i < ROUNDS; i++)
		got += hot_turn(loop, &next);
	pcidipc_consumer_stats(c, &after);
	/* Not _exit: the address sanitizer would make system calls of its own first. */
	syscall(SYS_exit_group,
		hot_verdict(got, next - 1, allocations - allocated, &before, &after));
}

static void test_hot_path(void)
{
	int status = -1;
	pid_t pid;

	NOT_UNDER_TSAN();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		alarm(60);
		hot_child();
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT) {
		printf("(skipped: no seccomp here) ");
		return;
	}
	CU_ASSERT_EQUAL(status, 0);
}

static CU_TestInfo tests[] = {
	{"no system call, no allocation", test_hot_path},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("hot path", tests);
}
