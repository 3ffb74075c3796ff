// @ts-check
// The list of streams: those that run, and those that the configuration names.

import { $, make, on } from './elements.js';
import { causes, counted, duration, rough, scaled, whole } from './numbers.js';
import { Rates } from './rates.js';
import { openLinks } from './snippets.js';
import { fill } from './table.js';
import { nameOf, spell } from './target.js';
import { kinds } from './viewer.js';

/** @typedef {import('./gateway.js').Json} Json */

const rates = new Rates();
/** What the buttons of a row mean. @type {Map<string, import('./target.js').Target>} */
const targets = new Map();
/** @type {Record<string, string>} */
const COLOURS = { receiving: 'good', silent: 'idle' };
const KEPT_SOURCES = 16;

/** @param {Json} stream @returns {import('./target.js').Target} */
function targetOf({ group, sources, exclude, asked_interface: asked, interface: on }) {
  return { group, sources, exclude, interface: asked === 'all' ? on : asked };
}

/** @param {Json} status @param {(target: import('./target.js').Target) => void} watch */
export function showStreams({ gateway, streams, narrow }, watch) {
  const now = performance.now();
  const named = gateway.named_streams;
  const idle = new Map(Object.entries(named));
  targets.clear();
  const rows = streams.map((/** @type {Json} */ stream) => {
    // Numbers begin again with the gateway's next run, and a difference across runs means nothing.
    const key = `${gateway.id}/${stream.shard}/${stream.number}`;
    const target = targetOf(stream);
    const name = nameOf(target, named);
    targets.set(key, name ? { ...target, name } : target);
    idle.delete(name);
    const { values, past } = rates.take(key, now, { datagrams: stream.received, bits: stream.received_bytes * 8 });
    return { key, cells: cells(stream, name, values, past) };
  });
  rates.sweep();
  for (const [name, stream] of idle) {
    const key = `named/${name}`;
    targets.set(key, { group: stream.group, sources: stream.sources, exclude: stream.exclude, interface: stream.interface ?? '', name });
    rows.push({ key, state: 'idle', cells: [{ text: name, note: stream.group }, narrow ? '–' : { text: 'not joined', note: 'nobody watches', state: 'idle' }, '–', '–', '–', '–', '–'] });
  }
  rows.sort(byName);
  fill($('streams'), rows, (key) => buttons(key, watch));
  $('streams-empty').hidden = rows.length > 0;
}

/** @param {{cells: any[]}} one @param {{cells: any[]}} other */
const byName = (one, other) => one.cells[0].text.localeCompare(other.cells[0].text, 'en', { numeric: true });

/** @param {Json} stream @param {string} name @param {Record<string, number> | null} values @param {Record<string, (number | null)[]>} past */
function cells(stream, name, values, past) {
  const { sources, exclude, outages, lost, refused, seen_sources: seen, asked_interface: asked } = stream;
  const filter = sources.length ? `only ${sources.join(', ')}` : exclude.length ? `not ${exclude.join(', ')}` : '';
  const kind = kinds.get(spell(targetOf(stream)));
  const heard = Object.keys(seen);
  const losses = causes({ kernel: lost.kernel, truncated: refused.truncated, 'wrong destination': refused.wrong_destination });
  const away = outages.count ? `unknown in ${counted(outages.count, 'outage')}, ${duration(outages.seconds)}` : '';
  const on = [stream.interface || '–', asked && asked !== stream.interface ? `(asked: ${asked})` : ''].filter(Boolean).join(' ');
  return [
    { text: name || stream.group, note: [name && stream.group, filter, kind].filter(Boolean).join(' · ') },
    { text: stream.state.replaceAll('-', ' '), note: stream.waiting ?? `on ${on}`, state: COLOURS[stream.state] ?? 'bad' },
    { text: values ? rough(values.datagrams) : '–', past: past.datagrams, title: `${whole(stream.received)} received` },
    { text: values ? scaled(values.bits, 'bit/s') : '–', past: past.bits, title: `${scaled(stream.received_bytes, 'B')} received` },
    { text: heard.length ? heard[0] : '–', note: heard.length > 1 ? `and ${heard.length - 1}${heard.length < KEPT_SOURCES ? '' : ' or more'} others` : '', title: heard.join('\n') },
    { text: losses || (away ? 'unknown' : 'none'), note: away, state: losses || away ? 'warn' : '' },
    whole(stream.subscribers),
  ];
}

/** @param {string} key @param {(target: import('./target.js').Target) => void} watch */
function buttons(key, watch) {
  const known = targets.get(key);
  const called = known?.name ?? known?.group ?? '';
  const look = make('button', { type: 'button', textContent: 'Watch', class: 'watch', 'aria-label': `Watch ${called}` });
  const links = make('button', { type: 'button', textContent: 'Links', class: 'quiet', 'aria-label': `Links to ${called}` });
  const act = (/** @type {(target: import('./target.js').Target) => void} */ what) => () => {
    const target = targets.get(key);
    if (target) what(target);
  };
  on(look, 'click', act(watch));
  on(links, 'click', act(openLinks));
  return [look, links];
}
