#!/bin/sh
# A worker in shell, with the nats CLI and jq: takes JSON tasks of the Query lane of pool `shell`
# (or $A3S_POOL) and answers `echo` with its payload. It shows the order of things. It renews no
# lease and claims nothing, so it is for idempotent tasks that end within ack_wait; and it runs them
# one by one.
set -u
stream=A3S_TASKS lane=query pool=${A3S_POOL:-shell}
consumer=pool-$pool-$lane filter=a3s.*.$lane.$pool
[ "$pool" != default ] || filter=a3s.*.$lane # the pool of those who name none
deliveries=$(mktemp)
trap 'rm -f "$deliveries"' EXIT
trap 'exit 0' INT TERM

# Stores a body on a subject, unless the subject has one already.
store() {
    printf '%s' "$2" | nats request --raw --force-stdin --no-templates \
        -H 'Nats-Expected-Last-Subject-Sequence:0' -H 'Content-Type:application/json' "$1"
}

# The answer to a task: {success, result, error, error_kind}.
run() {
    case $(printf '%s' "$1" | jq -r .command_type) in
        echo) printf '%s' "$1" | jq -c '{success: true, result: .payload}' ;;
        *) printf '%s' "$1" | jq -c '{success: false, result: {}, error_kind: "unknown_command",
               error: "Unknown command type: \(.command_type); this worker has echo"}' ;;
    esac
}

nats consumer info "$stream" "$consumer" >/dev/null 2>&1 ||
    nats consumer add "$stream" "$consumer" --filter "$filter" --pull --deliver all \
        --ack explicit --wait 15s --max-deliver 100 --max-pending=-1 --max-waiting 10000 \
        --defaults >/dev/null

while :; do
    nats consumer next "$stream" "$consumer" --no-ack --timeout 5s >"$deliveries" 2>/dev/null ||
        continue
    # [time] subj: S / tries: N / cons seq: N / str seq: N / pending: N, then headers, then body.
    set -- $(sed -n '1s/.*subj: \([^ ]*\) .*tries: \([0-9]*\) .*cons seq: \([0-9]*\) .*str seq: \([0-9]*\) .*pending: \([0-9]*\).*/\1 \2 \3 \4 \5/p' "$deliveries")
    subject=$1 acknowledge="\$JS.ACK.$stream.$consumer.$2.$4.$3.0.$5"
    session=$(printf '%s' "$subject" | cut -d. -f2)
    task=$(sed '1d' "$deliveries" | sed -n '/^{/,$p' | jq -c --arg id "t$4" '.task_id //= $id')
    [ -n "$task" ] || continue # not JSON: a real worker would bury it
    id=$(printf '%s' "$task" | jq -r .task_id)
    result=$(jq -cn --argjson task "$task" --argjson answer "$(run "$task")" \
        --arg session "$session" --arg worker "sh-$$" --argjson attempt "$2" \
        '{task_id: $task.task_id, session_id: $session, lane: "Query", attempt: $attempt,
          command_type: $task.command_type, worker_id: $worker} + $answer')
    # The result first, then the ack, and only if there is a result (ours, or an earlier one). Else
    # the lease ends, and somebody gets the task again.
    store "a3s.$session.result.$id" "$result" >/dev/null 2>&1
    nats stream get A3S_RESULTS -S "a3s.$session.result.$id" >/dev/null 2>&1 &&
        nats request --raw "$acknowledge" +ACK >/dev/null
done
