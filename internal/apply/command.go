package apply

import (
	"context"
	"errors"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/files"
	"ckpt/internal/judge"
	"ckpt/internal/netns"
	"ckpt/internal/task"
)

// Tool is the name of the program.
const Tool = "ckpt-apply"

// Command is ckpt-apply.
var Command = cli.Command{
	Name:    Tool,
	ForFile: func(file string) string { return "ckpt-read < " + file + " | ckpt-apply" },
	Summary: "restore a process tree from a stream",
	Own125:  true,
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		o := Options{PIDs: PIDsAuto, Session: judge.SessionNew, Clock: judge.ClockAuto, CPU: judge.CPUStrict}
		var policies, stdio, end, fd, net []string
		var cgroups string
		flags := []cli.Flag{
			{Name: "detach", Aliases: []string{"d"}, Value: &o.Detach, Help: "leave when the program runs, in a session of its own"},
			{Name: "pidfile", Value: &o.PIDFile, Arg: "FILE", Help: "write the restored process id there"},
			{Name: "prepared", Value: &o.Prepared, Help: "for ckpt-commit --move: build all, and let it run when the other side says so; like --detach then"},
			{Name: "check", Value: &o.Check, Help: "say whether the stream can be restored here, restore nothing"},
			{Name: "pids", Value: &o.PIDs, Arg: "WHICH", OneOf: []string{PIDsAuto, PIDsKeep, PIDsNamespace, PIDsNew},
				Help: "the process ids: keep, where they must be free; namespace, the same in a pid namespace of its own; new, others; or auto, keep if this user may choose ids"},
			{Name: "root", Value: &o.Root, Arg: "DIR", Help: "the root file system, in place of what was there, of a tree in a mount namespace of its own"},
			{Name: "session", Value: &o.Session, Arg: "WHICH", OneOf: []string{judge.SessionNew, judge.SessionInherit},
				Help: "what takes the place of a session whose leader is not in the image: new, or inherit, ckpt-apply's own"},
			{Name: "files", Value: &policies, Arg: "POLICY[:PATTERN]",
				Help: "how much files may have changed: strict (the default), append, same-path, or truncate; for paths that match the pattern, or all"},
			{Name: "cgroups", Value: &cgroups, Arg: "POLICY",
				Help: "what to do about control groups: keep (the default), strict, or ignore"},
			{Name: "clock", Value: &o.Clock, Arg: "WHICH", OneOf: []string{judge.ClockAuto, judge.ClockKeep, judge.ClockHost},
				Help: "the monotonic and boot time clocks: auto, which on another boot is keep, and they go on from what they showed; or host"},
			{Name: "cpu", Value: (*string)(&o.CPU), Arg: "POLICY", OneOf: []string{string(judge.CPUStrict), string(judge.CPUUsed), string(judge.CPUIgnore)},
				Help: "what this CPU must have: strict, all that the program could have used, used, the registers it has values in, or ignore"},
			{Name: "stdio", Value: &stdio, Arg: "WHAT",
				Help: "what takes the place of terminals and outside pipes on 0, 1, 2: inherit, null, or N=FILE"},
			{Name: "end", Value: &end, Arg: "NAME=DECISION",
				Help: "what takes the place of what leads out of the image, or of a file: file:PATH, inherit:FD, null, or close"},
			{Name: "net", Value: &net, Arg: "DECISION",
				Help: "what takes the place of an interface that leads out of a network namespace: veth:NAME=BRIDGE, or NAME=none"},
			{Name: "fd", Value: &fd, Arg: "N=DECISION", Help: "the same for descriptor N of the first process"},
		}
		return flags, func(ctx context.Context, inv *cli.Invocation) error {
			var err error
			if o.Policies, err = files.ParsePolicies(policies); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			if o.Cgroups, err = task.ParseCgroupPolicy(cgroups); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			if o.Stdio, err = files.ParseStdio(stdio); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			if o.Ends, err = ends.Parse(end, fd); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			if o.Net, err = netns.Parse(net); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			if err := cli.RefuseTerminal(inv.Stdin, "ckpt-read < img | ckpt-apply"); err != nil {
				return err
			}
			if o.Prepared && o.Check {
				return cli.Exit(cli.StatusUsage, errors.New("--prepared and --check exclude each other"))
			}
			o.Detach, o.Stdout = o.Detach || o.Prepared, inv.Stdout
			o.Note, o.Step, o.Running = inv.Log.Note, inv.Log.Step, inv.ReleaseSignals
			return command(ctx, &o, inv)
		}
	},
}

func command(ctx context.Context, o *Options, inv *cli.Invocation) error {
	status, err := Run(ctx, *o, inv.Stdin)
	var refused *judge.Refused
	switch {
	case errors.As(err, &refused):
		return cli.Exit(cli.StatusRefused, err)
	case err != nil:
		return cli.StreamError(err)
	}
	return &cli.Passthrough{Status: status}
}
