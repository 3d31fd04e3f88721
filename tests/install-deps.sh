#!/bin/bash
# Install the Debian packages the tests need, where they are missing. The tests
# checkpoint Debian's own programs, so what counts is the file under /usr, not
# what PATH finds first.
set -euo pipefail

# a file, and the package that has it
needed="
/usr/bin/xz         xz-utils
/usr/bin/gzip       gzip
/usr/bin/sha256sum  coreutils
/usr/bin/bc         bc
/usr/bin/python3    python3
/usr/bin/perl       perl
/usr/bin/sqlite3    sqlite3
/usr/bin/jq         jq
/usr/bin/zstd       zstd
/usr/bin/age        age
/usr/bin/git        git
/usr/bin/diff       diffutils
/usr/bin/nsenter    util-linux
/usr/bin/file       file
/usr/bin/gcc        gcc
/usr/include/stdio.h libc6-dev
/usr/bin/pgrep      procps
/usr/bin/ps         procps
/usr/bin/setsid     util-linux
/usr/sbin/setcap    libcap2-bin
/usr/bin/make       make
/usr/bin/javac      default-jdk-headless
/usr/bin/node       nodejs
/usr/sbin/rsyslogd   rsyslog
"

missing=()
while read -r path package; do
	if [ -n "$path" ] && [ ! -e "$path" ]; then
		echo "install-deps: $path is missing"
		missing+=("$package")
	fi
done <<<"$needed"

if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "install-deps: there is no apt-get here; install these by hand: ${missing[*]}" >&2
	exit 1
fi
echo "install-deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null

while read -r path package; do
	if [ -n "$path" ] && [ ! -e "$path" ]; then
		echo "install-deps: package $package is installed, and still $path is missing" >&2
		exit 1
	fi
done <<<"$needed"
