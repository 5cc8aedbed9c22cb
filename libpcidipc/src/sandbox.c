/* SPDX-License-Identifier: MIT */
/* Which locks are wanted, which can be had, and closing them in the order that works. */
#include "sandbox.h"

#include <errno.h>
#include <pcidipc/log.h>
#include <ringabi/pci.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "spin.h"

/* Sanitizers read /proc, start threads and trace their own process: they work only outside. The
 * driver may be built with one and this library without. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));

static bool sanitized(void)
{
	return __asan_init || __tsan_init || __msan_init;
}

enum sandbox_mode sandbox_wanted(void)
{
	const char *text = getenv("PCID_SANDBOX");
	enum sandbox_mode mode = SANDBOX_YES; /* what is not understood must not open the door */

	if (!text || !strcmp(text, "no"))
		mode = SANDBOX_NO;
	else if (!strcmp(text, "debug"))
		mode = SANDBOX_DEBUG;
	unsetenv("PCID_SANDBOX");
	return mode;
}

/* No other process of this user may look into this one's memory, or trace it. */
static int hide(enum sandbox_mode mode)
{
	if (mode == SANDBOX_DEBUG)
		return 0;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return -errno;
	return RINGABI_PCI_LOCK_HIDDEN;
}

/* For this process alone: its threads and children would be one too many, whoever else its user has
 * running. */
int sandbox_no_processes(void)
{
	const struct rlimit none = {0, 0};

	return setrlimit(RLIMIT_NPROC, &none) ? -errno : 0;
}

static int close_files(void)
{
	if (sandbox_landlock())
		return RINGABI_PCI_LOCK_LANDLOCK;
	pcidipc_debug("sandbox: this kernel has no Landlock, or does not use it");
	return 0;
}

static int close_calls(enum sandbox_mode mode, int ring_fd)
{
	int ret = sandbox_seccomp(mode, ring_fd);

	if (!ret)
		return RINGABI_PCI_LOCK_SECCOMP;
	if (ret != -ENOSYS)
		return ret;
	pcidipc_warn("sandbox: this kernel has no seccomp: system calls are not filtered");
	return 0;
}

static int close_doors(enum sandbox_mode mode, int ring_fd)
{
	int ret = sandbox_no_processes(), files, calls;

	if (ret)
		return ret;
	spin_remember_cpus();
	files = close_files();
	calls = close_calls(mode, ring_fd);
	return calls < 0 ? calls : files | calls;
}

int sandbox_close(enum sandbox_mode mode, int ring_fd)
{
	int ring = ring_fd < 0 ? 0 : (int)RINGABI_PCI_LOCK_RING, hidden, doors;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (sanitized()) {
		pcidipc_info("sandbox: built with a sanitizer: no seccomp, no Landlock");
		return ring;
	}
	hidden = hide(mode);
	if (hidden < 0)
		return hidden;
	doors = close_doors(mode, ring_fd);
	return doors < 0 ? doors : ring | hidden | doors;
}
