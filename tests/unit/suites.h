/* SPDX-License-Identifier: MIT */
/* What each test program's main does at its end. */
#ifndef SUITES_H
#define SUITES_H

#include <CUnit/CUnit.h>

#define TEST_SECONDS 120 /* that a test may take */

/*
 * Run suites, and give main's result: 1 if a test failed or a suite's set-up, 2 if they could not
 * be run. A test that has no set-up of its own has TEST_SECONDS: a lost wake-up ends the program.
 */
int run_suites(CU_SuiteInfo *suites);
/* One suite of that name. */
int run_tests(const char *name, CU_TestInfo *tests);

#endif
