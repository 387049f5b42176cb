#!/bin/sh
# errors.sh POOL…: how many errors each log file has, in every region, one line a file: region,
# errors, file. The files stay where they are: each region's workers (pool = region) read their
# own, and what comes back is a number a file.
set -eu

# The regions' tasks run side by side, and the pools keep them apart.
for region; do
  {
    a3s-coordinator submit --pool "$region" glob '{"pattern": "**/*.log"}' |
      a3s-coordinator map --pool "$region" --tag 'grep -c ERROR {} || true' |
      while IFS="$(printf '\t')" read -r file errors; do
        printf '%s\t%s\t%s\n' "$region" "$errors" "$file"
      done
  } &
  running="${running:-} $!"
done

status=0
for process in ${running:-}; do
  wait "$process" || status=$?
done
exit "$status"
