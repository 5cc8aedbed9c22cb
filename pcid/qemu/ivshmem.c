/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts as eventfds: QEMU's ivshmem doorbell turns a 32-bit write of (peer << 16 | vector)
 * into a signal of the eventfd that its server, pcid, has given for that peer and vector. MSI are
 * such writes.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "machine.h"

/* One message of the protocol: a number, and perhaps an fd. */
static int tell(struct machine *m, int64_t value, int fd)
{
	struct iovec iov = {.iov_base = &value, .iov_len = sizeof(value)};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	while (sendmsg(m->ivshmem, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno != EAGAIN)
			return -errno;
		pcidipc_task_wait_fd(m->ivshmem, EPOLLOUT, 0);
	}
	return 0;
}

/* Protocol version, the device's own id, and the shared memory that nobody uses. */
int ivshmem_greet(struct machine *m)
{
	int shm = memfd_create("pcid-ivshmem", MFD_CLOEXEC);
	int ret = shm < 0 || ftruncate(shm, 1 << 20) ? -errno : tell(m, 0, -1);

	if (!ret)
		ret = tell(m, IVSHMEM_SELF, -1);
	if (!ret)
		ret = tell(m, -1, shm);
	if (shm >= 0)
		close(shm);
	return ret;
}

/* The next vector of `peer`: the order of arrival is the number. */
int ivshmem_add_vector(struct machine *m, uint16_t peer, int eventfd)
{
	return tell(m, peer, eventfd);
}
