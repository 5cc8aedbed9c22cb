# SPDX-License-Identifier: MIT
# For the suites that are scripts: what is right is counted, what is wrong is told too.
passed=0
failed=0

# exit status, what it was
count()
{
	if [ "$1" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $2"
	fi
}

# what, and a list that must be empty
none()
{
	[ -z "$2" ]
	count $? "$1: $(echo "$2" | tr '\n' ' ')"
}

# what, expected, command ...: it must succeed and print just that, in $limit seconds (60)
prints()
{
	what=$1 expected=$2
	shift 2
	out=$(timeout "${limit:-60}" "$@" 2>&1)
	[ $? -eq 0 ] && [ "$out" = "$expected" ]
	count $? "$what: expected \"$expected\", got \"$out\""
}

# what, expected, command ...: it must fail with status 1 and print just that
fails()
{
	what=$1 expected=$2
	shift 2
	out=$(timeout 60 "$@" 2>&1)
	[ $? -eq 1 ] && [ "$out" = "$expected" ]
	count $? "$what: expected \"$expected\", got \"$out\""
}

# suite: the last line, and whether all is well
summary()
{
	echo "$1: $passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
