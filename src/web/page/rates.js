// @ts-check
// Rates, as differences of two statuses, and their last minute.

/** Samples kept: a minute, at one status a second. */
export const KEPT = 60;
/** Longer apart than this (the page was hidden) a difference is an average that looks like a rate of now. */
const APART = 5000;

/** @typedef {{values: Record<string, number> | null, past: Record<string, (number | null)[]>}} Rate `past`: oldest first. */

export class Rates {
  constructor() {
    /** @type {Map<string, {at: number, counters: Record<string, number>, past: Record<string, (number | null)[]>}>} */
    this.known = new Map();
    /** @type {Set<string>} */
    this.seen = new Set();
  }

  /** Takes the counters of `key` at `at` (milliseconds) and says how fast each grows.
   * @param {string} key @param {number} at @param {Record<string, number>} counters @returns {Rate} */
  take(key, at, counters) {
    this.seen.add(key);
    const before = this.known.get(key);
    const seconds = before ? (at - before.at) / 1000 : 0;
    const past = before?.past ?? Object.fromEntries(Object.keys(counters).map((name) => [name, []]));
    const near = before && seconds > 0 && seconds * 1000 < APART;
    const values = near
      ? Object.fromEntries(Object.entries(counters).map(([name, count]) => [name, Math.max(0, count - before.counters[name]) / seconds]))
      : null;
    if (before) {
      for (const name of Object.keys(counters)) {
        past[name].push(values?.[name] ?? null);
        if (past[name].length > KEPT) past[name].shift();
      }
    }
    this.known.set(key, { at, counters, past });
    return { values, past };
  }

  /** Forgets what was not taken since the last time. */
  sweep() {
    for (const key of this.known.keys()) if (!this.seen.has(key)) this.known.delete(key);
    this.seen.clear();
  }
}
