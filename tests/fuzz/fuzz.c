// SPDX-License-Identifier: MIT
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcidipc/log.h>
#include <ringabi/ring.h>

#define TURNS 40	  /* the loop asks the kernel in every 16th */
#define MOST_TURNS 100000 /* far more than anything takes that ends at all */

/* ---- the input ---- */

void fuzz_copy(struct fuzz_input *in, void *to, size_t bytes)
{
	size_t n = bytes < in->left ? bytes : in->left;

	memcpy(to, in->at, n);
	memset((char *)to + n, 0, bytes - n);
	in->at += n;
	in->left -= n;
}

uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes)
{
	uint64_t value = 0;

	fuzz_copy(in, &value, bytes);
	return value;
}

/* ---- the loop ---- */

#define MOST_FDS 128

/* Those that are left open lie where the input's were: the lowest ones. */
static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < MOST_FDS; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

struct pcidipc_loop *fuzz_loop(void)
{
	static struct pcidipc_loop *loop;

	if (!loop) {
		pcidipc_log_init("fuzz", getenv("FUZZ_VERBOSE") ? PCIDIPC_DEBUG : 0);
		fuzz_expect(!pcidipc_loop_create(PCIDIPC_LOOP_EPOLL, &loop), "a loop");
		for (unsigned i = 0; i < FUZZ_FDS; i++)
			fuzz_fd(i);
	}
	return loop;
}

static unsigned open_fds;

void fuzz_begin(void)
{
	fuzz_loop();
	open_fds = count_fds();
}

void fuzz_end(void)
{
	fuzz_expect(count_fds() == open_fds, "every fd was closed");
}

void fuzz_run(void)
{
	for (int i = 0; i < TURNS; i++)
		pcidipc_loop_turn(fuzz_loop(), false);
}

void fuzz_turn(struct fuzz_input *in)
{
	unsigned turns = fuzz_u8(in) % 4;

	if (turns == 3)
		fuzz_run();
	while (turns--)
		pcidipc_loop_turn(fuzz_loop(), false);
}

void fuzz_run_until(bool (*done)(void *arg), void *arg, const char *what)
{
	for (int i = 0; i < MOST_TURNS && !done(arg); i++)
		pcidipc_loop_turn(fuzz_loop(), false);
	fuzz_expect(done(arg), what);
}

void fuzz_expect(bool kept, const char *what)
{
	if (kept)
		return;
	fprintf(stderr, "broken promise: %s\n", what);
	abort();
}

/* ---- file descriptors ---- */

static int make_memfd(uint64_t bytes, int seals)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, seals))
		abort();
	return fd;
}

static int make_fd(unsigned which)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	switch (which) {
	case FUZZ_FD_POOL:
		return make_memfd(FUZZ_POOL_BYTES, seals);
	case FUZZ_FD_BIG_POOL:
		return make_memfd(FUZZ_BIG_POOL_BYTES, seals);
	case FUZZ_FD_UNSEALED:
		return make_memfd(FUZZ_POOL_BYTES, 0);
	case FUZZ_FD_UNALIGNED:
		return make_memfd(FUZZ_POOL_BYTES - 4096, seals);
	case FUZZ_FD_READ_ONLY:
		return make_memfd(FUZZ_POOL_BYTES, seals | F_SEAL_WRITE);
	case FUZZ_FD_NULL:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case FUZZ_FD_DIRECTORY:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	default:
		return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	}
}

int fuzz_fd(unsigned which)
{
	static int fds[FUZZ_FDS];

	which %= FUZZ_FDS;
	if (!fds[which])
		fds[which] = make_fd(which);
	return fds[which];
}

void fuzz_channel(int ends[2])
{
	fuzz_expect(!pcidipc_channel_pair(ends), "a channel");
}

void fuzz_send_raw(int channel, struct fuzz_input *in)
{
	unsigned char bytes[RINGABI_MSG_MAX_BYTES + 16];
	char control[CMSG_SPACE(sizeof(int) * 4)] = {0};
	struct iovec iov = {.iov_base = bytes};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	unsigned nfds = fuzz_u8(in) % 4;

	iov.iov_len = fuzz_take(in, 2) % (sizeof(bytes) + 1);
	if (nfds) {
		struct cmsghdr *c = (void *)control;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		for (unsigned i = 0; i < nfds; i++) {
			int fd = fuzz_fd(fuzz_u8(in));

			memcpy(CMSG_DATA(c) + i * sizeof(fd), &fd, sizeof(fd));
		}
	}
	fuzz_copy(in, bytes, iov.iov_len);
	(void)!sendmsg(channel, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}
