// SPDX-License-Identifier: MIT
/* pcid's configuration: what it takes, what it refuses and how it says so, which driver fits. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <pcid/config.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suites.h"

#define DRIVER(more) "driver \"d\" {\n class = 1\n command = \"x\"\n" more "}\n"

static char dir[64];

/* ---- what was said ---- */

static int stderr_copy;
static char said[4096];

static void listen_begin(void)
{
	int file = fileno(tmpfile());

	fflush(stderr);
	stderr_copy = dup(STDERR_FILENO);
	dup2(file, STDERR_FILENO);
}

static void listen_end(void)
{
	ssize_t n;

	fflush(stderr);
	n = pread(STDERR_FILENO, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	dup2(stderr_copy, STDERR_FILENO);
	close(stderr_copy);
}

static bool heard(const char *text)
{
	if (strstr(said, text))
		return true;
	printf("\nexpected \"%s\", heard: %s\n", text, said);
	return false;
}

static int parse(const char *text, struct pcid_config **config)
{
	int ret;

	*config = NULL;
	listen_begin();
	ret = pcid_config_parse(text, config);
	listen_end();
	return ret;
}

/* ---- values ---- */

static void test_defaults(void)
{
	struct pcid_config *config;
	struct pcid_stanza *s;

	CU_ASSERT_EQUAL_FATAL(parse(DRIVER(""), &config), 0);
	CU_ASSERT_STRING_EQUAL(said, "");
	s = config->stanzas;
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_PTR_NULL(s->next);
	CU_ASSERT_STRING_EQUAL(s->name, "d");
	CU_ASSERT_STRING_EQUAL(s->command, "x");
	CU_ASSERT_STRING_EQUAL(s->args[0], "x");
	CU_ASSERT_PTR_NULL(s->args[1]);
	CU_ASSERT_STRING_EQUAL(s->service, "d");
	CU_ASSERT_STRING_EQUAL(s->user, "of its own");
	CU_ASSERT_EQUAL(s->uid, geteuid() ? PCID_KEEP_ID : PCID_OWN_ID);
	CU_ASSERT_EQUAL(s->below, PCID_BELOW_PCI);
	CU_ASSERT_EQUAL(s->vendor, -1);
	CU_ASSERT_EQUAL(s->interface, -1);
	CU_ASSERT_EQUAL(s->mode, 0660);
	CU_ASSERT_EQUAL(s->admin_mode, 0600);
	CU_ASSERT_EQUAL(s->owner, PCID_KEEP_ID);
	CU_ASSERT_EQUAL(s->group, PCID_KEEP_ID);
	CU_ASSERT_EQUAL(s->restart_limit, 5);
	CU_ASSERT_EQUAL(s->max_children, 64);
	CU_ASSERT_EQUAL(s->sandbox, PCID_SANDBOX_YES);
	CU_ASSERT_TRUE(s->dma_quota >= 1ull << 30);
	CU_ASSERT_EQUAL(config->control_mode, 0660);
	CU_ASSERT_EQUAL(config->control_group, PCID_KEEP_ID);
	CU_ASSERT_EQUAL(config->first_driver_uid, 0x70000000);
	CU_ASSERT_EQUAL(config->driver_uids, 4096);
	CU_ASSERT_PTR_NULL(config->qemu_args);
	pcid_config_free(config);
}

static void test_values(void)
{
	struct pcid_config *config;
	struct pcid_stanza *s;

	CU_ASSERT_EQUAL_FATAL(
		parse("# a comment\n"
		      "driver \"usb-stick\" {\n"
		      " below = \"usb\" class = 0x8 subclass = 6 interface = 0x50\n"
		      " vendor = 0xffff device = 0 command = \"/bin/x\" args = {\"-a\", \"b c\"}\n"
		      " service = \"sd\" owner = \"12\" group = \"34\" mode = \"0600\"\n"
		      " admin_mode = \"0\" restart_limit = -1 dma_quota_mib = 3 max_children = 0\n"
		      "}\n"
		      "qemu { binary = \"/q\" args = {\"-device\", \"edu\"} ram_mib = 16 }\n"
		      "first_driver_uid = 0x10000 driver_uids = 0\n"
		      "user_dma_quota_mib = 5 control_group = \"7\" control_mode = \"0777\"\n",
		      &config),
		0);
	s = config->stanzas;
	CU_ASSERT_EQUAL(s->below, PCID_BELOW_USB);
	CU_ASSERT_EQUAL(s->class_code, 8);
	CU_ASSERT_EQUAL(s->interface, 0x50);
	CU_ASSERT_EQUAL(s->vendor, 0xffff);
	CU_ASSERT_EQUAL(s->device, 0);
	CU_ASSERT_STRING_EQUAL(s->args[2], "b c");
	CU_ASSERT_PTR_NULL(s->args[3]);
	CU_ASSERT_EQUAL(s->owner, 12);
	CU_ASSERT_EQUAL(s->group, 34);
	CU_ASSERT_EQUAL(s->mode, 0600);
	CU_ASSERT_EQUAL(s->admin_mode, 0);
	CU_ASSERT_EQUAL(s->restart_limit, -1);
	CU_ASSERT_EQUAL(s->dma_quota, 3u << 20);
	CU_ASSERT_EQUAL(s->max_children, 0);
	CU_ASSERT_STRING_EQUAL(config->qemu_binary, "/q");
	CU_ASSERT_STRING_EQUAL(config->qemu_args[1], "edu");
	CU_ASSERT_PTR_NULL(config->qemu_args[2]);
	CU_ASSERT_EQUAL(config->qemu_ram_mib, 16);
	CU_ASSERT_EQUAL(config->user_dma_quota, 5u << 20);
	CU_ASSERT_EQUAL(config->control_group, 7);
	CU_ASSERT_EQUAL(config->control_mode, 0777);
	CU_ASSERT_EQUAL(config->first_driver_uid, 65536);
	CU_ASSERT_EQUAL(config->driver_uids, 0);
	pcid_config_free(config);
}

/* Every message names the file, the line, the key and the limit. */
static void test_errors(void)
{
	static const struct {
		const char *text, *where, *what, *limit;
	} cases[] = {
		{DRIVER(" vendor = 0x10000\n"), "text:4:", "vendor = 65536", "to 65535"},
		{DRIVER(" subclass = 256\n"), "text:4:", "subclass = 256", "to 255"},
		{DRIVER(" vendor = 1\n device = -2\n"), "text:5:", "device = -2", "to 65535"},
		{DRIVER(" restart_limit = -2\n"), "text:4:", "restart_limit = -2", "-1 to 1000000"},
		{DRIVER(" restart_limit = x\n"), "text:4:", "restart_limit", "integer"},
		{DRIVER(" max_children = 257\n"), "text:4:", "max_children = 257", "0 to 256"},
		{DRIVER(" dma_quota_mib = 0\n"), "text:4:", "dma_quota_mib = 0", "1 to "},
		{DRIVER(" mode = \"0999\"\n"), "text:4:", "mode = \"0999\"", "octal"},
		{DRIVER(" mode = \"01777\"\n"), "text:4:", "mode = \"01777\"", "octal"},
		{DRIVER(" admin_mode = \"\"\n"), "text:4:", "admin_mode", "octal"},
		{DRIVER(" below = \"isa\"\n"), "text:4:", "below = \"isa\"", "\"usb\""},
		{DRIVER(" sandbox = \"on\"\n"), "text:4:", "sandbox = \"on\"", "\"debug\""},
		{DRIVER(" service = \"Nvme\"\n"), "text:4:", "service = \"Nvme\"", "1 to 15"},
		{DRIVER(" service = \"aaaaaaaaaaaaaaaa\"\n"), "text:4:", "service", "1 to 15"},
		{DRIVER(" user = \"no such one\"\n"), "text:4:", "user = \"no such one\"", "user"},
		{DRIVER(" user = \"4294967294\"\n"), "text:4:", "user = \"4294967294\"", "user"},
		{DRIVER(" group = \"no such one\"\n"), "text:4:", "group", "no such group"},
		{DRIVER(" device = 1\n"), "text:5:", "driver \"d\"", "vendor"},
		{DRIVER(" interface = 1\n"), "text:5:", "driver \"d\"", "subclass"},
		{DRIVER(" colour = 1\n"), "text:4:", "colour", "no such option"},
		{"driver \"d\" { class = 1 }\n", "text:1:", "driver \"d\"", "command"},
		{"driver \"d\" { command = \"x\" }\n", "text:1:", "driver \"d\"",
		 "class or vendor"},
		{"driver { class = 1 }\n", "text:1:", "driver", "title"},
		{DRIVER("") DRIVER(""), "text:", "d", "uplicate"},
		{"qemu { ram_mib = 15 }\n", "text:1:", "ram_mib = 15", "16 to 2048"},
		{"\n\nuser_dma_quota_mib = 0\n", "text:3:", "user_dma_quota_mib = 0", "1 to"},
		{"first_driver_uid = 0\n", "text:1:", "first_driver_uid = 0", "1 to"},
		{"driver_uids = 65537\n", "text:1:", "driver_uids = 65537", "0 to 65536"},
		{"driver_uids = -1\n", "text:1:", "driver_uids = -1", "0 to 65536"},
		{"control_mode = \"rw\"\n", "text:1:", "control_mode = \"rw\"", "octal"},
		{"driver \"d\" {\n class = 1\n command = \"x\"\n", "text:", "ends within", "}"},
		{DRIVER("") "/* no end\n", "text", "ends within", "comment"},
		{DRIVER("") "control_mode = \"066\n", "text", "", "premature end of file"},
		{"user_dma_quota_mib = 99999999999999999999\n", "text:1:", "user_dma_quota_mib",
		 "range"},
	};
	struct pcid_config *config;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		CU_ASSERT_EQUAL(parse(cases[i].text, &config), -EINVAL);
		pcid_config_free(config);
		CU_ASSERT_TRUE(heard(cases[i].where));
		CU_ASSERT_TRUE(heard(cases[i].what));
		CU_ASSERT_TRUE(heard(cases[i].limit));
	}
}

static void test_sandbox(void)
{
	static const enum pcid_sandbox all[] = {PCID_SANDBOX_YES, PCID_SANDBOX_DEBUG,
						PCID_SANDBOX_NO};
	struct pcid_config *config;
	char text[128];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), DRIVER(" sandbox = %s\n"), pcid_sandbox_name(all[i]));
		CU_ASSERT_EQUAL_FATAL(parse(text, &config), 0);
		CU_ASSERT_EQUAL(config->stanzas->sandbox, all[i]);
		pcid_config_free(config);
	}
}

static void test_too_many_args(void)
{
	char text[2048] = "driver \"d\" { class = 1 command = \"x\" args = {\"0\"";
	struct pcid_config *config;

	for (unsigned i = 1; i < PCID_MAX_ARGS - 1; i++)
		strcat(text, ",\"a\"");
	strcat(text, "} }\n");
	CU_ASSERT_EQUAL(parse(text, &config), 0);
	pcid_config_free(config);
	strcpy(strstr(text, "} }"), ",\"a\"} }\n");
	CU_ASSERT_EQUAL(parse(text, &config), -EINVAL);
	CU_ASSERT_TRUE(heard("the limit is 63"));
}

/* ---- files ---- */

static void put_file(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fputs(text, file);
	fclose(file);
}

static void drop_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	remove(path);
}

static int load(const char *path, struct pcid_config **config)
{
	int ret;

	*config = NULL;
	listen_begin();
	ret = pcid_config_load(path, config);
	listen_end();
	return ret;
}

/* In the order of their names; one with an error is left out whole, and the others hold. */
static void test_directory(void)
{
	struct pcid_config *config;

	put_file("20-b.conf", "driver \"b\" { class = 1 command = \"b\" }\n");
	put_file("10-a.conf", "driver \"a\" { class = 1 command = \"a\" }\n");
	put_file("15-bad.conf", "driver \"c\" { class = 1 command = \"c\" }\nmist = 1\n");
	put_file("30-not.txt", "mist\n");
	put_file(".hidden.conf", "mist\n");
	CU_ASSERT_EQUAL_FATAL(load(dir, &config), 0);
	CU_ASSERT_TRUE(heard("15-bad.conf:2:"));
	CU_ASSERT_TRUE(heard("skipped"));
	CU_ASSERT_EQUAL(config->files, 3);
	CU_ASSERT_EQUAL(config->bad_files, 1);
	CU_ASSERT_STRING_EQUAL(config->stanzas->name, "a");
	CU_ASSERT_STRING_EQUAL(config->stanzas->next->name, "b");
	CU_ASSERT_PTR_NULL(config->stanzas->next->next);
	pcid_config_free(config);
	drop_file("20-b.conf");
	drop_file("10-a.conf");
	drop_file("30-not.txt");
	drop_file(".hidden.conf");
	/* Only the bad one is left: the built-in configuration is not what was meant. */
	CU_ASSERT_EQUAL_FATAL(load(dir, &config), 0);
	CU_ASSERT_PTR_NULL(config->stanzas);
	pcid_config_free(config);
	drop_file("15-bad.conf");
}

static void test_no_file(void)
{
	struct pcid_config *config;
	struct pcid_identity nvme = {.class_code = 1, .subclass = 8, .interface = 2};
	struct pcid_identity xhci = {.class_code = 0xc, .subclass = 3, .interface = 0x30};
	struct pcid_identity stick = {
		.below = PCID_BELOW_USB, .class_code = 8, .subclass = 6, .interface = 0x50};

	CU_ASSERT_EQUAL_FATAL(load(dir, &config), 0);
	CU_ASSERT_STRING_EQUAL(said, "");
	CU_ASSERT_PTR_NOT_NULL_FATAL(pcid_match(config, &nvme));
	CU_ASSERT_STRING_EQUAL(pcid_match(config, &nvme)->command, "nvmed");
	CU_ASSERT_PTR_NOT_NULL_FATAL(pcid_match(config, &xhci));
	CU_ASSERT_STRING_EQUAL(pcid_match(config, &xhci)->command, "xhcid");
	CU_ASSERT_PTR_NOT_NULL_FATAL(pcid_match(config, &stick));
	CU_ASSERT_STRING_EQUAL(pcid_match(config, &stick)->command, "usbscsid");
	pcid_config_free(config);
	CU_ASSERT_EQUAL(load("/no/such/directory", &config), -ENOENT);
	CU_ASSERT_TRUE(heard("/no/such/directory: No such file or directory"));
}

/* ---- matching ---- */

static const char *match(struct pcid_config *config, struct pcid_identity id)
{
	struct pcid_stanza *s = pcid_match(config, &id);

	return s ? s->name : "none";
}

static void test_match(void)
{
	struct pcid_config *config;

	CU_ASSERT_EQUAL_FATAL(
		parse("driver \"class\" { class = 1 command = \"x\" }\n"
		      "driver \"subclass\" { class = 1 subclass = 8 command = \"x\" }\n"
		      "driver \"interface\" { class = 1 subclass = 8 interface = 2 command = \"x\" "
		      "}\n"
		      "driver \"vendor\" { vendor = 0x1b36 command = \"x\" }\n"
		      "driver \"device\" { vendor = 0x1b36 device = 0x10 command = \"x\" }\n"
		      "driver \"again\" { class = 1 command = \"x\" }\n"
		      "driver \"usb\" { below = \"usb\" class = 1 command = \"x\" }\n",
		      &config),
		0);
	CU_ASSERT_STRING_EQUAL(match(config, (struct pcid_identity){.class_code = 1}), "class");
	CU_ASSERT_STRING_EQUAL(
		match(config, (struct pcid_identity){.class_code = 1, .subclass = 8}), "subclass");
	CU_ASSERT_STRING_EQUAL(
		match(config,
		      (struct pcid_identity){.class_code = 1, .subclass = 8, .interface = 2}),
		"interface");
	CU_ASSERT_STRING_EQUAL(match(config, (struct pcid_identity){.class_code = 1,
								    .subclass = 8,
								    .interface = 2,
								    .vendor = 0x1b36}),
			       "vendor");
	CU_ASSERT_STRING_EQUAL(
		match(config, (struct pcid_identity){.vendor = 0x1b36, .device = 0x10}), "device");
	CU_ASSERT_STRING_EQUAL(
		match(config, (struct pcid_identity){.below = PCID_BELOW_USB, .class_code = 1}),
		"usb");
	CU_ASSERT_STRING_EQUAL(match(config, (struct pcid_identity){.class_code = 2}), "none");
	pcid_config_free(config);
}

static CU_TestInfo tests[] = {
	{"defaults", test_defaults},
	{"values", test_values},
	{"errors, and how they are told", test_errors},
	{"sandboxes", test_sandbox},
	{"too many arguments", test_too_many_args},
	{"a directory of files", test_directory},
	{"no file at all", test_no_file},
	{"which driver fits", test_match},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	int failed;

	pcidipc_log_init("test", PCIDIPC_WARNING);
	snprintf(dir, sizeof(dir), "/tmp/pcid-config.XXXXXX");
	if (!mkdtemp(dir))
		return 2;
	failed = run_tests("configuration", tests);
	return rmdir(dir) || failed;
}
