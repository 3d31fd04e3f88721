//go:build amd64

package tracee

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRegsEncode: registers and their bytes are each other's inverse, and bytes
// of another length are none.
func TestRegsEncode(t *testing.T) {
	rng := random(t)
	var r Regs
	b := r.Encode()
	if len(b) != 27*8 { // struct user_regs_struct
		t.Fatalf("%d bytes", len(b))
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	got := must(DecodeRegs(b))(t)
	if !bytes.Equal(got.Encode(), b) {
		t.Errorf("%x became %x", b, got.Encode())
	}
	if got.IP() != binary.LittleEndian.Uint64(b[16*8:]) || got.SP() != binary.LittleEndian.Uint64(b[19*8:]) {
		t.Errorf("ip %x, sp %x of %x", got.IP(), got.SP(), b)
	}
	for _, n := range []int{0, 1, len(b) - 1, len(b) + 1} {
		if _, err := DecodeRegs(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are registers", n)
		}
	}
}

// TestRegsSet: what is set is what is read, and a call's registers are those that
// syscall(2) names.
func TestRegsSet(t *testing.T) {
	p := settledStub(t)
	rng := random(t)
	for range 20 {
		want := randomRegs(p, rng)
		want.Rip = p.code
		check(t, p.t.interruptFromCall())
		check(t, p.t.SetRegs(want))
		if got := must(p.t.Regs())(t); *got != *want {
			t.Fatalf("%+v, not %+v", got, want)
		}
	}
	var r Regs
	r.setCall(5, 9, []uint64{1, 2, 3, 4, 5, 6})
	want := Regs{unix.PtraceRegs{Rip: 5, Rax: 9, Orig_rax: ^uint64(0), Rdi: 1, Rsi: 2, Rdx: 3, R10: 4, R8: 5, R9: 6}}
	if r != want {
		t.Errorf("%+v", r)
	}
	if r.setCall(5, 9, []uint64{7}); r.Rdi != 7 || r.Rsi != 0 || r.R9 != 0 {
		t.Errorf("arguments of the last call are left: %+v", r)
	}
	if !must(p.t.Regs())(t).Is64() {
		t.Error("not 64-bit code")
	}
}

// TestXState: the extended registers are what was set, and tell what is in use.
func TestXState(t *testing.T) {
	p := settledStub(t)
	was := must(p.t.XState())(t)
	enabled, used := XFeatures(was)
	if enabled&3 != 3 || used&^enabled != 0 {
		t.Fatalf("enabled %x, in use %x", enabled, used)
	}
	const xmm3 = 160 + 3*16 // of the FXSAVE area
	now := bytes.Clone(was)
	binary.LittleEndian.PutUint64(now[xstateHeader:], used|3)
	binary.LittleEndian.PutUint64(now[xmm3:], 0x1122334455667788)
	check(t, p.t.SetXState(now))
	got := must(p.t.XState())(t)
	if !bytes.Equal(got[xmm3:xmm3+8], now[xmm3:xmm3+8]) {
		t.Errorf("xmm3 is %x", got[xmm3:xmm3+8])
	}
	if _, used := XFeatures(got); used&2 == 0 {
		t.Errorf("SSE is not in use: %x", used)
	}
	for _, n := range []int{0, 511, xstateHeader + 7} {
		if enabled, used := XFeatures(make([]byte, n)); enabled|used != 0 {
			t.Errorf("%d bytes have %x, %x", n, enabled, used)
		}
	}
	says(t, p.t.SetXState(nil), "set extended registers")
	binary.LittleEndian.PutUint64(now[xstateHeader:], 1<<62)
	says(t, p.t.SetXState(now), "set extended registers")
}

// TestAbortRseq: a thread inside a restartable sequence goes on at its abort
// handler, and one that is not where it was.
func TestAbortRseq(t *testing.T) {
	p := settledStub(t)
	const signature = 0x53053053
	area, cs := p.Scratch().Addr+4096, p.Scratch().Addr+8192
	regs := p.base
	regs.SetIP(p.code + 100)
	check(t, p.t.AbortRseq(&regs)) // none is registered
	check(t, CallOK(p, "register", unix.SYS_RSEQ, area, 32, 0, signature))
	var b [32]byte
	binary.LittleEndian.PutUint64(b[8:], p.code+64)  // start
	binary.LittleEndian.PutUint64(b[16:], 64)        // length
	binary.LittleEndian.PutUint64(b[24:], p.code+32) // abort handler
	check(t, p.t.WriteMem(cs, b[:]))
	check(t, p.t.WriteMem(area+8, binary.LittleEndian.AppendUint64(nil, cs)))
	regs.SetIP(p.code + 100)
	if check(t, p.t.AbortRseq(&regs)); regs.IP() != p.code+100 {
		t.Error("it goes on at a handler without the signature, which the kernel would not go to")
	}
	check(t, p.t.poke(p.code+32-4, binary.LittleEndian.AppendUint32(nil, signature)))
	for _, c := range []struct {
		cs, ip, want uint64
	}{
		{0, p.code + 100, p.code + 100},
		{cs, p.code + 64, p.code + 32},
		{cs, p.code + 127, p.code + 32},
		{cs, p.code + 128, p.code + 128},
		{cs, p.code + 63, p.code + 63},
		{1 << 46, p.code + 100, p.code + 100}, // of nothing that is mapped
	} {
		check(t, p.t.WriteMem(area+8, binary.LittleEndian.AppendUint64(nil, c.cs)))
		regs.SetIP(c.ip)
		check(t, p.t.AbortRseq(&regs))
		if regs.IP() != c.want {
			t.Errorf("descriptor %x, ip %x: %x, not %x", c.cs, c.ip, regs.IP(), c.want)
		}
	}
	check(t, p.t.WriteMem(area+8, make([]byte, 8)))
}

// TestLDT: segment descriptors come back as they were set, gaps and all.
func TestLDT(t *testing.T) {
	p := settledStub(t)
	if b := must(ReadLDT(p))(t); len(b) != 0 {
		t.Fatalf("%x", b)
	}
	const (
		data = 0x00cff3000000ffff // 32-bit, writable, 4 GiB
		code = 0x12c0fb345678abcd // 32-bit, readable code, with a base
	)
	var want []byte
	for _, d := range []uint64{data, 0, 0, code} {
		want = binary.LittleEndian.AppendUint64(want, d)
	}
	check(t, WriteLDT(p, want))
	if got := must(ReadLDT(p))(t); !bytes.Equal(got, want) {
		t.Errorf("%x, not %x", got, want)
	}
}
