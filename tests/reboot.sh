#!/bin/bash
# Save a program in a virtual machine, boot that anew, restore the program, save
# it again, and restore it again: its clocks go on. Takes qemu-system-x86,
# busybox-static, cpio and gcc, and a kernel of Debian's, which is downloaded
# unless KERNEL names one. The machine is emulated, so this takes minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
qemu=
trap '[ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true; rm -rf "$work"' EXIT

for program in qemu-system-x86_64 cpio gcc; do
	command -v $program >/dev/null || { echo "reboot: $program is missing: apt-get install qemu-system-x86 cpio gcc" >&2; exit 1; }
done
busybox=$(command -v busybox) || { echo "reboot: busybox is missing: apt-get install busybox-static" >&2; exit 1; }

kernel=${KERNEL:-}
if [ -z "$kernel" ]; then
	package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
	(cd "$work" && apt-get download -qq "$package" && dpkg -x linux-image-*.deb kernel)
	kernel=$(ls "$work"/kernel/boot/vmlinuz-*)
fi
echo "reboot: $kernel"

mkdir -p "$work"/root/{bin,proc,sys,dev,tmp,w}
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/root/bin/" ./cmd/...
gcc -O1 -static -pthread -o "$work/root/bin/clocks" tests/testdata/c/clocks.c
cp "$busybox" "$work/root/bin/busybox"

# What both boots do first. The second serial line takes what is to be kept.
cat >"$work/common" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /sys/fs/cgroup
ip link set lo up
cd /w
uptime() { cut -d. -f1 /proc/uptime; }
say() { echo "reboot: $* (up for $(uptime) s)"; }
end() { say "$@"; sync; poweroff -f; }
END
cat >"$work/first" <<'END'
# So that the next boot's clock shows less.
begun=$(uptime)
while [ "$(uptime)" -lt $((2 * begun + 20)) ]; do sleep 1; done
echo 20000 >/proc/sys/kernel/ns_last_pid
setsid clocks >out 2>&1 </dev/null &
while ! grep -q ready out; do sleep 1; done
pid=$(pidof clocks)
sleep 1
ckpt-collect --timeout 10m --max-freeze 10m --leave killed $pid | ckpt-dedup | ckpt-write -o img || end FAILED: save
say "pid $pid is saved, its image of $(wc -c <img) bytes sent"
stty -F /dev/ttyS1 raw
uptime >/dev/ttyS1
base64 img >/dev/ttyS1
echo end >/dev/ttyS1
end saved
END
cat >"$work/second" <<'END'
[ "$(uptime)" -lt "$(cat /uptime)" ] || end FAILED: this boot took too long to tell its clock from that of the first
echo ready >out
apply() { ckpt-read <$1 | ckpt-apply --files same-path --cgroups ignore "$2"; }
apply /img --detach || end FAILED: restore
pid=$(pidof clocks)
say "pid $pid is restored: $(tr -s ' \n' ' ' </proc/$pid/timens_offsets)"
sleep 2
ckpt-collect --timeout 10m --max-freeze 10m --leave killed $pid | ckpt-dedup | ckpt-write -o img || end FAILED: save again
say "pid $pid is saved again"
touch go
apply img -v || end FAILED: restore again
say "it lost $(cat lost) ms of the time of day and says: $(tail -n 1 out)"
grep -q pass out && end PASSED
cat out
end FAILED
END

# boot NAME [FILE]: boots with an init of common and NAME; FILE becomes /img.
boot() {
	cat "$work/common" "$work/$1" >"$work/root/init"
	chmod 755 "$work/root/init"
	if [ $# -gt 1 ]; then cp "$2" "$work/root/img"; fi
	(cd "$work/root" && find . | cpio --quiet -o -H newc) >"$work/initrd"
	timeout "${BOOT_SECONDS:-900}" qemu-system-x86_64 -accel tcg -cpu max -smp 1 -m 1024 -kernel "$kernel" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=-1" -no-reboot -display none -monitor none -nic none \
		-serial "file:$work/console" -serial "file:$work/kept" </dev/null &
	qemu=$!
	wait "$qemu" || true
	qemu=
	grep -a 'reboot: \|error\|panic' "$work/console" || true
}

boot first
head -n 1 "$work/kept" >"$work/root/uptime"
sed '1d; /^end/,$d' "$work/kept" | base64 -di >"$work/img"
[ -s "$work/img" ] || { echo "reboot: no image came out of the first boot" >&2; tail -30 "$work/console"; exit 1; }
boot second "$work/img"
grep -qa 'reboot: PASSED' "$work/console" || { tail -30 "$work/console"; exit 1; }
