// @ts-check
// The list of what senders announce on the LAN, as far as this page may have it.

import { $, make, on } from './elements.js';
import { named } from './gateway.js';
import { fill } from './table.js';
import { parse } from './target.js';
import { ask, kept } from './token.js';

/** @typedef {import('./gateway.js').Json} Json */
/** @typedef {import('./target.js').Target} Target */

/** Milliseconds from one look to the next: announcements come every few minutes. */
const LOOK = 5000;
/** What the buttons mean. @type {Map<string, Target>} */
const targets = new Map();
let looked = -Infinity;

/** Looks, if the last time was long enough ago. @param {(target: Target) => void} watch */
export async function showAnnounced(watch) {
  const now = performance.now();
  if (now - looked < LOOK || document.hidden) return;
  looked = now;
  const answer = await ask('/api/v1/announcements');
  if (answer?.ok) show((await answer.json()).announcements, watch);
}

/** @param {Json[]} announcements @param {(target: Target) => void} watch */
function show(announcements, watch) {
  targets.clear();
  const rows = announcements.flatMap(({ name, information, interface: on, announcer, streams }) => streams.map((/** @type {Json} */ stream) => {
    targets.set(stream.path, parse(stream.path, named()));
    return { key: stream.path, cells: [{ text: name, note: information }, { text: stream.group, note: stream.transport }, { text: stream.kind }, { text: announcer, note: `on ${on}` }] };
  }));
  fill($('announced'), rows, (key) => {
    const look = make('button', { type: 'button', textContent: 'Watch', class: 'watch', 'aria-label': `Watch ${key}` });
    on(look, 'click', () => {
      const target = targets.get(key);
      if (target) watch(target);
    });
    return [look];
  });
  // What a link asks for comes without the token.
  $('playlist').hidden = Boolean(kept());
  $('announcements').hidden = rows.length === 0;
}
