// Counters and latencies of a session, by lane and in all. Memory is bounded.

import { LANES, laneId, type Lane } from "./wire/lane.js";
import { outcomeOf, type Outcome, type TaskResult } from "./wire/result.js";

/** Percentiles are those of the last so many tasks of a lane. */
const REMEMBERED = 4_096;

const COUNTER: Record<Outcome, string> = {
  completed: "completed", timed_out: "timeout", dead_lettered: "dead_lettered",
  failed: "failed", cancelled: "failed", unknown: "failed",
};

/** A distribution of times, in milliseconds. */
export interface Histogram {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
}

/** All metrics of a session at one moment. Latencies are from submit to result, in milliseconds. */
export interface MetricsSnapshot {
  /** Tasks that have an outcome. */
  readonly totalProcessed: number;
  /** Those that succeeded, as a part of them; 1 when there are none. */
  readonly successRate: number;
  readonly avgLatency: number;
  readonly p95Latency: number;
  readonly p99Latency: number;
  /** `lane.commands.{submitted,completed,failed,timeout,retried,dead_lettered}`, and each with `.<lane>`. */
  readonly counters: Readonly<Record<string, number>>;
  /** `lane.command.{latency_ms,wait_time_ms}`, and each with `.<lane>`. */
  readonly histograms: Readonly<Record<string, Histogram>>;
}

export class Metrics {
  readonly #counters = new Map<string, number>();
  readonly #latency = new Map<Lane, number[]>(LANES.map((lane) => [lane, []]));
  readonly #wait = new Map<Lane, number[]>(LANES.map((lane) => [lane, []]));
  #processed = 0;
  #latencySum = 0;

  constructor() {
    for (const name of ["submitted", "retried", ...Object.values(COUNTER)]) this.#counters.set(`lane.commands.${name}`, 0);
  }

  submitted(lane: Lane): void {
    this.#count(lane, "submitted");
  }

  /** A task was started after it had waited. */
  started(lane: Lane, waitedMs: number): void {
    remember(this.#wait.get(lane), waitedMs);
  }

  /** A task ended, `latencyMs` after its submission. */
  ended(result: TaskResult, latencyMs: number): void {
    const { lane } = result;
    this.#count(lane, COUNTER[outcomeOf(result)]);
    if (result.attempt > 1) this.#count(lane, "retried", result.attempt - 1);
    remember(this.#latency.get(lane), latencyMs);
    this.#processed += 1;
    this.#latencySum += latencyMs;
  }

  snapshot(): MetricsSnapshot {
    const histograms: Record<string, Histogram> = {};
    for (const [name, series] of [["latency_ms", this.#latency], ["wait_time_ms", this.#wait]] as const) {
      histograms[`lane.command.${name}`] = histogram([...series.values()].flat());
      for (const [lane, values] of series) histograms[`lane.command.${name}.${laneId(lane)}`] = histogram(values);
    }
    const all = histograms["lane.command.latency_ms"];
    const completed = this.#counters.get("lane.commands.completed") ?? 0;
    return {
      totalProcessed: this.#processed,
      successRate: this.#processed === 0 ? 1 : completed / this.#processed,
      avgLatency: this.#processed === 0 ? 0 : this.#latencySum / this.#processed,
      p95Latency: all?.p95 ?? 0,
      p99Latency: all?.p99 ?? 0,
      counters: Object.fromEntries(this.#counters),
      histograms,
    };
  }

  #count(lane: Lane, name: string, times = 1): void {
    for (const key of [`lane.commands.${name}`, `lane.commands.${name}.${laneId(lane)}`]) {
      this.#counters.set(key, (this.#counters.get(key) ?? 0) + times);
    }
  }
}

function remember(values: number[] | undefined, value: number): void {
  values?.push(value);
  if (values && values.length > REMEMBERED) values.splice(0, values.length - REMEMBERED);
}

function histogram(values: readonly number[]): Histogram {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part: number): number => sorted[Math.min(Math.ceil(sorted.length * part), sorted.length) - 1] ?? 0;
  const sum = sorted.reduce((all, value) => all + value, 0);
  return {
    count: sorted.length, min: sorted[0] ?? 0, max: sorted.at(-1) ?? 0, mean: sorted.length === 0 ? 0 : sum / sorted.length,
    p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99),
  };
}
