//go:build amd64

package puppet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
)

// TestStub: a puppet is this program, has not run, and dies with its tracer.
func TestStub(t *testing.T) {
	for _, sameCPU := range []bool{false, true} {
		pid := 0
		testkit.Another(func() {
			p := testkit.Must(StartStub(sameCPU))(t)
			pid = p.Tracee().PID
			if got := testkit.Must(p.Call(unix.SYS_GETPID))(t); got != uint64(pid) {
				t.Errorf("getpid says %d", got)
			}
			if sameCPU {
				var own, its unix.CPUSet
				if unix.SchedGetaffinity(0, &own) != nil || unix.SchedGetaffinity(pid, &its) != nil || own != its || own.Count() != 1 {
					t.Errorf("CPUs %v and %v", own, its)
				}
			}
		})
		testkit.Soon(t, "the stub to die", func() bool { return testkit.IsZombie(pid) })
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
}

// TestSettle: a puppet's own pages are where they should be, or there is an error.
func TestSettle(t *testing.T) {
	p := settledStub(t)
	own := p.Own()
	if m := testkit.MappingAt(t, p.t.PID, own.Addr); m == nil || m.Prot != unix.PROT_READ|unix.PROT_EXEC || own.Len != Bytes {
		t.Errorf("%+v", m)
	}
	if at := p.Scratch(); at.Addr != own.Addr+abi.PageBytes+vectorBytes || at.Addr+at.Len != own.Addr+own.Len {
		t.Errorf("scratch %+v of %+v", at, own)
	}
	testkit.Says(t, p.Settle(own.Addr), "map a page for system calls: file exists")
	testkit.Says(t, p.Settle(own.Addr-abi.PageBytes), "map scratch memory: file exists")
	testkit.Check(t, tracee.CallOK(p, "unmap", unix.SYS_MUNMAP, own.Addr-abi.PageBytes, abi.PageBytes))
	testkit.Check(t, p.Leave())
	if m := testkit.MappingAt(t, p.t.PID, own.Addr); m != nil {
		t.Errorf("%+v is left", m)
	}
}

// TestClone: children and threads have the ids and share the objects that were asked for.
func TestClone(t *testing.T) {
	p := settledStub(t)
	pid := testkit.FreePID(t)
	child := testkit.Must(p.Clone(pid, 0, unix.SIGUSR1))(t)
	t.Cleanup(func() { _ = child.Tracee().Kill() })
	stat := testkit.Must(proc.ReadStat(pid))(t)
	if stat.PPID != p.t.PID || stat.ExitSignal != int(unix.SIGUSR1) {
		t.Errorf("%+v", stat)
	}
	_, err := p.Clone(pid, 0, unix.SIGCHLD)
	testkit.Says(t, err, fmt.Sprintf("make process %d: file exists", pid))

	tid := testkit.FreePID(t)
	thread := testkit.Must(oneThread(child, tid, unix.CLONE_FS|unix.CLONE_FILES))(t)
	if got := testkit.Must(thread.Call(unix.SYS_GETTID))(t); got != uint64(tid) {
		t.Errorf("gettid says %d", got)
	}
	if tids := testkit.Must(proc.Threads(pid))(t); !slices.Contains(tids, tid) || len(tids) != 2 {
		t.Errorf("threads %v", tids)
	}
	_, err = oneThread(child, tid, 0)
	testkit.Says(t, err, fmt.Sprintf("make thread %d: file exists", tid))
	testkit.Check(t, unix.Kill(pid, unix.SIGKILL))
	testkit.Check(t, thread.t.AwaitEnd())
	testkit.Check(t, child.t.AwaitEnd())
	testkit.Check(t, child.t.Kill()) // nothing, because it has ended
}

// TestGive: descriptors get the lowest free number in a puppet, and puppets that share its
// table know its pidfd.
func TestGive(t *testing.T) {
	p := settledStub(t)
	pid := p.t.PID
	testkit.Check(t, p.CloseAll())
	f := testkit.Must(os.Create(filepath.Join(t.TempDir(), "f")))(t)
	defer f.Close()
	_ = testkit.Must(p.Reserve(20))(t)
	for want := range 3 {
		if n := testkit.Must(p.Give(int(f.Fd())))(t); n != want {
			t.Errorf("number %d, not %d", n, want)
		}
	}
	if link := testkit.Must(proc.FDLink(pid, 2))(t); link != f.Name() {
		t.Errorf("%s", link)
	}
	_, err := p.Give(1 << 20)
	testkit.Says(t, err, "fetch a descriptor: bad file descriptor")
	if fd := testkit.Must(p.Reserve(40))(t); fd != 40 { // moves the one it had above 20
		t.Errorf("its pidfd is %d", fd)
	}
	if fds := testkit.Must(proc.FDs(pid))(t); !slices.Equal(fds, []int{0, 1, 2, 40}) {
		t.Errorf("descriptors %v", fds)
	}
	testkit.Check(t, p.Empty(30))
	if fds := testkit.Must(proc.FDs(pid))(t); !slices.Equal(fds, []int{30}) || p.Reserved() != 30 {
		t.Errorf("descriptors %v, its pidfd is %d", fds, p.Reserved())
	}
	for want := range 3 {
		if n := testkit.Must(p.Give(int(f.Fd())))(t); n != want {
			t.Errorf("number %d, not %d", n, want)
		}
	}
	_ = testkit.Must(p.Reserve(40))(t)
	shares := testkit.Must(p.Clone(testkit.FreePID(t), unix.CLONE_FILES, unix.SIGCHLD))(t)
	t.Cleanup(func() { _ = shares.Tracee().Kill() })
	own := testkit.Must(p.Clone(testkit.FreePID(t), 0, unix.SIGCHLD))(t)
	t.Cleanup(func() { _ = own.Tracee().Kill() })
	testkit.Check(t, p.ClosePidfd())
	testkit.Check(t, p.ClosePidfd()) // nothing is left to forget
	if *shares.pidfd != -1 || *own.pidfd != 40 {
		t.Errorf("who shares the table has %d, who does not %d", *shares.pidfd, *own.pidfd)
	}
	if n := testkit.Must(shares.Give(int(f.Fd())))(t); n < 3 {
		t.Errorf("number %d", n)
	}
	testkit.Check(t, shares.Unshare(unix.CLONE_FILES|unix.CLONE_FS))
	testkit.Check(t, shares.CloseAll())
	if *p.pidfd < 0 {
		t.Error("what one closed that shares no more the other has lost")
	}
	testkit.Says(t, own.Unshare(1<<40), "end what it shares: invalid argument")
	fd, err := tracee.GetFD(own.t.PID, 1)
	testkit.Check(t, err)
	defer unix.Close(fd)
	if link := testkit.Must(os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)))(t); link != f.Name() {
		t.Errorf("%s", link)
	}
	if _, err := tracee.GetFD(1<<30, 0); err == nil {
		t.Error("of nobody")
	}
	thread := testkit.Must(oneThread(own, testkit.FreePID(t), unix.CLONE_FILES))(t)
	fd, err = tracee.GetFD(thread.t.TID, 1)
	testkit.Check(t, err)
	unix.Close(fd)
	testkit.Check(t, unix.Kill(own.t.PID, unix.SIGKILL))
	testkit.Check(t, thread.t.AwaitEnd())
}

// TestHolder: a holder has copies of our descriptors, whatever their order.
func TestHolder(t *testing.T) {
	a, b := testkit.Must(os.Create(filepath.Join(t.TempDir(), "a")))(t), testkit.Must(os.Create(filepath.Join(t.TempDir(), "b")))(t)
	defer a.Close()
	defer b.Close()
	testkit.StartTarget(t, "naps") // and keeps this thread
	fds := []int{int(b.Fd()), int(a.Fd()), int(b.Fd())}
	p, numbers, err := StartHolder(fds)
	testkit.Check(t, err)
	defer p.Tracee().Kill()
	for i, f := range []*os.File{b, a, b} {
		if link := testkit.Must(proc.FDLink(p.t.PID, numbers[i]))(t); link != f.Name() {
			t.Errorf("%d: number %d is %s", fds[i], numbers[i], link)
		}
	}
	if got := testkit.Must(proc.FDs(p.t.PID))(t); len(got) != len(fds) {
		t.Errorf("descriptors %v", got)
	}
}

// TestEnds: a puppet's parent learns how it ended.
func TestEnds(t *testing.T) {
	p := settledStub(t)
	for _, c := range []struct {
		end  func(c *Puppet) error
		want uint64
	}{
		{func(c *Puppet) error { return c.Exit(7) }, 7 << 8},
		{func(c *Puppet) error { return c.Die(unix.SIGTERM) }, uint64(unix.SIGTERM)},
		{func(c *Puppet) error { return c.Die(unix.SIGKILL) }, uint64(unix.SIGKILL)},
		{func(c *Puppet) error { return c.Tracee().Kill() }, uint64(unix.SIGKILL)},
	} {
		pid := testkit.FreePID(t)
		child := testkit.Must(p.Clone(pid, 0, unix.SIGCHLD))(t)
		testkit.Check(t, c.end(child))
		at := p.Scratch().Addr
		if got := testkit.Must(p.Call(unix.SYS_WAIT4, uint64(pid), at, 0, 0))(t); got != uint64(pid) {
			t.Errorf("wait4 says %d", got)
		}
		var b [8]byte
		testkit.Check(t, p.t.ReadMem(at, b[:4]))
		if status := binary.LittleEndian.Uint64(b[:]) &^ 0x80; status != c.want {
			t.Errorf("status %#x, not %#x", status, c.want)
		}
	}
}

// TestEndFirst: the first thread of a process ends with the others there, with a status and a
// mask; nobody traces it then, and when the others have ended its parent can wait for it.
func TestEndFirst(t *testing.T) {
	p := settledStub(t)
	for _, status := range []unix.WaitStatus{0, 7 << 8, 255 << 8} {
		pid := testkit.FreePID(t)
		child := testkit.Must(p.Clone(pid, 0, unix.SIGCHLD))(t)
		other := testkit.Must(oneThread(child, testkit.FreePID(t), 0))(t)
		testkit.Check(t, child.EndFirst(status, 1<<5))
		stat, ended := testkit.Must(proc.ReadStat(pid))(t), testkit.Must(proc.ReadStatus(pid))(t)
		if stat.State != 'Z' || stat.NumThreads != 2 || stat.ExitCode != int(status) || ended.TracerPid != 0 || ended.SigBlk != 1<<5 {
			t.Errorf("%+v\n%+v", stat, ended)
		}
		if got := proc.Living(pid); got != other.t.TID {
			t.Errorf("%d is said to live, not %d", got, other.t.TID)
		}
		if got := testkit.Must(other.Call(unix.SYS_GETPID))(t); got != uint64(pid) {
			t.Errorf("pid %d", got)
		}
		testkit.Check(t, unix.Kill(pid, unix.SIGKILL))
		testkit.Check(t, other.t.AwaitEnd())
		if got := testkit.Must(p.Call(unix.SYS_WAIT4, uint64(pid), 0, 0, 0))(t); got != uint64(pid) {
			t.Errorf("wait4 says %d", got)
		}
	}
}

// TestPrepare: a puppet that is let go runs by itself, with the registers, the mask and the
// extended registers that it was given.
func TestPrepare(t *testing.T) {
	p := settledStub(t)
	rng := testkit.Random(t)
	for _, resumed := range []bool{false, true} {
		child := testkit.Must(p.Clone(testkit.FreePID(t), 0, unix.SIGCHLD))(t)
		pid := child.t.PID
		const loop = 1024
		testkit.Check(t, child.t.Poke(child.code+loop, []byte{0xeb, 0xfe})) // jmp to itself
		regs := testkit.RandomRegs(&child.base, rng)
		regs.Rip = child.code + loop + uint64(len(tracee.SyscallInsn))
		regs.Orig_rax, regs.Rax = unix.SYS_POLL, 1<<64+-516
		if resumed {
			regs.Rip, regs.Orig_rax = child.code+loop, ^uint64(0)
		}
		xstate := testkit.Must(child.t.XState())(t)
		binary.LittleEndian.PutUint64(xstate[512:], 3)
		copy(xstate[160:], "sixteen bytes...")
		testkit.Check(t, child.Prepare(regs, xstate, 1<<4, resumed))
		testkit.Check(t, child.t.LetGo())
		testkit.Check(t, child.t.Detach(0))
		testkit.Check(t, child.t.Detach(0)) // no thread is held any more
		status := testkit.Must(proc.ReadStatus(pid))(t)
		if status.SigBlk != 1<<4 || status.TracerPid != 0 {
			t.Errorf("blocked %x, traced by %d", status.SigBlk, status.TracerPid)
		}
		g := testkit.NewGroup(t)
		tr := testkit.Must(g.Seize(pid, pid))(t)
		got := testkit.Must(tr.Regs())(t)
		if !resumed { // made again by hand, with the call's number
			regs.Rip, regs.Rax = child.code+loop, unix.SYS_POLL
		}
		regs.Orig_rax = ^uint64(0)
		if *got != *regs {
			t.Errorf("%+v, not\n%+v", got, regs)
		}
		if x := testkit.Must(tr.XState())(t); !bytes.Equal(x[160:176], []byte("sixteen bytes...")) {
			t.Errorf("xmm0 %x", x[160:176])
		}
		testkit.Check(t, tr.Kill())
	}
}

// TestPlaceVDSO: the kernel maps its code where it should be.
func TestPlaceVDSO(t *testing.T) {
	p := settledStub(t)
	at := testkit.FreeSpace(t, p.t.PID, 32*abi.PageBytes)
	for _, m := range testkit.Must(proc.ReadMaps(p.t.PID))(t) {
		if strings.HasPrefix(m.Path, "[v") && m.Name() != "[vsyscall]" {
			testkit.Check(t, tracee.CallOK(p, "unmap", unix.SYS_MUNMAP, m.Start, m.Len()))
		}
	}
	place := func() error {
		v := p.Vector()
		p.PlaceVDSO(v, at)
		return v.Run()
	}
	testkit.Check(t, place())
	if m := testkit.MappingAt(t, p.t.PID, at); m == nil || m.Name() != "[vvar]" {
		t.Errorf("%+v", m)
	}
	testkit.Says(t, place(), "map the vdso at")
}

// TestSignals: masks and pending signals can be read and set.
func TestSignals(t *testing.T) {
	p := settledStub(t)
	testkit.Check(t, p.t.SetSignalMask(^uint64(0)))
	for i := range 40 { // more than one call reads
		testkit.Check(t, sigqueue(p.t.PID, unix.SIGUSR1+24, i)) // a real-time signal
	}
	testkit.Check(t, unix.Tgkill(p.t.PID, p.t.TID, unix.SIGUSR2))
	shared, own := testkit.Must(p.t.PendingSignals(true))(t), testkit.Must(p.t.PendingSignals(false))(t)
	if len(shared) != 40 || len(own) != 1 {
		t.Fatalf("%d of the process, %d of the thread", len(shared), len(own))
	}
	for i, info := range shared {
		if got := binary.NativeEndian.Uint32(info[24:]); got != uint32(i) {
			t.Errorf("number %d carries %d", i, got)
		}
	}
	if unix.Signal(own[0][0]) != unix.SIGUSR2 {
		t.Errorf("signal %d", own[0][0])
	}
}

func sigqueue(pid int, sig unix.Signal, value int) error {
	info := make([]byte, abi.SiginfoBytes)
	binary.NativeEndian.PutUint32(info, uint32(sig))
	const queued = -1 // SI_QUEUE
	binary.NativeEndian.PutUint32(info[8:], uint32(1<<32+queued))
	binary.NativeEndian.PutUint32(info[16:], uint32(os.Getpid()))
	binary.NativeEndian.PutUint64(info[24:], uint64(value))
	return rtSigqueueinfo(pid, sig, info)
}

// TestSeccomp: filters are read as they were installed, and calls can be made in spite of
// them.
func TestSeccomp(t *testing.T) {
	p := settledStub(t)
	if f := testkit.Must(p.t.SeccompFilters())(t); len(f) != 0 {
		t.Fatalf("%+v", f)
	}
	program := []byte{
		0x20, 0, 0, 0, 0, 0, 0, 0, // load the number
		0x15, 0, 0, 1, unix.SYS_GETPPID, 0, 0, 0, // getppid
		0x06, 0, 0, 0, 0x05, 0, 0x05, 0, // SECCOMP_RET_ERRNO, 5
		0x06, 0, 0, 0, 0, 0, 0xff, 0x7f, // SECCOMP_RET_ALLOW
	}
	at := p.Scratch().Addr
	fprog := binary.LittleEndian.AppendUint64([]byte{4, 0, 0, 0, 0, 0, 0, 0}, at+16)
	testkit.Check(t, p.t.WriteMem(at, append(fprog, program...)))
	const filterMode, log = 1, 2
	testkit.Check(t, tracee.CallOK(p, "install", unix.SYS_SECCOMP, filterMode, log, at))
	got := testkit.Must(p.t.SeccompFilters())(t)
	if len(got) != 1 || !bytes.Equal(got[0].Program, program) || got[0].Flags != log {
		t.Errorf("%+v", got)
	}
	if _, err := p.Call(unix.SYS_GETPPID); err != unix.EIO {
		t.Error(err)
	}
	testkit.Check(t, p.SuspendSeccomp())
	if pid := testkit.Must(p.Call(unix.SYS_GETPPID))(t); pid != uint64(os.Getpid()) {
		t.Errorf("parent %d", pid)
	}
	testkit.Check(t, unix.PtraceSetOptions(p.t.TID, puppetOptions))
	if _, err := p.Call(unix.SYS_GETPPID); err != unix.EIO {
		t.Error(err)
	}
	testkit.Check(t, p.t.SuspendSeccomp())
	if p.t.UsesSyscallDispatch() {
		t.Error("it does not use that")
	}
}

// oneThread makes a thread in a puppet's process.
func oneThread(p *Puppet, tid int, flags uint64) (*Puppet, error) {
	made, err := p.CloneThreads([]NewThread{{TID: tid, Flags: flags}})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}
