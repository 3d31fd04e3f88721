package apply

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/judge"
	"ckpt/internal/memory"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

// settle moves the stub to pages of its own and gives it signals that don't disturb it,
// both of which all puppets then inherit.
func (b *builder) settle() error {
	room, err := b.findRoom()
	if err != nil {
		return err
	}
	if err := b.stub.Settle(room.Addr); err != nil {
		return err
	}
	return b.neutralSignals()
}

// makeRoot makes the root task: a child of ours, with its own process id.
func (b *builder) makeRoot() error {
	if err := b.enterTime(); err != nil {
		return err
	}
	if err := b.enterMounts(); err != nil {
		return err
	}
	b.newKeyring()
	root := b.model.Tasks[0]
	if b.model.IsInit() {
		return b.makeInit(root)
	}
	b.puppets[0] = b.stub
	for _, s := range b.plan.Root {
		if err := b.doStep(s); err != nil {
			return err
		}
	}
	delete(b.puppets, 0)
	err := b.stub.Tracee().Kill()
	b.stub = nil
	return errors.Join(err, b.puppets[root.PID].CloseAll(), b.newSpace(root, nil))
}

// makeInit makes the root task of what is the init of its pid namespace: there, nobody
// makes it anew. From now on it dies with us, not with who started it.
func (b *builder) makeInit(root *judge.Task) error {
	b.puppets[root.PID], b.stub = b.stub, nil
	p := b.puppets[root.PID]
	if err := tracee.CallOK(p, "outlive ckpt-apply", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return err
	}
	return errors.Join(b.fillNamespaces(), b.enterCgroups(p), p.CloseAll(), b.newSpace(root, nil))
}

// newKeyring gives the stub, and so all puppets, a new session keyring: the keys in
// ckpt-apply's are for its user only.
func (b *builder) newKeyring() {
	_, err := b.stub.Call(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	if err != nil && err != unix.ENOSYS {
		b.note("the program can use the keys of ckpt-apply's session, because it can't get a keyring of its own: %v", err)
	}
}

// findRoom finds room for the puppets' own pages, at the same address in all of them.
func (b *builder) findRoom() (tracee.Range, error) {
	maps, err := proc.ReadMaps(b.stub.Tracee().PID)
	if err != nil {
		return tracee.Range{}, err
	}
	var occupied []tracee.Range
	for _, s := range b.model.Spaces {
		occupied = append(occupied, memory.Needed(s.VMAs, b.model.Defined)...)
	}
	for _, m := range maps {
		occupied = append(occupied, tracee.Range{Addr: m.Start, Len: m.Len()})
	}
	room, ok := tracee.Hole(occupied, puppet.Bytes)
	if !ok {
		return room, errors.New("the address spaces are too full to be restored: no range of addresses is free in all of them")
	}
	return room, nil
}

// neutralSignals blocks all signals in the stub, and so in all puppets, and resets the
// actions that it inherited from ckpt-apply. Only SIGCHLD is ignored, so that helpers
// that end leave no zombies.
func (b *builder) neutralSignals() error {
	if err := b.stub.Tracee().SetSignalMask(^uint64(0)); err != nil {
		return err
	}
	status, err := proc.ReadStatus(b.stub.Tracee().PID)
	if err != nil {
		return err
	}
	for sig := range 64 {
		if status.SigIgn&(1<<sig) != 0 {
			if err := setHandler(b.stub, unix.Signal(sig+1), sigDfl); err != nil {
				return err
			}
		}
	}
	return setHandler(b.stub, unix.SIGCHLD, sigIgn)
}

const sigDfl, sigIgn = 0, 1

// setHandler sets a signal's action in a puppet, to a struct kernel_sigaction with
// nothing but the handler.
func setHandler(p *puppet.Puppet, sig unix.Signal, handler byte) error {
	at := p.Scratch().Addr
	action := make([]byte, 32)
	action[0] = handler
	if err := p.Tracee().WriteMem(at, action); err != nil {
		return err
	}
	return tracee.CallOK(p, "set a signal's action", unix.SYS_RT_SIGACTION, uint64(sig), at, 0, 8)
}

// doStep carries out one step of the plan.
func (b *builder) doStep(s judge.Step) error {
	p := b.puppets[s.PID]
	switch s.Kind {
	case judge.StepMake:
		return b.makeProcess(s)
	case judge.StepMakeAny:
		return b.makeHelper(s)
	case judge.StepSetsid:
		if err := tracee.CallOK(p, "begin a session", unix.SYS_SETSID); err != nil {
			return err
		}
		return b.files.Controls(p, s.PID)
	case judge.StepSubreaper:
		return tracee.CallOK(p, "become a child subreaper", unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	case judge.StepUnshare:
		return p.Unshare(s.Flags)
	case judge.StepGroup:
		return tracee.CallOK(p, fmt.Sprintf("join process group %d", s.Group), unix.SYS_SETPGID, 0, uint64(s.Group))
	default: // judge.StepEnd
		delete(b.puppets, s.PID)
		return p.Tracee().Kill()
	}
}

// groups puts every process into its process group.
func (b *builder) groups() error {
	for _, s := range b.plan.Groups {
		if err := b.doStep(s); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) makeProcess(s judge.Step) error {
	maker := b.puppets[s.By]
	if s.Flags&unix.CLONE_IO != 0 {
		if err := haveIOContext(maker); err != nil {
			return err
		}
	}
	child, err := maker.Clone(s.PID, s.Flags, s.Exit)
	if errors.Is(err, unix.EEXIST) {
		return &judge.Refused{Reasons: append(judge.PIDTaken(s.PID), fmt.Errorf("process id %d was taken in the meantime", s.PID))[:1]}
	}
	if err != nil {
		return err
	}
	b.puppets[s.PID] = child
	if b.model.ByPID[s.PID] == nil {
		b.helpers = append(b.helpers, s.PID)
	}
	return nil
}

// haveIOContext gives a task an I/O context, so that there is one to share, see
// set_task_ioprio in block/ioprio.c.
func haveIOContext(p *puppet.Puppet) error {
	const whoProcess, none = 1, 0
	return tracee.CallOK(p, "have an I/O context", unix.SYS_IOPRIO_SET, whoProcess, 0, none)
}

// makeHelper makes a helper with an id that no task of the image needs.
func (b *builder) makeHelper(s judge.Step) error {
	for pid := 1 << 14; pid < 1<<22; pid++ {
		if b.needed(pid) {
			continue
		}
		child, err := b.puppets[s.By].Clone(pid, s.Flags, s.Exit)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return err
		}
		b.puppets[s.PID] = child
		return nil
	}
	return errors.New("there is no free process id for a helper")
}

// needed reports whether the tree will need a process id.
func (b *builder) needed(pid int) bool {
	if b.ids == nil {
		b.ids = map[int]bool{}
		for _, t := range b.model.Tasks {
			b.ids[t.PID], b.ids[t.Session], b.ids[t.Group] = true, true, true
		}
		for tid := range b.model.ByTID {
			b.ids[tid] = true
		}
		for _, pid := range b.plan.Helpers {
			b.ids[pid] = true
		}
		for _, rec := range b.model.Objects {
			for _, pid := range b.objects.Names(rec) {
				b.ids[pid] = true
			}
		}
	}
	return b.ids[pid]
}

// newSpace builds the address space of a new process. At first a child's is a copy of
// its parent's; but a child that another process made has nothing of its parent's.
func (b *builder) newSpace(t, parent *judge.Task) error {
	ref := t.Refs().MM
	m := b.model.Spaces[ref]
	r := &memory.Restorer{PID: t.PID, Puppet: b.puppets[t.PID], Open: b.files.Open, Note: b.note, Foreign: b.model.ForeignVDSO, Other: m.OtherVDSO()}
	b.spaces[ref] = r
	if parent != nil && !b.plan.Deferred[t] {
		return r.MapForked(b.spaces[parent.Refs().MM], m.VMAs)
	}
	if err := r.Map(m.VMAs); err != nil || parent == nil {
		return err
	}
	r.CopyFrom(b.spaces[parent.Refs().MM])
	return nil
}

// birthsBefore makes the children of the first n tasks, and so task number n and all
// before it.
func (b *builder) birthsBefore(n int) error {
	for ; b.born < n; b.born++ {
		t := b.model.Tasks[b.born]
		if r := b.spaces[t.Refs().MM]; r != nil {
			if err := r.Filled(len(b.plan.Births[b.born]) > 0); err != nil {
				return err
			}
		}
		for _, s := range b.plan.Births[b.born] {
			if err := b.doStep(s); err != nil {
				return err
			}
		}
		// Only now, because one of them may have made another.
		for _, s := range b.plan.Births[b.born] {
			c := b.model.ByPID[s.PID]
			if s.Kind != judge.StepMake || c == nil || c.Zombie || b.spaces[c.Refs().MM] != nil {
				continue
			}
			if err := b.newSpace(c, c.Parent); err != nil {
				return err
			}
		}
	}
	return nil
}

// endHelpers ends the helpers. No other process notices.
func (b *builder) endHelpers() error {
	var errs []error
	for _, pid := range b.helpers {
		errs = append(errs, b.puppets[pid].Tracee().Kill())
		delete(b.puppets, pid)
	}
	b.helpers = nil
	return errors.Join(errs...)
}

// makeThreads makes the threads of all processes, those with the same maker together.
func (b *builder) makeThreads() error {
	for _, t := range b.model.Tasks {
		for steps := b.plan.Threads[t.PID]; len(steps) > 0; {
			n := 1
			for n < len(steps) && steps[n].By == steps[0].By {
				n++
			}
			if err := b.makeThreadsOf(b.puppets[steps[0].By], steps[:n]); err != nil {
				return err
			}
			steps = steps[n:]
		}
	}
	return nil
}

// makeThreadsOf makes the threads with one maker.
func (b *builder) makeThreadsOf(maker *puppet.Puppet, steps []judge.ThreadStep) error {
	threads := make([]puppet.NewThread, len(steps))
	io := false
	for i, s := range steps {
		threads[i] = puppet.NewThread{TID: s.TID, Flags: s.Flags}
		io = io || s.Flags&unix.CLONE_IO != 0
	}
	if io {
		if err := haveIOContext(maker); err != nil {
			return err
		}
	}
	made, err := maker.CloneThreads(threads)
	for _, p := range made {
		b.puppets[p.Tracee().TID] = p
	}
	if errors.Is(err, unix.EEXIST) {
		tid := steps[len(made)].TID
		return &judge.Refused{Reasons: append(judge.PIDTaken(tid), fmt.Errorf("thread id %d was taken in the meantime", tid))[:1]}
	}
	return err
}

// endZombies ends the processes that were zombies, each with its status. Their parents
// can wait for them after the restore.
func (b *builder) endZombies() error {
	for _, t := range b.model.Tasks {
		if !t.Zombie {
			continue
		}
		parent := b.puppets[t.Parent.PID]
		if err := setHandler(parent, unix.SIGCHLD, sigDfl); err != nil {
			return err
		}
		if err := b.endZombie(t); err != nil {
			return err
		}
		for _, sig := range []unix.Signal{unix.SIGCHLD, unix.Signal(t.ExitSignal)} {
			if err := dropSignal(parent, sig); err != nil {
				return err
			}
		}
		delete(b.puppets, t.PID)
	}
	return nil
}

func (b *builder) endZombie(t *judge.Task) error {
	p := b.puppets[t.PID]
	at := p.Scratch().Addr
	if err := p.Tracee().WriteMem(at, append([]byte(t.Comm), 0)); err != nil {
		return err
	}
	if err := tracee.CallOK(p, "set its name", unix.SYS_PRCTL, unix.PR_SET_NAME, at, 0, 0, 0); err != nil {
		return err
	}
	ws := unix.WaitStatus(t.Status)
	if ws.CoreDump() {
		b.note("pid %d (%s) had ended with a core dump; its status no longer says so", t.PID, t.Comm)
	}
	return p.EndAs(ws)
}

// dropSignal takes all instances of a signal from a puppet's queues; 0 is none.
func dropSignal(p *puppet.Puppet, sig unix.Signal) error {
	if sig == 0 {
		return nil
	}
	at := p.Scratch().Addr
	set := make([]byte, 8+16) // a sigset and a zero timespec
	set[(sig-1)/8] = 1 << ((sig - 1) % 8)
	if err := p.Tracee().WriteMem(at, set); err != nil {
		return err
	}
	for {
		_, err := p.Call(unix.SYS_RT_SIGTIMEDWAIT, at, 0, at+8, 8)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return fmt.Errorf("pid %d: drop a signal: %w", p.Tracee().PID, err)
		}
	}
}

// noteSpaces notes the first process of each address space.
func (b *builder) noteSpaces() {
	for i, t := range b.model.Tasks {
		if ref := t.Refs().MM; ref != 0 {
			if _, ok := b.spaceTasks[ref]; !ok {
				b.spaceTasks[ref] = i
			}
		}
	}
}

// spaceOf returns the address space that a record is part of. It makes the process that
// has it first.
func (b *builder) spaceOf(rec *stream.Record) (*memory.Restorer, error) {
	refs, err := rec.Refs()
	if err != nil {
		return nil, err
	}
	of := refs["of"]
	n, ok := b.spaceTasks[of]
	if !ok {
		return nil, fmt.Errorf("%w: it is part of object %d, which is not the address space of a process", stream.ErrCorrupt, of)
	}
	if n < b.born {
		return nil, fmt.Errorf("%w: the pages of a process come after those of its children", stream.ErrCorrupt)
	}
	if err := b.birthsBefore(n); err != nil {
		return nil, err
	}
	return b.spaces[of], nil
}
