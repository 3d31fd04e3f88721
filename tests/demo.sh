#!/bin/bash
# The main job, live: xz is stopped in the middle of its work, killed, and
# carries on from a file.
set -euo pipefail

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
run() { printf '  $ %s\n' "$*"; bash -c "set -o pipefail; $*"; }

dir=$(mktemp -d)
target=
cleanup() {
	if [ -n "$target" ]; then kill -KILL "$target" 2>/dev/null || true; fi
	rm -rf "$dir"
}
trap cleanup EXIT
cd "$dir"

if [ "$(id -u)" != 0 ]; then
	echo "demo: run it as root: choosing a process id takes that" >&2
	exit 1
fi
for prog in xz cmp; do
	if ! command -v "$prog" >/dev/null; then
		echo "demo: $prog is missing; on Debian: apt-get install xz-utils diffutils" >&2
		exit 1
	fi
done

say "An input, and what xz makes of it without interruption:"
seq 1 1600000 >input
printf '  $ xz -T1 -c input > expected\n'
begin=$(date +%s%N)
xz -T1 -c input >expected
took=$((($(date +%s%N) - begin) / 1000000))
echo "  took $took ms, $(stat -c %s expected) bytes"

say "The same again, in the background:"
# A session and descriptors of its own, as a daemon would have.
setsid bash -c 'for f in /proc/$$/fd/*; do n=${f##*/}; if [ "$n" -gt 2 ]; then eval "exec $n>&-"; fi; done
	exec xz -T1 -c input' </dev/null >output 2>/dev/null &
target=$!
disown # bash would report its death
sleep "$(printf '%d.%03d' $((took / 2000)) $((took / 2 % 1000)))"
echo "  pid $target after half that time: $(stat -c %s output) bytes written"

say "Saved and killed:"
run "ckpt-collect -v --leave killed $target | ckpt-dedup -v | ckpt-write -v -o img"
for _ in $(seq 100); do
	if [ ! -d "/proc/$target" ]; then break; fi
	sleep 0.02
done
if [ -d "/proc/$target" ]; then
	echo "demo: pid $target still lives" >&2
	exit 1
fi
echo "  pid $target is gone; img has $(stat -c %s img) bytes, output $(stat -c %s output)"
pid=$target
target=

say "Restored; it gets its process id back and carries on to its end:"
run "ckpt-read -v < img | ckpt-apply -v"
echo "  pid $pid has ended; output has $(stat -c %s output) bytes"

say "Compared:"
run "cmp output expected"
echo "  no difference"
