// SPDX-License-Identifier: MIT
#include "suites.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <unistd.h>

static void restart_clock(void)
{
	alarm(TEST_SECONDS);
}

int run_suites(CU_SuiteInfo *suites)
{
	unsigned failures;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (CU_SuiteInfo *s = suites; s->pName; s++)
		if (!s->pSetUpFunc)
			s->pSetUpFunc = restart_clock;
	if (CU_initialize_registry() || CU_register_suites(suites))
		return 2;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures != 0;
}

int run_tests(const char *name, CU_TestInfo *tests)
{
	CU_SuiteInfo suites[] = {{.pName = name, .pTests = tests}, CU_SUITE_INFO_NULL};

	return run_suites(suites);
}
