// SPDX-License-Identifier: GPL-2.0-or-later
/* The progress bar. */
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "ctl.h"

#define REDRAW_NS 100000000ull

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

void progress_start(struct progress *progress, uint64_t total)
{
	progress->total = total;
	progress->start = clock_ns();
	progress->drawn = 0;
	progress->enabled = isatty(STDERR_FILENO);
}

static unsigned terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col < 200 ? size.ws_col : 200;
}

static void draw_bar(double share, unsigned width)
{
	unsigned filled = (unsigned)(share * width);

	fputc('[', stderr);
	for (unsigned i = 0; i < width; i++)
		fputc(i < filled ? '=' : i == filled ? '>' : ' ', stderr);
	fprintf(stderr, "] %3u%% ", (unsigned)(share * 100));
}

void progress_update(struct progress *progress, uint64_t done)
{
	uint64_t now;
	double seconds, rate;
	char bytes[32], speed[32], text[96], eta[24];
	unsigned width;

	if (!progress->enabled)
		return;
	now = clock_ns();
	if (now - progress->drawn < REDRAW_NS)
		return;
	width = terminal_width();
	progress->drawn = now;
	seconds = (double)(now - progress->start) / 1e9;
	rate = seconds > 0 ? (double)done / seconds : 0;
	snprintf(text, sizeof(text), "%s  %s/s", format_size(done, bytes, sizeof(bytes)),
		 format_size((uint64_t)rate, speed, sizeof(speed)));
	fputs("\r\033[K", stderr);
	if (progress->total) {
		double left = rate > 0 ? (double)(progress->total - done) / rate : 0;

		left = left < 360000 ? left : 360000;
		snprintf(eta, sizeof(eta), "  ETA %u:%02u", (unsigned)(left / 60),
			 (unsigned)left % 60);
		if (width > strlen(text) + strlen(eta) + 20)
			draw_bar((double)done / (double)progress->total,
				 width - (unsigned)(strlen(text) + strlen(eta)) - 10);
		fprintf(stderr, "%s%s", text, eta);
	} else {
		fputs(text, stderr);
	}
	fflush(stderr);
}

void progress_end(struct progress *progress)
{
	if (progress->enabled && progress->drawn)
		fputs("\r\033[K", stderr);
	progress->enabled = false;
}
