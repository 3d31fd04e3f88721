// Package tracee holds other processes by ptrace(2) and makes system calls in
// them. It is the only package that knows the processor's registers.
//
// All functions of a Tracee must be called from one OS thread, the one that attached:
// lock it with runtime.LockOSThread. When that thread ends, for whatever reason, the
// kernel lets its tracees run on.
//
// What makes calls in tracees for a purpose stands in packages of its own: a loan, in a
// program that must survive us, and a puppet, a task of ours. Only these have a tracee
// run.
package tracee
