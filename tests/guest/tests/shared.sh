# SPDX-License-Identifier: MIT
# Two functions that share an IOMMU group, driven because the configuration allows it: one container, two devices.
. /tests/lib.sh
cat >$conf <<END
vfio {
	take = {"0000:01:01.0", "0000:01:02.0"}
	shared_groups = true
}
driver "edu" {
	vendor = 0x1234
	device = 0x11e8
	command = "/tests/probe"
}
END
start_pcid
both_done()
{
	[ "$(grep -c 'all done' /tmp/pcid.log)" -eq 2 ]
}
await both_done
stop_pcid
grep ' not ok ' /tmp/pcid.log && fail "see above"
[ "$(grep -c ': ok ' /tmp/pcid.log)" -eq 18 ] || fail "$(grep -c ": ok " /tmp/pcid.log) facts, not 18"
