// SPDX-License-Identifier: MIT
/* All sets of rows, and the program. */
#include "guest.h"

const struct bench_group *const bench_groups[] = {
	&guest_nvme_512_1,
	&guest_nvme_512_32,
	&guest_nvme_512_128,
	&guest_nvme_4k_1,
	&guest_nvme_4k_32,
	&guest_nvme_4k_128,
	&guest_bot_seq,
	&guest_bot_4k_qd1,
	&guest_bot_4k_qd32,
	&guest_uas_seq,
	&guest_uas_4k_qd1,
	&guest_uas_4k_qd32,
	NULL,
};

int main(int argc, char **argv)
{
	return bench_main(argc, argv);
}
