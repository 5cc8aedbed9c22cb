// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupts. An ivshmem-doorbell device turns a write of (peer << 16 | vector) to its doorbell
 * into eight bytes written to the file descriptor that its server, we, sent for that vector. Each
 * is one end of a socket pair, not an eventfd: a driver that holds an eventfd could fill it and
 * make QEMU block; of a pair it holds the other end only.
 *
 * QEMU's table of peers must be used with care: a peer that was disconnected has its vectors freed,
 * and they are neither allocated again when it connects anew, nor kept from being freed twice
 * (ivshmem.c, close_peer_eventfds). So each number of a peer is used once in QEMU's life, and there
 * are 65534. Peer 0 is shared by all functions with MSI, whose messages have only 16 bits of data.
 * It is never disconnected: its vectors are made when they are first needed, and stay; whoever has
 * one reads a copy of our end. Such a copy goes to no driver, because only bridges have MSI with
 * mask bits here, and where there are none, pcid's core relays.
 */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qemu.h"

#define PEER_MSI 0u
#define PEER_QEMU 1u /* the device's own number; nobody rings it */
#define FIRST_PEER 2u
#define PROBE_NS 100000ull
#define PROBES 20000 /* two seconds */

/* ---- messages to QEMU: a number, perhaps with a file descriptor ---- */

static int send_once(int to, int64_t number, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {&number, sizeof(number)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	return sendmsg(to, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(number) ? 0 : -errno;
}

static int send_number(struct ivshmem *iv, int64_t number, int fd)
{
	int ret;

	while ((ret = send_once(iv->fd, number, fd)) == -EAGAIN) {
		ret = pcidipc_task_wait_fd(iv->fd, EPOLLOUT, 0);
		if (ret < 0)
			return ret;
	}
	return ret;
}

/* ---- socket pairs in the role of eventfds ---- */

/*
 * The kernel's smallest send buffer holds half a dozen interrupts, so they coalesce: more are
 * dropped while the reader does not look, and QEMU takes a full buffer for "it knows".
 */
static int make_vector(int *ours, int *qemus)
{
	int fds[2], small = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		return -errno;
	setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	*ours = fds[0];
	*qemus = fds[1];
	return 0;
}

static void close_all(int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static int make_vectors(unsigned count, int *ours, int *qemus)
{
	for (unsigned i = 0; i < count; i++)
		ours[i] = qemus[i] = -1;
	for (unsigned i = 0; i < count; i++) {
		int ret = make_vector(&ours[i], &qemus[i]);

		if (ret) {
			close_all(ours, i);
			close_all(qemus, i);
			return ret;
		}
	}
	return 0;
}

static void drain(int fd)
{
	char bytes[8];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/*
 * The socket to the device and the one for register accesses are served by QEMU in no certain
 * order. Ring the last vector that was sent until it answers: then QEMU has them all.
 */
static int wait_until_known(struct qemu_bus *qb, unsigned peer, unsigned vector, int fd)
{
	uint64_t doorbell = qb->ivshmem.doorbell_page + DOORBELL_OFFSET;

	for (unsigned i = 0; i < PROBES; i++) {
		int ret = qtest_task_write(&qb->qtest, QTEST_MEMORY, doorbell, 4,
					   peer << 16 | vector);

		ret = ret ? ret : qtest_task_sync(&qb->qtest);
		if (ret)
			return ret;
		if (readable(fd)) {
			drain(fd);
			return 0;
		}
		pcidipc_task_sleep(PROBE_NS);
	}
	pcidipc_err("qemu: the ivshmem device did not take interrupt %u of peer %u", vector, peer);
	return -ETIMEDOUT;
}

/* ---- peers ---- */

static int take_peer(struct ivshmem *iv, unsigned *peer)
{
	if (iv->next_peer < IVSHMEM_PEERS) {
		*peer = iv->next_peer++;
		return 0;
	}
	pcidipc_log_ratelimited(
		PCIDIPC_WARNING,
		"qemu: interrupts were allocated %u times, which is all that its ivshmem "
		"device can do until pcid starts again",
		IVSHMEM_PEERS - FIRST_PEER);
	return -ENOSPC;
}

static int send_vectors(struct qemu_bus *qb, unsigned peer, unsigned count, const int *ours,
			const int *qemus)
{
	int ret = 0;

	for (unsigned i = 0; i < count && !ret; i++)
		ret = send_number(&qb->ivshmem, peer, qemus[i]);
	return ret ? ret : wait_until_known(qb, peer, count - 1, ours[count - 1]);
}

static int open_peer(struct qemu_bus *qb, unsigned count, int *fds, unsigned *peer)
{
	int qemus[64], ret;

	ret = take_peer(&qb->ivshmem, peer);
	if (ret)
		return ret;
	ret = make_vectors(count, fds, qemus);
	if (!ret) {
		ret = send_vectors(qb, *peer, count, fds, qemus);
		close_all(qemus, count);
		if (ret)
			close_all(fds, count);
	}
	return ret;
}

int ivshmem_peer_open(struct qemu_bus *qb, unsigned count, int *fds, unsigned *peer)
{
	int ret;

	if (!count || count > 64)
		return -EINVAL;
	pcidipc_task_lock(&qb->ivshmem.lock);
	ret = open_peer(qb, count, fds, peer);
	pcidipc_task_unlock(&qb->ivshmem.lock);
	return ret;
}

/* QEMU closes its copies on this. */
void ivshmem_peer_close(struct qemu_bus *qb, unsigned peer)
{
	pcidipc_task_lock(&qb->ivshmem.lock);
	if (!qb->dead)
		send_number(&qb->ivshmem, peer, -1);
	pcidipc_task_unlock(&qb->ivshmem.lock);
}

/* ---- peer 0 ---- */

static int find_msi_range(const struct ivshmem *iv, unsigned count)
{
	for (unsigned first = 0; first + count <= IVSHMEM_VECTORS; first += count) {
		unsigned i = 0;

		while (i < count && !iv->msi_used[first + i])
			i++;
		if (i == count)
			return (int)first;
	}
	return -ENOSPC;
}

/* Their numbers are the order in which they are sent, so none may be left out. */
static int make_msi_vectors(struct qemu_bus *qb, unsigned end)
{
	struct ivshmem *iv = &qb->ivshmem;
	unsigned before = iv->msi_known;
	int ret = 0;

	while (iv->msi_known < end && !ret) {
		int ours, qemus;

		ret = make_vector(&ours, &qemus);
		if (ret)
			return ret;
		ret = send_number(iv, PEER_MSI, qemus);
		close(qemus);
		if (ret)
			close(ours);
		else
			iv->msi_fds[iv->msi_known++] = ours;
	}
	if (ret || iv->msi_known == before)
		return ret;
	return wait_until_known(qb, PEER_MSI, end - 1, iv->msi_fds[end - 1]);
}

static int copy_fds(const int *from, unsigned count, int *to)
{
	for (unsigned i = 0; i < count; i++) {
		to[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 0);
		if (to[i] < 0) {
			int ret = -errno;

			close_all(to, i);
			return ret;
		}
	}
	return 0;
}

static int open_msi(struct qemu_bus *qb, unsigned count, int *fds, unsigned *first)
{
	struct ivshmem *iv = &qb->ivshmem;
	int range = find_msi_range(iv, count), ret;

	if (range < 0)
		return range;
	*first = (unsigned)range;
	ret = make_msi_vectors(qb, *first + count);
	ret = ret ? ret : copy_fds(&iv->msi_fds[range], count, fds);
	for (unsigned i = 0; i < count && !ret; i++)
		iv->msi_used[*first + i] = true;
	return ret;
}

int ivshmem_msi_open(struct qemu_bus *qb, unsigned count, int *fds, unsigned *first)
{
	int ret;

	if (!count || count > 64 || (count & (count - 1)))
		return -EINVAL;
	pcidipc_task_lock(&qb->ivshmem.lock);
	ret = open_msi(qb, count, fds, first);
	pcidipc_task_unlock(&qb->ivshmem.lock);
	return ret;
}

/* The function no longer sends: what it has sent is not for the next one. */
void ivshmem_msi_close(struct qemu_bus *qb, unsigned first, unsigned count)
{
	struct ivshmem *iv = &qb->ivshmem;

	for (unsigned i = first; i < first + count; i++) {
		drain(iv->msi_fds[i]);
		iv->msi_used[i] = false;
	}
}

/* ---- life ---- */

/* What the device waits for when it is made: version, its own number, and the shared memory, which
 * nobody uses. */
static int greet(struct ivshmem *iv)
{
	int memory = memfd_create("ivshmem", MFD_CLOEXEC);
	int ret = memory < 0 || ftruncate(memory, 4096) ? -errno : 0;

	ret = ret ? ret : send_once(iv->fd, 0, -1);
	ret = ret ? ret : send_once(iv->fd, PEER_QEMU, -1);
	ret = ret ? ret : send_once(iv->fd, -1, memory);
	if (memory >= 0)
		close(memory);
	return ret;
}

int ivshmem_init(struct ivshmem *iv, int fd)
{
	iv->fd = fd;
	iv->next_peer = FIRST_PEER;
	return greet(iv);
}

void ivshmem_fini(struct ivshmem *iv)
{
	if (iv->fd < 0)
		return;
	close_all(iv->msi_fds, iv->msi_known);
	close(iv->fd);
	iv->fd = -1;
}
