package hold

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary, run again with this set to a Ref in JSON, is a holder that
// does what its standard input says, and answers every line with one.
const holderEnv = "CKPT_TEST_HOLD"

func TestMain(m *testing.M) {
	if ref := os.Getenv(holderEnv); ref != "" {
		os.Exit(beHolder(ref))
	}
	os.Exit(m.Run())
}

func beHolder(text string) int {
	var ref Ref
	if err := json.Unmarshal([]byte(text), &ref); err != nil {
		return 1
	}
	var h *Holder
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		var err error
		switch verb {
		case "take":
			name, what, _ := strings.Cut(arg, " ")
			h, err = Take(ref, name, what)
		case "ok":
			err = h.OK()
		case "committed":
			err = h.Committed(12345)
		case "failed":
			err = h.Failed()
		case "close":
			err = h.Close()
		case "raw":
			_, err = io.WriteString(h.f, strings.ReplaceAll(arg, `\n`, "\n"))
		}
		if errors.Is(err, ErrGone) {
			err = errors.New("gone")
		}
		fmt.Println(err)
	}
	return 0
}

// peer is a holder in another process.
type peer struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func newPeer(t *testing.T, ref Ref) *peer {
	t.Helper()
	text, err := json.Marshal(ref)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), holderEnv+"="+string(text), "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// do has the peer do something and returns its error's text.
func (p *peer) do(line string) string {
	p.t.Helper()
	fmt.Fprintln(p.in, line)
	if !p.out.Scan() {
		p.t.Fatalf("%q: the holder is gone: %v", line, p.out.Err())
	}
	return p.out.Text()
}

// must has the peer do things that can't fail.
func (p *peer) must(lines ...string) {
	p.t.Helper()
	for _, line := range lines {
		if got := p.do(line); got != "<nil>" {
			p.t.Fatalf("%q: %s", line, got)
		}
	}
}

func (p *peer) kill() {
	_ = p.cmd.Process.Signal(unix.SIGKILL)
	_ = p.cmd.Wait()
}

// newHold makes a hold that ends with the test.
func newHold(t *testing.T) *Hold {
	t.Helper()
	h, err := New("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
