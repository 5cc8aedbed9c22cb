// SPDX-License-Identifier: MIT
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "bad.h"
#include "client.h"
#include "irqdriver.h"
#include "procfs.h"
#include "usbrig.h"

struct rig bad_rig;
unsigned char *bad_shadow;
char bad_socket_path[RIG_PATH];
static pid_t honest;
static volatile uint32_t *progress;
static const char *disk = "nvme0n1", *disk_driver = "nvmed";
static struct usage idle;
static unsigned idle_reached;

int bad_begin(void)
{
	struct work work = {.disk = disk,
			    .first = 32u << 20,
			    .bytes = 16u << 20,
			    .depth = 4,
			    .largest = 64u << 10,
			    .pool_bytes = 16u << 20,
			    .stride = 1u << 20,
			    .seed = 5};

	progress = shared_words();
	work.progress = progress;
	honest = work_fork(&work);
	return honest > 0 && RIG_UNTIL(*progress > 0) ? 0 : -1;
}

int bad_end(void)
{
	kill(honest, SIGKILL);
	return work_wait(honest) == -1 ? 0 : -1;
}

void bad_all_is_well(void)
{
	uint32_t seen = *progress;

	CU_ASSERT_TRUE(RIG_UNTIL(*progress > seen + 2));
	CU_ASSERT_EQUAL(waitpid(honest, NULL, WNOHANG), 0);
	CU_ASSERT_EQUAL(rig_number(&bad_rig, "drivers", disk_driver, "restarts"), 0);
}

void bad_nothing_left(void)
{
	CU_ASSERT_TRUE(RIG_UNTIL(rig_usage_is(&bad_rig, &idle, false)));
	CU_ASSERT_TRUE(rig_usage_is(&bad_rig, &idle, true));
	CU_ASSERT_EQUAL(rig_pools(&bad_rig), idle_reached);
}

/* ---- the program ---- */

static const char config[] = RIG_NVMED("") "driver \"edu\" {\n"
					   "	vendor = 0x1234\n"
					   "	device = 0x11e8\n"
					   "	command = \"%s\"\n"
					   "	service = \"edu\"\n"
					   "	args = { \"driver\", \"%s%s\" }\n"
					   "	%s\n"
					   "}\n";

static int create(void)
{
	int ret = rig_create(&bad_rig, 600);

	/* Whether malloc gives memory back is a matter of chance, of a megabyte or more: here it
	 * never does, and what has grown since the first time is a leak. */
	setenv("MALLOC_TRIM_THRESHOLD_", "1073741824", 1);
	return ret ? ret : rig_image(&bad_rig, "a", RIG_SIMPLE_BYTES, 1, &bad_shadow);
}

static int started(void)
{
	snprintf(bad_socket_path, sizeof(bad_socket_path), "%s/disk/%s", bad_rig.run, disk);
	rig_usage(&bad_rig, &idle);
	idle_reached = rig_pools(&bad_rig);
	return idle_reached ? 0 : -1;
}

static int start(const struct bad_driver *driver)
{
	bool inside = *driver->arg == '@';
	char text[4096 + RIG_PATH + sizeof(config)];
	int ret = create();

	if (ret)
		return ret;
	rig_nvme(&bad_rig, "a");
	rig_arg(&bad_rig, "-device");
	rig_arg(&bad_rig, "edu");
	snprintf(text, sizeof(text), config, rig_self(), inside ? bad_rig.dir : "",
		 driver->arg + inside, driver->options);
	ret = rig_start(&bad_rig, text);
	return ret ? ret : started();
}

static int start_usb(void)
{
	int ret = create();

	if (ret)
		return ret;
	usb_controller(&bad_rig);
	usb_drive(&bad_rig, "a", "");
	usb_adapter(&bad_rig, "usb-uas", "u", "1");
	usb_unit(&bad_rig, "u", "scsi-hd", 0, "a", "");
	ret = rig_start(&bad_rig, usb_config);
	disk = "usb0";
	disk_driver = "usbscsid";
	if (!ret && !RIG_UNTIL(rig_logged(&bad_rig, "serves disk/usb0")))
		ret = -ENOENT;
	return ret ? ret : started();
}

int bad_main_usb(CU_SuiteInfo *suites)
{
	int ret = rig_main(&bad_rig, start_usb(), suites);

	free(bad_shadow);
	return ret;
}

int bad_main(int argc, char **argv, CU_SuiteInfo *suites)
{
	const struct bad_driver edu = {irq_driver, "edu", ""};

	return bad_main_with(argc, argv, suites, &edu);
}

int bad_main_with(int argc, char **argv, CU_SuiteInfo *suites, const struct bad_driver *driver)
{
	int ret;

	if (argc > 2 && !strcmp(argv[1], "driver"))
		return driver->run(argv[2]);
	ret = rig_main(&bad_rig, start(driver), suites);
	free(bad_shadow);
	return ret;
}
