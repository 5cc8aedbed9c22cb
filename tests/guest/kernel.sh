#!/bin/sh
# SPDX-License-Identifier: MIT
# Fetch Debian's kernel and a static busybox and unpack them; nothing is installed.
# usage: kernel.sh 6.1|6.12 DIR     afterwards: DIR/vmlinuz, DIR/lib/modules/*, DIR/busybox
# 6.12 comes from bookworm-backports, by an apt configuration of its own. Does nothing when it is there already.
set -eu
version=$1
mirror=$("$(dirname "$0")/mirror.sh")
. "$(dirname "$0")/alone.sh"
alone "$2.lock"
mkdir -p "$2"
dir=$(cd "$2" && pwd)
[ ! -e "$dir/complete" ] || exit 0

rm -rf "$dir"
mkdir -p "$dir/deb"
cd "$dir/deb"
# apt's sandbox user cannot write here; as root it warns, and downloads all the same.
download()
{
	apt-get download -q "$@" 2>download.err || { cat download.err >&2; return 1; }
}

use_backports()
{
	mkdir -p ../apt/lists/partial ../apt/cache/archives/partial
	cat >../apt/sources.list <<-END
	deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
	$mirror bookworm-backports main
	END
	cat >../apt/apt.conf <<-END
	Dir::Etc::sourcelist "$dir/apt/sources.list";
	Dir::Etc::sourceparts "-";
	Dir::State::lists "$dir/apt/lists";
	Dir::Cache "$dir/apt/cache";
	END
	export APT_CONFIG="$dir/apt/apt.conf"
	apt-get update -q
}

# The newest of the plain kernels of this version: linux-image-6.1.0-56-amd64.
newest()
{
	apt-cache pkgnames "linux-image-$version" | grep -E "^linux-image-$version\.[0-9]+[-+][a-z0-9]+-amd64\$" |
		sort -V | tail -1
}

download busybox-static || { apt-get update -q && download busybox-static; }
[ "$version" = 6.1 ] || use_backports
image=$(newest)
[ -n "$image" ] || { echo "kernel.sh: apt knows no linux-image-$version.*-amd64" >&2; exit 1; }
echo "kernel.sh: fetching $image"
download "$image"
for deb in linux-image-*.deb busybox-static_*.deb; do
	dpkg-deb -x "$deb" ..
done
cd ..
mv boot/vmlinuz-* vmlinuz
mv bin/busybox busybox
mv usr/lib/modules lib/ 2>/dev/null || true # where /usr is merged
release=$(ls lib/modules)
find lib/modules -name '*.ko.xz' -exec ./busybox unxz {} +
./busybox depmod -b "$dir" "$release"
rm -rf deb apt
touch complete
