/* SPDX-License-Identifier: MIT */
/* Messages for people, on standard error; with systemd's <N> level prefix when $JOURNAL_STREAM is
 * set. */
#ifndef PCIDIPC_LOG_H
#define PCIDIPC_LOG_H

enum pcidipc_log_level {
	PCIDIPC_ERROR = 3, /* the numbers are syslog's */
	PCIDIPC_WARNING = 4,
	PCIDIPC_NOTICE = 5,
	PCIDIPC_INFO = 6,
	PCIDIPC_DEBUG = 7,
};

/* Name the program in every line, and drop what is less important than `level`. */
void pcidipc_log_init(const char *program, enum pcidipc_log_level level);

/* One line, no newline needed. Async-signal-unsafe. May be called from any thread. */
void pcidipc_log(enum pcidipc_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* pcidipc_log with that level. */
#define pcidipc_err(...) pcidipc_log(PCIDIPC_ERROR, __VA_ARGS__)
#define pcidipc_warn(...) pcidipc_log(PCIDIPC_WARNING, __VA_ARGS__)
#define pcidipc_notice(...) pcidipc_log(PCIDIPC_NOTICE, __VA_ARGS__)
#define pcidipc_info(...) pcidipc_log(PCIDIPC_INFO, __VA_ARGS__)
#define pcidipc_debug(...) pcidipc_log(PCIDIPC_DEBUG, __VA_ARGS__)

/*
 * The same, at most ten lines a second for each place it stands in, for what a peer or a device can
 * provoke as often as it likes.
 */
#define pcidipc_log_ratelimited(level, ...)              \
	do {                                             \
		static struct pcidipc_ratelimit limit_;  \
		if (pcidipc_ratelimit(&limit_))          \
			pcidipc_log(level, __VA_ARGS__); \
	} while (0)

struct pcidipc_ratelimit {
	long second;
	unsigned count;
};
int pcidipc_ratelimit(struct pcidipc_ratelimit *limit); /* 1: go ahead */

#endif
