//go:build vm

package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernel is one of a Debian package.
type kernel struct {
	name    string
	image   string   // its file
	modules []string // files to load, in this order
}

// elsewhere is the Debian release of a line of kernels that bookworm does not have.
var elsewhere = map[string]string{"5.10": "bullseye"}

// otherSuite makes apt look there only, with lists of its own below dir.
func otherSuite(t *testing.T, dir, suite string) []string {
	const from = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian %s main\n"
	lists, sources := filepath.Join(dir, "lists"), filepath.Join(dir, "sources.list")
	must(t, os.MkdirAll(filepath.Join(lists, "partial"), 0o755), os.MkdirAll(filepath.Join(dir, "cache/archives/partial"), 0o755),
		os.WriteFile(sources, fmt.Appendf(nil, from, suite), 0o644))
	return []string{"-o", "Dir::Etc::sourcelist=" + sources, "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::lists=" + lists, "-o", "Dir::Cache=" + dir + "/cache"}
}

// newWorld makes the folder with everything that all machines have.
func newWorld(t *testing.T) *world {
	for program, from := range map[string]string{"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "gcc": "gcc", "apt-get": "apt",
		"xz": "xz-utils", "bc": "bc", "python3": "python3", "tar": "tar", "unshare": "util-linux"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", program, from)
		}
	}
	// What starts the test may have left descriptors open, which programs are not to inherit.
	must(t, unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC))
	top, err := os.MkdirTemp("", "ckpt-vm-")
	must(t, err, os.Chmod(top, 0o755))
	t.Cleanup(func() { os.RemoveAll(top) })
	w := &world{t: t, top: top, kernels: map[string]*kernel{}}
	for _, name := range []string{"5.10", "6.1", "6.12"} {
		w.kernels[name] = debianKernel(t, top, name)
	}
	w.fill(t)
	w.makeInitrd(t)
	return w
}

// debianKernel gets the newest package of a line of kernels, without installing it.
func debianKernel(t *testing.T, top, line string) *kernel {
	dir := filepath.Join(top, "kernel-"+line)
	must(t, os.Mkdir(dir, 0o755))
	options := []string{"-q", "-o", "APT::Sandbox::User=root"}
	if suite := elsewhere[line]; suite != "" {
		options = append(options, otherSuite(t, dir, suite)...)
	}
	apt := func(program string, args ...string) string {
		cmd := exec.Command(program, slices.Concat(options, args)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	pattern := regexp.MustCompile(`(?m)^linux-image-` + regexp.QuoteMeta(line) + `\.[0-9][^ ]*-cloud-amd64\b`)
	newest := ""
	for range 2 { // the second time with fresh lists
		for _, name := range pattern.FindAllString(apt("apt-cache", "search", "--names-only", "^linux-image-"), -1) {
			if newest == "" || exec.Command("dpkg", "--compare-versions", name, "gt", newest).Run() == nil {
				newest = name
			}
		}
		if newest != "" {
			break
		}
		apt("apt-get", "update")
	}
	if newest == "" {
		t.Fatalf("apt offers no package linux-image-%s.…-cloud-amd64: the sources of Debian 12 (bookworm) and its security updates have it", line)
	}
	apt("apt-get", "download", newest)
	output(t, "sh", "-c", `cd "$0" && dpkg-deb --fsys-tarfile *.deb | tar -x --wildcards './boot/vmlinuz-*' '*_diag.ko*' && rm *.deb && find . -name '*.xz' -exec xz -d {} +`, dir)
	k := &kernel{name: line, image: globs(dir + "/boot/vmlinuz-*")[0]}
	for _, module := range []string{"unix_diag", "inet_diag", "tcp_diag", "udp_diag", "af_packet_diag", "netlink_diag"} {
		k.modules = append(k.modules, strings.Fields(output(t, "find", dir, "-name", module+".ko"))...)
	}
	return k
}

// fill puts the tools, the programs and what they need into the folder, and what the
// programs write if nobody interrupts them.
func (w *world) fill(t *testing.T) {
	must(t, os.Mkdir(w.path("bin"), 0o755), os.Mkdir(w.path("want"), 0o755), os.Mkdir(w.path("in"), 0o755))
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "urfave_cli_no_docs", "-o", w.path("bin"), "ckpt/cmd/...", "ckpt/tests/vm/testdata/gowork")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	output(t, "gcc", "-O1", "-Wall", "-pthread", "-o", w.path("bin/clock"), "testdata/clock.c")
	output(t, "gcc", "-O1", "-Wall", "-static", "-o", w.path("bin/pair"), "testdata/pair.c")
	output(t, "gcc", "-O1", "-Wall", "-static", "-o", w.path("bin/nobody"), "testdata/nobody.c")
	output(t, "cp", "-L", output1(t, "which", "busybox"), w.path("bin/busybox"))
	output(t, "cp", "testdata/work.sh", "testdata/work.py", "testdata/work.bc", w.top)
	// Archives of the kind used here have the time in whole seconds.
	must(t, filepath.WalkDir(w.path("bin"), func(path string, d fs.DirEntry, err error) error {
		now := time.Now().Truncate(time.Second)
		return errors.Join(err, os.Chtimes(path, now, now))
	}))
	words := strings.Fields(output(t, "head", "-c", "20000", "/usr/bin/ldd"))
	var text bytes.Buffer
	for random := rand.New(rand.NewSource(1)); text.Len() < 1<<19; {
		fmt.Fprintf(&text, "%s ", words[random.Intn(len(words))])
	}
	must(t, os.WriteFile(w.path("data"), text.Bytes(), 0o644))
	for name, command := range map[string]string{"xz": "xz -9e -T1 -c <data", "bc": "bc -lq <work.bc", "python": "python3 -I -S work.py", "clock": "echo ready; echo pass", "pair": "echo pass", "gowork": "echo pass"} {
		cmd := exec.Command("sh", "-c", "("+command+") >want/"+name)
		cmd.Dir = w.top
		must(t, cmd.Run())
	}
}

func output1(t *testing.T, name string, args ...string) string {
	return strings.TrimSpace(output(t, name, args...))
}

// init is the first program of a machine.
const initScript = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin TICKS=40 LD_BIND_NOW=1 GODEBUG=` + noCgroups + `
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ip link set lo up
ulimit -n 4096
for m in /modules/*; do [ -e "$m" ] && insmod "$m"; done
top=$(sed 's/.*top=\([^ ]*\).*/\1/' /proc/cmdline)
echo "vm: up after $(cut -d' ' -f1 /proc/uptime) s"
# Which of them is which differs from boot to boot.
disk() {
	for d in /sys/block/nvme*; do
		if [ "$(tr -d ' ' <"$d/device/serial")" = "$1" ]; then echo "/dev/${d##*/}"; fi
	done 2>/dev/null
}
until [ -b "$(disk in)" ] && [ -b "$(disk out)" ]; do sleep 0.1; done
tar -xf "$(disk in)" -C "$top"
"$top/work.sh" </dev/null 2>&1
mkdir -p "$top/out"
tar -cf "$(disk out)" -C "$top" out
sync
poweroff -f
`

// makeInitrd makes the first file system of all machines.
func (w *world) makeInitrd(t *testing.T) {
	a := newArchive()
	for link, to := range map[string]string{"lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"} {
		a.link("/"+link, to)
	}
	for _, dir := range []string{"/bin", "/proc", "/sys", "/dev", "/tmp"} {
		a.dir(dir)
	}
	a.bytes("/init", 0o755, []byte(initScript))
	a.file(t, w.path("bin/busybox"), "/bin/busybox")
	needed := []string{"/usr/bin/xz", "/usr/bin/bc", "/usr/bin/python3", w.path("bin/clock")}
	needed = append(needed, strings.Fields(output(t, "/usr/bin/python3", "-I", "-S", "testdata/work.py", "files"))...)
	for i := 0; i < len(needed); i++ {
		a.withLinks(t, needed[i])
		if libraries := regexp.MustCompile(`/\S+`); strings.HasSuffix(needed[i], ".so") || i < 4 {
			needed = append(needed, libraries.FindAllString(libs(needed[i]), -1)...)
		}
	}
	must(t, filepath.WalkDir(w.top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), "kernel-"):
			return fs.SkipDir
		case d.Type().IsRegular():
			a.file(t, path, path)
		}
		return nil
	}))
	w.initrd = w.path("initrd")
	must(t, os.WriteFile(w.initrd, a.end(), 0o644))
}

// libs are the libraries of a program or library, as ldd(1) lists them.
func libs(file string) string {
	out, _ := exec.Command("ldd", file).Output()
	return regexp.MustCompile(`\(0x[0-9a-f]+\)`).ReplaceAllString(string(out), "")
}

// appendModules makes the first file system of a machine with that kernel.
func (w *world) appendModules(t *testing.T, k *kernel, to string) {
	a := newArchive()
	for i, m := range k.modules {
		a.file(t, m, fmt.Sprintf("/modules/%d", i))
	}
	base, err := os.ReadFile(w.initrd)
	must(t, err, os.WriteFile(to, append(base, a.end()...), 0o644))
}
