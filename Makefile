# SPDX-License-Identifier: MIT
#
# make          build everything into build/
# make demo     enumerate a QEMU bus, move a file through nvmed, compare
# make check    all tests, plain and under sanitizers
# make help     everything else

B ?= build
CC ?= gcc
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
VERSION = 0.1.0
SOVERSION = 0

OPT ?= -O2 -g
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
CPPFLAGS += -D_GNU_SOURCE -I. -Ilibpcidipc/include
CFLAGS += -std=gnu11 $(OPT) $(WARN) $(SAN)
LDFLAGS += $(SAN) -Wl,-z,relro,-z,now
