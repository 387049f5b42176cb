#!/usr/bin/env bash
# One attempt of a task of a chaos run. It says itself, in a file, that it begins and how it ends, so
# that executions are counted where they happen and nowhere else.
#
# Sourced by the `bash` tool as `. attempt.sh TASK SECONDS STATUS`, or started as a tool of its own
# with the task on standard input. STATUS is the exit status; `again` is 75 (another attempt,
# please) the first time and 0 then. Its output is the name of this execution.
export LC_ALL=C
if [[ $# -eq 0 ]]; then
    IFS= read -r line
    [[ $line =~ \"run\":\"([^\"]*)\" ]] && set -- ${BASH_REMATCH[1]}
fi
# A worker that was killed before it had written the task: nothing has begun.
[[ -n $1 ]] || exit 64
task=$1 seconds=$2 status=$3
dir=${BASH_SOURCE[0]%/*}
log=$dir/attempts.$PPID.log
run=$$-${EPOCHREALTIME/./}

# One write a line: lines of several attempts do not mix. It is the kernel's before the work goes on,
# and so outlives every process that is killed; the run syncs the file before it is read.
note() {
    printf '%s %s %s %s %s %s\n' "$1" "$task" "$run" "$PPID" "${EPOCHREALTIME/./}" "$2" >>"$log"
}

note start -
if [[ $status == again ]]; then
    asked=$dir/asked.$task
    if [[ -e $asked ]]; then status=0; else : >"$asked"; status=75; fi
fi
[[ $seconds == 0 ]] || sleep "$seconds"
note end "$status"
printf '%s\n' "$run"
exit "$status"
