// SPDX-License-Identifier: MIT
/*
 * Memory that no device may reach, and a device that reaches it where nothing is in its way: what
 * shows that an attack which fails in a test fails because of the IOMMU. As root.
 *
 * victim hold: a page full of a pattern. Prints its physical address; then, for each line that
 *	comes, "intact" or "changed", and it is full of the pattern again.
 * victim strike 0000:00:05.0 ADDRESS: let that edu device, which no driver has, write there.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define PATTERN 0xc3
#define COMMAND 4u /* in configuration space: */
#define DECODE_AND_MASTER 6u

#define EDU_BAR (1u << 20)
#define EDU_SRC 0x80
#define EDU_DST 0x88
#define EDU_COUNT 0x90
#define EDU_CMD 0x98
#define EDU_BUFFER 0x40000u
#define EDU_GO_TO_MEMORY 3u
#define BYTES 2048u

/* ---- hold ---- */

static uint64_t physical(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)page / PAGE * 8)) != 8)
		entry = 0;
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

static bool is_intact(const volatile unsigned char *page)
{
	for (unsigned i = 0; i < PAGE; i++)
		if (page[i] != PATTERN)
			return false;
	return true;
}

static int hold(void)
{
	unsigned char *page =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t address;
	char line[16];

	if (page == MAP_FAILED || mlock(page, PAGE))
		return 1;
	memset(page, PATTERN, PAGE);
	address = physical(page);
	printf("%#llx\n", (unsigned long long)address);
	fflush(stdout);
	while (address && fgets(line, sizeof(line), stdin)) {
		if (physical(page) != address)
			return 1; /* it was moved: nothing is known */
		puts(is_intact(page) ? "intact" : "changed");
		fflush(stdout);
		memset(page, PATTERN, PAGE);
	}
	return address ? 0 : 1;
}

/* ---- strike ---- */

static int open_file(const char *function, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", function, name);
	return open(path, O_RDWR | O_SYNC | O_CLOEXEC);
}

static int let_it(const char *function)
{
	uint16_t command = DECODE_AND_MASTER;
	int fd = open_file(function, "config");

	return fd < 0 || pwrite(fd, &command, 2, COMMAND) != 2 ? -1 : close(fd);
}

static void write_to(volatile unsigned char *bar, uint64_t address)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	*(volatile uint64_t *)(bar + EDU_SRC) = EDU_BUFFER;
	*(volatile uint64_t *)(bar + EDU_DST) = address;
	*(volatile uint64_t *)(bar + EDU_COUNT) = BYTES;
	*(volatile uint64_t *)(bar + EDU_CMD) = EDU_GO_TO_MEMORY;
	while (*(volatile uint32_t *)(bar + EDU_CMD) & 1)
		nanosleep(&pause, NULL);
}

static int strike(const char *function, uint64_t address)
{
	int fd = open_file(function, "resource0");
	unsigned char *bar;

	if (fd < 0 || let_it(function))
		return 1;
	bar = mmap(NULL, EDU_BAR, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED)
		return 1;
	write_to(bar, address);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "hold"))
		return hold();
	if (argc == 4 && !strcmp(argv[1], "strike"))
		return strike(argv[2], strtoull(argv[3], NULL, 0));
	return 2;
}
