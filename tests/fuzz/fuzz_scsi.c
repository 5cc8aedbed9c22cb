// SPDX-License-Identifier: MIT
/* What a USB device says: descriptors with pipe usage, CSWs, IUs, sense data, INQUIRY and its vital
 * product data, capacities, mode parameters, LUNs. */
#include <stdlib.h>
#include <string.h>

#include "../../usbscsid/bot.h"
#include "../../usbscsid/iu.h"
#include "../../usbscsid/pipes.h"
#include "fuzz.h"

/* The text of INQUIRY data is printable. */
static bool printable(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static void fuzz_pipes(const uint8_t *d, size_t n)
{
	struct storage_pipes p;

	for (unsigned i = 0; i < 3; i++)
		if (!pipes_parse(d, n, (uint8_t)i, &p)) {
			fuzz_expect(p.bot.found || p.uas.found, "something was found");
			fuzz_expect(!p.bot.found || (p.bot.in.endpoint & 0x80 && p.bot.in.packet &&
						     !(p.bot.out.endpoint & 0x80) &&
						     p.bot.out.endpoint && p.bot.out.packet),
				    "pipes have directions and packets");
			fuzz_expect(!p.uas.found || (p.uas.command.endpoint &&
						     p.uas.status.endpoint & 0x80 &&
						     p.uas.in.endpoint & 0x80 &&
						     p.uas.out.endpoint && p.uas.in.streams <= 16),
				    "all four pipes are there");
		}
}

static void fuzz_wrappers(const uint8_t *d, size_t n)
{
	struct status_iu iu;
	struct csw csw;
	const char *why;

	if (!csw_parse(d, n, 0x01010101, 4096, &csw, &why))
		fuzz_expect(n == 13 && csw.status <= 2 && (csw.status == 2 || csw.residue <= 4096),
			    "a CSW is meaningful");
	if (!status_iu_parse(d, n, &iu))
		fuzz_expect(n >= 4 && iu.sense_bytes <= SCSI_SENSE_BYTES, "an IU is whole");
}

static void fuzz_inquiry(const uint8_t *d, size_t n)
{
	struct scsi_limits limits = {0};
	struct scsi_identity id;
	uint8_t lun_id[16];
	char serial[32];

	if (!scsi_parse_inquiry(d, n, &id))
		fuzz_expect(printable(id.vendor) && printable(id.product) && printable(id.revision),
			    "names are printable");
	if (!scsi_vpd_serial(d, n, serial, sizeof(serial)))
		fuzz_expect(printable(serial), "a serial number is printable");
	scsi_vpd_lists(d, n, 0x83);
	scsi_vpd_id(d, n, lun_id);
	scsi_vpd_limits(d, n, &limits);
	scsi_vpd_medium(d, n, &limits);
	scsi_vpd_provisioning(d, n, &limits);
}

static void fuzz_rest(const uint8_t *d, size_t n)
{
	struct scsi_capacity capacity;
	struct scsi_mode mode;
	uint8_t lun[16];

	fuzz_expect(scsi_parse_sense(d, n).key < 16, "a sense key has four bits");
	scsi_parse_capacity_10(d, n, &capacity);
	scsi_parse_capacity_16(d, n, &capacity);
	scsi_parse_mode_6(d, n, &mode);
	scsi_parse_mode_10(d, n, &mode);
	fuzz_expect(scsi_parse_luns(d, n, lun, 16) <= 16, "no more LUNs than there is room for");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1); /* one byte too far is seen */

	memcpy(copy, data, size);
	fuzz_pipes(copy, size);
	fuzz_wrappers(copy, size);
	fuzz_inquiry(copy, size);
	fuzz_rest(copy, size);
	free(copy);
	return 0;
}
