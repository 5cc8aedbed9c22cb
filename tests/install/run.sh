#!/bin/sh
# SPDX-License-Identifier: MIT
# make install, and what its user does then: builds a driver with gcc and with clang, out of this tree, against what is
# installed and nothing else; runs it under the installed pcid; presses Tab. The last line is "install: N passed, N failed".
# Environment: B, MAKE.
set -u

cd "$(dirname "$0")/../.." || exit 1
B=$(realpath "${B:-build}") || exit 1
MAKE=${MAKE:-make}
dir=$(mktemp -d "${TMPDIR:-/tmp}/pcid-install.XXXXXX") || exit 1
chmod 755 "$dir"
prefix=$dir/usr
export PCID_RUNTIME_DIR="$dir/run"
unset MAKEFLAGS MFLAGS CPPFLAGS CFLAGS LDFLAGS LDLIBS C_INCLUDE_PATH CPATH LIBRARY_PATH LD_LIBRARY_PATH PKG_CONFIG_LIBDIR
pcid=
. tests/count.sh

clean_up()
{
	[ -z "$pcid" ] || { kill "$pcid" && wait "$pcid"; } 2>/dev/null
	rm -rf "$dir"
	# make install with another PREFIX has built pcid for that
	$MAKE --no-print-directory -s B="$B" all >/dev/null 2>&1
}
trap clean_up EXIT
trap 'exit 143' INT TERM HUP

# target, variables ...; ldconfig, which / as DESTDIR prevents, would be this machine's affair
make_it()
{
	$MAKE --no-print-directory -s B="$B" DESTDIR=/ PREFIX="$prefix" SYSCONFDIR="$prefix/etc" "$@" >"$dir/make.log" 2>&1
	ret=$?
	[ $ret -eq 0 ] || tail -n 20 "$dir/make.log"
	return $ret
}

# ---- what is there ----

if ! make_it install; then
	echo "FAILED: make install PREFIX=$prefix"
	echo "install: 0 passed, 1 failed"
	exit 1
fi
none "what make install did not put there" "$(cd "$prefix" && for file in sbin/pcid bin/pcidctl libexec/pcid/nvmed \
	libexec/pcid/xhcid libexec/pcid/usbscsid lib/libpcidipc.a lib/libpcidipc.so lib/libpcidipc.so.0 \
	lib/pkgconfig/libpcidipc.pc lib/systemd/system/pcid.service etc/pcid.d/pcid.conf include/pcidipc/pci.h \
	include/ringabi/ring.h share/man/man1/pcidctl.1 share/man/man3/pcidipc.3 share/man/man3/pcidipc_submit.3 \
	share/man/man5/pcid.conf.5 share/man/man7/pcidipc_probes.7 share/man/man8/pcid.8 share/zsh/site-functions/_pcid \
	share/bash-completion/completions/pcidctl share/doc/pcid/docs/driver-guide.md share/doc/pcid/examples/disk.c; do
		[ -s "$file" ] || echo "$file"
	done)"
none "headers that are not installed" "$(for header in libpcidipc/include/pcidipc/*.h ringabi/*.h; do
		cmp -s "$header" "$prefix/include/${header#libpcidipc/include/}" || echo "$header"
	done)"
prints "the unit starts the installed pcid" "$prefix/sbin/pcid" \
	sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$prefix/lib/systemd/system/pcid.service"
prints "the library's name" libpcidipc.so.0 \
	sh -c "LC_ALL=C readelf -d '$prefix/lib/libpcidipc.so' | sed -n 's/.*soname: \[\(.*\)\]/\1/p'"
none "symbols without the version PCIDIPC_0" \
	"$(nm -D --defined-only --with-symbol-versions "$prefix/lib/libpcidipc.so" | grep -v '@@PCIDIPC_0$\| PCIDIPC_0$\|@PCIDIPC_0$')"
prints "what the installed pcid says of the installed configuration" "$prefix/etc/pcid.d: good" "$prefix/sbin/pcid" --check-config
touch "$dir/before"
$MAKE --no-print-directory -s B="$B" DESTDIR="$dir/dest" PREFIX="$prefix" SYSCONFDIR="$prefix/etc" install >"$dir/make.log" 2>&1
count $? "make install DESTDIR=$dir/dest: $(tail "$dir/make.log")"
none "what make install has built anew, and as root perhaps" "$(find "$B/bin" "$B/lib" "$B/man" -newer "$dir/before")"
none "what differs with DESTDIR" "$(diff -r "$prefix" "$dir/dest$prefix" 2>&1)"
rm -r "$dir/dest"

# ---- out of this tree ----

export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
prints "pkg-config finds it" "$(sed -n 's/^VERSION := //p' Makefile)" pkg-config --modversion libpcidipc

# compiler, its command: examples/edud alone, and its own Makefile
build_driver()
{
	place=$dir/$1
	cp -r "$prefix/share/doc/pcid/examples/edud" "$place" || return
	(cd "$place" && $MAKE CC="$1" CFLAGS="-O2 -Wall -Wextra -Werror" LDFLAGS="-Wl,-rpath,$prefix/lib") \
		>"$dir/make.log" 2>&1 || { cat "$dir/make.log"; return 1; }
}

for cc in gcc clang; do
	command -v $cc >/dev/null || { echo "install: there is no $cc here"; continue; }
	build_driver $cc
	count $? "edud built by $cc"
	prints "it is linked with the installed library" "$prefix/lib/libpcidipc.so.0" \
		sh -c "ldd '$dir/$cc/edud' | sed -n 's/.*libpcidipc.so.0 => \([^ ]*\).*/\1/p'"
	$cc -O2 -Wall -Wextra -Werror -static -o "$dir/$cc/disk" examples/disk.c \
		$(pkg-config --static --cflags --libs libpcidipc) >"$dir/make.log" 2>&1
	count $? "examples/disk.c built by $cc, statically: $(cat "$dir/make.log")"
	for header in "$prefix"/include/pcidipc/*.h; do
		echo "#include <pcidipc/$(basename "$header")>" |
			$cc -std=gnu11 -Wall -Wextra -Werror -fsyntax-only $(pkg-config --cflags libpcidipc) -x c - 2>&1
	done >"$dir/make.log"
	none "what $cc says of the headers, each alone" "$(cat "$dir/make.log")"
done
prints "a version that is not there is refused" "refused" sh -c "
	echo 'void pcidipc_submit(void); __asm__(\".symver pcidipc_submit,pcidipc_submit@PCIDIPC_1\"); int main(void) {pcidipc_submit();}' |
	gcc -x c - -o '$dir/x' \$(pkg-config --libs libpcidipc) 2>/dev/null || echo refused"

# where the driver is
start_pcid()
{
	truncate -s 1M "$dir/disk.img"
	{
		echo 'driver "nvmed" { class = 1 subclass = 8 interface = 2 command = "'"$prefix"'/libexec/pcid/nvmed" service = "nvme" }'
		cat "$prefix/share/doc/pcid/examples/edud/edud.conf"
	} >"$dir/conf"
	mkfifo "$dir/ready" || exit 1
	"$prefix/sbin/pcid" --driver-dir "$1" --config "$dir/conf" --ready-fd 9 -- -device edu \
		-drive "file=$dir/disk.img,if=none,id=d,format=raw" -device nvme,drive=d,serial=1 9>"$dir/ready" \
		>>"$dir/log" 2>&1 </dev/null &
	pcid=$!
	timeout 60 head -c 1 "$dir/ready" >/dev/null
	rm "$dir/ready"
}

stop_pcid()
{
	kill "$pcid" && wait "$pcid"
	count $? "pcid has ended with $?"
	pcid=
}

for cc in gcc clang; do
	[ -x "$dir/$cc/edud" ] || continue
	start_pcid "$dir/$cc"
	prints "edud of $cc: 5!" 120 "$dir/$cc/educlient" 5
	prints "edud of $cc: 3!, and a text there and back" "6
hello" "$dir/$cc/educlient" 3 hello
	prints "edud of $cc: the installed pcidctl sees it" "running" sh -c "'$prefix/bin/pcidctl' list | awk '\$2 == \"edu\" {print \$3}'"
	prints "disk, static, of $cc" 4096 sh -c "'$dir/$cc/disk' nvme0n1 | wc -c"
	stop_pcid
done

# ---- Tab ----

# what is typed, what is offered
bash_offers()
{
	prints "bash: $1" "$2" bash tests/install/completion.bash "$prefix/share/bash-completion/completions" "$prefix/$1"
}

zsh_completes()
{
	out=$(timeout -s KILL 60 zsh -f tests/install/completion.zsh "$prefix/share/zsh/site-functions" "$prefix/$1" "$2" 2>&1)
	count $? "zsh: $1, expected \"$2\" $out"
}

start_pcid "$dir/gcc"
nvme=$("$prefix/bin/pcidctl" list | awk '$2 == "nvmed" {print $1}')
bash_offers "bin/pcidctl d" "disk
disks
drivers"
bash_offers "bin/pcidctl disk " "health
info
read
write"
bash_offers "bin/pcidctl disk read " "disk/nvme0n1
nvme0n1"
bash_offers "bin/pcidctl disk read --bytes 5 disk/" disk/nvme0n1
bash_offers "bin/pcidctl disk read nvme0n1 " ""
bash_offers "bin/pcidctl disk read nvme0n1 --o" "--offset
--output"
bash_offers "bin/pcidctl --runtime-dir $PCID_RUNTIME_DIR show ${nvme%.*}" "${nvme##*:}"
bash_offers "bin/pcidctl --runtime-dir /nonexistent show " ""
bash_offers "bin/pcidctl usb " "capture
show"
bash_offers "bin/pcidctl disk write nvme0n1 --input $dir/disk" "$dir/disk.img"
bash_offers "sbin/pcid --bus " "qemu
vfio"
bash_offers "sbin/pcid --dr" --driver-dir
bash_offers "libexec/pcid/nvmed --user-pool" "--user-pool-gib
--user-pools"
bash_offers "libexec/pcid/xhcid --vers" --version
bash_offers "libexec/pcid/usbscsid --l" --libusb
for program in pcid pcidctl nvmed xhcid usbscsid; do
	file=$(find "$prefix" -type f -perm /100 -name "$program")
	prints "bash: all options of $program's --help" "$("$file" --help | grep -oE -- '--[a-z][-a-z]+' | sort -u)" \
		bash tests/install/completion.bash "$prefix/share/bash-completion/completions" "$file --"
done
if command -v zsh >/dev/null; then
	zsh -n "$prefix/share/zsh/site-functions/_pcid"
	count $? "zsh -n"
	zsh_completes "bin/pcidctl resc" "pcidctl rescan"
	zsh_completes "bin/pcidctl disk read nv" "read nvme0n1"
	zsh_completes "bin/pcidctl show ${nvme%.*}" "show $nvme"
	zsh_completes "bin/pcidctl disk read nvme0n1 --off" "--offset"
	zsh_completes "sbin/pcid --bus v" "--bus vfio"
	zsh_completes "libexec/pcid/usbscsid --libu" "--libusb"
	zsh_completes "libexec/pcid/nvmed --user-c" "--user-connections"
else
	echo "install: zsh is not installed: nobody presses Tab there"
fi
stop_pcid

# ---- and away again ----

echo "# changed" >>"$prefix/etc/pcid.d/pcid.conf"
make_it install
prints "a configuration that was changed stays, when it is installed anew" "# changed" tail -n 1 "$prefix/etc/pcid.d/pcid.conf"
make_it uninstall
count $? "make uninstall"
prints "what make uninstall leaves" "$prefix/etc/pcid.d/pcid.conf" find "$prefix" ! -type d
rm "$prefix/etc/pcid.d/pcid.conf"
make_it install && make_it uninstall
none "what it leaves when nothing was changed" \
	"$(find "$prefix" ! -type d; cd "$prefix" && ls -d libexec/pcid include/* share/doc/* etc/* 2>/dev/null)"

[ $failed -eq 0 ] || tail -n 30 "$dir/log"
summary install
