// SPDX-License-Identifier: MIT
/*
 * pcidctl usb on QEMU's controller: a stick, a UAS disk, and a keyboard behind a hub, in the tree
 * and by their descriptors; and transfers recorded while a disk is read, looked at here and,
 * where it is installed, by tshark.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "usbrig.h"

#define IMAGE_BYTES (8u << 20)
#define CBW_SIGNATURE "USBC"
#define CSW_SIGNATURE "USBS"

extern char **environ;

static struct rig rig;
static unsigned char *shadow;
static char out[1 << 20];

/* ---- running pcidctl ---- */

/* Its exit code; what it printed, on either stream, is in `out`. */
static int shell(const char *command)
{
	FILE *from = popen(command, "r");
	size_t n = from ? fread(out, 1, sizeof(out) - 1, from) : 0;
	int status = from ? pclose(from) : -1;

	out[n] = '\0';
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int ctl(const char *args)
{
	char command[1024];

	snprintf(command, sizeof(command), "'%s' %s 2>&1", rig_program("pcidctl"), args);
	return shell(command);
}

static struct json_object *ctl_json(const char *args)
{
	char command[512];

	snprintf(command, sizeof(command), "--json %.500s", args);
	return ctl(command) ? NULL : json_tokener_parse(out);
}

static const char *text(struct json_object *o, const char *key)
{
	const char *is = json_object_get_string(json_object_object_get(o, key));

	return is ? is : "";
}

static int number(struct json_object *o, const char *key)
{
	return json_object_get_int(json_object_object_get(o, key));
}

static struct json_object *find(struct json_object *array, const char *key, const char *is)
{
	for (size_t i = 0; array && i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);

		if (!strcmp(text(o, key), is))
			return o;
	}
	return NULL;
}

static unsigned count(struct json_object *array, const char *key, const char *is)
{
	unsigned n = 0;

	for (size_t i = 0; array && i < json_object_array_length(array); i++)
		n += !strcmp(text(json_object_array_get_idx(array, i), key), is);
	return n;
}

/* ---- the tree ---- */

static struct json_object *ports_of(struct json_object *usb)
{
	struct json_object *list = json_object_object_get(usb, "controllers");

	return list && json_object_array_length(list)
		       ? json_object_object_get(json_object_array_get_idx(list, 0), "ports")
		       : NULL;
}

static bool has_driver(struct json_object *port, const char *driver)
{
	struct json_object *list = json_object_object_get(port, "interfaces");

	return list && json_object_array_length(list) == 1 &&
	       !strcmp(text(json_object_array_get_idx(list, 0), "driver"), driver);
}

static void test_tree(void)
{
	struct json_object *usb = ctl_json("usb"), *ports = ports_of(usb), *port;

	CU_ASSERT_PTR_NOT_NULL_FATAL(ports);
	/* 4 ports of either kind, and a hub with 8 */
	CU_ASSERT_EQUAL(json_object_array_length(ports), 16);
	port = find(ports, "path", "3-1");
	CU_ASSERT_STRING_EQUAL(text(port, "serial"), "bot");
	CU_ASSERT_STRING_EQUAL(text(port, "speed"), "5 Gbit/s");
	CU_ASSERT_TRUE(has_driver(port, "usbscsid"));
	CU_ASSERT_TRUE(has_driver(find(ports, "path", "3-3"), "usbscsid"));
	CU_ASSERT_EQUAL(number(find(ports, "path", "2-2"), "hub_ports"), 8);
	port = find(ports, "path", "2-2.1");
	CU_ASSERT_STRING_EQUAL(text(port, "name"), "QEMU USB Keyboard");
	CU_ASSERT_TRUE(has_driver(port, ""));
	port = find(ports, "path", "2-1");
	CU_ASSERT_PTR_NOT_NULL_FATAL(port);
	CU_ASSERT_FALSE(number(port, "device"));
	json_object_put(usb);
	CU_ASSERT_EQUAL(ctl("usb"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "3-1:1.0 mass storage, SCSI, Bulk-Only [usbscsid, "));
}

static void test_show(void)
{
	struct json_object *o = ctl_json("usb show xhci0/3-3"), *d, *one;

	d = json_object_object_get(o, "descriptors");
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_EQUAL(count(d, "descriptor", "device"), 1);
	CU_ASSERT_EQUAL(count(d, "descriptor", "endpoint"), 4);
	CU_ASSERT_EQUAL(count(d, "descriptor", "SuperSpeed endpoint companion"), 4);
	CU_ASSERT_EQUAL(count(d, "descriptor", "UAS pipe usage"), 4);
	CU_ASSERT_EQUAL(count(d, "descriptor", "BOS"), 1);
	one = find(d, "meaning", "data-out");
	CU_ASSERT_EQUAL(number(one, "bPipeID"), 4);
	one = find(d, "descriptor", "interface");
	CU_ASSERT_EQUAL(number(one, "bInterfaceProtocol"), 0x62);
	json_object_put(o);
	CU_ASSERT_EQUAL(ctl("usb show 3-1"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "bulk IN 1"));
	CU_ASSERT_EQUAL(ctl("usb show 3-9"), 4);
	CU_ASSERT_EQUAL(ctl("usb show xhci1/3-1"), 4);
	CU_ASSERT_EQUAL(ctl("usb show xhci0"), 2);
	CU_ASSERT_EQUAL(ctl("usb show"), 2);
}

/* ---- capturing ---- */

static void capture_path(char path[256])
{
	snprintf(path, 256, "%s/capture", rig.dir);
}

static pid_t capture_start(void)
{
	char path[256];
	char *argv[] = {"pcidctl", "usb", "capture", "-o", path, "3-1", NULL};
	pid_t pid = -1;

	capture_path(path);
	unlink(path);
	posix_spawn(&pid, rig_program("pcidctl"), NULL, NULL, argv, environ);
	return pid;
}

static size_t captured(void)
{
	char path[256];
	FILE *file;
	size_t n;

	capture_path(path);
	file = fopen(path, "r");
	n = file ? fread(out, 1, sizeof(out), file) : 0;
	if (file)
		fclose(file);
	return n;
}

static bool holds(const void *what, size_t bytes)
{
	return memmem(out, captured(), what, bytes);
}

static bool read_disk(const char *serial)
{
	bool right = false;
	char name[32];

	for (unsigned i = 0; i < 2 && !right; i++) {
		struct client c;

		snprintf(name, sizeof(name), "disk/usb%u", i);
		if (client_open(&c, name, 0, 2u << 20))
			return false;
		if (!strcmp(c.info->serial, serial))
			right = client_read(&c, 0, 8192, 4096) == 8192 &&
				!memcmp(c.base, shadow + 4096, 8192);
		client_close(&c);
	}
	return right;
}

static int end_of(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void look_with_tshark(void)
{
	char path[256], command[512];

	if (shell("command -v tshark")) {
		fprintf(stderr, "tshark is not there: the capture was not decoded\n");
		return;
	}
	capture_path(path);
	snprintf(command, sizeof(command), "tshark -r '%s' 2>/dev/null", path);
	CU_ASSERT_EQUAL(shell(command), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "SCSI: Read(10) LUN: 0x00 (LBA: 0x00000008, Len: 16)"));
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "SCSI: Response LUN: 0x00 (Read(10)) (Good)"));
	CU_ASSERT_PTR_NULL(strstr(out, "Malformed"));
}

static void test_capture(void)
{
	pid_t pid = capture_start();

	CU_ASSERT_TRUE_FATAL(pid > 0);
	/* It has begun when there is the status of a command in the file. */
	CU_ASSERT_TRUE(RIG_UNTIL(read_disk("bot") && holds(CSW_SIGNATURE, 4)));
	CU_ASSERT_EQUAL(ctl("usb capture -o /dev/null --seconds 1"), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "somebody else captures"));
	CU_ASSERT_TRUE(read_disk("bot"));
	kill(pid, SIGINT);
	CU_ASSERT_EQUAL(end_of(pid), 0);
	CU_ASSERT_TRUE(holds(CBW_SIGNATURE, 4));
	CU_ASSERT_TRUE(holds(shadow + 4096, 4096));
	CU_ASSERT_FALSE(holds(shadow + 8192, 4096)); /* it records so much of a transfer */
	look_with_tshark();
}

/* Who captures dies at it: nobody else notices, and the next one may. */
static void test_killed(void)
{
	pid_t pid = capture_start();

	CU_ASSERT_TRUE_FATAL(pid > 0);
	CU_ASSERT_TRUE(RIG_UNTIL(read_disk("bot") && holds(CSW_SIGNATURE, 4)));
	kill(pid, SIGKILL);
	end_of(pid);
	CU_ASSERT_TRUE(read_disk("bot"));
	CU_ASSERT_TRUE(RIG_UNTIL(!ctl("usb capture -o /dev/null --seconds 1")));
	CU_ASSERT_TRUE(read_disk("bot"));
}

static void test_arguments(void)
{
	CU_ASSERT_EQUAL(ctl("usb capture -o /dev/null --seconds 0"), 2);
	CU_ASSERT_EQUAL(ctl("usb capture -o /dev/null 3-2"), 4); /* empty */
	CU_ASSERT_EQUAL(ctl("usb capture -o /dev/null 7-1"), 4);
	CU_ASSERT_EQUAL(ctl("usb capture -o /nowhere/file"), 1);
	CU_ASSERT_EQUAL(ctl("usb capture -o /dev/full --seconds 1"), 1);
}

/* ---- all of it ---- */

static bool all_there(void)
{
	struct json_object *usb = ctl_json("usb"), *ports = ports_of(usb);
	bool keyboard = *text(find(ports, "path", "2-2.1"), "name");

	json_object_put(usb);
	return keyboard && rig_log_count(&rig, 0, "serves disk/usb") >= 2;
}

static int start(void)
{
	static const char *const args[] = {"qemu-xhci,id=x",
					   "usb-storage,bus=x.0,port=1,drive=d0,serial=bot",
					   "usb-hub,bus=x.0,port=2",
					   "usb-kbd,bus=x.0,port=2.1",
					   "usb-uas,id=uas,bus=x.0,port=3",
					   "scsi-hd,bus=uas.0,drive=d1,serial=uas"};
	int ret = rig_create(&rig, 300);

	if (!ret)
		ret = rig_image(&rig, "bot", IMAGE_BYTES, 1, &shadow);
	if (!ret)
		ret = rig_image(&rig, "uas", IMAGE_BYTES, 2, NULL);
	if (ret)
		return ret;
	for (unsigned i = 0; i < 2; i++) {
		rig_arg(&rig, "-drive");
		rig_arg(&rig, "file=@/%s.img,if=none,id=d%u,format=raw", i ? "uas" : "bot", i);
	}
	for (unsigned i = 0; i < sizeof(args) / sizeof(*args); i++) {
		rig_arg(&rig, "-device");
		rig_arg(&rig, "%s", args[i]);
	}
	ret = rig_start(&rig, usb_config);
	setenv("PCID_RUNTIME_DIR", rig.run, 1);
	if (!ret && !RIG_UNTIL(all_there()))
		ret = -ETIMEDOUT;
	if (ret)
		rig_show_log(&rig);
	return ret;
}

static CU_TestInfo tests[] = {{"tree", test_tree},	     {"descriptors", test_show},
			      {"capture", test_capture},     {"capturing and killed", test_killed},
			      {"arguments", test_arguments}, CU_TEST_INFO_NULL};
static CU_SuiteInfo suites[] = {{.pName = "pcidctl usb", .pTests = tests}, CU_SUITE_INFO_NULL};

int main(void)
{
	int ret = rig_main(&rig, start(), suites);

	free(shadow);
	return ret;
}
