//go:build amd64

package tracee_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"
)

// TestVDSOFunctions: this kernel's vdso has the functions that all have.
func TestVDSOFunctions(t *testing.T) {
	functions := testkit.Must(tracee.VDSOFunctions(testkit.Must(tracee.VDSO())(t)))(t)
	for _, name := range []string{"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu", "getcpu"} {
		if !slices.ContainsFunc(functions, func(f tracee.VDSOFunction) bool { return f.Name == name && f.At > 0 && f.Len > 0 }) {
			t.Errorf("there is no %s among %v", name, functions)
		}
	}
}

// TestLeadVDSO: the functions jump to where they are led to, and the rest is as it was.
func TestLeadVDSO(t *testing.T) {
	text := testkit.Must(tracee.VDSO())(t)
	functions := testkit.Must(tracee.VDSOFunctions(text))(t)
	const own = 0x123456789000
	led := testkit.Must(tracee.LeadVDSO(text, own))(t)
	rest := bytes.Clone(led)
	for _, f := range functions {
		code := led[f.At:]
		if !bytes.Equal(code[:6], []byte{0xff, 0x25, 0, 0, 0, 0}) || binary.LittleEndian.Uint64(code[6:]) != own+f.At {
			t.Errorf("%s begins with % x", f.Name, code[:14])
		}
		copy(rest[f.At:], text[f.At:f.At+14])
	}
	if !bytes.Equal(rest, text) {
		t.Error("more was changed than where the functions begin")
	}
	again := testkit.Must(tracee.LeadVDSO(led, own))(t)
	if !bytes.Equal(again, led) {
		t.Error("led again, it is different")
	}
}

// TestVDSOCalls: functions that lead nowhere make their system calls.
func TestVDSOCalls(t *testing.T) {
	text := testkit.Must(tracee.VDSO())(t)
	led := testkit.Must(tracee.LeadVDSOTo(text, nil))(t)
	p := puppetWithCode(t, led)
	at := p.code
	for _, f := range testkit.Must(tracee.VDSOFunctions(text))(t) {
		switch f.Name {
		case "__vdso_clock_gettime":
			if got, now := p.function(at+f.At, unix.CLOCK_MONOTONIC, p.data), p.words(2); got != 0 || now[0] == 0 || now[1] >= 1e9 {
				t.Errorf("clock_gettime: %d, %v", got, now)
			}
			if got := p.function(at+f.At, 1000, p.data); got != -int64(unix.EINVAL) {
				t.Errorf("clock_gettime of no clock: %d", got)
			}
		case "__vdso_time":
			if got := p.function(at+f.At, 0); got < 1e9 {
				t.Errorf("time: %d", got)
			}
		case "__vdso_getrandom":
			if got := p.function(at+f.At, p.data, 16, 0, 0, 144); got != 16 || slices.Equal(p.words(2), []uint64{0, 0}) {
				t.Errorf("getrandom: %d, %v", got, p.words(2))
			}
			if got := p.function(at+f.At, 0, 0, 0, p.data, 1<<64-1); got != -int64(unix.ENOSYS) {
				t.Errorf("the size of getrandom's state: %d", got)
			}
		}
	}
}

// runner is a puppet that calls functions.
type runner struct {
	t          *testing.T
	p          *puppet.Puppet
	code, data uint64
	end        uint64 // a breakpoint
}

func puppetWithCode(t *testing.T, code []byte) *runner {
	t.Helper()
	p := stub.Settled(t)
	r := &runner{t: t, p: p, data: p.Scratch().Addr + 1<<14}
	size := uint64(len(code) + abi.PageBytes)
	r.code = testkit.Must(p.Call(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0))(t)
	r.end = r.code + uint64(len(code))
	testkit.Check(t, p.Tracee().WriteMem(r.code, append(bytes.Clone(code), 0xcc)))
	return r
}

// function calls one, and returns its result.
func (r *runner) function(at uint64, args ...uint64) int64 {
	r.t.Helper()
	regs := testkit.Must(r.p.Tracee().Regs())(r.t)
	sp := r.p.Scratch().Addr + 1<<15
	testkit.Check(r.t, r.p.Tracee().WriteMem(sp, binary.LittleEndian.AppendUint64(nil, r.end)))
	regs.Rip, regs.Rsp, regs.Orig_rax = at, sp, ^uint64(0)
	for i, to := range []*uint64{&regs.Rdi, &regs.Rsi, &regs.Rdx, &regs.Rcx, &regs.R8} {
		if i < len(args) {
			*to = args[i]
		}
	}
	testkit.Check(r.t, r.p.Tracee().Run(regs, func(s tracee.Stop) (unix.Signal, bool, error) { return 0, s.Sig == unix.SIGTRAP, nil }))
	if regs.IP() != r.end+1 || regs.SP() != sp+8 {
		r.t.Fatalf("it came to %#x, not %#x, with its stack at %#x", regs.IP(), r.end+1, regs.SP())
	}
	return int64(regs.Rax)
}

// words reads words that the function has written.
func (r *runner) words(n int) []uint64 {
	r.t.Helper()
	b := make([]byte, 8*n)
	testkit.Check(r.t, r.p.Tracee().ReadMem(r.data, b))
	return abi.Words(b)
}

// TestHostileVDSO: what is no vdso is refused, whatever it claims.
func TestHostileVDSO(t *testing.T) {
	text := testkit.Must(tracee.VDSO())(t)
	for n := range len(text) {
		if n < 1<<12 || n%97 == 0 {
			_, _ = tracee.LeadVDSO(text[:n], 1<<40)
		}
	}
	for at := range 0x500 {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			changed := bytes.Clone(text)
			changed[at] = v
			_, _ = tracee.LeadVDSO(changed, 1<<40)
		}
	}
	for _, bad := range [][]byte{nil, []byte("\x7fELF"), make([]byte, 8192), text[:64], bytes.Repeat([]byte{0xff}, 8192)} {
		if f, err := tracee.VDSOFunctions(bad); err == nil {
			t.Errorf("%d bytes have functions: %v", len(bad), f)
		}
	}
}

// FuzzVDSO: no bytes make it panic or take long, and none is changed but what is a function.
func FuzzVDSO(f *testing.F) {
	text, err := tracee.VDSO()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(text[:0x600])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		led, err := tracee.LeadVDSO(b, 1<<40)
		if err != nil {
			return
		}
		functions, err := tracee.VDSOFunctions(b)
		if err != nil || len(led) != len(b) {
			t.Fatalf("%v, %d bytes of %d", err, len(led), len(b))
		}
		for _, f := range functions {
			copy(led[f.At:f.At+f.Len], b[f.At:])
		}
		if !bytes.Equal(led, b) {
			t.Fatal("more was changed")
		}
	})
}

// TestMovedVDSO: the auxiliary vector says where both are, through all moves.
func TestMovedVDSO(t *testing.T) {
	const ehdr, page, moved = 33, 6, 0x636b7074
	was := abi.Bytes(ehdr, 0x7000, page, 4096, 0, 0)
	if own, other := tracee.FindVDSO(was); own != 0x7000 || other.Len != 0 {
		t.Errorf("at first %#x, %v", own, other)
	}
	now := was
	for _, own := range []uint64{0x9000, 0x5000} {
		now = tracee.MovedVDSO(now, own, 0x2000)
		if got, other := tracee.FindVDSO(now); got != own || other != (tracee.Range{Addr: 0x7000, Len: 0x2000}) || len(now) != len(was)+16 {
			t.Errorf("moved to %#x: %#x, %v, %d bytes", own, got, other, len(now))
		}
	}
	full := make([]uint64, 48)
	for i := range 46 {
		full[i] = page
	}
	for _, auxv := range [][]byte{nil, {1, 2, 3}, abi.Bytes(full...), abi.Bytes(page, 4096)} {
		if got := tracee.MovedVDSO(auxv, 0x9000, 0x2000); !bytes.Equal(got, auxv) {
			t.Errorf("%v became %v", auxv, got)
		}
	}
	if own, other := tracee.FindVDSO([]byte{1, 2, 3}); own != 0 || other.Len != 0 {
		t.Errorf("in three bytes: %#x, %v", own, other)
	}
}
