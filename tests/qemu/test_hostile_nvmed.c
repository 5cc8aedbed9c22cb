// SPDX-License-Identifier: MIT
/* Hostile clients of nvmed. */
#include "bad.h"
#include "hostileclients.h"

int main(int argc, char **argv)
{
	return bad_main(argc, argv, hostile_clients);
}
