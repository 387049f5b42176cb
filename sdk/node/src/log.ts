// What a worker tells its owner.

/** Where sentences go. `console` fits; so does any logger. */
export interface Log {
  info(sentence: string): void;
  warn(sentence: string): void;
}

/** To stderr, so that stdout is the program's own. */
export const STDERR: Log = {
  info: (sentence) => { console.error(sentence); },
  warn: (sentence) => { console.error(`warning: ${sentence}`); },
};
