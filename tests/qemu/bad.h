/* SPDX-License-Identifier: MIT */
/*
 * What tests of bad input have in common: an honest client that works beside them and must lose
 * nothing, and what daemons must say and must not hold afterwards.
 */
#ifndef TESTS_QEMU_BAD_H
#define TESTS_QEMU_BAD_H

#include <CUnit/Basic.h>
#include <stdio.h>

#include "rig.h"

extern struct rig bad_rig;
extern unsigned char *bad_shadow;      /* of the disk as it was at the start */
extern char bad_socket_path[RIG_PATH]; /* of the disk */

/* A suite's begin and end: the honest client. */
int bad_begin(void);
int bad_end(void);
/* After each test: the driver is the same, and the honest client moves on. */
void bad_all_is_well(void);
/* A test: the daemons hold what they held at the start. */
void bad_nothing_left(void);
/*
 * The program: run the suites on a rig with the disk nvme0n1 and an edu device, whose driver does
 * what it is told; pcid starts it as that driver.
 */
int bad_main(int argc, char **argv, CU_SuiteInfo *suites);
/* The same with another driver of edu: with this argument ("@" at its start stands for the rig's
 * directory), and with options in its stanza. */
struct bad_driver {
	int (*run)(const char *arg); /* its whole life; its exit status */
	const char *arg, *options;
};
int bad_main_with(int argc, char **argv, CU_SuiteInfo *suites, const struct bad_driver *driver);
/* On a rig with a USB stick, and no edu device. */
int bad_main_usb(CU_SuiteInfo *suites);

/*
 * It is refused with this error, and the log says why. Messages of one kind are limited to ten a
 * second, and other tests may have used these up: so it is done again until the message is there.
 */
#define REFUSED(expression, error, text)                                      \
	do {                                                                  \
		size_t mark_ = rig_mark(&bad_rig);                            \
		bool right_ = true, told_;                                    \
                                                                              \
		told_ = RIG_UNTIL((right_ &= (expression) == (error),         \
				   rig_logged_since(&bad_rig, mark_, text))); \
		if (!told_)                                                   \
			fprintf(stderr, "not in the log: %s\n", text);        \
		CU_ASSERT_TRUE(right_);                                       \
		CU_ASSERT_TRUE(told_);                                        \
	} while (0)

#endif
