# SPDX-License-Identifier: MIT
#
#   make           build everything into build/
#   make demo      a QEMU bus, an NVMe disk and a USB stick, a file moved onto them and back
#   make check     every test, plain and under sanitizers, and in Linux guests (GUEST=no: not there)
#   make bench     measure everything: a table, and build/bench.json
#   make bench-guest  the kernel's drivers and ours in a Linux guest: a table, and build/bench-guest.json
#   make fuzz      the fuzz targets for long (FUZZ_SECONDS=600 each); docs/testing.md
#   make check-guest  the VFIO bus, in Linux guests (KERNELS="6.1 6.12" GUEST_TESTS="nvme ...")
#   make install   DESTDIR= PREFIX=/usr/local; make uninstall
#   make man       the manual pages into build/man: man -M build/man pcidipc
#   make deps      install what the build needs (Debian, as root)
#   make clean

B ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
LIBEXECDIR ?= $(PREFIX)/libexec/pcid
DESTDIR ?=
VERSION := 0.1.0
SOVERSION := 0

OPT ?= -O2 -g
SAN ?=
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
CPPFLAGS += -D_GNU_SOURCE -I. -Ilibpcidipc/include -DPCID_VERSION='"$(VERSION)"'
CFLAGS += -std=gnu11 -fno-semantic-interposition $(OPT) $(WARN) $(SAN)
LDFLAGS += $(SAN) -Wl,-z,relro,-z,now

LIB_SRC := $(wildcard libpcidipc/src/*.c)
PCID_SRC := $(wildcard pcid/*.c pcid/qemu/*.c pcid/vfio/*.c)
CTL_SRC := $(wildcard pcid/ctl/*.c)
NVMED_SRC := $(wildcard nvmed/*.c)
XHCID_SRC := $(wildcard xhcid/*.c)
USBSCSID_SRC := $(wildcard usbscsid/*.c)
# Every tests/unit/test_*.c and tests/qemu/test_*.c is a program; the other files there are shared by their neighbours.
UNIT_SRC := $(wildcard tests/unit/test_*.c)
QEMU_SRC := $(wildcard tests/qemu/test_*.c)
UNIT_LIB := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
QEMU_LIB := $(filter-out $(QEMU_SRC),$(wildcard tests/qemu/*.c))

objs = $(patsubst %.c,$(B)/obj/%.o,$(1))

LIB_LIBS := -luring -lseccomp -lpthread
PCID_LIBS := -lpci -lconfuse -ljson-c -ludev
CTL_LIBS := -lpci -ljson-c
NVMED_LIBS := -lnvme
USBSCSID_LIBS := -lusb-1.0

LIB_A := $(B)/lib/libpcidipc.a
LIB_SO := $(B)/lib/libpcidipc.so.$(SOVERSION)
PROGRAMS := $(if $(wildcard pcid/main.c),$(B)/bin/pcid) $(if $(wildcard pcid/ctl/main.c),$(B)/bin/pcidctl) \
	$(if $(wildcard nvmed/main.c),$(B)/bin/nvmed) $(if $(wildcard xhcid/main.c),$(B)/bin/xhcid) \
	$(if $(wildcard usbscsid/main.c),$(B)/bin/usbscsid)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(UNIT_SRC))
QEMU_TESTS := $(patsubst tests/qemu/%.c,$(B)/tests/%,$(QEMU_SRC))

.PHONY: all tests examples clean
all: $(LIB_SO) $(B)/lib/libpcidipc.so $(PROGRAMS) $(B)/man.made
tests: all examples $(UNIT_TESTS) $(QEMU_TESTS)

# What is compiled in and may change from one make to the next (install with another PREFIX): rebuilt when it does.
PATHS := -DPCID_DRIVER_DIR='"$(LIBEXECDIR)"' -DPCID_CONFIG_DIR='"$(SYSCONFDIR)/pcid.d"'
$(call objs,pcid/main.c pcid/options.c pcid/config.c): CPPFLAGS += $(PATHS)
$(call objs,pcid/main.c pcid/options.c pcid/config.c): $(B)/paths
.PHONY: FORCE
$(B)/paths: FORCE
	@mkdir -p $(@D)
	@echo "$(LIBEXECDIR) $(SYSCONFDIR)" | cmp -s - $@ || echo "$(LIBEXECDIR) $(SYSCONFDIR)" >$@

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -MMD -MP -c -o $@ $<

$(LIB_A): $(call objs,$(LIB_SRC))
	@mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^

$(LIB_SO): $(call objs,$(LIB_SRC)) $(wildcard libpcidipc/libpcidipc.map)
	@mkdir -p $(@D)
	$(CC) -shared $(LDFLAGS) -Wl,-soname,$(@F) $(if $(filter %.map,$^),-Wl$(comma)--version-script=$(filter %.map,$^)) \
		-o $@ $(filter %.o,$^) $(LIB_LIBS)

$(B)/lib/libpcidipc.so: $(LIB_SO)
	ln -sf $(<F) $@

comma := ,
link = @mkdir -p $(@D); set -x; $(CC) $(LDFLAGS) -o $@ $(filter %.o %.a,$^)

# The suite's own programs carry the library with them: a driver that runs as nobody need not find it in a build tree.
$(B)/bin/pcid: $(call objs,$(PCID_SRC)) $(LIB_A)
	$(link) $(LIB_LIBS) $(PCID_LIBS)
$(B)/bin/pcidctl: $(call objs,$(CTL_SRC)) $(LIB_A)
	$(link) $(LIB_LIBS) $(CTL_LIBS)
$(B)/bin/nvmed: $(call objs,$(NVMED_SRC)) $(LIB_A)
	$(link) $(LIB_LIBS) $(NVMED_LIBS)
$(B)/bin/xhcid: $(call objs,$(XHCID_SRC)) $(LIB_A)
	$(link) $(LIB_LIBS)
$(B)/bin/usbscsid: $(call objs,$(USBSCSID_SRC)) $(LIB_A)
	$(link) $(LIB_LIBS) $(USBSCSID_LIBS)

# ---- examples: what docs/driver-guide.md and the README show, against the public headers only ----

EXAMPLES := $(addprefix $(B)/examples/,$(basename $(notdir $(wildcard examples/*.c examples/edud/*.c))))
examples: $(EXAMPLES)
.SECONDARY: $(call objs,$(wildcard examples/*.c examples/edud/*.c))
$(B)/examples/%: $(B)/obj/examples/%.o $(LIB_A)
	$(link) $(LIB_LIBS)
$(B)/examples/%: $(B)/obj/examples/edud/%.o $(LIB_A)
	$(link) $(LIB_LIBS)

# Tests reach into the objects they test, so they link those and the static library. Main programs stay out.
TEST_OBJS := $(call objs,$(filter-out %/main.c,$(NVMED_SRC) $(USBSCSID_SRC) $(PCID_SRC)) xhcid/ring.c xhcid/descriptor.c)
$(B)/lib/libundertest.a: $(TEST_OBJS)
	@mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^

# What tests share comes from archives too: a test links what it uses, and may put a model in a library function's place.
$(B)/lib/libunit.a: $(call objs,$(UNIT_LIB))
	@mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^

# xhcid has names that nvmed has too: what tests more than a part of it links it alone.
XHCID_TESTS := $(filter $(B)/tests/test_xhcid%,$(UNIT_TESTS))
$(XHCID_TESTS): $(B)/tests/%: $(B)/obj/tests/unit/%.o $(call objs,tests/unit/suites.c $(filter-out %/main.c,$(XHCID_SRC))) $(LIB_A)
	$(link) $(WRAP) $(LIB_LIBS) -lcunit
# Its own stands before the library's, and calls it.
$(B)/tests/test_xhcid_hubs: WRAP := -Wl,--wrap=pcidipc_spawn
$(filter-out $(XHCID_TESTS),$(UNIT_TESTS)): $(B)/tests/%: $(B)/obj/tests/unit/%.o $(B)/lib/libunit.a $(B)/lib/libundertest.a $(LIB_A)
	$(link) $(LIB_LIBS) $(PCID_LIBS) $(NVMED_LIBS) $(USBSCSID_LIBS) -lcunit
# What knows no rig is tests/unit's: the hostile peers, and what a process holds.
$(QEMU_TESTS): $(B)/tests/%: $(B)/obj/tests/qemu/%.o $(call objs,$(QEMU_LIB)) $(B)/lib/libunit.a $(LIB_A)
	$(link) $(LIB_LIBS) -ljson-c -lcunit

# ---- fuzz targets: every tests/fuzz/fuzz_*.c is one, built by clang with its sanitizers into $(B)/fuzz/ ----

FUZZ_CC ?= clang
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_LIB := $(filter-out $(FUZZ_SRC),$(wildcard tests/fuzz/*.c)) tests/unit/rawpeer.c
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SRC))

.PHONY: fuzzers fuzz-programs fuzz
fuzzers:
	@$(MAKE) --no-print-directory B=$(B)/clang CC=$(FUZZ_CC) OPT="-O1 -g" \
		SAN="$(FUZZ_SAN) -fsanitize=fuzzer-no-link" fuzz-programs
fuzz-programs: $(FUZZ_TARGETS)
# On the controller model, which stands in for a part of the library, as for $(XHCID_TESTS).
FUZZ_XHCID := $(B)/fuzz/fuzz_usbserve
$(FUZZ_XHCID): $(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(call objs,tests/fuzz/fuzz.c) \
		$(call objs,$(filter-out %/main.c,$(XHCID_SRC))) $(LIB_A)
	$(link) -fsanitize=fuzzer $(LIB_LIBS)
$(filter-out $(FUZZ_XHCID),$(FUZZ_TARGETS)): $(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(call objs,$(FUZZ_LIB)) \
		$(B)/lib/libundertest.a $(LIB_A)
	$(link) -fsanitize=fuzzer $(LIB_LIBS) $(PCID_LIBS) $(NVMED_LIBS) $(USBSCSID_LIBS)
# FUZZ_SECONDS each; what they find is kept in $(B)/fuzz-corpus and $(B)/fuzz-artifacts.
fuzz: fuzzers
	@B=$(B) FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) tests/fuzz/run.sh

# Subdrivers that only the guest's tests want.
GUEST_PROGRAMS := $(patsubst tests/guest/%.c,$(B)/guest/bin/%,$(wildcard tests/guest/*.c))
.PHONY: guest
guest: $(GUEST_PROGRAMS)
$(B)/guest/bin/%: $(B)/obj/tests/guest/%.o $(LIB_A)
	$(link) $(LIB_LIBS)

clean:
	rm -rf build

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)

# ---- bench: tests/bench/*.c is one program, which pcid also starts as a driver ----

BENCH_SRC := $(wildcard tests/bench/*.c)
DPDK := $(shell pkg-config --exists libdpdk 2>/dev/null && echo yes)
ifdef DPDK
# Its headers do not stand our warnings, and need the machine that they were built for.
$(B)/obj/tests/bench/rtering.o: CFLAGS += -DHAVE_DPDK $(patsubst -I%,-isystem %,$(shell pkg-config --cflags libdpdk))
DPDK_LIBS := -lrte_ring -lrte_eal
endif
$(B)/tests/bench: $(call objs,$(BENCH_SRC)) $(LIB_A)
	$(link) $(LIB_LIBS) -ljson-c -lm -ldl $(DPDK_LIBS)

.PHONY: bench
bench:
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory -s all $(B)/tests/bench
	@set -f; $(B)/tests/bench --build $(B) --json $(B)/bench.json $(BENCH_ARGS)

# ---- bench-guest: the same framework, in a guest, beside the kernel's drivers and fio ----

BENCH_GUEST_SRC := $(wildcard tests/bench-guest/*.c) $(addprefix tests/bench/,client.c command.c process.c report.c \
	results.c touched.c)
$(B)/tests/bench-guest: $(call objs,$(BENCH_GUEST_SRC)) $(LIB_A)
	$(link) $(LIB_LIBS) -ljson-c -lm

.PHONY: bench-guest
bench-guest:
	@scripts/deps.sh bench-guest
	@$(MAKE) --no-print-directory -s all $(B)/tests/bench-guest
	@set -f; B=$(B) tests/bench-guest/run.sh $(BENCH_ARGS)

# ---- demo, check, install: what a user types ----

BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/pcid
UNITDIR ?= $(PREFIX)/lib/systemd/system
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions

.PHONY: help deps demo check check-guest man install uninstall
help:
	@sed -n 's/^#   make/  make/p' Makefile
	@echo '  make help      this list'
	@echo 'Variables: B=build CC=gcc OPT="-O2 -g" SAN= PREFIX= SYSCONFDIR=/etc DESTDIR='

# The compiler itself may be missing, so nothing that is built can stand before deps.
deps:
	@scripts/deps.sh
demo:
	@scripts/deps.sh build
	@echo "building into $(B)/ ..."
	@$(MAKE) --no-print-directory -s all
	@B=$(B) tests/demo.sh
check: deps
	@B=$(B) MAKE="$(MAKE)" scripts/check.sh
check-guest: deps
	@$(MAKE) --no-print-directory -s tests guest
	@B=$(B) tests/guest/check.sh $(GUEST_TESTS)

# Made by `all`: `sudo make install` only copies, and leaves nothing of root's in $(B).
man: $(B)/man.made
$(B)/man.made: scripts/manpages.sh scripts/headerman.awk Makefile $(wildcard docs/man/* ringabi/*.h libpcidipc/include/pcidipc/*.h) \
		libpcidipc/src/probes.h
	@mkdir -p $(B)
	@scripts/manpages.sh $(B)/man $(VERSION)
	@touch $@

# What goes where stands in scripts/install.sh.
INSTALL_DIRS := $(foreach v,PREFIX BINDIR SBINDIR LIBDIR LIBEXECDIR INCLUDEDIR MANDIR DOCDIR UNITDIR SYSCONFDIR \
	BASHCOMPDIR ZSHCOMPDIR DESTDIR B VERSION SOVERSION,$(v)='$($(v))')
install: all
	@$(INSTALL_DIRS) scripts/install.sh install
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || ldconfig
uninstall: man
	@$(INSTALL_DIRS) scripts/install.sh uninstall
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || ldconfig
