// @ts-check
// The last datagrams, newest first, as text, JSON or hex, with the gaps between them.

import { make } from './elements.js';
import { plain } from './detect.js';
import { LIMIT as HEX_LIMIT, hex } from './hex.js';
import { indent, parsed } from './json.js';
import { clock, whole } from './numbers.js';

/** Entries kept: the page runs for days. Bytes of text shown of each. */
const [KEEP, TEXT_LIMIT] = [100, 16384];
/** As fast as the eye follows, whatever the stream does. */
const RENDER_MS = 100;

/** `bytes` is a view of what arrived; a `gap` has words instead.
 * @typedef {{at: number, source: string, bytes: Uint8Array, own: boolean} | {at: number, gap: string}} Entry */
/** @typedef {'text' | 'json' | 'hex'} Mode */

export class DatagramList {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    /** @type {Mode} */
    this.mode = 'text';
    /** Rendered, newest first; and not rendered yet, oldest first. @type {Entry[]} */
    this.shown = [];
    /** @type {Entry[]} */
    this.waiting = [];
    /** Datagrams that came and went between two looks. */
    this.unshown = 0;
    this.paused = false;
    this.timer = 0;
    place.replaceChildren();
  }

  /** @param {Entry} entry */
  add(entry) {
    this.waiting.push(entry);
    if (this.waiting.length > KEEP) {
      const lost = this.waiting.findIndex((one) => !('gap' in one));
      this.waiting.splice(Math.max(0, lost), 1);
      this.unshown += 1;
    }
    if (!this.timer && !this.paused) this.timer = setTimeout(() => this.render(), RENDER_MS);
  }

  render() {
    this.timer = 0;
    if (this.paused || !this.waiting.length) return;
    // What is kept is kept alone, not with the message that it came in.
    const fresh = this.waiting.reverse().map((entry) => ('gap' in entry ? entry : { ...entry, bytes: entry.bytes.slice() }));
    this.waiting = [];
    this.shown = [...fresh, ...this.shown].slice(0, KEEP);
    this.place.prepend(...fresh.map((entry) => this.item(entry)));
    while (this.place.children.length > KEEP) this.place.lastElementChild?.remove();
  }

  /** @param {Mode} mode */
  show(mode) {
    if (mode === this.mode) return;
    this.mode = mode;
    this.place.replaceChildren(...this.shown.map((entry) => this.item(entry)));
  }

  /** Paused, the newest are kept for afterwards. @param {boolean} paused */
  pause(paused) {
    this.paused = paused;
    if (!paused) this.render();
  }

  /** @param {Entry} entry */
  item(entry) {
    const at = new Date(entry.at);
    const time = make('time', { dateTime: at.toISOString(), textContent: clock(at) });
    if ('gap' in entry) return make('li', { class: 'gap' }, time, make('span', { textContent: entry.gap }));
    const { bytes, source, own } = entry;
    const [kind, text, limit] = this.describe(bytes);
    const rest = limit < bytes.length ? `, the first ${whole(limit)} shown` : '';
    const size = make('span', { class: 'size', textContent: `${whole(bytes.length)} bytes${rest}` });
    const from = make('span', { class: 'source', textContent: own ? `${source} · sent through this gateway` : source });
    const item = make('li', { dataset: { kind } }, make('div', { class: 'head' }, time, from, size), make('pre', { class: kind, textContent: text }));
    item.classList.toggle('own', own);
    return item;
  }

  /** @param {Uint8Array} bytes @returns {[kind: string, text: string, limit: number]} */
  describe(bytes) {
    if (this.mode === 'hex') return ['hex', this.dump(bytes), HEX_LIMIT];
    const whole = bytes.length <= TEXT_LIMIT;
    if (this.mode === 'json') {
      const text = whole && parsed(bytes) !== undefined ? indent(new TextDecoder().decode(bytes)) : null;
      if (text !== null) return ['json', text, TEXT_LIMIT];
    }
    const text = plain(bytes.subarray(0, TEXT_LIMIT));
    if (text !== null) return ['text', text.trimEnd(), TEXT_LIMIT];
    if (this.mode === 'json') return ['hex', this.dump(bytes), HEX_LIMIT];
    // Not text: what can be read is shown, and a sign for the rest.
    const letters = new TextDecoder().decode(bytes.subarray(0, HEX_LIMIT)).replace(/\p{Cc}/gu, '·');
    return ['broken', letters, HEX_LIMIT];
  }

  /** @param {Uint8Array} bytes */
  dump(bytes) {
    return hex(bytes, matchMedia('(max-width: 40rem)').matches ? 8 : 16);
  }

  close() {
    clearTimeout(this.timer);
    this.timer = 0;
  }
}
