# What part of the statements of each package a profile of go test -coverprofile says
# was run; packages that share a profile have their blocks in it several times.
# Ends with 1 if it is less than `least` percent of one.
/^mode:/ { next }
{
	package = $1
	sub(/\/[^\/]*$/, "", package)
	if (!($1 in seen)) {
		seen[$1] = 1
		all[package] += $2
	}
	if ($3 > 0 && !($1 in ran)) {
		ran[$1] = 1
		covered[package] += $2
	}
}
END {
	for (package in all) {
		percent = 100 * covered[package] / all[package]
		printf "%-24s %5.1f %%%s\n", package, percent, percent < least ? ", less than " least " %" : ""
		low = low || percent < least
	}
	exit low
}
