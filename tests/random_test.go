package tests

import (
	"flag"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "of the random tests; 0: a new one")

// runSeed is the seed of this run.
var runSeed = sync.OnceValue(func() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return rand.Uint64()
})

// random returns numbers for one test, or one part of it by name. The seed is in
// the test's log.
func random(t testing.TB, part ...string) *rand.Rand {
	t.Helper()
	if len(part) == 0 {
		t.Logf("-seed %d", runSeed())
	}
	h := fnv.New64()
	for _, name := range append([]string{t.Name()}, part...) {
		_, _ = io.WriteString(h, name+"\n")
	}
	return rand.New(rand.NewPCG(runSeed(), h.Sum64()))
}

// moment waits for a random time: something happens meanwhile, and whatever that is,
// it must be right.
func moment(rng *rand.Rand, least, most time.Duration) {
	time.Sleep(least + time.Duration(rng.Int64N(int64(most-least))))
}
