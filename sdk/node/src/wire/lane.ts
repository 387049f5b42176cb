// The four lanes, their priority and their defaults.

/** A lane as bodies spell it. */
export type Lane = "Control" | "Query" | "Execute" | "Generate";

/** A lane as subjects spell it; every place that takes a lane takes this too. */
export type LaneId = Lowercase<Lane>;

/** All lanes, highest priority first. */
export const LANES: readonly Lane[] = ["Control", "Query", "Execute", "Generate"];

/** How many tasks of a lane a session has at workers at a time, unless it says otherwise. */
export const DEFAULT_MAX_CONCURRENCY: Readonly<Record<Lane, number>> = {
  Control: 2,
  Query: 4,
  Execute: 2,
  Generate: 1,
};

const QUERY_TOOLS = new Set([
  "read", "glob", "ls", "grep", "list_files", "search", "web_fetch", "web_search",
]);

/** The lane's id in subjects. */
export function laneId(lane: Lane): LaneId {
  return lane.toLowerCase() as LaneId;
}

/** 0 for the lane that comes first. */
export function priority(lane: Lane): number {
  return LANES.indexOf(lane);
}

/** The lane of a name in either casing; `undefined` when there is none. */
export function parseLane(text: string): Lane | undefined {
  return LANES.find((lane) => lane === text || laneId(lane) === text);
}

/** The lane of a name in either casing. Throws when there is none. */
export function lane(text: string): Lane {
  const found = parseLane(text);
  if (found === undefined) {
    throw new RangeError(`unknown lane ${JSON.stringify(text)}: use control, query, execute or generate`);
  }
  return found;
}

/** The lane that a tool's tasks go to when the caller names only the tool. */
export function laneOfTool(tool: string): Lane {
  return QUERY_TOOLS.has(tool) ? "Query" : "Execute";
}
