/* SPDX-License-Identifier: MIT */
/*
 * The consumer's end of a connection: channel, ring and attached pools.
 *
 * Two ways to use it, which may be mixed on one connection:
 *  - as liburing is used: get_sqe, io_uring_prep_*, set user_data, submit, peek_cqe;
 *  - by operations (struct pcidipc_op), whose CQEs call a function. Their user_data values, those
 * with the top byte 0xff, belong to the library and are checked against a table: a producer that
 * invents one is cut off.
 *
 * One thread. With a loop (attach_loop) operations complete by themselves; without one, in the
 * calls that wait. Functions that it calls (done, lost, event, adopt) may submit and ask, but must
 * not close the consumer: defer that.
 */
#ifndef PCIDIPC_CONSUMER_H
#define PCIDIPC_CONSUMER_H

#include <pcidipc/channel.h>
#include <pcidipc/loop.h>
#include <pcidipc/pool.h>
#include <pcidipc/ring.h>

struct pcidipc_consumer;

struct pcidipc_consumer_params {
	uint32_t interface;   /* RINGABI_INTERFACE_* */
	uint32_t open_flags;  /* RINGABI_OPEN_* */
	uint32_t sq_entries;  /* power of two; 0: 128. Lowered to what the producer allows */
	uint32_t cq_entries;  /* power of two; 0: twice sq_entries */
	uint32_t patience_ms; /* with a service that nobody answers for, or whose producer broke the
				 rules; 0: 10 s */
};

/* Where pcid's sockets are: $PCID_RUNTIME_DIR, or /run/pcid. */
const char *pcidipc_runtime_dir(void);
/*
 * Connect to the service socket at `path`, or to the service of that name in the runtime directory
 * ("calc/edu0") where it does not begin with a slash, and set a ring up; blocks until the producer
 * has answered (a driver that is being restarted included). Errors: connect's, the producer's
 * refusal, -EPROTO, -ENOMEM.
 */
int pcidipc_consumer_open(const char *path, const struct pcidipc_consumer_params *params,
			  struct pcidipc_consumer **consumer);
/* The same over a connected channel, which it takes over, on failure too. */
int pcidipc_consumer_adopt(int channel, const struct pcidipc_consumer_params *params,
			   struct pcidipc_consumer **consumer);
/*
 * Close the connection. The producer finishes what is in flight and then lets go of the pools: a
 * device may write to an attached pool until then. Operations in flight complete with -ECANCELED
 * before this returns.
 */
void pcidipc_consumer_close(struct pcidipc_consumer *consumer);

/*
 * Complete operations and watch the channel from this loop. `lost` (may be NULL) is called once
 * when the producer has died or broken the rules, after every operation in flight has completed
 * with the error.
 */
int pcidipc_consumer_attach_loop(struct pcidipc_consumer *consumer, struct pcidipc_loop *loop,
				 void (*lost)(struct pcidipc_consumer *, int error, void *arg),
				 void *arg);
/* RINGABI_EVENT_* from the producer. Called from the loop, or from a call that waits. */
void pcidipc_consumer_on_event(struct pcidipc_consumer *consumer,
			       void (*event)(struct pcidipc_consumer *, uint32_t event, void *arg),
			       void *arg);
/* RINGABI_MSG_ADOPT (drivers only): the channel fd is the callee's. */
void pcidipc_consumer_on_adopt(struct pcidipc_consumer *consumer,
			       void (*adopt)(struct pcidipc_consumer *, uint32_t child, int channel,
					     void *arg),
			       void *arg);

/*
 * 0 while the connection works; -ENOTCONN, -EPROTO or -ENODEV once it does not. -ENODEV: what
 * it served is gone. -EPROTO: the producer broke the rules. Requests then complete when it has
 * closed its end, or after patience_ms, when nothing says that it let go of their buffers.
 */
int pcidipc_consumer_error(const struct pcidipc_consumer *consumer);
uint64_t pcidipc_consumer_generation(const struct pcidipc_consumer *consumer);
/*
 * After -ENOTCONN: connect again to the same path, attach the same pools with the same indices.
 * Requests that had no CQE are lost (their operations have completed with -ENOTCONN). Blocks as
 * open does. -EOPNOTSUPP: it was adopted.
 */
int pcidipc_consumer_reconnect(struct pcidipc_consumer *consumer);

/* What `resume` says of a device whose volatile cache may be lost. */
#define PCIDIPC_CACHE_LOST 1

/*
 * From now on the connection outlives its producer. When that dies, requests stay in flight; once a
 * successor is there (its function was reset before), the connection is made again with the same
 * pools, `resume` (may be NULL) is called, and what had no CQE is made again in the order of
 * submission, with its links and drains: READ, WRITE, FSYNC, FALLOCATE, NOP and the detaching of
 * pools. Any other request gets -EIO. `lost` is called only when there is no successor.
 *
 * Without a loop the calls that submit and wait go through all of this. A request that was made again three
 * times gets -EIO: it may be what kills the driver.
 *
 * `resume` may ask with pcidipc_call (which then blocks, in a loop too, patience_ms at most); it returns 0,
 * PCIDIPC_CACHE_LOST (the next FSYNC gets -EIO once, if anything was acknowledged that none has
 * covered), or an error, with which the connection ends.
 *
 * A request with CQE_SKIP_SUCCESS gets -EINVAL, unless another one of its chain comes behind it in
 * the same submit: it could not be told from a lost one. An SQE must be filled in before the next
 * call but get_sqe: it may be another ring's afterwards. A cancel finds the oldest request with its
 * user_data, with CANCEL_ALL too. -EBUSY: something is in flight. -EOPNOTSUPP: it was adopted.
 */
int pcidipc_consumer_replay(struct pcidipc_consumer *consumer,
			    int (*resume)(struct pcidipc_consumer *consumer, void *arg), void *arg);

/* ---- pools ---- */

/* Give the producer access to the pool; *index is what goes into sqe->buf_index. Blocks, or awaits
 * inside a task. */
int pcidipc_consumer_attach_pool(struct pcidipc_consumer *consumer, struct pcidipc_pool *pool,
				 uint16_t *index);
/* The same for somebody else's pool: forwarding. fd stays the caller's. *iova (may be NULL): pcid's
 * answer. */
int pcidipc_consumer_attach_pool_fd(struct pcidipc_consumer *consumer, int fd, uint64_t bytes,
				    uint16_t *index, uint64_t *iova);
/* Take it back: when this returns no device reaches it. */
int pcidipc_consumer_detach_pool(struct pcidipc_consumer *consumer, uint16_t index);

/* ---- as liburing ---- */

/* NULL: the SQ is full, submit first. The SQE is not cleared (io_uring_prep_* sets what it needs),
 * but for user_data, which is 0. */
struct io_uring_sqe *pcidipc_get_sqe(struct pcidipc_consumer *consumer);
uint32_t pcidipc_sq_space(struct pcidipc_consumer *consumer);
/* Publish, and wake the producer if it sleeps. 0, or the connection's error. */
int pcidipc_submit(struct pcidipc_consumer *consumer);
/* Submit, then wait until `count` CQEs of the liburing kind can be peeked. Not inside a task. */
int pcidipc_submit_and_wait(struct pcidipc_consumer *consumer, unsigned count);
/*
 * Copy the oldest CQE of the liburing kind and consume it: 1, 0, or the connection's error. As many
 * as were asked for in sq_entries and cq_entries together, rounded up to a power of two, may wait
 * while operations complete beside them; one more ends the connection (-EPROTO).
 */
int pcidipc_next_cqe(struct pcidipc_consumer *consumer, struct pcidipc_cqe *cqe);

/* ---- operations ---- */

/* One request in flight. The caller's, in place until done; `done` may free or reuse it. */
struct pcidipc_op {
	void (*done)(struct pcidipc_op *op, const struct pcidipc_cqe *cqe);
	uint32_t slot; /* the library's */
};
/* Make `sqe`, filled in by io_uring_prep_* and what get_sqe gave last, complete `op`. -EAGAIN: too
 * many in flight, and the SQE is given back: it does not go out. */
int pcidipc_sqe_set_op(struct pcidipc_consumer *consumer, struct io_uring_sqe *sqe,
		       struct pcidipc_op *op);
/* Make `sqe` report nothing on success; a failure is logged. For posted writes, masks and the like.
 */
void pcidipc_sqe_set_silent(struct pcidipc_consumer *consumer, struct io_uring_sqe *sqe);
/* Reap what there is and call `done`s (never from inside another `done`). Returns how many, or the
 * error. */
int pcidipc_consumer_reap(struct pcidipc_consumer *consumer);

/*
 * Submit a copy of *sqe and wait for its CQE. Inside a task: awaits. Elsewhere: blocks, reaps only
 * its own CQE (others are kept for later), and runs no callback. Returns cqe->res (cqe may be
 * NULL).
 */
int pcidipc_call(struct pcidipc_consumer *consumer, const struct io_uring_sqe *sqe,
		 struct pcidipc_cqe *cqe);

/* Ask over the channel and wait for the reply, as call does. reply->msg.result is checked and
 * returned. */
int pcidipc_consumer_ask(struct pcidipc_consumer *consumer, struct ringabi_msg *request,
			 const int *fds, unsigned nfds, struct pcidipc_packet *reply);

/* What has gone over the connection since it was opened, with successors too. */
struct pcidipc_consumer_stats {
	uint64_t sqes;
	uint64_t cqes;
	uint64_t wakes;	   /* sent */
	uint64_t sleeps;   /* of this side */
	uint64_t replays;  /* successors it went on with */
	uint64_t replayed; /* requests made again */
};
/* As it is now. */
void pcidipc_consumer_stats(const struct pcidipc_consumer *consumer,
			    struct pcidipc_consumer_stats *stats);

#endif
