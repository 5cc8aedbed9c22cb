/* SPDX-License-Identifier: MIT */
/* This program as a driver that pcid starts: it masks and unmasks its function's vector, as often
 * as it is told. */
#ifndef SUBDRIVER_H
#define SUBDRIVER_H

int subdriver_main(void);

#endif
