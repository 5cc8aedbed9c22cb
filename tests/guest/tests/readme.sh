# SPDX-License-Identifier: MIT
# README.md's section "On a real machine", its commands as they stand there. But there is no compiler, and what "make install"
# installs is here already; and root needs no sudo.
. /tests/lib.sh
modprobe nvme
await has_disk 0000:00:02.0
unset PCID_RUNTIME_DIR
rm -rf /etc/pcid.d
mkdir /etc/pcid.d
cp /tests/pcid.conf /etc/pcid.d/
sed -n '/^## On a real machine/,/^## How/p' /tests/README.md | sed -n '/^```/,/^```/p' | grep -v '^```\|^make' \
	>/tmp/commands
[ "$(wc -l </tmp/commands)" -ge 6 ] || fail "README.md has no such section"
sudo()
{
	PATH=/usr/local/sbin:/usr/local/bin:$PATH "$@"
	[ "$1" != pcid ] || there_or_told nvme0n1 /tmp/said
}
trap 'cat /tmp/said; kill $(cat /run/pcid.pid 2>/dev/null) 2>/dev/null || true' EXIT
set -x
. /tmp/commands >/tmp/said 2>&1
set +x
grep '^0000:00:02.0 .*NVM.* \[1b36:0010\]' /tmp/said || fail "lspci does not show it"
grep '0000:00:02.0.*nvmed.*running' /tmp/said || fail "not driven"
grep 'disk0' /tmp/said || fail "no disk"
given_back()
{
	[ "$(driver_of 0000:00:02.0)" = nvme ]
}
await given_back
rm -r /etc/pcid.d
