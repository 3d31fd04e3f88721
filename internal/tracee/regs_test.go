//go:build amd64

package tracee_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"

	"golang.org/x/sys/unix"
)

// TestRegsEncode: encoding and decoding registers are inverse to each other, and bytes of
// another length are refused.
func TestRegsEncode(t *testing.T) {
	rng := testkit.Random(t)
	var r tracee.Regs
	b := r.Encode()
	if len(b) != 27*8 { // struct user_regs_struct
		t.Fatalf("%d bytes", len(b))
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	got := testkit.Must(tracee.DecodeRegs(b))(t)
	if !bytes.Equal(got.Encode(), b) {
		t.Errorf("%x became %x", b, got.Encode())
	}
	if got.IP() != binary.LittleEndian.Uint64(b[16*8:]) || got.SP() != binary.LittleEndian.Uint64(b[19*8:]) {
		t.Errorf("ip %x, sp %x of %x", got.IP(), got.SP(), b)
	}
	for _, n := range []int{0, 1, len(b) - 1, len(b) + 1} {
		if _, err := tracee.DecodeRegs(make([]byte, n)); err == nil {
			t.Errorf("%d bytes are registers", n)
		}
	}
}

// TestRegsSet: registers are read as they were set, and those of a call are the ones that
// syscall(2) names.
func TestRegsSet(t *testing.T) {
	p := stub.Settled(t)
	rng := testkit.Random(t)
	for range 20 {
		want := testkit.RandomRegs(testkit.Must(p.Tracee().Regs())(t), rng)
		want.Rip = p.Own().Addr
		testkit.Check(t, p.Tracee().InterruptFromCall())
		testkit.Check(t, p.Tracee().SetRegs(want))
		if got := testkit.Must(p.Tracee().Regs())(t); *got != *want {
			t.Fatalf("%+v, not %+v", got, want)
		}
	}
	var r tracee.Regs
	r.SetCall(5, 9, []uint64{1, 2, 3, 4, 5, 6})
	want := tracee.Regs{PtraceRegs: unix.PtraceRegs{Rip: 5, Rax: 9, Orig_rax: ^uint64(0), Rdi: 1, Rsi: 2, Rdx: 3, R10: 4, R8: 5, R9: 6}}
	if r != want {
		t.Errorf("%+v", r)
	}
	if r.SetCall(5, 9, []uint64{7}); r.Rdi != 7 || r.Rsi != 0 || r.R9 != 0 {
		t.Errorf("arguments of the last call are left: %+v", r)
	}
	if !testkit.Must(p.Tracee().Regs())(t).Is64() {
		t.Error("not 64-bit code")
	}
}

// TestXState: the extended registers are read as they were set, and tell what is in use.
func TestXState(t *testing.T) {
	p := stub.Settled(t)
	was := testkit.Must(p.Tracee().XState())(t)
	enabled, used := tracee.XFeatures(was)
	if enabled&3 != 3 || used&^enabled != 0 {
		t.Fatalf("enabled %x, in use %x", enabled, used)
	}
	const xmm3 = 160 + 3*16 // of the FXSAVE area
	now := bytes.Clone(was)
	binary.LittleEndian.PutUint64(now[tracee.XStateHeader:], used|3)
	binary.LittleEndian.PutUint64(now[xmm3:], 0x1122334455667788)
	testkit.Check(t, p.Tracee().SetXState(now))
	got := testkit.Must(p.Tracee().XState())(t)
	if !bytes.Equal(got[xmm3:xmm3+8], now[xmm3:xmm3+8]) {
		t.Errorf("xmm3 is %x", got[xmm3:xmm3+8])
	}
	if _, used := tracee.XFeatures(got); used&2 == 0 {
		t.Errorf("SSE is not in use: %x", used)
	}
	for _, n := range []int{0, 511, tracee.XStateHeader + 7} {
		if enabled, used := tracee.XFeatures(make([]byte, n)); enabled|used != 0 {
			t.Errorf("%d bytes have %x, %x", n, enabled, used)
		}
	}
	testkit.Says(t, p.Tracee().SetXState(nil), "set extended registers")
	binary.LittleEndian.PutUint64(now[tracee.XStateHeader:], 1<<62)
	testkit.Says(t, p.Tracee().SetXState(now), "set extended registers")
}

// TestAbortRseq: a thread inside a restartable sequence goes on at the abort handler, and one
// outside goes on where it was.
func TestAbortRseq(t *testing.T) {
	p := stub.Settled(t)
	const signature = 0x53053053
	area, cs := p.Scratch().Addr+4096, p.Scratch().Addr+8192
	regs := *testkit.Must(p.Tracee().Regs())(t)
	regs.SetIP(p.Own().Addr + 100)
	testkit.Check(t, p.Tracee().AbortRseq(&regs)) // none is registered
	testkit.Check(t, tracee.CallOK(p, "register", unix.SYS_RSEQ, area, 32, 0, signature))
	var b [32]byte
	binary.LittleEndian.PutUint64(b[8:], p.Own().Addr+64)  // start
	binary.LittleEndian.PutUint64(b[16:], 64)              // length
	binary.LittleEndian.PutUint64(b[24:], p.Own().Addr+32) // abort handler
	testkit.Check(t, p.Tracee().WriteMem(cs, b[:]))
	testkit.Check(t, p.Tracee().WriteMem(area+8, binary.LittleEndian.AppendUint64(nil, cs)))
	regs.SetIP(p.Own().Addr + 100)
	if testkit.Check(t, p.Tracee().AbortRseq(&regs)); regs.IP() != p.Own().Addr+100 {
		t.Error("it goes on at a handler without the signature, which the kernel would not go to")
	}
	testkit.Check(t, p.Tracee().Poke(p.Own().Addr+32-4, binary.LittleEndian.AppendUint32(nil, signature)))
	for _, c := range []struct {
		cs, ip, want uint64
	}{
		{0, p.Own().Addr + 100, p.Own().Addr + 100},
		{cs, p.Own().Addr + 64, p.Own().Addr + 32},
		{cs, p.Own().Addr + 127, p.Own().Addr + 32},
		{cs, p.Own().Addr + 128, p.Own().Addr + 128},
		{cs, p.Own().Addr + 63, p.Own().Addr + 63},
		{1 << 46, p.Own().Addr + 100, p.Own().Addr + 100}, // nothing is mapped there
	} {
		testkit.Check(t, p.Tracee().WriteMem(area+8, binary.LittleEndian.AppendUint64(nil, c.cs)))
		regs.SetIP(c.ip)
		testkit.Check(t, p.Tracee().AbortRseq(&regs))
		if regs.IP() != c.want {
			t.Errorf("descriptor %x, ip %x: %x, not %x", c.cs, c.ip, regs.IP(), c.want)
		}
	}
	testkit.Check(t, p.Tracee().WriteMem(area+8, make([]byte, 8)))
}

// TestLDT: segment descriptors are read as they were set, including gaps.
func TestLDT(t *testing.T) {
	p := stub.Settled(t)
	if b := testkit.Must(tracee.ReadLDT(p))(t); len(b) != 0 {
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
	testkit.Check(t, tracee.WriteLDT(p, want))
	if got := testkit.Must(tracee.ReadLDT(p))(t); !bytes.Equal(got, want) {
		t.Errorf("%x, not %x", got, want)
	}
}
