// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Into the background, for what starts programs one after the other: the process that was started
 * stays until the one in the background is ready, or has failed, or for long enough: a boot must
 * not hang on pcid.
 */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pcid.h"

#define PATIENCE_MS 30000

static _Noreturn void wait_for(pid_t child, int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	int status = 0;
	char byte;

	if (!poll(&ready, 1, PATIENCE_MS)) {
		pcidipc_warn("not ready after %u s; it goes on in the background (pid %d)",
			     PATIENCE_MS / 1000, (int)child);
		_exit(0);
	}
	if (read(fd, &byte, 1) == 1)
		_exit(0);
	waitpid(child, &status, 0); /* it has closed its end, so it ends */
	_exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

/*
 * Standard error stays, for messages: where they go is for the starter to say. So does the
 * directory, because paths in the arguments may be relative, and are looked at again on SIGHUP.
 */
static void detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		close(null);
	}
}

int pcid_daemonize(struct pcid_options *options)
{
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0) {
		int ret = -errno;

		close(ends[0]);
		close(ends[1]);
		return ret;
	}
	if (child) {
		close(ends[1]);
		wait_for(child, ends[0]);
	}
	close(ends[0]);
	options->started_fd = ends[1];
	detach();
	return 0;
}

int pcid_write_pidfile(const char *path)
{
	FILE *file = fopen(path, "we");
	int ret = 0;

	if (!file)
		ret = -errno;
	else if (fprintf(file, "%d\n", (int)getpid()) < 0 || fflush(file))
		ret = -EIO;
	if (file)
		fclose(file);
	if (ret)
		pcidipc_err("--pidfile %s: %s", path, strerror(-ret));
	return ret;
}
