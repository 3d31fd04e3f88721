package collect

import (
	"errors"
	"strings"

	"ckpt/internal/parallel"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
)

// readFacts reads what /proc tells about each thread without reading its memory.
func (d *description) readFacts() error {
	var firsts, others []*tracee.Tracee
	for _, p := range d.tree.procs {
		if len(p.threads) > 0 {
			firsts, others = append(firsts, p.threads[0]), append(others, p.threads[1:]...)
		}
	}
	d.facts = make(map[int]*task.Facts, len(firsts)+len(others))
	if err := d.factsOf(firsts); err != nil {
		return err
	}
	for _, p := range d.tree.procs {
		if !p.headless() {
			continue
		}
		var err error
		if d.facts[p.pid], err = task.EndedFacts(p.pid, d.facts[p.at()]); err != nil {
			return err
		}
	}
	if err := d.factsOf(others); err != nil {
		return err
	}
	for _, p := range d.tree.procs {
		if err := d.setWorkersApart(p); err != nil {
			return err
		}
	}
	return nil
}

// factsOf reads the facts about threads, first threads before others.
func (d *description) factsOf(threads []*tracee.Tracee) error {
	facts := make([]*task.Facts, len(threads))
	err := parallel.Each(len(threads), func(i int) (err error) {
		t := threads[i]
		facts[i], err = task.ReadFacts(t.PID, t.TID, d.facts[t.PID])
		return err
	})
	for i, t := range threads {
		d.facts[t.TID] = facts[i]
	}
	return err
}

// setWorkersApart finds the threads with which the kernel works for a process. They stand
// still like the others, but can't make a call, and are made anew when there is work.
func (d *description) setWorkersApart(p *process) error {
	mine := p.threads[:0]
	for _, t := range p.threads {
		if strings.HasPrefix(d.facts[t.TID].Comm, "iou-") {
			stat, err := proc.ReadThreadStat(p.pid, t.TID)
			if err != nil {
				return err
			}
			if proc.IsIOWorker(stat) {
				p.workers = append(p.workers, t)
				continue
			}
		}
		mine = append(mine, t)
	}
	p.threads = mine
	if len(mine) == 0 && len(p.workers) > 0 {
		return refused(p.pid, errors.New("is about to end: nothing of its program runs any more"))
	}
	return nil
}

// readMappings reads the mappings of all processes.
func (d *description) readMappings() error {
	return parallel.Each(len(d.tree.procs), func(i int) (err error) {
		if p := d.tree.procs[i]; !p.zombie {
			d.about[p].maps, err = proc.ReadMappings(p.at())
		}
		return err
	})
}
