#!/bin/sh
# SPDX-License-Identifier: MIT
# Fetch runit, s6 and lspci and unpack them; nothing is installed. usage: tools.sh DIR
# Does nothing when they are there already.
set -eu
. "$(dirname "$0")/alone.sh"
alone "$1.lock"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -e "$dir/complete" ] || exit 0

rm -rf "$dir"
mkdir -p "$dir/deb"
cd "$dir/deb"
# with their libraries, as far as they are nobody else's here, whatever the versions of s6's are
packages()
{
	echo runit s6 pciutils libkmod2
	apt-cache depends s6 | sed -n 's/^ *Depends: \(lib\(execline\|s6\|skarnet\).*\)/\1/p'
}
fetch()
{
	apt-get download -q $(packages) 2>download.err
}
fetch || { apt-get update -q && fetch; } || { cat download.err >&2; exit 1; }
for deb in *.deb; do
	dpkg-deb -x "$deb" ..
done
cd ..
rm -rf deb
touch complete
