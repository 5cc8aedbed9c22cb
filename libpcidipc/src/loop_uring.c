/* SPDX-License-Identifier: MIT */
/*
 * The loop over its primary ring. Each watch has one poll request in flight at most; it is made
 * anew after every event, which makes it level-triggered. New requests are submitted by the system
 * call that sleeps, or after some busy turns.
 */
#include <errno.h>
#include <stdlib.h>

#include "loop_internal.h"

#define PRIMARY_ENTRIES 256
#define LATE_NS 1000000u /* until the kernel is asked again */

/* Outlives its watch until the kernel has answered the last request that names it. */
struct slot {
	struct pcidipc_watch *watch; /* NULL: removed */
	unsigned armed_events;
	bool armed;
	struct pcidipc_list link; /* uring.late: to be armed, or, when it is armed, disarmed */
};

/*
 * The kernel performs a request of io_uring without asking a seccomp filter, so a ring that takes
 * anything would be a way around a driver's. This one takes what is used here, and nothing can be
 * registered with it. Restrictions are as old as Linux 5.10, and EXT_ARG as 5.11.
 */
static int restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction only[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_POLL_ADD},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_POLL_REMOVE},
	};
	/* liburing 2.3 declares calls of its own for both, and forgot to export them. */
	int ret = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, only,
				    sizeof(only) / sizeof(*only));

	return ret ? ret
		   : io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
				       0);
}

static int uring_init(struct pcidipc_loop *loop)
{
	int ret = io_uring_queue_init(PRIMARY_ENTRIES, &loop->uring.ring, IORING_SETUP_R_DISABLED);

	if (ret)
		return ret;
	pcidipc_list_init(&loop->uring.late);
	ret = loop->uring.ring.features & IORING_FEAT_EXT_ARG ? restrict_ring(&loop->uring.ring)
							      : -ENOSYS;
	if (ret)
		io_uring_queue_exit(&loop->uring.ring);
	return ret;
}

static void uring_fini(struct pcidipc_loop *loop)
{
	struct io_uring_cqe *cqe;

	/* Slots of watches removed a moment ago are still answered for. */
	io_uring_submit(&loop->uring.ring);
	while (!io_uring_peek_cqe(&loop->uring.ring, &cqe)) {
		struct slot *slot = io_uring_cqe_get_data(cqe);

		io_uring_cqe_seen(&loop->uring.ring, cqe);
		if (!slot || slot->watch)
			continue;
		pcidipc_list_remove(&slot->link);
		free(slot);
	}
	pcidipc_list_for_each_safe(slot, after, &loop->uring.late, struct slot, link)
		if (!slot->watch) {
			pcidipc_list_remove(&slot->link);
			free(slot);
		}
	io_uring_queue_exit(&loop->uring.ring);
}

static struct io_uring_sqe *primary_sqe(struct pcidipc_loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->uring.ring);

	if (sqe)
		return sqe;
	io_uring_submit(&loop->uring.ring);
	return io_uring_get_sqe(&loop->uring.ring);
}

static int arm_slot(struct pcidipc_loop *loop, struct slot *slot)
{
	struct io_uring_sqe *sqe = primary_sqe(loop);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_add(sqe, slot->watch->fd, slot->watch->events);
	io_uring_sqe_set_data(sqe, slot);
	slot->armed = true;
	slot->armed_events = slot->watch->events;
	return 0;
}

static int disarm_slot(struct pcidipc_loop *loop, struct slot *slot)
{
	struct io_uring_sqe *sqe = primary_sqe(loop);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_remove(sqe, (uint64_t)(uintptr_t)slot);
	io_uring_sqe_set_data(sqe, NULL);
	/* Now: the request holds the file open, and whoever is at its other end waits for the
	 * close. */
	io_uring_submit(&loop->uring.ring);
	return 0;
}

/* Arm it if it is not, disarm it if it is; later, if the kernel has no room now. */
static bool settle_slot(struct pcidipc_loop *loop, struct slot *slot)
{
	int ret = slot->armed ? disarm_slot(loop, slot) : arm_slot(loop, slot);

	pcidipc_list_remove(&slot->link);
	if (ret)
		pcidipc_list_append(&loop->uring.late, &slot->link);
	return !ret;
}

/* The kernel took no more (it is short of memory, or our own answers wait): a watch must not stay
 * deaf, nor a file open, because of that. True: nothing is left to do. */
static bool settle_late(struct pcidipc_loop *loop)
{
	struct pcidipc_list *late = &loop->uring.late;

	while (!pcidipc_list_empty(late))
		if (!settle_slot(loop, pcidipc_container_of(late->next, struct slot, link)))
			return false;
	return true;
}

static int uring_add(struct pcidipc_loop *loop, struct pcidipc_watch *watch)
{
	struct slot *slot = calloc(1, sizeof(*slot));
	int ret;

	if (!slot)
		return -ENOMEM;
	slot->watch = watch;
	ret = arm_slot(loop, slot);
	if (ret)
		free(slot);
	else
		watch->slot = slot;
	return ret;
}

static void uring_change(struct pcidipc_loop *loop, struct pcidipc_watch *watch)
{
	struct slot *slot = watch->slot;

	/* Once canceled it is armed with the new events; one that is being handled will be anyway.
	 */
	if (slot->armed && slot->armed_events != watch->events)
		settle_slot(loop, slot);
}

static void uring_remove(struct pcidipc_loop *loop, struct pcidipc_watch *watch)
{
	struct slot *slot = watch->slot;

	slot->watch = NULL;
	watch->slot = NULL;
	if (slot->armed) {
		settle_slot(loop, slot);
	} else if (slot->link.next) {
		pcidipc_list_remove(&slot->link);
		free(slot);
	}
	/* Another unarmed slot is being handled right now, in finish(), which frees it. */
}

static void finish(struct pcidipc_loop *loop, struct slot *slot, int res)
{
	slot->armed = false;
	pcidipc_list_remove(&slot->link);
	if (slot->watch && res > 0)
		slot->watch->ready(slot->watch, (unsigned)res);
	else if (slot->watch && res < 0 && res != -ECANCELED)
		slot->watch->ready(slot->watch, EPOLLERR);
	if (slot->watch)
		settle_slot(loop, slot);
	else
		free(slot);
}

static unsigned uring_reap(struct pcidipc_loop *loop)
{
	struct io_uring *ring = &loop->uring.ring;
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (n < EPOLL_BATCH && (io_uring_cq_ready(ring) || io_uring_cq_has_overflow(ring)) &&
	       !io_uring_peek_cqe(ring, &cqe)) {
		struct slot *slot = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(ring, cqe);
		if (slot)
			finish(loop, slot, res);
		n++;
	}
	settle_late(loop);
	if (io_uring_sq_ready(ring) && ++loop->uring.unsubmitted_turns >= LOOP_KERNEL_TURNS) {
		loop->uring.unsubmitted_turns = 0;
		io_uring_submit(ring);
	}
	return n;
}

/* The kernel posts a completion while we spin, if it has been given the request. */
static unsigned uring_glance(struct pcidipc_loop *loop)
{
	struct io_uring *ring = &loop->uring.ring;

	if (io_uring_sq_ready(ring))
		io_uring_submit(ring);
	return io_uring_cq_ready(ring) ? uring_reap(loop) : 0;
}

static void uring_sleep(struct pcidipc_loop *loop, uint64_t ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;

	if (!settle_late(loop) && ns > LATE_NS)
		ns = LATE_NS;
	ts.tv_sec = (long long)(ns / 1000000000u);
	ts.tv_nsec = (long long)(ns % 1000000000u);
	loop->uring.unsubmitted_turns = 0;
	io_uring_submit_and_wait_timeout(&loop->uring.ring, &cqe, 1,
					 ns == LOOP_FOREVER ? NULL : &ts, NULL);
}

const struct loop_backend loop_backend_uring = {
	.name = "io_uring",
	.init = uring_init,
	.fini = uring_fini,
	.add = uring_add,
	.change = uring_change,
	.remove = uring_remove,
	.reap = uring_reap,
	.glance = uring_glance,
	.sleep = uring_sleep,
};
