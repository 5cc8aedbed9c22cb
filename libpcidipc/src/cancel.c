/* SPDX-License-Identifier: MIT */
/* IORING_OP_ASYNC_CANCEL. A request that the device has is hurried, and completes when the device
 * is done with it. */
#include "scheme_internal.h"

#define KNOWN_CANCEL_FLAGS (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)

static int cancel_one(struct pcidipc_request *target)
{
	struct pcidipc_scheme *scheme = target->session->scheme;

	if (target->state == REQUEST_WAITING) {
		target->flags |= REQUEST_CANCELED;
		return 0;
	}
	if (target->state == REQUEST_DRIVER && scheme->cancel)
		return scheme->cancel(target);
	return -EALREADY;
}

static bool matches(const struct pcidipc_request *rq, const struct pcidipc_request *target)
{
	if (target == rq || target->state == REQUEST_FREE || target->flags & REQUEST_CANCELED)
		return false;
	return (rq->sqe.cancel_flags & IORING_ASYNC_CANCEL_ANY) ||
	       target->sqe.user_data == rq->sqe.addr;
}

int order_cancel(struct pcidipc_request *rq)
{
	struct pcidipc_session *s = rq->session;
	bool all = rq->sqe.cancel_flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
	int count = 0, ret = -ENOENT;

	if (rq->sqe.cancel_flags & ~KNOWN_CANCEL_FLAGS || rq->sqe.off || rq->sqe.len)
		return -EINVAL;
	for (uint32_t i = 0; i < s->nused; i++) {
		struct pcidipc_request *target = session_request(s, i);

		if (!matches(rq, target))
			continue;
		ret = cancel_one(target);
		if (!all)
			return ret;
		count += !ret;
	}
	return all ? count : ret;
}
