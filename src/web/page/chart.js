// @ts-check
// A chart of one numeric field of a JSON stream over the last minute, a line for each sensor, symbol or the like.

import { $, make, put } from './elements.js';
import { leaves, parsed } from './json.js';
import { rough } from './numbers.js';

/** Milliseconds shown; points of one line; lines; different words that may name them. */
const [SPAN, POINTS, LINES, WORDS] = [60_000, 1200, 8, 8];
/** Datagrams looked at in a second: a chart gains nothing by more. */
const RATE = 200;
/** Fields that grow or name something: not what one wants to see first. */
const DULL = /(^|\.)(time|timestamp|ts|at|seq|sequence|number|id|index|count|counter|uptime)$/i;

/** @typedef {{at: number, numbers: Map<string, number>, words: Map<string, string>}} Sample */

export class Chart {
  constructor() {
    /** @type {Sample[]} */
    this.samples = [];
    /** @type {Set<string>} */
    this.fields = new Set();
    /** @type {Map<string, Set<string>>} */
    this.words = new Map();
    this.field = '';
    this.split = '';
    /** What the person chose stays. */
    this.chosen = { field: false, split: false };
    this.second = 0;
    this.taken = 0;
    this.frame = 0;
    this.visible = false;
    this.painted = 0;
    this.canvas = $('chart');
    this.abort = new AbortController();
    const { signal } = this.abort;
    $('chart-field').addEventListener('change', () => this.choose('field', $('chart-field').value), { signal });
    $('chart-split').addEventListener('change', () => this.choose('split', $('chart-split').value), { signal });
    this.fill();
  }

  /** Whether there is anything to draw. */
  get usable() {
    return this.fields.size > 0;
  }

  /** @param {'field' | 'split'} which @param {string} value */
  choose(which, value) {
    this[which] = value;
    this.chosen[which] = true;
  }

  /** @param {number} at milliseconds since 1970 @param {Uint8Array} bytes */
  take(at, bytes) {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.second) [this.second, this.taken] = [second, 0];
    if (this.taken >= RATE) return;
    const value = parsed(bytes);
    if (value === undefined) return;
    this.taken += 1;
    const sample = { at, ...leaves(value) };
    if (!sample.numbers.size) return;
    this.samples.push(sample);
    if (this.samples.length > POINTS * LINES || this.samples[0].at < at - 2 * SPAN) this.samples = this.samples.filter((one) => one.at > at - SPAN).slice(-POINTS * LINES / 2);
    let news = false;
    for (const path of sample.numbers.keys()) {
      if (this.fields.size < 40 && !this.fields.has(path)) news = Boolean(this.fields.add(path));
    }
    for (const [path, word] of sample.words) {
      const known = this.words.get(path) ?? new Set();
      if (known.size <= WORDS && !known.has(word)) news = Boolean(known.add(word));
      if (this.words.size < 40) this.words.set(path, known);
    }
    if (news) this.fill();
  }

  /** The choices. */
  fill() {
    const fields = [...this.fields];
    if (!this.chosen.field) this.field = fields.find((path) => !DULL.test(path)) ?? fields[0] ?? '';
    const splits = [...this.words].filter(([, words]) => words.size > 1 && words.size <= WORDS).map(([path]) => path);
    if (!this.chosen.split) this.split = splits[0] ?? '';
    else if (this.split && !splits.includes(this.split)) this.split = '';
    options($('chart-field'), fields.map((path) => [path, path || 'value']), this.field);
    options($('chart-split'), [['', 'one line'], ...splits.map((path) => [path, `by ${path}`])], this.split);
  }

  /** @param {boolean} visible */
  show(visible) {
    this.visible = visible;
    if (visible && !this.frame) this.frame = requestAnimationFrame((now) => this.tick(now));
  }

  /** @param {number} now */
  tick(now) {
    this.frame = this.visible ? requestAnimationFrame((next) => this.tick(next)) : 0;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (now - this.painted < (calm ? 1000 : 100)) return;
    this.painted = now;
    this.paint();
  }

  /** @returns {Map<string, {at: number, value: number}[]>} */
  lines() {
    const from = Date.now() - SPAN;
    const lines = new Map();
    for (const { at, numbers, words } of this.samples) {
      const value = numbers.get(this.field);
      if (at < from || value === undefined) continue;
      const name = this.split ? words.get(this.split) ?? '–' : this.field || 'value';
      const line = lines.get(name) ?? [];
      line.push({ at, value });
      if (lines.size < LINES || lines.has(name)) lines.set(name, line);
    }
    return new Map([...lines].sort(([one], [other]) => one.localeCompare(other)));
  }

  paint() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const pen = canvas.getContext('2d');
    const style = getComputedStyle(canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const lines = this.lines();
    const values = [...lines.values()].flat().map(({ value }) => value);
    canvas.dataset.points = String(values.length);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (!values.length) return;
    const ticks = axis(values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b)));
    const [low, high] = [ticks[0], ticks[ticks.length - 1]];
    const [left, right, top, bottom] = [52, width - 10, 12, height - 26];
    const now = Date.now();
    const x = (/** @type {number} */ at) => right - ((now - at) / SPAN) * (right - left);
    const y = (/** @type {number} */ value) => bottom - ((value - low) / (high - low)) * (bottom - top);
    pen.font = `12px ${style.fontFamily}`;
    pen.lineWidth = 1;
    pen.fillStyle = colour('--soft');
    pen.strokeStyle = colour('--line');
    pen.textAlign = 'right';
    pen.textBaseline = 'middle';
    for (const tick of ticks) {
      pen.beginPath();
      pen.moveTo(left, Math.round(y(tick)) + 0.5);
      pen.lineTo(right, Math.round(y(tick)) + 0.5);
      pen.stroke();
      pen.fillText(rough(tick), left - 8, y(tick));
    }
    pen.textBaseline = 'top';
    for (const back of [60, 45, 30, 15, 0]) {
      pen.textAlign = back === 60 ? 'left' : back ? 'center' : 'right';
      pen.fillText(back ? `−${back} s` : 'now', right - (back / 60) * (right - left), bottom + 8);
    }
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left, height);
    pen.clip();
    pen.lineWidth = 2;
    pen.lineJoin = 'round';
    [...lines.values()].forEach((line, place) => {
      pen.strokeStyle = colour(`--series-${place + 1}`);
      pen.beginPath();
      line.forEach(({ at, value }, i) => (i ? pen.lineTo(x(at), y(value)) : pen.moveTo(x(at), y(value))));
      pen.stroke();
    });
    pen.restore();
    this.legend(lines);
  }

  /** @param {Map<string, {value: number}[]>} lines */
  legend(lines) {
    const legend = $('chart-legend');
    const entries = [...lines].map(([name, line]) => [name, rough(line[line.length - 1].value)]);
    while (legend.children.length > entries.length) legend.lastElementChild.remove();
    entries.forEach(([name, value], place) => {
      const item = legend.children[place] ?? legend.appendChild(make('li', {}, make('span'), make('b')));
      item.className = `series-${place + 1}`;
      put(item.children[0], name);
      put(item.children[1], value);
    });
    const said = `${this.field || 'value'} in the last minute: ${entries.map(([name, value]) => `${name} ${value}`).join(', ')}`;
    if (this.canvas.getAttribute('aria-label') !== said) this.canvas.setAttribute('aria-label', said);
  }

  close() {
    this.visible = false;
    this.abort.abort();
    cancelAnimationFrame(this.frame);
    $('chart-legend').replaceChildren();
  }
}

/** Round numbers from below `low` to above `high`, about five. @param {number} low @param {number} high */
export function axis(low, high) {
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) {
    const half = Math.max(1e-6, Math.abs(high) * 0.05);
    [low, high] = [low - half, high + half];
  }
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw) ?? raw;
  const first = Math.floor(low / step);
  const ticks = [];
  for (let at = first; (ticks[ticks.length - 1] ?? -Infinity) < high && ticks.length < 12; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

/** Brings a <select> to `choices`; an open list closes when it is rebuilt, so only changes. @param {any} select
 * @param {string[][]} choices @param {string} value */
export function options(select, choices, value) {
  const text = JSON.stringify(choices);
  if (select.dataset.choices !== text) {
    select.dataset.choices = text;
    select.replaceChildren(...choices.map(([key, label]) => new Option(label, key)));
  }
  if (select.value !== value) select.value = value;
}
