package abi

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestSizes compares with what the C compiler makes of the kernel's headers.
func TestSizes(t *testing.T) {
	sizes := []struct {
		c    string
		want int
	}{
		{"siginfo_t", SiginfoBytes}, {"struct sigaction", SigactionBytes}, {"sigset_t", SigsetBytes}, {"stack_t", StackBytes},
		{"struct robust_list_head", RobustHeadBytes}, {"struct sembuf", SembufBytes}, {"struct seccomp_data", SeccompDataBytes},
		{"struct sock_filter", FilterBytes}, {"struct iovec", IovecBytes}, {"struct flock", FlockBytes}, {"struct rseq_cs", RseqCSBytes},
		{"struct clone_args", CloneArgsBytes}, {"struct __kernel_itimerspec", ItimerspecBytes}, {"struct itimerval", ItimervalBytes},
		{"struct sigevent", SigeventBytes},
	}
	var program, want bytes.Buffer
	program.WriteString("#define __ARCH_FLOCK_PAD\n")
	for _, header := range []string{"asm/signal.h", "asm/siginfo.h", "linux/fcntl.h", "linux/filter.h", "linux/futex.h", "linux/rseq.h", "linux/sched.h",
		"linux/seccomp.h", "linux/sem.h", "linux/time.h", "linux/time_types.h", "linux/uio.h"} {
		fmt.Fprintf(&program, "#include <%s>\n", header)
	}
	program.WriteString("int printf(const char *, ...);\nint main(void)\n{\n")
	for _, s := range sizes {
		fmt.Fprintf(&program, "\tprintf(\"%s: %%d\\n\", (int)sizeof(%[1]s));\n", s.c)
		fmt.Fprintf(&want, "%s: %d\n", s.c, s.want)
	}
	program.WriteString("\tprintf(\"alignment of struct rseq: %d\\n\", (int)_Alignof(struct rseq));\n}\n")
	fmt.Fprintf(&want, "alignment of struct rseq: %d\n", RseqBytes)
	dir := t.TempDir()
	source, exe := filepath.Join(dir, "sizes.c"), filepath.Join(dir, "sizes")
	if err := os.WriteFile(source, program.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-o", exe, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := exec.Command(exe).Output()
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%v\n%s\nwanted\n%s", err, got, want.Bytes())
	}
	if os.Getpagesize() != PageBytes {
		t.Errorf("pages of %d bytes", os.Getpagesize())
	}
}

func TestWords(t *testing.T) {
	words := []uint64{0, 1, 1<<64 - 1, 0x0102030405060708}
	if got := Words(Bytes(words...)); !slices.Equal(got, words) {
		t.Errorf("%x", got)
	}
	if got := Words(make([]byte, 15)); len(got) != 1 {
		t.Errorf("of 15 bytes: %x", got)
	}
}
