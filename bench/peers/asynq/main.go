// Asynq as a peer of the bench: `work` does nothing as often as it can, `submit` keeps so many tasks
// in flight and times them.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// warmUp is how long the same load runs before it is measured, as a part of what is measured.
	warmUp = 0.3
	// done is where results are told.
	done = "bench:done"
	// wait bounds the time of one task.
	wait = time.Minute
)

func main() {
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
		version()
	}
}

// server is where Redis is.
func server() string {
	at, err := url.Parse(os.Getenv("PEER_URL"))
	check(err)
	return at.Host
}

func number(name string) float64 {
	value, err := strconv.ParseFloat(os.Getenv(name), 64)
	check(err)
	return value
}

func work() {
	tell := redis.NewClient(&redis.Options{Addr: server()})
	handle := func(ctx context.Context, task *asynq.Task) error {
		if _, err := task.ResultWriter().Write([]byte("{}")); err != nil {
			return err
		}
		id := task.ResultWriter().TaskID()
		return tell.Publish(ctx, done, id).Err()
	}
	config := asynq.Config{
		Concurrency: int(number("SLOTS")),
		LogLevel:    asynq.ErrorLevel,
		// How long an idle worker sleeps; the default of a second would be all that is measured.
		TaskCheckInterval: 5 * time.Millisecond,
	}
	srv := asynq.NewServer(asynq.RedisClientOpt{Addr: server()}, config)
	check(srv.Run(asynq.HandlerFunc(handle)))
}

// waiting holds who awaits which task.
type waiting struct {
	sync.Mutex
	tasks map[string]chan struct{}
}

func (w *waiting) of(id string) chan struct{} {
	w.Lock()
	defer w.Unlock()
	told := make(chan struct{})
	w.tasks[id] = told
	return told
}

func (w *waiting) tell(id string) {
	w.Lock()
	defer w.Unlock()
	if told, there := w.tasks[id]; there {
		close(told)
		delete(w.tasks, id)
	}
}

func submit() {
	ctx := context.Background()
	results := redis.NewClient(&redis.Options{Addr: server()}).Subscribe(ctx, done)
	_, err := results.Receive(ctx)
	check(err)
	all := &waiting{tasks: map[string]chan struct{}{}}
	go func() {
		for message := range results.Channel(redis.WithChannelSize(4096)) {
			all.tell(message.Payload)
		}
	}()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: server(), PoolSize: 64})
	payload := []byte(strings.Repeat("x", 240))
	once := func(id string) {
		told := all.of(id)
		_, err := client.Enqueue(asynq.NewTask("noop", payload), asynq.TaskID(id), asynq.Retention(time.Minute))
		check(err)
		select {
		case <-told:
		case <-time.After(wait):
			log.Fatalf("task %s has no result", id)
		}
	}
	once("first")
	seconds := number("SECONDS")
	measured := time.Duration(seconds * float64(time.Second))
	begin := time.Now().Add(time.Duration(float64(measured) * warmUp))
	end := begin.Add(measured)
	report(drive(once, int(number("IN_FLIGHT")), begin, end), seconds)
}

// drive runs `once` by so many at a time, and returns the times of those within the measured time.
func drive(once func(string), inFlight int, begin, end time.Time) []float64 {
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
	check(err)
	fmt.Println(string(text))
}

func version() {
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		if module.Path == "github.com/hibiken/asynq" {
			fmt.Printf("asynq %s, %s\n", module.Version, runtime.Version())
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
