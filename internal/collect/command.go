package collect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/drain"
	"ckpt/internal/ends"
	"ckpt/internal/judge"
	"ckpt/internal/repair"
)

// Main is the main function of ckpt-collect, and of the guards of TCP connections and message
// queues and the warden of a move, for which it is started again.
func Main(args []string) int {
	switch args[0] {
	case repair.GuardName:
		return repair.Guard()
	case drain.GuardName:
		return drain.Guard(args)
	case wardenName:
		return warden(args[1])
	}
	return cli.Main(&Command, args)
}

// Command is ckpt-collect.
var Command = cli.Command{
	Name: Tool, Args: "PID", MinArgs: 1, MaxArgs: 1, NoSuspend: true, Hidden: isHidden,
	Summary: "describe a running process as a stream of records",
	Setup: func() ([]cli.Flag, func(context.Context, *cli.Invocation) error) {
		o := Options{Leave: LeaveRunning, HoldTimeout: 5 * time.Second, Timeout: 10 * time.Second, Stall: 10 * time.Second, TCP: TCPReset, Version: cli.Version()}
		var end []string
		var hold string
		flags := []cli.Flag{
			{Name: "leave", Value: &o.Leave, Arg: "STATE", OneOf: []string{LeaveRunning, LeaveStopped, LeaveKilled},
				Help: "what becomes of the target: running, stopped, or killed once the image is stored safely"},
			{Name: "hold-timeout", Value: &o.HoldTimeout, Arg: "TIME", Help: "how long to keep the target still for a filter that has not taken the hold yet"},
			{Name: "timeout", Value: &o.Timeout, Arg: "TIME", Help: "how long to wait for the target to stop"},
			{Name: "stall-timeout", Value: &o.Stall, Arg: "TIME", Help: "let the target go when nothing has moved for this long; 0: never"},
			{Name: "max-freeze", Value: &o.MaxFreeze, Arg: "TIME", Help: "let the target go when it has stood still for this long; 0: never"},
			{Name: "dry-run", Aliases: []string{"n"}, Value: &o.DryRun, Help: "list all that would stop a checkpoint, write no stream"},
			{Name: "tcp", Value: &o.TCP, Arg: "WHAT", OneOf: []string{TCPReset, TCPKeep},
				Help: "what becomes of TCP connections to programs outside: reset when it is restored, or keep them"},
			{Name: "tcp-hold", Value: &hold, Arg: "TIME", Help: "how long the other side of kept connections is left waiting for a killed target; default 15m"},
			{Name: "tcp-trust", Value: &o.TCPTrust, Help: "keep TCP connections also of a user who lacks CAP_NET_ADMIN, and could use that of ckpt-collect meanwhile"},
			{Name: "end", Value: &end, Arg: "NAME=copy", Help: "save a copy of memory that is shared with others, as shm:[4711]=copy"},
		}
		return flags, func(ctx context.Context, inv *cli.Invocation) (err error) {
			if err := o.keeping(hold); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			if o.Copy, err = ends.ParseCopies(end); err != nil {
				return cli.Exit(cli.StatusUsage, err)
			}
			return command(ctx, inv, &o)
		}
	},
}

// keeping takes the options that are about TCP connections that are kept.
func (o *Options) keeping(hold string) (err error) {
	const longest = 15 * time.Minute // as programs on Linux wait for an answer
	o.TCPHold = longest
	if hold != "" {
		if o.TCPHold, err = time.ParseDuration(hold); err != nil || o.TCPHold <= 0 {
			return fmt.Errorf("--tcp-hold %q: it takes a time, such as 15m", hold)
		}
	}
	switch {
	case hold != "" && (o.TCP != TCPKeep || o.Leave != LeaveKilled):
		return errors.New("--tcp-hold is for --tcp keep --leave killed")
	case o.TCPTrust && o.TCP != TCPKeep:
		return errors.New("--tcp-trust is for --tcp keep")
	}
	return nil
}

func command(ctx context.Context, inv *cli.Invocation, o *Options) error {
	pid, err := strconv.Atoi(inv.Args[0])
	if err != nil || pid < 1 {
		return cli.Exit(cli.StatusUsage, fmt.Errorf("%q is not a process id", inv.Args[0]))
	}
	if !o.DryRun {
		if err := cli.RefuseTerminal(inv.Stdout, fmt.Sprintf("ckpt-collect %d | ckpt-dedup | ckpt-write -o img", pid)); err != nil {
			return err
		}
	}
	o.PID, o.Note, o.Step = pid, inv.Log.Note, inv.Log.Step
	o.Die = inv.Die
	defer context.AfterFunc(ctx, func() {
		var s *cli.Signalled
		if errors.As(context.Cause(ctx), &s) && s.Signal == unix.SIGTSTP {
			inv.Log.Error("pid %d runs on: ckpt-collect can't be suspended, because the target would stand still as long, so it ends", pid)
		}
	})()
	switch {
	case isInside():
		if o.Inside, err = newInside(); err != nil {
			return err
		}
		o.PID = initPID
		return o.Inside.explain(status(Run(ctx, *o, inv.Stdout), o, inv))
	case isOtherInit(pid):
		if err := runFront(ctx, o, inv.Stdout); err != nil {
			return status(err, o, inv)
		}
		return nil
	}
	return status(Run(ctx, *o, inv.Stdout), o, inv)
}

// initPID is the process id of the first process of a pid namespace.
const initPID = 1

// status adds the exit status to an error.
func status(err error, o *Options, inv *cli.Invocation) error {
	var refused *Refused
	var judged *judge.Refused
	var holder *HolderError
	var denied *denied
	switch {
	case errors.As(err, &refused), errors.As(err, &judged), errors.As(err, &denied):
		return cli.Exit(cli.StatusRefused, err)
	case errors.As(err, &holder) || errors.Is(err, unix.EPIPE):
		// The filter behind us has told why, or was killed.
		if o.Leave != LeaveRunning {
			inv.Log.Note("pid %d runs on, because a filter behind ckpt-collect did not finish", o.PID)
		}
		if holder != nil {
			return cli.Exit(cli.StatusFailed, holder.unreported())
		}
	case err == nil && o.DryRun:
		inv.Log.Note("pid %d can be saved", o.named())
	}
	return err
}
