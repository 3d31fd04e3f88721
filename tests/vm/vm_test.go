//go:build vm

// Package vm moves programs between kernels: they are saved on one and restored on
// another, here and in emulated machines that boot Debian's kernels.
package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ckpt/internal/proc"
)

// world is one folder, at the same path here and in each machine, see testdata/work.sh.
type world struct {
	t       *testing.T
	top     string
	kernels map[string]*kernel
	initrd  string
	saved   map[string]bool // "NAME of FROM"
}

// here is the name of the kernel that runs, among those of packages.
const here = "here"

// programs are what is saved and restored everywhere.
var programs = []string{"xz", "bc", "python", "clock", "pair", "gowork"}

// TestKernels saves each of the programs on each kernel, and restores it on each other. One
// goes on from there, and comes back. A kernel that is too old is named.
func TestKernels(t *testing.T) {
	w := newWorld(t)
	bare := "clock.bare"
	w.run(here, save(programs...)+save(bare))
	w.run("6.1", save(programs...)+save(bare))
	w.run("6.12", restore(here, "--cpu used", programs...)+restore("6.1", "", programs...)+
		"again here clock --cpu used\nagain 6.1 clock\n"+
		"refused here "+bare+" 'lacks what the program could have used where it was saved: .*[a-z]'\n"+
		save(programs...))
	w.run("6.1", restore(here, "--cpu used", programs...)+restore("6.12", "", programs...)+
		restore("6.12", "--cpu used", "clock.here", "clock.6.1"))
	w.run("5.10", "old\n")
	last := restore("6.1", "--cpu used", programs...) + restore("6.12", "--cpu used", programs...) +
		restore("6.12", "--cpu used", "clock.here", "clock.6.1")
	if cpu, err := proc.ReadCPU(); err != nil || slices.Contains(cpu.Flags, "avx512f") {
		last += "refused 6.1 " + bare + " 'has registers (.*avx512f) that the one had not'\n"
	}
	w.run(here, last)
}

func save(programs ...string) string { return lines("new %s\n", programs) }

func restore(from, options string, programs ...string) string {
	return lines("restore "+from+" %s "+options+"\n", programs)
}

func lines(format string, programs []string) string {
	var plan strings.Builder
	for _, p := range programs {
		fmt.Fprintf(&plan, format, p)
	}
	return plan.String()
}

// run carries out a plan on a kernel, and keeps what it saved.
func (w *world) run(name, plan string) {
	w.t.Run(name, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		must(t, os.WriteFile(w.path("plan"), []byte(plan), 0o644))
		for _, dir := range []string{"out", "run"} {
			must(t, os.RemoveAll(w.path(dir)))
		}
		var said string
		if name == here {
			said = w.runHere(ctx, t)
		} else {
			said = w.boot(ctx, t, w.kernels[name])
		}
		must(t, os.MkdirAll(w.path("out"), 0o755), os.MkdirAll(w.path("in"), 0o755))
		must(t, os.RemoveAll(w.path("in/"+name+".old")))
		for _, dir := range globs(w.path("out/*")) {
			to := w.path("in/" + name + "/" + filepath.Base(dir))
			must(t, os.MkdirAll(filepath.Dir(to), 0o755), os.RemoveAll(to), os.Rename(dir, to))
		}
		judge(t, plan, said)
		t.Logf("%s took %.1f s", name, time.Since(begin).Seconds())
	})
}

// judge compares what a plan's lines came to with what it says.
func judge(t *testing.T, plan, said string) {
	results := 0
	for line := range strings.Lines(said) {
		_, line, ok := strings.Cut(strings.TrimSpace(line), "vm: ")
		if !ok {
			continue
		}
		if strings.Contains(line, "FAILED") {
			t.Error(line)
		} else {
			t.Log(line)
		}
		if strings.Contains(line, ": ") {
			results++
		}
	}
	n := strings.Count(plan, "\n")
	if plan == "old\n" {
		n = 3
	}
	if results != n {
		t.Errorf("%d of %d things were done; it said:\n%s", results, n, said)
	}
}

func (w *world) path(name string) string { return filepath.Join(w.top, name) }

// runHere carries out the plan in namespaces of its own.
func (w *world) runHere(ctx context.Context, t *testing.T) string {
	cmd := exec.CommandContext(ctx, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", w.path("bin/busybox"), "sh", w.path("work.sh"))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TICKS=8"}, masked...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	return string(out)
}

// masked keeps programs that are started here from using what the emulated CPU, which is a
// Haswell, lacks: by GNU libc, by OpenSSL, and by Go's runtime.
var masked = []string{
	"GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ,-AVX512_VBMI,-AVX512_VBMI2,-RTM,-XSAVEC",
	"OPENSSL_ia32cap=:~0xfffffffffffffcd6", // all of CPUID's leaf 7 but AVX2, BMI1, BMI2, FSGSBASE and ERMS
	"GODEBUG=cpu.avx512f=off,cpu.avx512cd=off,cpu.avx512bw=off,cpu.avx512dq=off,cpu.avx512vl=off,cpu.adx=off,cpu.sha=off,cpu.fsrm=off,cpu.vpclmulqdq=off," + noCgroups,
}

// noCgroups keeps Go's runtime from keeping files of its control group open.
const noCgroups = "containermaxprocs=0,updatemaxprocs=0"

// boot carries out the plan in a machine with that kernel.
func (w *world) boot(ctx context.Context, t *testing.T, k *kernel) string {
	in, out, console := w.path("in.tar"), w.path("out.tar"), w.path("console")
	output(t, "tar", "-cf", in, "-C", w.top, "plan", "in")
	must(t, os.WriteFile(out, nil, 0o644), os.Truncate(out, 512<<20))
	initrd := w.initrd + "-" + k.name
	w.appendModules(t, k, initrd)
	drive := func(name, file string) []string {
		return []string{"-drive", "if=none,format=raw,cache=unsafe,id=" + name + ",file=" + file, "-device", "nvme,serial=" + name + ",drive=" + name}
	}
	args := []string{"-accel", "tcg", "-cpu", "Haswell-noTSX", "-smp", "1", "-m", "2048", "-kernel", k.image, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 top=" + w.top, "-no-reboot", "-display", "none", "-monitor", "none", "-nic", "none", "-serial", "file:" + console}
	args = append(append(args, drive("in", in)...), drive("out", out)...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("qemu: %v: %s", err, b)
	}
	said, err := os.ReadFile(console)
	must(t, err)
	if strings.Contains(string(said), "vm: done") {
		output(t, "tar", "-xf", out, "-C", w.top)
	}
	return string(said)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func globs(pattern string) []string {
	all, _ := filepath.Glob(pattern)
	return all
}

// output runs a command, which must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
