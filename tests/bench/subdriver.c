// SPDX-License-Identifier: MIT
#include "subdriver.h"
int subdriver_main(void) { return 1; }
