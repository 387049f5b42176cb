// Asynq as a peer of the bench: `work` does nothing as often as it can, `submit` keeps so many tasks
// in flight and times them.
package main

import (
	"context"
	"net/url"
	"os"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"a3s.dev/bench/peers/closedloop"
)

// done is where results are told.
const done = "bench:done"

func main() {
	closedloop.Main("github.com/hibiken/asynq", work, submit)
}

// server is where Redis is.
func server() string {
	at, err := url.Parse(os.Getenv("PEER_URL"))
	closedloop.Check(err)
	return at.Host
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
		Concurrency: int(closedloop.Number("SLOTS")),
		LogLevel:    asynq.ErrorLevel,
		// How long an idle worker sleeps; the default of a second would be all that is measured.
		TaskCheckInterval: 5 * time.Millisecond,
	}
	srv := asynq.NewServer(asynq.RedisClientOpt{Addr: server()}, config)
	closedloop.Check(srv.Run(asynq.HandlerFunc(handle)))
}

func submit() {
	ctx := context.Background()
	results := redis.NewClient(&redis.Options{Addr: server()}).Subscribe(ctx, done)
	_, err := results.Receive(ctx)
	closedloop.Check(err)
	waiting := closedloop.NewWaiting()
	go func() {
		for message := range results.Channel(redis.WithChannelSize(4096)) {
			waiting.Tell(message.Payload)
		}
	}()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: server(), PoolSize: 64})
	closedloop.Drive(func(id string) {
		waiting.Once(id, func() error {
			task := asynq.NewTask("noop", []byte(closedloop.Payload))
			_, err := client.Enqueue(task, asynq.TaskID(id), asynq.Retention(time.Minute))
			return err
		})
	})
}
