/* SPDX-License-Identifier: MIT */
#include <pcidipc/log.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char program_name[32];
static enum pcidipc_log_level threshold = PCIDIPC_NOTICE;

void pcidipc_log_init(const char *program, enum pcidipc_log_level level)
{
	snprintf(program_name, sizeof(program_name), "%s: ", program);
	threshold = level;
}

/* One write per line, so that lines of several processes on one terminal do not mix. */
void pcidipc_log(enum pcidipc_log_level level, const char *format, ...)
{
	char line[1024];
	size_t n = 0;
	va_list args;

	if (level > threshold)
		return;
	if (getenv("JOURNAL_STREAM"))
		n = (size_t)snprintf(line, sizeof(line), "<%d>", level);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "%s", program_name);
	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - n - 1, format, args);
	va_end(args);
	n = strlen(line);
	line[n] = '\n';
	if (write(STDERR_FILENO, line, n + 1) < 0)
		return; /* nobody listens: nothing to be done about it */
}

int pcidipc_ratelimit(struct pcidipc_ratelimit *limit)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (limit->second != now.tv_sec) {
		limit->second = now.tv_sec;
		limit->count = 0;
	}
	return limit->count++ < 10;
}
