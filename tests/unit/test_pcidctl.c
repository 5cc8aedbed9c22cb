// SPDX-License-Identifier: MIT
/*
 * pcidctl as its users meet it: run as a program, against a disk in memory that the block-serving
 * helper serves from another process, and against control sockets that answer well and badly.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CUnit/CUnit.h>
#include <json-c/json.h>

#include <pcidipc/blockserve.h>
#include <pcidipc/log.h>

#include "suites.h"

#define DISK_BYTES (8u << 20)
#define BLOCK 512u
#define NOWHERE (~0ull)

extern char **environ;

/* What the disk's process and the test share. */
struct shared {
	uint64_t bad_lba; /* a read or write of it fails */
	unsigned char disk[DISK_BYTES];
};

static struct shared *shared;
static char dir[] = "/tmp/test_pcidctl.XXXXXX";
static char program[4096];
static pid_t disk_pid;
static int control_fd = -1;
static unsigned char model[DISK_BYTES]; /* what the disk must hold */
static uint64_t rng = 0x243f6a8885a308d3ull;
static char out[1 << 16], err[1 << 16]; /* what the last run printed */

/* ---- the disk's process ---- */

static unsigned char *pool_base;

static int disk_submit(struct pcidipc_block_io *io)
{
	unsigned char *at = shared->disk + io->lba * BLOCK;

	if (io->kind != PCIDIPC_BLOCK_READ && io->kind != PCIDIPC_BLOCK_WRITE)
		return io->kind == PCIDIPC_BLOCK_FLUSH ? 0 : -EOPNOTSUPP;
	if (shared->bad_lba - io->lba < io->blocks)
		return -EIO;
	for (unsigned i = 0; i < io->nsegments; i++) {
		unsigned char *memory = pool_base + io->segments[i].iova;

		if (io->kind == PCIDIPC_BLOCK_READ)
			memcpy(memory, at, io->segments[i].bytes);
		else
			memcpy(at, memory, io->segments[i].bytes);
		at += io->segments[i].bytes;
	}
	return 0;
}

/* Of each client's pools the last one is the one for data; clients come one after the other. */
static int disk_pool_attach(struct pcidipc_session *session, struct pcidipc_pool_view *pool)
{
	void *base = mmap(NULL, pool->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pool->fd, 0);

	(void)session;
	if (base == MAP_FAILED)
		return -ENOMEM;
	pool->driver = pool_base = base;
	return 0;
}

static void disk_pool_detach(struct pcidipc_session *session, struct pcidipc_pool_view *pool)
{
	(void)session;
	munmap(pool->driver, pool->bytes);
}

static int disk_main(int listen_fd, int read_only_fd)
{
	static struct pcidipc_disk disk = {
		.info = {.bytes = DISK_BYTES,
			 .block_bytes = BLOCK,
			 .physical_bytes = BLOCK,
			 .dma_align = 4,
			 .best_bytes = 65536,
			 .flags = RINGABI_BLOCK_VOLATILE_CACHE,
			 .serial = "serial\x1b[2J",
			 .model = "disk in memory",
			 .transport = "nvme"},
		.name = "disk/mem0",
		.max_sessions = 4,
		.max_sq_entries = 64,
		.submit = disk_submit,
		.pool_attach = disk_pool_attach,
		.pool_detach = disk_pool_detach,
	};
	static struct pcidipc_disk read_only;
	struct pcidipc_loop *loop;

	pcidipc_log_init("test_pcidctl: disk", PCIDIPC_ERROR);
	read_only = disk;
	read_only.info.flags |= RINGABI_BLOCK_READ_ONLY;
	if (pcidipc_loop_create(0, &loop) || pcidipc_disk_serve(loop, &disk, listen_fd, -1) ||
	    pcidipc_disk_serve(loop, &read_only, read_only_fd, -1))
		return 2;
	return pcidipc_loop_run(loop);
}

/* ---- running pcidctl ---- */

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static void slurp(const char *name, char *to, size_t size)
{
	int fd = open(in_dir(name), O_RDONLY);
	ssize_t got = read(fd, to, size - 1);

	to[got > 0 ? got : 0] = '\0';
	close(fd);
}

static int spawn(char *const argv[], int input)
{
	posix_spawn_file_actions_t files;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, input, 0);
	posix_spawn_file_actions_addopen(&files, 1, in_dir("out"), O_WRONLY | O_CREAT | O_TRUNC,
					 0600);
	posix_spawn_file_actions_addopen(&files, 2, in_dir("err"), O_WRONLY | O_CREAT | O_TRUNC,
					 0600);
	if (!posix_spawn(&pid, program, &files, NULL, argv, environ))
		waitpid(pid, &status, 0);
	posix_spawn_file_actions_destroy(&files);
	slurp("out", out, sizeof(out));
	slurp("err", err, sizeof(err));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Run with arguments separated by blanks; the exit code. */
static int run_with(int input, const char *arguments)
{
	char copy[512], *argv[32] = {"pcidctl"}, *save;
	unsigned n = 1;

	snprintf(copy, sizeof(copy), "%s", arguments);
	for (char *word = strtok_r(copy, " ", &save); word && n < 31;
	     word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	return spawn(argv, input);
}

static int run(const char *arguments)
{
	int input = open("/dev/null", O_RDONLY | O_CLOEXEC), code = run_with(input, arguments);

	close(input);
	return code;
}

static uint64_t next_random(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull;
}

static void put_file(const char *name, const void *data, size_t bytes)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CU_ASSERT_EQUAL_FATAL(write(fd, data, bytes), (ssize_t)bytes);
	close(fd);
}

static bool file_is(const char *name, const void *data, size_t bytes)
{
	static unsigned char have[DISK_BYTES + 1];
	int fd = open(in_dir(name), O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t got;

	while (fd >= 0 && n < sizeof(have) && (got = read(fd, have + n, sizeof(have) - n)) > 0)
		n += (size_t)got;
	if (fd >= 0)
		close(fd);
	return n == bytes && !memcmp(have, data, bytes);
}

static bool disk_is_model(void)
{
	return !memcmp(shared->disk, model, sizeof(model));
}

/* ---- set-up ---- */

static int find_program(void)
{
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 32);

	if (n < 0)
		return -1;
	program[n] = '\0';
	*strrchr(program, '/') = '\0';
	strcpy(strrchr(program, '/'), "/bin/pcidctl");
	return access(program, X_OK);
}

static int set_up(void)
{
	int disk, read_only;

	if (find_program() || !mkdtemp(dir) || mkdir(in_dir("disk"), 0700))
		return -1;
	setenv("PCID_RUNTIME_DIR", dir, 1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return -1;
	shared->bad_lba = NOWHERE;
	for (size_t i = 0; i < DISK_BYTES; i += 8)
		memcpy(model + i, &(uint64_t){next_random()}, 8);
	memcpy(shared->disk, model, DISK_BYTES);
	disk = pcidipc_listen_socket(in_dir("disk/mem0"), 0600);
	read_only = pcidipc_listen_socket(in_dir("disk/ro0"), 0600);
	if (disk < 0 || read_only < 0)
		return -1;
	disk_pid = fork();
	if (!disk_pid)
		_exit(disk_main(disk, read_only));
	close(disk);
	close(read_only);
	return disk_pid < 0 ? -1 : 0;
}

static int tear_down(void)
{
	static const char *const names[] = {"disk/mem0", "disk/ro0", "disk",   "out",
					    "err",	 "input",    "output", "pcid.sock"};

	kill(disk_pid, SIGKILL);
	waitpid(disk_pid, NULL, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		remove(in_dir(names[i]));
	if (control_fd >= 0)
		close(control_fd);
	munmap(shared, sizeof(*shared));
	return rmdir(dir);
}

/* ---- arguments ---- */

static void test_usage(void)
{
	static const char *const wrong[] = {"",
					    "frobnicate",
					    "list extra",
					    "list --offset 1",
					    "show",
					    "show 0:0:0",
					    "show 0000:00:20.0",
					    "show 0000:00:00.8",
					    "show 10000:00:00.0",
					    "show g.0",
					    "show 0000:00:00.0x",
					    "disk",
					    "disk frobnicate",
					    "disk read",
					    "disk read mem0 --offset",
					    "disk read mem0 --offset x",
					    "disk read mem0 --offset -1",
					    "disk read mem0 --bytes 1Q",
					    "disk read mem0 --bytes 1KB",
					    "disk read mem0 --bytes 99999999999999999999",
					    "disk read mem0 --bytes 16777216T",
					    "disk read mem0 --depth 0",
					    "disk read mem0 --depth 1025",
					    "disk read mem0 --flush",
					    "disk write mem0 --output x",
					    "disk read mem0 --json",
					    "--frobnicate list",
					    "disk read mem0 --offset 8388609",
					    "disk read mem0 --offset 1 --bytes 8M"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		int code = run(wrong[i]);

		if (code != 2 || !*err)
			printf("    pcidctl %s: exit %d\n", wrong[i], code);
		CU_ASSERT_EQUAL(code, 2);
		CU_ASSERT(*err);
	}
}

static void test_help(void)
{
	CU_ASSERT_EQUAL(run("--help"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "disk write"));
	CU_ASSERT_EQUAL(run("disk write --help"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "--flush"));
	CU_ASSERT_EQUAL(run("--version"), 0);
	CU_ASSERT_EQUAL(strncmp(out, "pcidctl ", 8), 0);
}

static void test_not_there(void)
{
	CU_ASSERT_EQUAL(run("list"), 3);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "pcid does not run"));
	CU_ASSERT_EQUAL(run("disk info nosuch"), 4);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "nosuch"));
	CU_ASSERT_EQUAL(run("--json disk info nosuch"), 4);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "\"errno\":-2"));
}

/* ---- disks ---- */

static void test_info(void)
{
	struct json_object *info;

	CU_ASSERT_EQUAL(run("disk info mem0"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "8388608 bytes (8 MiB)"));
	CU_ASSERT_PTR_NULL(strchr(out, '\x1b')); /* what a disk says must not steer the terminal */
	CU_ASSERT_PTR_NULL(strstr(out, "read-only"));
	CU_ASSERT_EQUAL(run("disk info disk/ro0 --json"), 0);
	info = json_tokener_parse(out);
	CU_ASSERT_EQUAL(json_object_get_uint64(json_object_object_get(info, "bytes")), DISK_BYTES);
	CU_ASSERT(json_object_get_boolean(json_object_object_get(info, "read_only")));
	json_object_put(info);
	CU_ASSERT_EQUAL(run("disk health mem0"), 1);
}

/* Any offset, any length: what was there around it stays. */
static void test_write_anywhere(void)
{
	static unsigned char data[3u << 20];
	char arguments[256];

	for (unsigned i = 0; i < 40; i++) {
		uint64_t off = next_random() % (DISK_BYTES - sizeof(data));
		size_t bytes = i < 20 ? next_random() % 2000 : next_random() % sizeof(data);

		if (i % 4 == 0)
			off -= off % BLOCK;
		for (size_t k = 0; k < bytes; k++)
			data[k] = (unsigned char)(i * 7 + k);
		put_file("input", data, bytes);
		memcpy(model + off, data, bytes);
		snprintf(arguments, sizeof(arguments),
			 "disk write mem0 --input %s --offset %llu --depth %u", in_dir("input"),
			 (unsigned long long)off, 1 + i % 20);
		CU_ASSERT_EQUAL(run(arguments), 0);
		CU_ASSERT(disk_is_model());
	}
}

static void test_read_anywhere(void)
{
	char arguments[256];

	for (unsigned i = 0; i < 40; i++) {
		uint64_t off = next_random() % DISK_BYTES;
		uint64_t bytes = next_random() % (i < 20 ? 2000 : DISK_BYTES);

		if (bytes > DISK_BYTES - off)
			bytes = DISK_BYTES - off;
		snprintf(arguments, sizeof(arguments),
			 "disk read mem0 --output %s --offset %llu --bytes %llu", in_dir("output"),
			 (unsigned long long)off, (unsigned long long)bytes);
		CU_ASSERT_EQUAL(run(arguments), 0);
		CU_ASSERT(file_is("output", model + off, bytes));
	}
	snprintf(arguments, sizeof(arguments), "disk read %s --json --output %s",
		 in_dir("disk/mem0"), in_dir("output"));
	CU_ASSERT_EQUAL(run(arguments), 0);
	CU_ASSERT(file_is("output", model, DISK_BYTES));
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "\"bytes\":8388608"));
}

static void test_too_much(void)
{
	char arguments[256];
	unsigned char data[5000];
	int ends[2];

	memset(data, 0x5a, sizeof(data));
	put_file("input", data, sizeof(data));
	snprintf(arguments, sizeof(arguments), "disk write mem0 --input %s --offset %u",
		 in_dir("input"), DISK_BYTES - 4096);
	CU_ASSERT_EQUAL(run(arguments), 1);
	CU_ASSERT(disk_is_model()); /* a file is known to be too large before anything is written */

	CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL_FATAL(write(ends[1], data, sizeof(data)), (ssize_t)sizeof(data));
	close(ends[1]);
	snprintf(arguments, sizeof(arguments), "disk write mem0 --offset %u", DISK_BYTES - 4096);
	CU_ASSERT_EQUAL(run_with(ends[0], arguments), 1);
	close(ends[0]);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "4096 bytes"));
	memcpy(model + DISK_BYTES - 4096, data, 4096);
	CU_ASSERT(disk_is_model());
}

static void test_short_input(void)
{
	char arguments[256];

	put_file("input", "abc", 3);
	snprintf(arguments, sizeof(arguments),
		 "disk write mem0 --input %s --offset 7 --bytes 4 --flush", in_dir("input"));
	CU_ASSERT_EQUAL(run(arguments), 1);
	memcpy(model + 7, "abc", 3);
	CU_ASSERT(disk_is_model());
	put_file("input", "defgh", 5);
	CU_ASSERT_EQUAL(run(arguments), 0); /* 4 of 5 */
	memcpy(model + 7, "defg", 4);
	CU_ASSERT(disk_is_model());
}

static void test_bad_block(void)
{
	char arguments[256];

	shared->bad_lba = (1u << 20) / BLOCK + 3;
	snprintf(arguments, sizeof(arguments), "disk read mem0 --output %s", in_dir("output"));
	CU_ASSERT_EQUAL(run(arguments), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "reading at byte 1048576: Input/output error"));
	CU_ASSERT(file_is("output", model, 1u << 20)); /* all before it, and nothing else */
	shared->bad_lba = NOWHERE;
}

static void test_read_only(void)
{
	char arguments[256];

	put_file("input", "abc", 3);
	snprintf(arguments, sizeof(arguments), "disk write ro0 --input %s", in_dir("input"));
	CU_ASSERT_EQUAL(run(arguments), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "read-only"));
	CU_ASSERT(disk_is_model());
}

static void test_output_kept(void)
{
	char arguments[256];

	put_file("output", "precious", 8);
	snprintf(arguments, sizeof(arguments), "disk read nosuch --output %s", in_dir("output"));
	CU_ASSERT_EQUAL(run(arguments), 4);
	snprintf(arguments, sizeof(arguments), "disk read mem0 --offset 9M --output %s",
		 in_dir("output"));
	CU_ASSERT_EQUAL(run(arguments), 2);
	CU_ASSERT(file_is("output", "precious", 8));
}

/* ---- the control socket ---- */

/* Answer one request with `reply`; return what was asked. In a process of its own, since pcidctl is
 * run meanwhile. */
static pid_t answer_with(const char *reply)
{
	pid_t pid = fork();
	char line[512];
	int fd;

	if (pid)
		return pid;
	fd = accept(control_fd, NULL, NULL);
	if (read(fd, line, sizeof(line)) <= 0)
		_exit(1);
	_exit(write(fd, reply, strlen(reply)) == (ssize_t)strlen(reply) ? 0 : 1);
}

static int control(const char *arguments, const char *reply)
{
	pid_t pid = answer_with(reply);
	int code = run(arguments), status = -1;

	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	return code;
}

static void open_control(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", in_dir("pcid.sock"));
	control_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(control_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(control_fd, 4), 0);
}

#define FUNCTION                                                                       \
	"{\"address\":\"0000:00:03.0\",\"parent\":null,\"vendor\":6966,\"device\":16," \
	"\"class\":67586,\"driver\":\"nvmed\",\"state\":\"running\",\"present\":true}"

static void test_control(void)
{
	open_control();
	CU_ASSERT_EQUAL(control("list", "{\"ok\":true,\"result\":[" FUNCTION "]}\n"), 0);
	CU_ASSERT_PTR_NOT_NULL(
		strstr(out, "0000:00:03.0  nvmed   running  Non-Volatile memory controller"));
	CU_ASSERT_EQUAL(control("tree --json", "{\"ok\":true,\"result\":[" FUNCTION "]}\n"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "\"children\""));
	CU_ASSERT_EQUAL(control("show 3.0 -x", "{\"ok\":true,\"result\":" FUNCTION "}\n"), 0);
	CU_ASSERT_EQUAL(
		control("show 4.0", "{\"ok\":false,\"error\":\"no such function\",\"errno\":-2}\n"),
		4);
	CU_ASSERT_EQUAL(control("restart 3.0", "{\"ok\":true,\"result\":null}\n"), 0);
	CU_ASSERT_EQUAL(control("rescan", "{\"ok\":true,\"result\":{\"started\":1,\"files\":3,"
					  "\"bad_files\":2}}\n"),
			0);
	CU_ASSERT_STRING_EQUAL(out, "configuration files read: 3; drivers started: 1\n"
				    "refused for errors: 2; pcid's log says which and why\n");
	CU_ASSERT_EQUAL(control("show 3.0", "{\"ok\":true,\"result\":[]}\n"), 1);
	CU_ASSERT_EQUAL(control("stats", "{\"ok\":true,\"result\":[]}\n"), 1);
	CU_ASSERT_EQUAL(control("disks", "{\"ok\":true,\"result\":[]}\n"), 0);
}

/* A lock that is missing is told, but only where there is a process that should have it. */
static void test_sandboxes(void)
{
#define LOCKS "\"registers\",\"io_uring\""
	static const struct {
		const char *driver, *cell;
	} cases[] = {
		{"\"pid\":7,\"sandbox\":\"yes\",\"locks\":[" LOCKS ",\"seccomp\",\"landlock\"]",
		 "  yes   "},
		{"\"pid\":7,\"sandbox\":\"debug\",\"locks\":[" LOCKS ",\"seccomp\"]",
		 "  debug (no landlock)  "},
		{"\"pid\":7,\"sandbox\":\"yes\",\"locks\":[]",
		 "  yes (no registers, no io_uring, no seccomp, no landlock)  "},
		{"\"pid\":null,\"sandbox\":\"yes\",\"locks\":[]", "  yes   "},
		{"\"pid\":7,\"sandbox\":\"no\",\"locks\":[\"user\"]", "  no   "},
		{"\"pid\":7,\"locks\":7", "  -   "},
	};
	char reply[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(reply, sizeof(reply), "{\"ok\":true,\"result\":[{\"name\":\"d\",%s}]}\n",
			 cases[i].driver);
		CU_ASSERT_EQUAL(control("drivers", reply), 0);
		CU_ASSERT_PTR_NOT_NULL(strstr(out, cases[i].cell));
	}
#undef LOCKS
}

/* A pcid that answers nonsense, or a child for ever its own parent: a message or a short answer,
 * never a crash. */
static void test_bad_answers(void)
{
	static const struct {
		const char *reply;
		int code;
	} bad[] = {
		{"", 3},
		{"{\"ok\":true", 3},
		{"nonsense\n", 1},
		{"[]\n", 1},
		{"{}\n", 1},
		{"{\"ok\":true,\"result\":7}\n", 1},
		{"{\"ok\":true,\"result\":[7,null,\"x\",{\"address\":5}]}\n", 0},
		{"{\"ok\":true,\"result\":[{\"address\":\"a\",\"parent\":\"a\"},"
		 "{\"address\":\"\",\"parent\":null}]}\n",
		 0},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CU_ASSERT_EQUAL(control("list", bad[i].reply), bad[i].code);
		CU_ASSERT_EQUAL(control("--json list", bad[i].reply), bad[i].code);
		CU_ASSERT_EQUAL(control("tree", bad[i].reply), bad[i].code);
		CU_ASSERT_EQUAL(control("--json tree", bad[i].reply), bad[i].code);
		CU_ASSERT_EQUAL(control("drivers", bad[i].reply), bad[i].code);
		CU_ASSERT_EQUAL(control("irq", bad[i].reply), bad[i].code);
		CU_ASSERT_EQUAL(control("disks", bad[i].reply), bad[i].code);
	}
}

static CU_TestInfo tests[] = {
	{"wrong arguments", test_usage},
	{"help", test_help},
	{"nobody there", test_not_there},
	{"disk info", test_info},
	{"write at any offset and length", test_write_anywhere},
	{"read at any offset and length", test_read_anywhere},
	{"more than the disk holds", test_too_much},
	{"less than --bytes", test_short_input},
	{"a block that fails", test_bad_block},
	{"a read-only disk", test_read_only},
	{"an output file is kept until the disk is open", test_output_kept},
	{"the control socket", test_control},
	{"drivers' sandboxes", test_sandboxes},
	{"bad answers", test_bad_answers},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	CU_SuiteInfo suites[] = {
		{.pName = "pcidctl",
		 .pInitFunc = set_up,
		 .pCleanupFunc = tear_down,
		 .pTests = tests},
		CU_SUITE_INFO_NULL,
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	return run_suites(suites);
}
