/* SPDX-License-Identifier: MIT */
/* Suites of hostile clients of bad.h's disk, whatever drives it. */
#ifndef TESTS_QEMU_HOSTILECLIENTS_H
#define TESTS_QEMU_HOSTILECLIENTS_H

#include <CUnit/CUnit.h>

extern CU_SuiteInfo hostile_clients[];

#endif
