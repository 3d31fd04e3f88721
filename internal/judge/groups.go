package judge

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// planGroups plans how every process gets into its process group. The leader of a
// group begins it. If there is no leader any more, a helper does; and if the leader is
// itself in another group, a helper stays in its group until all are there.
func (p *Plan) planGroups() {
	var leaders, holders []Step
	begun := map[int]bool{0: true}
	for _, t := range p.m.Tasks {
		g := t.Group
		if begun[g] {
			continue
		}
		begun[g] = true
		leader := p.m.ByPID[g]
		switch {
		case leader != nil && leader.Session == g || leader == nil && p.alive[g] != nil:
			// setsid(2) has begun it
		case leader == nil:
			p.Helpers = append(p.Helpers, g)
			p.Groups = append(p.Groups, Step{Kind: StepMake, PID: g, By: t.PID, Exit: unix.SIGCHLD}, Step{Kind: StepGroup, PID: g, Group: g})
		default:
			p.Groups = append(p.Groups, Step{Kind: StepGroup, PID: g, Group: g})
			if leader.Group != g {
				p.inline--
				p.Groups = append(p.Groups, Step{Kind: StepMakeAny, PID: p.inline, By: g, Exit: unix.SIGCHLD})
				holders = append(holders, Step{Kind: StepEnd, PID: p.inline})
			}
		}
	}
	for _, t := range p.m.Tasks {
		if t.Group == 0 || t.Group == t.PID {
			continue
		}
		leaders = append(leaders, Step{Kind: StepGroup, PID: t.PID, Group: t.Group})
	}
	p.Groups = append(append(p.Groups, leaders...), holders...)
}

// wrongGroup is the error for a process that can't be put into its group.
func wrongGroup(t *Task, why string) error {
	return fmt.Errorf("pid %d (%s) can't be put back into process group %d: %s", t.PID, t.Comm, t.Group, why)
}
