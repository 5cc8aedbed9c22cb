#!/bin/sh
# SPDX-License-Identifier: MIT
# Print the address of the Debian archive that this machine's apt uses, or $DEBIAN_MIRROR.
set -eu
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
	awk '$1 == "bookworm" {print $2; exit}')}
[ -n "$mirror" ] || { echo "mirror.sh: apt knows no archive of bookworm; set DEBIAN_MIRROR" >&2; exit 1; }
echo "${mirror%/}"
