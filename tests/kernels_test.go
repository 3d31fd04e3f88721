package tests

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestOtherKernel restores programs as if they had been saved on a kernel with another vdso,
// saves them again, restores them as if that kernel, too, had been another, and once more
// here. Nothing of the other vdso's code is left to be run.
func TestOtherKernel(t *testing.T) {
	for _, name := range []string{"clock", "clocks", "threads", "fork_tree", "cow_tree", "adopted", "clone_shared", "maps", "mlockall", "many_vmas", "brk_growth"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := "c/" + name + ".c"
			if name == "clock" { // which is nearly always inside
				program = "../vm/testdata/clock.c"
			}
			f := &feature{t: t, args: []string{buildC(t, program)}}
			f.start()
			here := f.vdso()
			mappings := 0
			for range 3 {
				f.save("killed")
				f.otherKernel()
				f.shell("ckpt-read < img | ckpt-apply --detach")
				if now := f.vdso(); now == here {
					t.Error("the kernel's vdso is where the program has its own")
				}
				maps, err := proc.ReadMaps(f.pid)
				if err != nil || mappings > 0 && len(maps) != mappings {
					t.Errorf("it has %d mappings, and had %d: %v", len(maps), mappings, err)
				}
				mappings = len(maps)
				auxv, err := proc.ReadAuxv(f.pid)
				if own, other := tracee.FindVDSO(auxv); err != nil || own != f.vdso() || other.Addr != here {
					t.Errorf("by its auxiliary vector the kernel's vdso is at %#x and its own at %#x, not %#x and %#x: %v", own, other.Addr, f.vdso(), here, err)
				}
			}
			f.save("killed")
			apply := f.restore()
			f.proceed()
			f.judge(apply)
		})
	}
}

// TestInsideVDSO: a thread that returns into the vdso is named in the image, which can be
// restored on a kernel with the same, and on no other.
func TestInsideVDSO(t *testing.T) {
	f := &feature{t: t, args: []string{buildC(t, "c/vdso_handler.c")}}
	f.start()
	f.save("killed")
	f.shell("cp img whole")
	f.otherKernel()
	f.refused(fmt.Sprintf("thread %d was inside that", f.pid))
	f.shell("cp whole img")
	apply := f.restore()
	f.proceed()
	f.judge(apply)
}

// refused checks that the image is not restored, and why.
func (f *feature) refused(want string) {
	f.t.Helper()
	cmd := exec.Command("bash", "-c", "ckpt-read < img | ckpt-apply")
	cmd.Dir = f.dir
	out, err := cmd.CombinedOutput()
	if fmt.Sprint(err) != "exit status 125" || !strings.Contains(string(out), want) {
		f.t.Errorf("not %q but %v: %s", want, err, out)
	}
}

// vdso returns where the kernel's is in the program.
func (f *feature) vdso() uint64 {
	f.t.Helper()
	maps, err := proc.ReadMaps(f.pid)
	i := slices.IndexFunc(maps, func(m proc.Mapping) bool { return m.Name() == "[vdso]" })
	if err != nil || i < 0 {
		f.t.Fatalf("it has no vdso (%v)", err)
	}
	return maps[i].Start
}

// otherKernel makes the image look as if made on a kernel with another vdso, whose functions
// are breakpoints.
func (f *feature) otherKernel() {
	f.t.Helper()
	f.editHeader(func(h *record.Header) {
		text := make([]byte, h.VDSOBytes)
		copy(text, h.VDSOCode)
		functions, err := tracee.VDSOFunctions(text)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, v := range functions {
			copy(text[v.At:], bytes.Repeat([]byte{0xcc}, int(v.Len)))
		}
		sum := sha256.Sum256(text)
		h.VDSO, h.VDSOCode = sum[:], bytes.TrimRight(text, "\x00")
	})
}

// editHeader changes the image's header.
func (f *feature) editHeader(edit func(*record.Header)) {
	f.t.Helper()
	cmd := exec.Command("bash", "-c", "ckpt-read < img")
	cmd.Dir = f.dir
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatal(err)
	}
	in, changed := stream.NewReader(bytes.NewReader(out)), new(bytes.Buffer)
	w := stream.NewWriter(changed)
	for err == nil {
		var rec *stream.Record
		if rec, err = in.Next(); err != nil {
			break
		}
		if rec.Type == record.TypeHeader {
			var h record.Header
			if err = rec.Decode(&h); err == nil {
				edit(&h)
				rec, err = stream.New(record.TypeHeader, &h)
			}
		}
		if err == nil {
			err = w.Write(rec, in.Data())
		}
	}
	if !errors.Is(err, io.EOF) {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "stream"), changed.Bytes(), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.shell("ckpt-write < stream > img")
}

// TestOtherKernelRefused: what can't be restored on a kernel with another vdso is refused by
// name, before anything is made.
func TestOtherKernelRefused(t *testing.T) {
	f := &feature{t: t, args: []string{buildC(t, "c/umask_children.c")}}
	f.start()
	f.save("killed")
	f.otherKernel()
	f.shell("cp img whole")
	digest := func(h *record.Header) {
		text := make([]byte, h.VDSOBytes)
		copy(text, h.VDSOCode)
		sum := sha256.Sum256(text)
		h.VDSO = sum[:]
	}
	for want, edit := range map[string]func(*record.Header){
		"which is not in the image":       func(h *record.Header) { h.VDSOCode = nil },
		"was inside that":                 func(h *record.Header) { h.VDSOInside = h.RootPID },
		"is not the one whose digest":     func(h *record.Header) { h.VDSOCode[len(h.VDSOCode)-1]++ },
		"a vdso of 1073741824 bytes":      func(h *record.Header) { h.VDSOBytes = 1 << 30 },
		"a vdso of 4096 bytes, of which":  func(h *record.Header) { h.VDSOBytes = 4096 },
		"it is not a vdso":                func(h *record.Header) { h.VDSOCode[0] = 'x'; digest(h) },
		"lacks what the program could":    func(h *record.Header) { h.CPUFeatures = append(h.CPUFeatures, "nosuch") },
		"in registers that this CPU lack": func(h *record.Header) { h.XFeatures |= 1 << 60 },
	} {
		f.shell("cp whole img")
		f.editHeader(edit)
		f.refused(want)
	}
	f.shell("cp whole img")
	f.editHeader(func(h *record.Header) { h.CPUFeatures = append(h.CPUFeatures, "nosuch") })
	apply := f.restore("--cpu", "used")
	f.proceed()
	f.judge(apply)
}
