// Goroutines that pass numbers around a ring, a timer, and the time of day, until there
// is a file "go".
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

func main() {
	const members = 16
	first := make(chan int)
	in := first
	for range members {
		out := make(chan int)
		go func(in, out chan int) {
			for n := range in {
				out <- n + 1
			}
			close(out)
		}(in, out)
		in = out
	}
	ticks := time.NewTicker(time.Millisecond)
	last := time.Now()
	var garbage [][]byte
	for n := 0; ; n++ {
		first <- n
		if got := <-in; got != n+members {
			fmt.Printf("%d came back as %d\n", n, got)
			os.Exit(1)
		}
		now := time.Now()
		if now.Before(last) {
			fmt.Printf("the time goes back from %v to %v\n", last, now)
			os.Exit(1)
		}
		last = now
		garbage = append(garbage, make([]byte, 1000))
		if n%1000 != 0 {
			continue
		}
		<-ticks.C
		garbage = nil
		runtime.GC()
		if _, err := os.Stat("go"); err == nil {
			break
		}
	}
	close(first)
	for range in {
	}
	fmt.Println("pass")
}
