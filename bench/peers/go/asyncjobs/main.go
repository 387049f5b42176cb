// Choria's asyncjobs as a peer of the bench: `work` does nothing as often as it can, `submit` keeps
// so many tasks in flight and times them.
package main

import (
	"context"
	"os"

	"github.com/choria-io/asyncjobs"
	"github.com/nats-io/nats.go"

	"a3s.dev/bench/peers/closedloop"
)

// kind is the type by which tasks find their handler.
const kind = "noop"

func main() {
	closedloop.Main("github.com/choria-io/asyncjobs", work, submit)
}

// connect makes the queue too; whoever comes first.
func connect() (*nats.Conn, *asyncjobs.Client) {
	// The client refuses a connection without the old style.
	connection, err := nats.Connect(os.Getenv("PEER_URL"), nats.UseOldRequestStyle())
	closedloop.Check(err)
	slots := int(closedloop.Number("SLOTS"))
	client, err := asyncjobs.NewClient(
		asyncjobs.NatsConn(connection),
		asyncjobs.ClientConcurrency(slots),
		// By itself a queue has a hundred tasks in work, however many slots there are.
		asyncjobs.WorkQueue(&asyncjobs.Queue{Name: "BENCH", MaxConcurrent: slots}),
	)
	closedloop.Check(err)
	return connection, client
}

func work() {
	_, client := connect()
	router := asyncjobs.NewTaskRouter()
	nothing := func(context.Context, asyncjobs.Logger, *asyncjobs.Task) (any, error) { return "{}", nil }
	closedloop.Check(router.HandleFunc(kind, nothing))
	closedloop.Check(client.Run(context.Background(), router))
}

func submit() {
	connection, client := connect()
	waiting := closedloop.NewWaiting()
	_, err := connection.Subscribe(asyncjobs.TaskStateChangeEventSubjectWildcard, func(message *nats.Msg) {
		event, _, err := asyncjobs.ParseEventJSON(message.Data)
		closedloop.Check(err)
		if change := event.(asyncjobs.TaskStateChangeEvent); change.State == asyncjobs.TaskStateCompleted {
			waiting.Tell(change.TaskID)
		}
	})
	closedloop.Check(err)
	closedloop.Check(connection.Flush())
	closedloop.Drive(func(string) {
		// It has an id of its own.
		task, err := asyncjobs.NewTask(kind, closedloop.Payload)
		closedloop.Check(err)
		waiting.Once(task.ID, func() error { return client.EnqueueTask(context.Background(), task) })
	})
}
