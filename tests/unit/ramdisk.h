/* SPDX-License-Identifier: MIT */
/*
 * A disk of memory behind pcidipc_disk_serve, in a process of its own, for the tests of block
 * serving. The test's process keeps the listening sockets, as pcid would, and sees the disk's bytes
 * and what the driver was asked.
 */
#ifndef RAMDISK_H
#define RAMDISK_H

#include <pcidipc/blockserve.h>
#include <pcidipc/disk.h>
#include <stdatomic.h>
#include <sys/types.h>

#define RAMDISK_BYTES (8u << 20)
#define RAMDISK_MAX_SESSIONS 6
#define RAMDISK_MAX_BYTES (1u << 20) /* of one request */

enum ramdisk_mode {
	RAMDISK_MIXED, /* every other request is answered later */
	RAMDISK_HOLD,  /* reads, writes and flushes wait for ramdisk_tell(RAMDISK_RELEASE) */
};

enum ramdisk_command {
	RAMDISK_RELEASE = 'r',
	RAMDISK_EJECT = 'e', /* no medium any more */
	RAMDISK_INSERT = 'i',
	RAMDISK_REMOVE = 'x', /* the disk is gone */
	RAMDISK_QUIT = 'q',
};

/* Shared with the driver's process; it survives the driver. */
struct ramdisk_shared {
	/* Set by the test before start. */
	struct ringabi_block_info info;
	char loop[16]; /* $PCIDIPC_LOOP */
	/* Set by the test at any time. */
	_Atomic uint32_t mode;
	_Atomic uint32_t
		hurry; /* cancel completes held requests at once; otherwise it says -EALREADY */
	_Atomic uint32_t max_maps; /* chunks that may be mapped before -EDQUOT */
	/* What happened. */
	_Atomic uint32_t serving, commands, opens, closes, attaches, detaches, maps, submits,
		cancels, held;
	_Atomic uint32_t broken; /* promises that the helper or the library did not keep */
	char backend[16];
	/* The request submitted last. */
	struct {
		enum pcidipc_block_kind kind;
		bool fua, unmap;
		uint16_t nsegments;
		uint64_t lba, blocks;
	} last;
	_Alignas(4096) unsigned char data[RAMDISK_BYTES];
};

struct ramdisk {
	struct ramdisk_shared *shared;
	char dir[64]; /* as $PCID_RUNTIME_DIR: disk/ram0, disk/ram0.admin */
	char path[128], admin_path[128];
	int listen_fd, admin_fd;
	int event_fd; /* written whenever a counter moves */
	int command_fd, driver_command_fd;
	pid_t driver;
	bool fork_has_tasks; /* the driver's process begins with suspended tasks of the test's: no
				leaks of its own */
};

/* Sockets, shared memory and $PCID_RUNTIME_DIR; 512-byte blocks, dma_align 4. No driver yet. */
int ramdisk_create(struct ramdisk *rd);
void ramdisk_destroy(struct ramdisk *rd);
/* Start the driver and wait until it serves. `loop`: "epoll" or "io_uring". */
int ramdisk_start(struct ramdisk *rd, const char *loop);
/* SIGKILL. */
void ramdisk_kill(struct ramdisk *rd);
/* Quit in good order; the driver's exit status. */
int ramdisk_stop(struct ramdisk *rd);
/* Have the driver do something, and wait until it has begun. */
int ramdisk_tell(struct ramdisk *rd, enum ramdisk_command command);
/* What pcidipc_loop_backend must say: "epoll" instead of "io_uring" where the kernel forbids that.
 */
const char *ramdisk_backend(const char *loop);
/* Wait until a counter has reached `least`. -ETIMEDOUT after a long time, which is a failure. */
int ramdisk_wait(struct ramdisk *rd, _Atomic uint32_t *counter, uint32_t least);
/* In a forked child: close every fd but 0 to 2 and `keep`. */
void close_inherited(const int *keep, unsigned n);

#endif
