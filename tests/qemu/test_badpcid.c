// SPDX-License-Identifier: MIT
/*
 * Bad input to pcid: at its control socket, in its arguments and configuration, from a driver. It
 * stays up, says what was wrong and what the limit is, and a disk's client beside loses nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bad.h"
#include "irqdriver.h"

/* ---- pcid's control socket ---- */

/* The answer is an error that says this. */
static void refused(const void *bytes, size_t n, const char *text)
{
	char reply[4096];
	struct json_object *json;
	const char *error;

	CU_ASSERT_TRUE_FATAL(rig_control(&bad_rig, bytes, n, reply, sizeof(reply)) > 0);
	json = json_tokener_parse(reply);
	CU_ASSERT_PTR_NOT_NULL(json);
	error = json_object_get_string(json_object_object_get(json, "error"));
	CU_ASSERT_FALSE(json_object_get_boolean(json_object_object_get(json, "ok")));
	CU_ASSERT_TRUE(json_object_get_int(json_object_object_get(json, "errno")) < 0);
	CU_ASSERT_TRUE(error && strstr(error, text));
	if (!error || !strstr(error, text))
		fprintf(stderr, "\"%s\" does not say \"%s\"\n", error ? error : "", text);
	json_object_put(json);
}

static void test_control(void)
{
	static const struct {
		const char *line, *text;
	} wrong[] = {
		{"\n", "one JSON object on one line"},
		{"hello\n", "one JSON object on one line"},
		{"{\n", "one JSON object on one line"},
		{"[]\n", "one JSON object on one line"},
		{"42\n", "one JSON object on one line"},
		{"null\n", "one JSON object on one line"},
		{"{}\n", "an object with a \"command\""},
		{"{\"command\":42}\n", "an object with a \"command\""},
		{"{\"command\":\"\"}\n", "no command \"\""},
		{"{\"command\":\"no such thing\"}\n", "no command \"no such thing\""},
		{"{\"command\":\"show\"}\n", "\"show\" needs a \"function\""},
		{"{\"command\":\"show\",\"function\":\"nonsense\"}\n", "no function nonsense"},
		{"{\"command\":\"show\",\"function\":[1,2]}\n", "needs a \"function\""},
		{"{\"command\":\"restart\"}\n", "\"restart\" needs a \"function\""},
		{"{\"command\":\"restart\",\"function\":\"0000:00:1f.7\"}\n",
		 "no function 0000:00:1f.7"},
		{"{\"command\":\"drivers\"} {\"command\":\"drivers\"}\n",
		 "one JSON object on one line"},
	};
	char *large = malloc(1u << 20);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		refused(wrong[i].line, strlen(wrong[i].line), wrong[i].text);
	memset(large, '[', 1u << 20);
	large[(1u << 20) - 1] = '\n';
	refused(large, 1u << 20, "at most 4095 bytes");
	memset(large, 0, 4096);
	large[4095] = '\n';
	refused(large, 4096, "one JSON object on one line");
	free(large);
	bad_all_is_well();
}

static void test_control_crowd(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fds[100];

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/pcid.sock", bad_rig.run);
	for (unsigned i = 0; i < 100; i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (!connect(fds[i], (const struct sockaddr *)&address, sizeof(address)))
			send(fds[i], "{\"command\":", 11, MSG_NOSIGNAL);
	}
	for (unsigned i = 0; i < 100; i++)
		close(fds[i]);
	bad_all_is_well();
}

/* ---- arguments and configuration ---- */

/* Run pcid with these arguments; its exit code, or -1 if a signal ended it. What it says goes to
 * the log. */
static int run_pcid(const char *const *args)
{
	pid_t pid = fork();
	int status, log;

	if (!pid) {
		log = open(bad_rig.log, O_WRONLY | O_APPEND);
		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		execv(rig_program("pcid"), (char *const *)args);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define RUN(...) run_pcid((const char *const[]){"pcid", __VA_ARGS__, NULL})

/* pcid ends with this status, and has said this. */
#define FAILS(status, text, ...)                                         \
	do {                                                             \
		size_t mark_ = rig_mark(&bad_rig);                       \
                                                                         \
		CU_ASSERT_EQUAL(RUN(__VA_ARGS__), status);               \
		if (!rig_logged_since(&bad_rig, mark_, text))            \
			fprintf(stderr, "not in the log: %s\n", text);   \
		CU_ASSERT_TRUE(rig_logged_since(&bad_rig, mark_, text)); \
	} while (0)

static void test_arguments(void)
{
	char other[RIG_PATH], longer[300];

	snprintf(other, sizeof(other), "%s/other", bad_rig.dir);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = 0;
	CU_ASSERT_EQUAL(RUN("--version"), 0);
	CU_ASSERT_EQUAL(RUN("--help"), 0);
	FAILS(2, "unrecognized option '--no-such-option'", "--no-such-option");
	FAILS(2, "--bus must be vfio or qemu, not isa", "--bus", "isa", "--runtime-dir", other);
	FAILS(1, "File name too long", "--bus", "qemu", "--runtime-dir", longer);
	FAILS(2, "--ready-fd must be the number of an open file descriptor, not x", "--ready-fd",
	      "x", "--runtime-dir", other);
	FAILS(2, "--ready-fd must be the number of an open file descriptor, not 999", "--ready-fd",
	      "999", "--runtime-dir", other);
	FAILS(1, "/no/such/file: No such file or directory", "--config", "/no/such/file",
	      "--runtime-dir", other);
	FAILS(2, "QEMU's arguments stand after --; unexpected: nvme", "--runtime-dir", other,
	      "nvme");
	if (!rig_on_vfio()) /* the guest has no QEMU to start */
		FAILS(1, "'no-such-device' is not a valid device model name", "--runtime-dir",
		      other, "--", "-device", "no-such-device");
	FAILS(1, "another pcid uses it", "--runtime-dir", bad_rig.run);
	bad_all_is_well();
}

/* A file with an error is skipped, with its name and line said, and pcid runs without it. */
static void test_config(void)
{
	static const struct {
		const char *text, *said;
	} bad[] = {
		{"driver \"x\" {\n", ":3: the file ends within a section: a } is missing"},
		{"driver \"x\" {\n class = 1\n}\n", ":3: driver \"x\": command must be given"},
		{"driver \"x\" {\n command = \"x\"\n}\n", ":3: driver \"x\": class or vendor:"},
		{"driver \"x\" {\n class = 256\n command = \"x\"\n}\n",
		 ":2: class = 256: it must be -1 to 255"},
		{"driver \"x\" {\n class = 1\n command = \"x\"\n mode = \"rw\"\n}\n",
		 ":4: mode = \"rw\": it must be an octal mode"},
		{"driver \"x\" {\n class = 1\n command = \"x\"\n service = \"../x\"\n}\n",
		 ":4: service = \"../x\": it must be 1 to 15 letters a to z"},
		{"driver \"x\" {\n class = 1\n command = \"x\"\n user = \"no such user\"\n}\n",
		 ":4: user = \"no such user\": there is no such user"},
		{"driver \"x\" {\n class = 1\n command = \"x\"\n colour = 3\n}\n",
		 ":4: no such option 'colour'"},
		{"\001\002\003\n", ":1: no such option"},
		{"qemu {\n ram_mib = 1\n}\n", ":2: ram_mib = 1: it must be 16 to 2048"},
	};
	struct rig second;
	char said[RIG_PATH + 80];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CU_ASSERT_EQUAL_FATAL(rig_create(&second, 300), 0);
		CU_ASSERT_EQUAL(rig_start(&second, bad[i].text), 0);
		snprintf(said, sizeof(said), "%s%s", second.config, bad[i].said);
		CU_ASSERT_TRUE(rig_logged(&second, said));
		snprintf(said, sizeof(said), "%s: skipped", second.config);
		CU_ASSERT_TRUE(rig_logged(&second, said));
		CU_ASSERT_EQUAL(rig_end(&second), 0);
	}
	rig_guard(&bad_rig, 600);
	bad_all_is_well();
}

/* ---- a driver ---- */

static int ask_wrongly(int fd)
{
	return (int)irq_step(fd, STEP_WRONG);
}

static void test_driver(void)
{
	int fd = irq_connect(&bad_rig, "edu");

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	REFUSED(ask_wrongly(fd), 0, "the region has 0x100000 bytes, without MSI-X's tables");
	REFUSED(ask_wrongly(fd), 0, "width 3: the width must be 1, 2, 4 or 8");
	REFUSED(ask_wrongly(fd), 0, "index 5, width 4: the function has no such region");
	REFUSED(ask_wrongly(fd), 0, "index 64, width 0: the function has 1 vectors");
	REFUSED(ask_wrongly(fd), 0, "a field that it does not use is not 0");
	REFUSED(ask_wrongly(fd), 0, "4 bytes at 0x1000 of its configuration space: it must");
	REFUSED(ask_wrongly(fd), 0, "a write of 4 bytes at 0x10 of its configuration space");
	REFUSED(ask_wrongly(fd), 0, "no request of the PCI interface");
	CU_ASSERT_EQUAL(irq_step(fd, STEP_CAUSE), 0);
	CU_ASSERT_EQUAL(irq_step(fd, STEP_AWAIT), 1);
	close(fd);
	CU_ASSERT_EQUAL(rig_number(&bad_rig, "drivers", "edu", "restarts"), 0);
	bad_all_is_well();
}

static CU_TestInfo pcid_tests[] = {
	{"requests at the control socket", test_control},
	{"a crowd at the control socket", test_control_crowd},
	{"arguments", test_arguments},
	{"configuration files", test_config},
	{"requests of a driver", test_driver},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo last_tests[] = {
	{"the daemons hold what they held before", bad_nothing_left},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"bad input to pcid", bad_begin, bad_end, NULL, NULL, pcid_tests},
	{"after all of it", NULL, NULL, NULL, NULL, last_tests},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	return bad_main(argc, argv, suites);
}
