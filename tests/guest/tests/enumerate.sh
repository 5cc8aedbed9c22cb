# SPDX-License-Identifier: MIT
# What pcid sees of this machine is what lspci sees: the functions, their names, where their capabilities lie, the bridges.
. /tests/lib.sh
start_pcid
pcidctl list | sed 1d | cut -d ' ' -f 1 >/tmp/ours
lspci -D | cut -d ' ' -f 1 | cmp - /tmp/ours || fail "these are not the functions that lspci lists"

# "Capabilities: [40] MSI-X: ..." or "[100 v1] ...", and ours: "Capability       040 MSI-X" or "Extended         100 ..."
offsets_of()
{
	sed -n 's/^[[:space:]]*\(Capabilities:\|Capability\|Extended\) *\[\{0,1\}0*\([0-9a-f]\{2,3\}\).*/\2/p' | sort
}
# lspci adds revision and interface
plain()
{
	sed 's/ (rev [0-9a-f]*)//; s/ (prog-if .*//' | tr A-Z a-z
}
while read -r address; do
	lspci -D -v -s "$address" >/tmp/lspci 2>/dev/null # it misses modprobe's configuration
	pcidctl show "$address" >/tmp/show
	head -n 1 /tmp/lspci | plain >/tmp/its
	head -n 1 /tmp/show | plain | cmp - /tmp/its || fail "$address is named: $(cat /tmp/its)"
	offsets_of </tmp/lspci >/tmp/its
	offsets_of </tmp/show | cmp - /tmp/its || fail "$address: $(cat /tmp/lspci /tmp/show)"
	echo "$address: capabilities at" $(cat /tmp/its)
done </tmp/ours
pcidctl show 0000:00:02.0 | grep 'Capability *040 MSI-X' || fail "the NVMe controller has no MSI-X at 0x40"

pcidctl tree
for below in 0000:01:01.0 0000:01:02.0; do
	pcidctl show $below | grep 'Parent *0000:00:06.0' || fail "$below is not below the bridge"
done
pcidctl show 0000:00:02.0 | grep 'Parent *none'
stop_pcid
