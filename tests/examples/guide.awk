# SPDX-License-Identifier: MIT
# A document with shell blocks (```sh), each perhaps followed by what it prints (```output): the shell script that runs
# all of them, in one shell, and leaves what each has printed in TO/said.N. What is expected goes to TO/expected.N.
# "without" is a program that is not here: blocks that use it are left out. Variables: to, without
BEGIN { n = 0 }
/^```sh$/ { kind = "sh"; n++; block = ""; next }
/^```output$/ { kind = left_out ? "" : "output"; next }
/^```/ {
	if (kind == "sh") {
		left_out = without != "" && block ~ without " "
		if (!left_out)
			printf "{\n%s} >%s/said.%d 2>&1\n", block, to, n
	}
	kind = ""
	next
}
kind == "sh" { block = block $0 "\n" }
kind == "output" { print >(to "/expected." n) }
