package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestHostileStreams changes a good stream in random ways and restores it: that
// fails with a sentence or succeeds, in time. Of a failure no process is left, and no
// other process is touched. All processes come back stopped, so that nothing made from
// a changed stream ever runs. CKPT_HOSTILE is how many streams.
func TestHostileStreams(t *testing.T) {
	n := 40
	if s := os.Getenv("CKPT_HOSTILE"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	dir := t.TempDir()
	good := stopped(t, everything(t, dir))
	bystander := exec.Command("sleep", "100000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	if status, said := applyStream(t, dir, good); status != 0 {
		t.Fatalf("the good stream: status %d\n%s", status, said)
	}
	killOthers(t, bystander.Process.Pid)
	restored := 0
	for seed := range n {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		recs, what := slices.Clone(good), ""
		for range 1 + rng.IntN(3) {
			what += "; " + spoil(rng, &recs)
		}
		status, said := applyStream(t, dir, recs)
		left := killOthers(t, bystander.Process.Pid)
		switch {
		case status != 0 && status != 125, strings.Contains(said, "goroutine "), status != 0 && !strings.Contains(said, "ckpt-apply: error: "):
			t.Errorf("%d%s: status %d\n%s", seed, what, status, said)
		case status != 0 && left > 0:
			t.Errorf("%d%s: refused, and %d processes are left\n%s", seed, what, left, said)
		case status == 0:
			restored++
		}
		if err := unharmed(bystander.Process.Pid); err != nil {
			t.Fatalf("%d%s: a bystander: %v", seed, what, err)
		}
	}
	t.Logf("%d of %d restored all the same", restored, n)
}

// loaded is a record with its data.
type loaded struct {
	*stream.Record
	data []byte
}

// saveEverything saves and kills a program with many kinds of state and returns
// its image. Nothing in that is of this machine that must not be.
func saveEverything(t *testing.T, dir string) string {
	cmd := exec.Command(buildC(t, "everything.c", "-static"))
	cmd.Args, cmd.Env = []string{"everything"}, []string{"LANG=C"}
	cmd.Dir, cmd.SysProcAttr = dir, &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL); _ = cmd.Wait() }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not get ready")
		}
	}
	img := filepath.Join(dir, "img")
	status, said := runPipeline(t, nil, nil, fmt.Sprintf("ckpt-collect --leave killed %d", cmd.Process.Pid), "ckpt-dedup", "ckpt-write -o "+img)
	if !slices.Equal(status, []int{0, 0, 0}) {
		t.Fatalf("exit statuses %v\n%s", status, said)
	}
	return img
}

// everything returns the stream of a program with many kinds of state.
func everything(t *testing.T, dir string) (recs []loaded) {
	b, err := exec.Command("sh", "-c", "ckpt-read < "+saveEverything(t, dir)).Output()
	if err != nil {
		t.Fatal(err)
	}
	r := stream.NewReader(bytes.NewReader(b))
	for {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if rec.Type == record.TypeEnd {
			return recs
		}
		data, err := io.ReadAll(r.Data())
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, loaded{rec, data})
	}
}

// stopped makes all processes come back stopped.
func stopped(t *testing.T, recs []loaded) []loaded {
	for i, rec := range recs {
		var task record.Task
		if rec.Type != record.TypeTask {
			continue
		}
		if err := rec.Decode(&task); err != nil {
			t.Fatal(err)
		}
		if !task.Zombie {
			if err := recs[i].Set(map[string]any{"stop_sig": int(unix.SIGSTOP)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return recs
}

// spoilers are the values that replace a field.
var spoilers = []any{0, 1, -1, 2, 5, 7, 64, 65, 4096, 1 << 20, 1 << 22, 1<<31 - 1, 1 << 31, 1 << 32, 1<<32 + 5, 1 << 47, 1 << 62, 1<<63 - 1, -1 << 63, uint64(1<<64 - 1),
	false, true, "", "/", "/dev/null", "/proc/1/status", strings.Repeat("x", 5000), []byte{255}, []any{}, []any{0}, []any{[]any{0, 4096}}, map[string]any{},
	"anon", "file", "sysvshm", "vdso", "posix"}

// spoil makes one change. It never changes what a task is stopped by.
func spoil(rng *rand.Rand, recs *[]loaded) string {
	i := 1 + rng.IntN(len(*recs)-1)
	for tries := 0; tries < 5 && slices.Contains([]record.Type{record.TypeVMA, record.TypePages}, (*recs)[i].Type); tries++ {
		i = 1 + rng.IntN(len(*recs)-1)
	}
	rec := *(*recs)[i].Record
	if rec.Type == record.TypeTask && rng.IntN(4) > 0 || rec.Type == record.TypeRegs {
		return "nothing"
	}
	changed := loaded{&rec, (*recs)[i].data}
	switch op := rng.IntN(10); {
	case op == 0:
		*recs = slices.Delete(*recs, i, i+1)
		return fmt.Sprintf("no %v", rec.Type)
	case op == 1:
		*recs = slices.Insert(*recs, i, changed)
		return fmt.Sprintf("%v twice", rec.Type)
	case op < 4:
		rec.Meta = slices.Clone(rec.Meta)
		at := rng.IntN(len(rec.Meta))
		rec.Meta[at] ^= 1 << rng.IntN(8)
		if task := new(record.Task); rec.Type == record.TypeTask && (rec.Decode(task) != nil || task.StopSig == 0) {
			return "nothing"
		}
		(*recs)[i] = changed
		return fmt.Sprintf("a bit of byte %d of %v", at, rec.Type)
	case op < 8:
		v := record.Lookup(rec.Type).New()
		if rec.Decode(v) != nil {
			return "nothing"
		}
		what := spoilValue(rng, reflect.ValueOf(v).Elem())
		b, err := stream.Marshal(v)
		if task, ok := v.(*record.Task); err != nil || ok && task.StopSig == 0 && !task.Zombie {
			return "nothing"
		}
		rec.Meta = b
		(*recs)[i] = changed
		return fmt.Sprintf("%v%s", rec.Type, what)
	default:
		var all map[string]any
		if rec.Decode(&all) != nil || len(all) == 0 {
			return "nothing"
		}
		names := slices.Sorted(maps.Keys(all))
		name, value := names[rng.IntN(len(names))], spoilers[rng.IntN(len(spoilers))]
		if refs, ok := all[name].(map[any]any); ok && len(refs) > 0 && rng.IntN(3) > 0 {
			m := map[string]any{}
			for k := range refs {
				m[fmt.Sprint(k)] = rng.IntN(60)
			}
			value = m
		}
		if name == "stop_sig" || rec.Set(map[string]any{name: value}) != nil {
			return "nothing"
		}
		(*recs)[i] = changed
		return fmt.Sprintf("%v %s %.50v", rec.Type, name, value)
	}
}

// spoilValue changes something in a value of a type, and says what.
func spoilValue(rng *rand.Rand, v reflect.Value) string {
	one := func(of []any) any { return of[rng.IntN(len(of))] }
	if !v.CanSet() {
		return " not"
	}
	switch v.Kind() {
	case reflect.Struct:
		i := rng.IntN(v.NumField())
		return " " + v.Type().Field(i).Name + spoilValue(rng, v.Field(i))
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return spoilValue(rng, v.Elem())
	case reflect.Slice:
		if n := v.Len(); n > 0 && rng.IntN(4) > 0 {
			i := rng.IntN(n)
			return fmt.Sprintf(" %d", i) + spoilValue(rng, v.Index(i))
		}
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Int, reflect.Int32, reflect.Int64:
		if n, ok := one(spoilers).(int); ok {
			v.SetInt(int64(n))
		} else {
			v.SetInt(v.Int() + int64(rng.IntN(5)-2))
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, ok := one(spoilers).(int); ok {
			v.SetUint(uint64(n))
		} else {
			v.SetUint(v.Uint() ^ 1<<rng.IntN(64))
		}
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		if s, ok := one(spoilers).(string); ok {
			v.SetString(s)
		}
	}
	return fmt.Sprintf(" %.50v", v)
}

// applyStream restores a stream.
func applyStream(t *testing.T, dir string, recs []loaded) (status int, said string) {
	f, err := os.Create(filepath.Join(dir, "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := stream.NewWriter(f)
	for _, rec := range recs {
		if err := w.Write(rec.Record, bytes.NewReader(rec.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Add(record.TypeEnd, &record.End{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	const most = 2 * time.Minute // the machine may be busy
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ckpt-apply", "--detach")
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGQUIT) } // to print where it hangs
	var text bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr, cmd.WaitDelay = dir, f, &text, 10*time.Second
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), text.String()
}

// killOthers kills all processes but this one and another, waits until they are
// gone, and says how many there were.
func killOthers(t *testing.T, but int) (n int) {
	others := others(t, but)
	for _, pid := range others {
		if stat, err := proc.ReadStat(pid); err == nil && stat.State != 'Z' && stat.State != 'X' {
			n++
		}
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for end := time.Now().Add(time.Minute); slices.ContainsFunc(others, func(pid int) bool { return !gone(pid) }); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("some of %v don't go", others)
		}
	}
	return n
}

// others are all processes but the tests' own and another.
func others(t *testing.T, but int) (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && pid != but && pid != 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}
