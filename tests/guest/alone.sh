# SPDX-License-Identifier: MIT
# For the scripts here, which share directories with others of their kind that run at the same time.
# usage: alone FILE     until the script and what it has started end, whoever else wants FILE waits
alone()
{
	mkdir -p "$(dirname "$1")"
	exec 9>"$1"
	flock -n 9 || { echo "${0##*/}: waiting for another one, which has $1" >&2; flock 9; }
}
