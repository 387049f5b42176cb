// What the two programs of this example say to each other.

/** The payload of a task. */
export interface LintTask {
  readonly files: readonly { readonly path: string; readonly text: string }[];
}

/** One thing that eslint has to say. */
export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly rule: string;
  readonly isError: boolean;
}
