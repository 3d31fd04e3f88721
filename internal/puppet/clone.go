package puppet

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/tracee"
)

// NewThread is a thread to be made.
type NewThread struct {
	TID   int
	Flags uint64 // CLONE_ flags for what it shares besides what all threads share
}

// Clone makes a child process with clone3(2) that has process id pid, shares
// what the CLONE_ flags say, and sends exitSignal when it ends. It is stopped
// before its first instruction.
func (p *Puppet) Clone(pid int, flags uint64, exitSignal unix.Signal) (*Puppet, error) {
	v := p.Vector()
	p.addClone(v, fmt.Sprintf("make process %d", pid), pid, flags, exitSignal)
	if err := v.Run(); err != nil {
		return nil, err
	}
	return p.born(pid, pid, flags)
}

// CloneThreads makes threads in the puppet's process. If one can't be made it
// returns those that were made before it.
func (p *Puppet) CloneThreads(threads []NewThread) (made []*Puppet, err error) {
	const always = unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD
	v, calls := p.Vector(), make([]*VectorCall, len(threads))
	for i, th := range threads {
		calls[i] = p.addClone(v, fmt.Sprintf("make thread %d", th.TID), th.TID, always|th.Flags, 0)
	}
	err = v.Run()
	for i, th := range threads {
		if !calls[i].made || calls[i].result < 0 {
			break
		}
		child, berr := p.born(p.t.PID, th.TID, always|th.Flags)
		if berr != nil {
			return made, berr
		}
		made = append(made, child)
	}
	return made, err
}

// addClone adds the call that makes a task with an id. CLONE_PTRACE makes it our tracee,
// too, without a stop of its maker.
func (p *Puppet) addClone(v *Vector, what string, tid int, flags uint64, exitSignal unix.Signal) *VectorCall {
	at := v.Room(abi.CloneArgsBytes + 8)
	args := make([]byte, 0, abi.CloneArgsBytes+8)
	for _, w := range []uint64{flags | unix.CLONE_PTRACE, 0, 0, 0, uint64(exitSignal), 0, 0, 0, at + abi.CloneArgsBytes, 1, 0, uint64(tid)} {
		args = binary.LittleEndian.AppendUint64(args, w)
	}
	v.Set(at, args)
	return v.Add(what, unix.SYS_CLONE3, at, abi.CloneArgsBytes)
}

// born returns the task that the puppet has just made.
func (p *Puppet) born(pid, tid int, flags uint64) (*Puppet, error) {
	child := &Puppet{base: p.base, code: p.code, insn: p.insn, pidfd: p.pidfd, singly: p.singly}
	if flags&unix.CLONE_FILES == 0 {
		pidfd := *p.pidfd
		child.pidfd = &pidfd
	}
	if flags&unix.CLONE_THREAD == 0 {
		child.singly = new(bool)
	}
	var err error
	child.t, err = tracee.Born(pid, tid, p.t.SameCPU())
	return child, err
}
