// SPDX-License-Identifier: MIT
/* Hostile clients of usbscsid, whose pools go on to xhcid and to pcid. */
#include "bad.h"
#include "hostileclients.h"

int main(void)
{
	return bad_main_usb(hostile_clients);
}
