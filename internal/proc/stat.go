package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// FlagKernelThread is PF_KTHREAD of linux/sched.h, a bit of Stat.Flags.
const FlagKernelThread = 0x00200000

// flagIOWorker is PF_IO_WORKER, of a thread with which the kernel works for a process.
const flagIOWorker = 0x10

// IsIOWorker reports whether the kernel works for a process with this thread, which never
// runs the process's code: one of an io_uring.
func IsIOWorker(s Stat) bool { return s.Flags&flagIOWorker != 0 }

// Stat is /proc/PID/stat (proc_pid_stat(5), fs/proc/array.c do_task_stat).
//
// Addresses and ExitCode are right only for a reader that may ptrace the process; to others the kernel shows 0, and 1 for StartCode and EndCode.
type Stat struct {
	PID     int
	Comm    string // as set, may hold any byte but NUL
	State   byte   // R S D T (stopped) t (traced) Z (zombie) X (dead) I (idle) P (parked)
	PPID    int    // 0: parent outside the pid namespace, or none
	PGRP    int
	Session int
	TTYNr   uint32 // controlling terminal, in the 32 bit encoding of new_encode_dev; 0 none
	TPGID   int    // foreground process group of the terminal; -1 none
	Flags   uint32 // PF_* of linux/sched.h

	// CPU times in clock ticks (USER_HZ, 100 a second). Of a process they
	// are the sum over its threads, of a thread its own.
	UTime, STime   uint64
	CUTime, CSTime int64 // of children waited for

	Priority   int
	Nice       int
	NumThreads int
	StartTime  uint64 // clock ticks since boot, in the reader's time namespace

	StartCode, EndCode, StartStack uint64
	ExitSignal                     int // signal to the parent; -1 for a thread
	CPU                            int // on which it last ran
	RTPriority                     uint32
	Policy                         uint32 // SCHED_*
	StartData, EndData, StartBrk   uint64
	ArgStart, ArgEnd               uint64
	EnvStart, EnvEnd               uint64
	ExitCode                       int // status as waitpid(2) gives it
}

// IsKernelThread reports whether the task is a thread of the kernel.
func IsKernelThread(s Stat) bool { return s.Flags&FlagKernelThread != 0 }

// TakeMemory takes over what the stat of another thread tells of the memory that both have.
func (s *Stat) TakeMemory(of *Stat) {
	s.StartCode, s.EndCode, s.StartStack = of.StartCode, of.EndCode, of.StartStack
	s.StartData, s.EndData, s.StartBrk = of.StartData, of.EndData, of.StartBrk
	s.ArgStart, s.ArgEnd, s.EnvStart, s.EnvEnd = of.ArgStart, of.ArgEnd, of.EnvStart, of.EnvEnd
}

// ReadStat reads the stat of a process.
func ReadStat(pid int) (Stat, error) { return here.ReadStat(pid) }

// ReadStat is the function of that name.
func (v View) ReadStat(pid int) (Stat, error) {
	return readParsed(pid, v.Path(pid, "stat"), ParseStat)
}

// ReadThreadStat reads the stat of one thread of a process.
func ReadThreadStat(pid, tid int) (Stat, error) { return here.ReadThreadStat(pid, tid) }

// ReadThreadStat is the function of that name.
func (v View) ReadThreadStat(pid, tid int) (Stat, error) {
	return readParsed(pid, v.threadPath(pid, tid, "stat"), ParseStat)
}

// ParseStat parses the text of a stat file. The name ends at the last ')',
// since only numbers and the state follow it.
func ParseStat(b []byte) (Stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return Stat{}, malformed("stat", b)
	}
	// Field n of proc(5), counted from 1, is f[n-3].
	f := strings.Fields(string(b[end+1:]))
	const lastField = 52
	if len(f) < lastField-2 || len(f[0]) != 1 {
		return Stat{}, malformed("stat", b[end:])
	}
	p := fields{of: f, first: 3}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil {
		return Stat{}, malformed("stat pid", b[:open])
	}
	s := Stat{
		PID: pid, Comm: string(b[open+1 : end]), State: f[0][0],
		PPID: p.int(4), PGRP: p.int(5), Session: p.int(6), TTYNr: p.dev(7), TPGID: p.int(8),
		Flags: uint32(p.uint(9, 32)),
		UTime: p.uint(14, 64), STime: p.uint(15, 64), CUTime: int64(p.int(16)), CSTime: int64(p.int(17)),
		Priority: p.int(18), Nice: p.int(19), NumThreads: p.int(20), StartTime: p.uint(22, 64),
		StartCode: p.uint(26, 64), EndCode: p.uint(27, 64), StartStack: p.uint(28, 64),
		ExitSignal: p.int(38), CPU: p.int(39), RTPriority: uint32(p.uint(40, 32)), Policy: uint32(p.uint(41, 32)),
		StartData: p.uint(45, 64), EndData: p.uint(46, 64), StartBrk: p.uint(47, 64),
		ArgStart: p.uint(48, 64), ArgEnd: p.uint(49, 64),
		EnvStart: p.uint(50, 64), EnvEnd: p.uint(51, 64), ExitCode: p.int(52),
	}
	if p.err != nil {
		return Stat{}, p.err
	}
	return s, nil
}

// fields parses numbered fields as numbers; the first error sticks.
type fields struct {
	of    []string
	first int // the number of of[0]
	err   error
}

func (p *fields) fail(n int) {
	if p.err == nil {
		p.err = fmt.Errorf("field %d: %w", n, malformed("number", []byte(p.of[n-p.first])))
	}
}

func (p *fields) int(n int) int {
	v, err := strconv.Atoi(p.of[n-p.first])
	if err != nil {
		p.fail(n)
	}
	return v
}

func (p *fields) uint(n, bits int) uint64 {
	v, err := strconv.ParseUint(p.of[n-p.first], 10, bits)
	if err != nil {
		p.fail(n)
	}
	return v
}

// dev reads a 32 bit device number, printed as a signed int.
func (p *fields) dev(n int) uint32 {
	v, err := strconv.ParseInt(p.of[n-p.first], 10, 64)
	if err != nil || v < -1<<31 || v >= 1<<32 {
		p.fail(n)
	}
	return uint32(v)
}
