// @ts-check
// One stream being watched: what it is, its datagrams, its losses, and the ways to look at it.

import { Chart } from './chart.js';
import { Detector } from './detect.js';
import { $, copy, make, on, put } from './elements.js';
import { gateway, named, wish } from './gateway.js';
import { DatagramList } from './list.js';
import { causes, counted, duration, rough, scaled, whole } from './numbers.js';
import { explain } from './refusals.js';
import { SendForm } from './send.js';
import { openLinks } from './snippets.js';
import { nameOf, spell } from './target.js';
import { Video } from './video.js';

/** Datagrams looked at in a second to say what the stream is. */
const LOOKS = 20;
/** @typedef {'text' | 'json' | 'hex' | 'chart' | 'video'} Tab */
/** @type {Tab[]} */
const TABS = ['text', 'json', 'hex', 'chart', 'video'];
/** The tab that suits a kind best. @type {Record<string, Tab>} */
const BEST = { 'mpeg-ts': 'video', 'rtp-ts': 'video', json: 'json', 'json-lines': 'json', binary: 'hex', rtp: 'hex', rtcp: 'hex', mdns: 'hex', llmnr: 'hex', coap: 'hex', ptp: 'hex', jpeg: 'hex', asterix: 'hex', sacn: 'hex', 'art-net': 'hex', osc: 'hex' };
/** @type {Record<string, string>} */
const LOST = {
  client: 'this page read too slowly', queue: 'this page read too slowly', kernel: 'the gateway’s receive buffer was full',
  'rate-limit': 'over a rate limit', interface: 'the interface was away', unknown: 'the connection was away',
};
/** @type {Record<string, string>} */
const STATES = {
  joining: 'Joining…', receiving: 'Receiving', silent: 'Joined; nothing arrives. A quiet group is nothing unusual.',
  'waiting-for-interface': 'Waiting for the interface: it is away, down, or without carrier. Datagrams will come when it is back.',
  waiting: 'The connection is interrupted; it comes back by itself.', ended: 'Ended', refused: 'Not joined',
};
/** Of what was learnt about streams in this page, for their list. @type {Map<string, string>} */
export const kinds = new Map();

export class Viewer {
  /** @param {import('./target.js').Target} target @param {{replay: boolean}} options */
  constructor(target, { replay }) {
    this.target = target;
    this.total = this.bytes = this.looked = this.lost = this.gaps = 0;
    this.gapSeconds = 0;
    this.state = 'joining';
    /** @type {import('/wscast.js').Subscription | null} */
    this.subscription = null;
    /** @type {Record<string, number>} */
    this.causes = {};
    /** @type {Map<string, number>} */
    this.sources = new Map();
    this.last = { at: performance.now(), total: 0, bytes: 0 };
    this.detector = new Detector(Number(/\d+$/.exec(target.group) ?? 0));
    this.list = new DatagramList($('messages'));
    this.chart = new Chart();
    this.video = new Video(target);
    /** @type {Tab} */
    this.tab = 'text';
    this.chosen = false;
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.sending = new SendForm(target, signal, showError);
    for (const tab of TABS) $(`tab-${tab}`).addEventListener('click', () => this.choose(tab), { signal });
    $('tabs').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.step(event), { signal });
    $('pause').addEventListener('click', () => this.pause(!this.list.paused), { signal });
    $('live-links').addEventListener('click', () => openLinks(this.target), { signal });
    this.ticker = setInterval(() => this.tick(), 1000);
    this.begin();
    this.run(replay);
  }

  begin() {
    const name = nameOf(this.target, named());
    $('live').hidden = false;
    $('live').dataset.state = '';
    put($('live-title'), name || spell(this.target));
    put($('live-group'), [name && this.target.group && spell(this.target), this.target.interface && `on ${this.target.interface}`].filter(Boolean).join(' '));
    $('kind').hidden = true;
    showError($('live-error'), null);
    this.pause(false);
    this.select('text');
    this.say('joining');
    this.count();
    put($('rate'), '–');
  }

  /** @param {boolean} replay */
  async run(replay) {
    const { interface: on, exclude, sources } = this.target;
    try {
      const subscription = (this.subscription = gateway.join(wish(this.target, 'receive'), {
        interface: on || undefined, exclude: exclude.length ? exclude : undefined, echo: true, replay: replay ? '5' : undefined, signal: this.abort.signal,
      }));
      subscription.addEventListener('state', (/** @type {any} */ { detail }) => this.settled(detail));
      subscription.addEventListener('lost', (/** @type {any} */ { detail }) => this.missed(detail));
      for await (const batch of subscription.batches()) for (const datagram of batch) this.take(datagram);
    } catch (error) {
      this.say(this.total ? 'ended' : 'refused');
      // With nothing to look at, only the reason stands there.
      $('live').dataset.state = this.total ? '' : 'refused';
      showError($('live-error'), explain(error));
    }
    clearInterval(this.ticker);
    put($('rate'), '–');
  }

  /** @param {{state: string, interface: string}} detail */
  settled(detail) {
    this.say(detail.state);
    const name = nameOf(this.target, named());
    put($('live-group'), [name && this.target.group && spell(this.target), `on ${detail.interface}`].filter(Boolean).join(' '));
  }

  /** @param {import('/wscast.js').Datagram} datagram */
  take(datagram) {
    const { payload, source, port, time, fromClient } = datagram;
    this.total += 1;
    this.bytes += payload.length;
    if (this.looked < LOOKS) {
      this.looked += 1;
      this.detector.add(payload);
      this.sources.set(source, (this.sources.get(source) ?? 0) + 1);
      if (this.sources.size > 16) this.sources.delete(/** @type {string} */ (this.sources.keys().next().value));
      if (this.total <= 4) this.judge();
    }
    const from = source.includes(':') ? `[${source}]:${port}` : `${source}:${port}`;
    this.list.add({ at: time, source: from, bytes: payload, own: fromClient });
    this.chart.take(time, payload);
    this.video.push(payload);
  }

  /** @param {{datagrams: number | null, where: string, seconds?: number}} loss */
  missed({ datagrams, where, seconds = 0 }) {
    const why = LOST[where] ?? where;
    let words;
    if (datagrams === null) {
      this.gaps += 1;
      this.gapSeconds += seconds;
      words = `Gap of ${seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds)}: ${why}, and how many datagrams were missed then is unknown.`;
    } else {
      this.lost += datagrams;
      this.causes[where] = (this.causes[where] ?? 0) + datagrams;
      words = `${counted(datagrams, 'datagram')} lost here: ${why}.`;
    }
    this.list.add({ at: Date.now(), gap: words });
    this.count();
  }

  tick() {
    const { at, total, bytes } = this.last;
    this.last = { at: performance.now(), total: this.total, bytes: this.bytes };
    const seconds = (this.last.at - at) / 1000;
    put($('rate'), `${rough((this.total - total) / seconds)}/s · ${scaled(((this.bytes - bytes) * 8) / seconds, 'bit/s')}`);
    this.looked = 0;
    this.judge();
    this.count();
    if (gateway.state !== 'open') this.say('waiting');
    else if (this.subscription) this.say(this.subscription.state);
  }

  /** Says what the stream is, and offers what suits it. */
  judge() {
    const { verdict } = this.detector;
    if (!verdict) return;
    const { kind, label } = verdict;
    const tracks = this.video.tracks;
    this.video.rtp = kind === 'rtp-ts';
    $('kind').hidden = false;
    $('kind').dataset.kind = kind;
    put($('kind'), tracks ? `${label} · ${tracks}` : label);
    kinds.set(spell(this.target), label);
    this.offer('video', kind === 'mpeg-ts' || kind === 'rtp-ts', 'The stream is no MPEG-TS');
    this.offer('chart', this.chart.usable, 'The stream has no JSON with numbers');
    if (!this.chosen) this.select(BEST[kind] ?? 'text');
  }

  /** @param {Tab} tab @param {boolean} possible @param {string} why not */
  offer(tab, possible, why) {
    const button = $(`tab-${tab}`);
    button.disabled = !possible;
    button.title = possible ? '' : why;
  }

  /** @param {Tab} tab */
  choose(tab) {
    this.chosen = true;
    this.select(tab);
  }

  /** @param {Tab} tab */
  select(tab) {
    this.tab = tab;
    for (const each of TABS) {
      const button = $(`tab-${each}`);
      button.ariaSelected = String(each === tab);
      button.tabIndex = each === tab ? 0 : -1;
    }
    const panel = tab === 'chart' || tab === 'video' ? tab : 'list';
    for (const each of ['list', 'chart', 'video']) $(`panel-${each}`).hidden = each !== panel;
    $('panel-list').setAttribute('aria-labelledby', `tab-${panel === 'list' ? tab : 'text'}`);
    if (tab === 'text' || tab === 'json' || tab === 'hex') this.list.show(tab);
    this.chart.show(tab === 'chart');
    this.video.show(tab === 'video');
  }

  /** Arrow keys go from tab to tab. @param {KeyboardEvent} event */
  step({ key, target }) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key] ?? 0;
    if (!step) return;
    const open = TABS.filter((tab) => !$(`tab-${tab}`).disabled);
    const now = open.findIndex((tab) => $(`tab-${tab}`) === target);
    const next = open[(now + step + open.length) % open.length];
    this.choose(next);
    $(`tab-${next}`).focus();
  }

  count() {
    put($('total'), whole(this.total));
    put($('unshown'), whole(this.list.unshown));
    const gaps = this.gaps ? `unknown in ${counted(this.gaps, 'gap')}` : '';
    put($('lost'), [this.lost || !gaps ? whole(this.lost) : '', gaps].filter(Boolean).join(' + '));
    $('lost').title = causes(this.causes);
    $('lost').dataset.state = this.lost || this.gaps ? 'warn' : '';
    put($('sources'), [...this.sources.keys()].slice(0, 3).join(', ') + (this.sources.size > 3 ? ` and ${this.sources.size - 3} more` : '') || '–');
  }

  /** @param {string} state */
  say(state) {
    this.state = state;
    const live = $('live-state');
    live.dataset.state = state;
    put(live, STATES[state] ?? state);
  }

  /** Paused, the connection goes on and the newest are kept for afterwards. @param {boolean} paused */
  pause(paused) {
    this.list.pause(paused);
    $('pause').ariaPressed = String(paused);
    put($('pause'), paused ? 'Continue' : 'Pause');
  }

  close() {
    this.abort.abort();
    clearInterval(this.ticker);
    this.list.close();
    this.chart.close();
    this.video.close();
    $('live').hidden = true;
  }
}

/** What was refused and how to allow it, at its place; nothing takes it away.
 * @param {any} place @param {import('./refusals.js').Explanation | null} explanation */
export function showError(place, explanation) {
  place.hidden = !explanation;
  place.replaceChildren();
  if (!explanation) return;
  const { words, how, command } = explanation;
  place.append(make('p', { textContent: words }));
  if (how) place.append(make('p', { class: 'how', textContent: how }));
  if (!command) return;
  const button = make('button', { type: 'button', textContent: 'Copy', 'aria-label': `Copy ${command}` });
  on(button, 'click', () => copy(command, button));
  place.append(make('div', { class: 'command' }, make('code', { textContent: command }), button));
}
