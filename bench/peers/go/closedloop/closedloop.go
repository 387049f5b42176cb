// Package closedloop keeps so many tasks in flight and times them; what the peers in Go have in common.
package closedloop

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// warmUp is how long the same load runs before it is measured, as a part of what is measured.
	warmUp = 0.3
	// wait bounds the time of one task.
	wait = time.Minute
)

// Payload makes tasks of 256 bytes or so.
var Payload = strings.Repeat("x", 240)

// Main does what the command line says: it works, submits, or tells the version of `module`.
func Main(module string, work, submit func()) {
	command := "version"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case "work":
		work()
	case "submit":
		submit()
	default:
		version(module)
	}
}

func version(module string) {
	build, _ := debug.ReadBuildInfo()
	for _, dependency := range build.Deps {
		if dependency.Path == module {
			fmt.Printf("%s %s, %s\n", path.Base(module), dependency.Version, runtime.Version())
		}
	}
}

// Number is a variable that the driver sets.
func Number(name string) float64 {
	value, err := strconv.ParseFloat(os.Getenv(name), 64)
	Check(err)
	return value
}

// Check ends the program where there is an error.
func Check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Waiting holds who awaits the result of which task.
type Waiting struct {
	lock  sync.Mutex
	tasks map[string]chan struct{}
}

// NewWaiting is where nobody waits yet.
func NewWaiting() *Waiting {
	return &Waiting{tasks: map[string]chan struct{}{}}
}

// Tell says that a result is here.
func (w *Waiting) Tell(id string) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if told, there := w.tasks[id]; there {
		close(told)
		delete(w.tasks, id)
	}
}

// Once submits a task and awaits its result.
func (w *Waiting) Once(id string, submit func() error) {
	told := w.of(id)
	Check(submit())
	select {
	case <-told:
	case <-time.After(wait):
		log.Fatalf("task %s has no result", id)
	}
}

func (w *Waiting) of(id string) chan struct{} {
	w.lock.Lock()
	defer w.lock.Unlock()
	told := make(chan struct{})
	w.tasks[id] = told
	return told
}

// Drive runs `once`, which gets a name that no other task has, by so many at a time, and prints what
// was seen.
func Drive(once func(id string)) {
	once("first")
	seconds := Number("SECONDS")
	measured := time.Duration(seconds * float64(time.Second))
	begin := time.Now().Add(time.Duration(float64(measured) * warmUp))
	report(repeat(once, int(Number("IN_FLIGHT")), begin, begin.Add(measured)), seconds)
}

// repeat returns the times of the tasks that were within the measured time.
func repeat(once func(string), inFlight int, begin, end time.Time) []float64 {
	var lock sync.Mutex
	var group sync.WaitGroup
	var times []float64
	for n := range inFlight {
		group.Go(func() {
			for k := 0; time.Now().Before(end); k++ {
				started := time.Now()
				once(fmt.Sprintf("%d-%d", n, k))
				ended := time.Now()
				if begin.Before(started) && ended.Before(end) {
					lock.Lock()
					times = append(times, ended.Sub(started).Seconds()*1000)
					lock.Unlock()
				}
			}
		})
	}
	group.Wait()
	return times
}

func report(times []float64, seconds float64) {
	if len(times) == 0 {
		log.Fatal("no task came back in the measured time")
	}
	slices.Sort(times)
	at := func(part float64) float64 { return times[min(int(float64(len(times))*part), len(times)-1)] }
	text, err := json.Marshal(map[string]any{
		"tasks": len(times), "seconds": seconds, "p50_ms": at(0.5), "p99_ms": at(0.99),
	})
	Check(err)
	fmt.Println(string(text))
}
