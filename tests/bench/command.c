// SPDX-License-Identifier: MIT
/* Options, and a process around the one that measures: whatever ends that, nothing is left behind.
 */
#include "bench.h"

#include <fnmatch.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench_options bench_options;

static void usage(FILE *to)
{
	fputs("Usage: bench [--list] [--only PATTERN] [--rounds N] [--json FILE] [--build DIR]\n"
	      "  --list          what is measured, without measuring\n"
	      "  --only PATTERN  only groups whose name, or one of whose values' names, matches "
	      "(fnmatch)\n"
	      "  --rounds N      rounds of every group (1 to 1000), instead of its own number\n"
	      "  --json FILE     write all medians there, one flat object of numbers\n"
	      "  --build DIR     where bin/pcid is (by default: build)\n",
	      to);
}

static int parse_rounds(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < 1 || n > BENCH_MAX_ROUNDS) {
		fprintf(stderr, "bench: --rounds %s: a number from 1 to %d\n", text,
			BENCH_MAX_ROUNDS);
		return -EINVAL;
	}
	bench_options.rounds = (unsigned)n;
	return 0;
}

static int parse(int argc, char **argv)
{
	static const struct option options[] = {{"list", no_argument, NULL, 'l'},
						{"only", required_argument, NULL, 'o'},
						{"rounds", required_argument, NULL, 'r'},
						{"json", required_argument, NULL, 'j'},
						{"build", required_argument, NULL, 'b'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int option;

	bench_options.build = "build";
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'l')
			bench_options.list = true;
		else if (option == 'o')
			bench_options.only = optarg;
		else if (option == 'r' && !parse_rounds(optarg))
			continue;
		else if (option == 'j')
			bench_options.json = optarg;
		else if (option == 'b')
			bench_options.build = optarg;
		else if (option == 'h')
			return usage(stdout), 0;
		else
			return usage(stderr), 2;
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "bench: \"%s\": there are no arguments but options\n", argv[optind]);
	return 2;
}

static bool value_matches(const struct bench_group *group, const char *pattern)
{
	for (unsigned k = 0; group->measurements[k]; k++)
		for (const struct bench_value *v = group->measurements[k]->values; v->name; v++)
			if (!fnmatch(pattern, v->name, 0))
				return true;
	return false;
}

static bool wanted(const struct bench_group *group)
{
	const char *only = bench_options.only;

	return !only || !fnmatch(only, group->name, 0) || value_matches(group, only);
}

static void list(void)
{
	for (unsigned i = 0; bench_groups[i]; i++) {
		const struct bench_group *group = bench_groups[i];

		if (!wanted(group))
			continue;
		printf("%s: %s (%u rounds)\n", group->name, group->title, group->rounds);
		for (unsigned k = 0; group->measurements[k]; k++)
			for (const struct bench_value *v = group->measurements[k]->values; v->name;
			     v++)
				printf("  %-32s %s, %s\n", v->name, v->title, v->unit);
	}
}

static int measure(void)
{
	unsigned n = 0;
	int ret = 0;

	bench_pin(0, BENCH_CLIENT_CPU);
	for (unsigned i = 0; bench_groups[i]; i++) {
		if (!wanted(bench_groups[i]))
			continue;
		n++;
		if (bench_run_group(bench_groups[i]))
			ret = 1;
		else
			bench_print(bench_groups[i]);
	}
	if (!n) {
		fprintf(stderr, "bench: nothing matches --only %s; see --list\n",
			bench_options.only);
		return 2;
	}
	if (bench_options.json && bench_write_json(bench_options.json))
		ret = 1;
	return ret;
}

/* ---- the process around it ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* The measuring process's children die with it, and its grandchildren come to us: wait for them
 * all. */
static int wait_for_all(pid_t worker, const sigset_t *signals)
{
	int status, result = 1, signal_number;
	bool told = false;
	pid_t pid;

	for (;;) {
		sigwait(signals, &signal_number);
		if (signal_number != SIGCHLD && !told) {
			kill(worker, SIGKILL);
			told = true;
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			if (pid == worker)
				result = WIFEXITED(status) ? WEXITSTATUS(status)
							   : 128 + WTERMSIG(status);
		if (pid < 0)
			return told ? 130 : result;
	}
}

static int supervise(void)
{
	char dir[] = "/tmp/pcid-bench.XXXXXX";
	pid_t parent = getpid(), worker;
	sigset_t signals, before;
	int ret;

	if (!mkdtemp(dir)) {
		perror("bench: /tmp");
		return 1;
	}
	bench_options.tmp = dir;
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, &before);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	worker = fork();
	if (!worker) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		bench_die_with(parent);
		exit(measure());
	}
	ret = worker < 0 ? 1 : wait_for_all(worker, &signals);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return ret;
}

int bench_main(int argc, char **argv)
{
	int ret = parse(argc, argv);

	if (ret >= 0)
		return ret;
	if (bench_options.list)
		return list(), 0;
	return supervise();
}
