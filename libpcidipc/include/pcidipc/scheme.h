/* SPDX-License-Identifier: MIT */
/*
 * The producer's end: a scheme is a named service, a session one consumer's connection to it.
 *
 * The library owns protocol and order: handshake, rings, pools, IOSQE_IO_LINK, IOSQE_IO_DRAIN,
 * IOSQE_CQE_SKIP_SUCCESS, IORING_OP_NOP, IORING_OP_ASYNC_CANCEL, and a session's end. A driver gets
 * each request when its turn has come, already copied out of the ring, and answers it at once or
 * later. It must not block.
 */
#ifndef PCIDIPC_SCHEME_H
#define PCIDIPC_SCHEME_H

#include <pcidipc/channel.h>
#include <pcidipc/loop.h>
#include <pcidipc/ring.h>
#include <pcidipc/users.h>

struct pcidipc_pci;
struct pcidipc_scheme;
struct pcidipc_served;
struct pcidipc_session;

/* A consumer's pool, as the producer sees it. */
struct pcidipc_pool_view {
	int fd;		/* the memfd, the library's */
	uint32_t index; /* in this session */
	uint64_t bytes;
	uint64_t iova; /* set by pool_attach: where offset 0 lies for the device */
	uint16_t
		forwarded; /* set by pool_attach: the index on the connection it was forwarded to */
	void *base; /* mapped here, sparse; NULL when the scheme sets no PCIDIPC_SCHEME_MAP_POOLS */
	void *driver;	  /* the driver's */
	uint64_t *chunks; /* bitmap of the RINGABI_POOL_CHUNKs that the device reaches; the
			     library's */
};

/* A request, from the moment it left the SQ until its CQE. Never moves. */
struct pcidipc_request {
	struct io_uring_sqe sqe; /* the library's copy: validate it, then trust it */
	uint64_t big[2]; /* big_cqe of the answer, where the ring has it; zeroed before the handler
			    runs */
	struct pcidipc_session *session;
	struct pcidipc_request *next; /* for the driver's own queues while it holds the request */
	uint64_t order; /* position in the session's submission order; the library's */
	struct pcidipc_request *chain; /* next of a LINK chain; the library's */
	uint16_t slot; /* index of this request in its session, < max_cq_entries: a token */
	uint8_t state;
	uint8_t flags;
	uint32_t reserved;
	int (*task)(struct pcidipc_request *request); /* the library's */
	_Alignas(64) unsigned char priv[]; /* scheme->request_bytes of the driver's own, not cleared
					    */
};

#define PCIDIPC_PENDING (-0x7fffffff) /* answered later, by pcidipc_complete */

#define PCIDIPC_SCHEME_MAP_POOLS \
	(1u << 0)		     /* map consumers' pools, for arguments that lie in them */
#define PCIDIPC_SCHEME_DMA (1u << 1) /* pools must be made reachable by pool_map before use */

#define PCIDIPC_SESSION_ADMIN (1u << 0) /* it came by the service's admin socket */

/* What a client may do, if a scheme says nothing else. */
#define PCIDIPC_SESSION_POOLS 16u
#define PCIDIPC_SESSION_POOL_BYTES (1ull << 38) /* in all: addresses are not without end */
#define PCIDIPC_HELLO_MS 10000u

struct pcidipc_scheme {
	const char *name;	/* for messages */
	uint32_t interface;	/* RINGABI_INTERFACE_* */
	uint32_t ring_features; /* RINGABI_RING_* */
	uint32_t flags;		/* PCIDIPC_SCHEME_* */
	uint32_t max_pools; /* per session, at most RINGABI_MAX_POOLS; 0: PCIDIPC_SESSION_POOLS */
	uint64_t max_pool_bytes; /* of a session's pools together; 0: PCIDIPC_SESSION_POOL_BYTES */
	uint32_t hello_ms;	 /* from a listener's accept to the hello; 0: PCIDIPC_HELLO_MS */
	uint32_t max_sq_entries; /* power of two; 0: 64 */
	uint32_t max_cq_entries; /* power of two; 0: twice max_sq_entries */
	uint32_t max_sessions;	 /* of all users; 0: 64 */
	/* What one user may have of it, or of several schemes together. NULL: half of max_sessions,
	 * and no limit for the rest. */
	struct pcidipc_users *users;
	uint32_t request_bytes; /* of priv */
	uint32_t session_bytes; /* of pcidipc_session_priv, zeroed */
	void *driver;
	/* With PCIDIPC_SCHEME_DMA and without functions for pools below: pools are forwarded to
	 * pcid over this, and reached by the driver's own device. */
	struct pcidipc_pci *pci;

	/* A consumer said hello. 0, or the -errno that it is refused with. Task. May be NULL. */
	int (*open)(struct pcidipc_session *session, uint32_t open_flags);
	/* Handle one request: its result, -errno, or PCIDIPC_PENDING. Not a task: must not block or
	 * await. */
	int (*request)(struct pcidipc_request *request);
	/* The library has handed over all it had for now: ring doorbells. May be NULL. */
	void (*flush)(struct pcidipc_session *session);
	/*
	 * The consumer wants a pending request canceled, or died: hurry it up if possible. The
	 * request must still be completed, and only when the device is done with its buffer. 0,
	 * -EALREADY (it will finish by itself). May be NULL.
	 */
	int (*cancel)(struct pcidipc_request *request);
	/* The consumer is gone and none of its requests is pending. Task. May be NULL. */
	void (*close)(struct pcidipc_session *session);

	/* A pool arrives, a part of it is to be reachable by the device, it goes. Tasks. May be
	 * NULL. */
	int (*pool_attach)(struct pcidipc_session *session, struct pcidipc_pool_view *pool);
	int (*pool_map)(struct pcidipc_session *session, struct pcidipc_pool_view *pool,
			uint64_t offset, uint64_t bytes);
	void (*pool_detach)(struct pcidipc_session *session, struct pcidipc_pool_view *pool);

	/* A channel message beyond HELLO, ATTACH_RING, ATTACH_POOL and WAKE: answer it with
	 * channel_reply. Task. */
	void (*message)(struct pcidipc_session *session, struct pcidipc_packet *packet);

	/* The library's; zero them. */
	struct pcidipc_list sessions;
	struct pcidipc_users own_users;
	uint32_t nsessions;
	struct pcidipc_served *served;
};

/* A listening socket that serves a scheme. `session_flags` are handed to sessions (e.g. admin). */
struct pcidipc_listener;
/* Accept consumers on `fd` (listening, SOCK_SEQPACKET; stays the caller's). The scheme stays in
 * place. */
int pcidipc_listen(struct pcidipc_loop *loop, struct pcidipc_scheme *scheme, int fd,
		   uint32_t session_flags, struct pcidipc_listener **listener);
/* Stop accepting. Sessions go on. */
void pcidipc_listener_close(struct pcidipc_listener *listener);
/* Serve one connected channel, which it takes over, on failure too. Limits on connections are the
 * listener's affair: here they do not hold. */
int pcidipc_session_create(struct pcidipc_loop *loop, struct pcidipc_scheme *scheme, int channel,
			   uint32_t session_flags, struct pcidipc_session **session);
/* Create a listening SOCK_SEQPACKET socket, replacing a dead one at `path`. Returns the fd. */
int pcidipc_listen_socket(const char *path, unsigned mode);

/* Of the driver: `session_bytes` of the scheme, zeroed at first, in place until it is closed. */
void *pcidipc_session_priv(struct pcidipc_session *session);
/* The scheme that serves it, and the loop that it is in. */
struct pcidipc_scheme *pcidipc_session_scheme(struct pcidipc_session *session);
struct pcidipc_loop *pcidipc_session_loop(struct pcidipc_session *session);
/* What pcidipc_listen or pcidipc_session_create was given. */
uint32_t pcidipc_session_flags(const struct pcidipc_session *session);
/* What the consumer asked for in its hello. */
uint32_t pcidipc_session_open_flags(const struct pcidipc_session *session);
/* Its socket, which stays the session's. */
int pcidipc_session_channel(const struct pcidipc_session *session);
/* The pid of the consumer when it connected, for messages. */
int pcidipc_session_pid(const struct pcidipc_session *session);
/* Its user then. */
unsigned pcidipc_session_uid(const struct pcidipc_session *session);
/*
 * End a session from this side (-errno for the log): no more requests are taken, pending ones are
 * canceled, then close is called. Sessions of a scheme end by themselves when their consumer goes.
 */
void pcidipc_session_end(struct pcidipc_session *session, int error);
/* End all of a scheme's sessions and wait until they are gone. Task. */
void pcidipc_scheme_end_sessions(struct pcidipc_scheme *scheme);
/* Send RINGABI_EVENT_* to the consumer. */
void pcidipc_session_event(struct pcidipc_session *session, uint32_t event);
void pcidipc_scheme_event(struct pcidipc_scheme *scheme, uint32_t event);
uint32_t pcidipc_scheme_sessions(const struct pcidipc_scheme *scheme);

/* scheme->driver, of the scheme that the request came by. */
static inline void *pcidipc_request_driver(const struct pcidipc_request *request)
{
	return pcidipc_session_scheme(request->session)->driver;
}

/* Answer a request that was PENDING. Its big[] goes along on rings that have it. Not from its own
 * handler. */
void pcidipc_complete(struct pcidipc_request *request, int32_t res);

/*
 * For a handler to return: `error`, after a log line that says whose request it was (its opcode,
 * and a command's cmd_op) and why not, by printf's rules. Rate-limited.
 */
int pcidipc_refuse(struct pcidipc_request *request, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * For a handler to return: the request is handed to a task, which may await and whose result
 * completes it. -ENOMEM. Tasks run side by side; where one at a time may, take a mutex.
 */
int pcidipc_request_task(struct pcidipc_request *request,
			 int (*task)(struct pcidipc_request *request));

/* The pool that `index` names for requests that are still to come, or NULL. */
struct pcidipc_pool_view *pcidipc_session_pool(struct pcidipc_session *session, uint32_t index);
/* The same for this one, until it completes: its pool stays where a later request detaches it. */
struct pcidipc_pool_view *pcidipc_request_pool(const struct pcidipc_request *request,
					       uint32_t index);

/*
 * Make bytes [offset, offset + bytes) of pool `index` reachable by the device for this request. 0:
 * *iova is where they lie. -ENXIO: no such pool; -EFAULT: outside of it; PCIDIPC_PENDING: a chunk
 * has to be mapped first: return PCIDIPC_PENDING too, and the handler is called again for the same
 * request when it is (or the request completes with the error). Hot path: two comparisons and a bit
 * test.
 */
int pcidipc_request_reach(struct pcidipc_request *request, uint32_t index, uint64_t offset,
			  uint64_t bytes, uint64_t *iova);
/* The same inside the task that has the request (pcidipc_request_task): it awaits the mapping
 * and is never PENDING. A range outside of the pool is told of in the log. -ECANCELED: the client
 * went meanwhile. */
int pcidipc_request_await_reach(struct pcidipc_request *request, uint32_t index, uint64_t offset,
				uint64_t bytes, uint64_t *iova);
/* As pcidipc_request_reach, for memory that this process itself reads or writes (needs
 * PCIDIPC_SCHEME_MAP_POOLS). */
int pcidipc_request_map(struct pcidipc_request *request, uint32_t index, uint64_t offset,
			uint64_t bytes, void **address);

/* ---- requests that wait in line; zero a queue before use ---- */

struct pcidipc_queue {
	struct pcidipc_request *first, *last;
};
/* At the end. A request is in one queue at a time. O(1). */
static inline void pcidipc_queue_push(struct pcidipc_queue *queue, struct pcidipc_request *request)
{
	request->next = NULL;
	if (queue->last)
		queue->last->next = request;
	else
		queue->first = request;
	queue->last = request;
}
/* Take the first one out, or NULL. */
static inline struct pcidipc_request *pcidipc_queue_pop(struct pcidipc_queue *queue)
{
	struct pcidipc_request *request = queue->first;

	if (!request)
		return NULL;
	queue->first = request->next;
	if (!queue->first)
		queue->last = NULL;
	request->next = NULL;
	return request;
}

struct pcidipc_session_stats {
	uint64_t sqes;
	uint64_t cqes;
	uint64_t wakes; /* sent */
	uint32_t pending;
	uint32_t pools;
};
/* What has gone by since the session began; `pending` and `pools` are now's. */
void pcidipc_session_stats(const struct pcidipc_session *session,
			   struct pcidipc_session_stats *stats);

#endif
