/* SPDX-License-Identifier: MIT */
/* What programs that test the ramdisk share: the disk, its driver's death, and their main. */
#ifndef DISKSUITE_H
#define DISKSUITE_H

#include <CUnit/CUnit.h>

#include "blockclient.h"

extern struct ramdisk rd;
extern const char *disk_loop; /* the driver's: "epoll" or "io_uring" */

void kill_driver(void);
void start_driver(enum ramdisk_mode mode);
/* The next one answers. */
void restart_driver(void);
/* Neither the library nor its helper broke any. */
void promises_kept(void);
/* Write and read back 300 times, at any place and of any size; the disk's own bytes are the same.
 */
void read_and_write(struct client *c);

/* A test program's main: all tests with the driver on epoll, then all on io_uring. `open` is called
 * when the driver serves, and what is not 0 ends that suite; `close` before it ends. NULL: none. */
int disk_main(const char *name, CU_TestInfo *tests, int (*open)(void), void (*close)(void));

#endif
