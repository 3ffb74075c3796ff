// @ts-check
// The links to other gateways as a picture: networks here, this gateway, the sites behind its links. The cards are text, so that
// the picture needs no other words; the lines between them only show it.

import { $, make, on, put } from './elements.js';
import { causes, counted, duration, rough, scaled, whole } from './numbers.js';
import { Rates } from './rates.js';
import { fill } from './table.js';

/** @typedef {import('./gateway.js').Json} Json */
/** What is drawn. @typedef {{tag: string, has: Record<string, string>, text?: string}} Line */
/** One card: `out` and `back` are rates of what goes from the gateway to it, and the other way.
 * @typedef {{key: string, title: string, note: string, out: string, back: string, flows: [number, number], label: string,
 *   losses: string, state: string, says: string, detail: () => void}} Site */

const SVG = 'http://www.w3.org/2000/svg';
const rates = new Rates();
/** @type {Record<string, string>} */
const COLOURS = { up: 'good', away: 'warn', refused: 'bad', speaking: 'good', standby: 'good', listening: 'idle', stopped: 'bad', 'waiting-for-interface': 'warn' };
/** @type {Record<string, Record<string, string>>} */
const DIRECTIONS = {
  out: { both: 'both ways', pull: 'from there to here', push: 'from here to there' },
  in: { both: 'both ways', pull: 'from here to there', push: 'from there to here' },
};
/** Pixels from the line at the left to the cards, where they stand one below the other. */
const STEM = 16;
/** Bits a second at which a line is as thick as it gets. */
const THICK = 100e6;

/** The card whose figures stand below the picture. */
let chosen = '';
/** @type {Map<string, Site>} */
let sites = new Map();

/** @param {Json} status */
export function showTopology({ gateway, links = [], mirrors = [], interfaces }) {
  const present = links.length + mirrors.length > 0;
  $('topology').hidden = !present;
  if (!present) return;
  const now = performance.now();
  const far = links.map((/** @type {Json} */ link) => site(link, gateway.id, now));
  const lans = [...new Set(mirrors.map((/** @type {Json} */ one) => one.interface))].sort();
  const near = lans.map((name) => lan(name, mirrors.filter((/** @type {Json} */ one) => one.interface === name), interfaces, gateway.id, now));
  rates.sweep();
  sites = new Map([...near, ...far].map((one) => [one.key, one]));
  if (!sites.has(chosen)) chosen = '';
  cards($('map-lans'), near);
  cards($('map-sites'), far);
  $('map-lans').hidden = near.length === 0;
  $('map-sites').hidden = far.length === 0;
  const up = links.filter((/** @type {Json} */ { state }) => state === 'up').length;
  put($('map-here-note'), `${counted(mirrors.length, 'mirrored group')}`);
  put($('topology-words'), summary(links.length, up, [...near, ...far]));
  $('map-detail').hidden = !chosen;
  sites.get(chosen)?.detail();
  draw();
}

/** @param {number} links @param {number} up @param {Site[]} all */
function summary(links, up, all) {
  const how = !links ? 'No link is open.' : up === links ? `${links === 1 ? 'The link is' : `All ${links} links are`} up.` : `${up} of ${counted(links, 'link')} up.`;
  const lossy = all.filter(({ losses }) => losses).map(({ title, losses }) => `${title}: ${losses}`);
  return `${how} ${lossy.length ? lossy.join('; ') : 'Nothing is lost'}.`;
}

/** @param {Json} link @param {string} run @param {number} now @returns {Site} */
function site(link, run, now) {
  const key = `link/${link.session}`;
  const { values } = rates.take(`${run}/${key}`, now, { out: link.sent_bytes * 8, back: link.received_bytes * 8 });
  const isUp = link.state === 'up';
  const where = link.opened === 'out' ? link.peer : `opened by ${link.peer}`;
  const losses = [
    causes({ lost: link.lost, overrun: link.overrun, 'over the cap': over(link) }),
    link.unknown_gaps ? counted(link.unknown_gaps, 'unknown gap') : '',
  ].filter(Boolean).join(', ');
  const { round_trip_ms: trip } = link;
  const round = trip === undefined ? '' : `${trip.toFixed(trip < 10 ? 1 : 0)} ms`;
  const [out, back] = isUp ? [values?.out ?? 0, values?.back ?? 0].map((bits) => scaled(bits, 'bit/s')) : [`${whole(link.waiting)} waiting`, ''];
  const state = isUp ? `up for ${duration(link.seconds)}` : `${link.state} for ${duration(link.seconds)}: ${link.reason ?? ''}`;
  return {
    key, title: link.name, note: isUp ? where : `${where}; ${state}`, out, back,
    flows: isUp ? [values?.out ?? 0, values?.back ?? 0] : [-1, -1],
    label: isUp ? round : link.state, losses, state: COLOURS[link.state] ?? 'bad',
    says: `Link ${link.name}, ${where}, ${state}${round && `, round trip ${round}`}, to there ${out}${back && `, from there ${back}`}, ${losses || 'nothing lost'}`,
    detail: () => linkDetail(link, state, round),
  };
}

/** Datagrams over the cap of any group. @param {Json} link */
const over = (link) => link.groups.reduce((/** @type {number} */ sum, /** @type {Json} */ group) => sum + group.over_rate, 0);

/** @param {string} name @param {Json[]} mirrors @param {Json[]} interfaces @param {string} run @param {number} now @returns {Site} */
function lan(name, mirrors, interfaces, run, now) {
  const key = `lan/${name}`;
  const sum = (/** @type {string} */ field) => mirrors.reduce((all, one) => all + one[field], 0);
  const { values } = rates.take(`${run}/${key}`, now, { out: sum('emitted'), back: sum('heard') });
  const states = mirrors.map((one) => one.state);
  const worst = ['stopped', 'waiting-for-interface', 'listening', 'standby', 'speaking'].find((state) => states.includes(state)) ?? '';
  const neighbours = Math.max(0, ...mirrors.map((one) => one.neighbours));
  const address = interfaces.find((one) => one.name === name)?.addresses[0] ?? '';
  const note = [address, counted(mirrors.length, 'group'), neighbours ? `${counted(neighbours, 'more gateway')} here` : ''].filter(Boolean).join(' · ');
  const losses = causes({ 'lost in the kernel': sum('lost_kernel'), storms: sum('storms') });
  const [out, back] = [values?.out ?? 0, values?.back ?? 0].map((rate) => `${rough(rate)}/s`);
  const label = worst === 'speaking' ? '' : worst.replaceAll('-', ' ');
  const title = name || 'no interface';
  return {
    key, title, note, out, back, label, losses, state: COLOURS[worst] ?? 'idle',
    // Datagrams of the size of video, for the thickness only.
    flows: worst === 'waiting-for-interface' ? [-1, -1] : [(values?.out ?? 0) * 1e4, (values?.back ?? 0) * 1e4],
    says: `Network ${title}, ${note}, ${worst.replaceAll('-', ' ')}, sent there ${out}, heard there ${back}, ${losses || 'nothing lost'}`,
    detail: () => lanDetail(title, mirrors),
  };
}

/** Brings a list of cards up to date in place, so that a focused one stays focused. @param {any} parent @param {Site[]} wanted */
function cards(parent, wanted) {
  const present = new Map([...parent.children].map((item) => [item.dataset.key, item]));
  const keys = new Set(wanted.map(({ key }) => key));
  for (const [key, item] of present) if (!keys.has(key)) item.remove();
  wanted.forEach((one, place) => {
    const item = present.get(one.key) ?? fresh(one.key);
    const [card] = item.children;
    card.dataset.state = one.state;
    card.setAttribute('aria-pressed', String(one.key === chosen));
    if (card.getAttribute('aria-label') !== one.says) card.setAttribute('aria-label', one.says);
    const [title, note, flows, losses] = card.children;
    put(title, one.title);
    put(note, one.note);
    put(flows.children[0], one.out);
    put(flows.children[1], one.back);
    put(losses, one.losses);
    if (parent.children[place] !== item) parent.insertBefore(item, parent.children[place] ?? null);
  });
}

/** @param {string} key */
function fresh(key) {
  const span = (/** @type {string} */ name, /** @type {Node[]} */ ...inside) => make('span', { class: name }, ...inside);
  const card = make('button', { type: 'button', class: 'card' },
    span('name'), make('small'), span('flows', span('out'), span('back')), span('losses'));
  on(card, 'click', () => {
    chosen = chosen === key ? '' : key;
    for (const other of $('map').querySelectorAll('.card')) other.setAttribute('aria-pressed', String(other.parentElement.dataset.key === chosen));
    $('map-detail').hidden = !chosen;
    sites.get(chosen)?.detail();
  });
  return make('li', { dataset: { key } }, card);
}

/** @param {Json} link @param {string} state @param {string} round */
function linkDetail(link, state, round) {
  const breaks = link.connections > 1 ? `${duration(link.last_break_seconds)}, ${counted(link.last_break_lost, 'datagram')} lost` : 'none';
  facts(link.name, {
    State: state,
    'Round trip': round || '–',
    'To there': `${whole(link.sent)} · ${scaled(link.sent_bytes, 'B')}`,
    'From there': `${whole(link.received)} · ${scaled(link.received_bytes, 'B')}`,
    Waiting: whole(link.waiting),
    Lost: `${whole(link.lost)}${link.unknown_gaps ? ` and ${counted(link.unknown_gaps, 'unknown gap')}` : ''}`,
    'Last break': breaks,
  });
  $('map-mirrors').hidden = true;
  fill($('map-groups'), link.groups.map((/** @type {Json} */ one) => ({
    key: `${one.interface}/${one.group}`,
    cells: [
      { text: one.group },
      { text: one.refused ? 'refused' : 'mirrored', note: one.refused ?? `on ${one.interface}`, state: one.refused ? 'bad' : 'good' },
      { text: DIRECTIONS[link.opened]?.[one.direction] ?? one.direction },
      whole(one.over_rate),
    ],
  })));
}

/** @param {string} name @param {Json[]} mirrors */
function lanDetail(name, mirrors) {
  facts(name, {});
  $('map-groups').hidden = true;
  fill($('map-mirrors'), mirrors.map((one) => {
    const { nobody, duplicate, ...discarded } = one.discarded;
    const wrong = causes({ ...discarded, 'nobody speaks': nobody, kernel: one.discarded.kernel + one.lost_kernel });
    return {
      key: one.group,
      cells: [
        { text: one.group },
        { text: one.state.replaceAll('-', ' '), note: one.speaker ? `gateway ${one.speaker} speaks` : one.stopped_seconds ? `for ${duration(one.stopped_seconds)} more` : '', state: COLOURS[one.state] ?? 'bad' },
        { text: whole(one.heard), note: `${whole(one.injected)} to the links` },
        { text: whole(one.emitted), note: duplicate ? `${whole(duplicate)} came twice` : '' },
        { text: wrong || 'none', state: wrong ? 'warn' : '' },
      ],
    };
  }));
}

/** @param {string} title @param {Record<string, string>} words */
function facts(title, words) {
  put($('map-detail-title'), title);
  const list = $('map-facts');
  const names = Object.keys(words);
  if (list.children.length !== names.length) list.replaceChildren(...names.map(() => make('div', {}, make('dt'), make('dd'))));
  names.forEach((name, place) => {
    put(list.children[place].children[0], name);
    put(list.children[place].children[1], words[name]);
  });
  list.hidden = names.length === 0;
}

/** Draws the lines from card to card. */
function draw() {
  const canvas = $('map-lines');
  const frame = $('map').getBoundingClientRect();
  const here = box($('map-here'), frame);
  canvas.setAttribute('viewBox', `0 0 ${frame.width} ${frame.height}`);
  /** @type {Line[]} */
  const lines = [];
  const boxes = [here];
  for (const item of $('map').querySelectorAll('li')) {
    const one = sites.get(item.dataset.key);
    if (!one) continue;
    const there = box(item, frame);
    boxes.push(there);
    lines.push(...connect(one, here, there));
  }
  if (boxes.every(({ left }) => left === here.left)) lines.push(...trunk(boxes));
  // As many as there were: attributes change, and a dash goes on where it was.
  while (canvas.children.length > lines.length) canvas.lastChild.remove();
  lines.forEach((line, place) => {
    let node = canvas.children[place];
    if (node?.tagName !== line.tag) {
      const made = document.createElementNS(SVG, line.tag);
      if (node) node.replaceWith(made);
      else canvas.append(made);
      node = made;
    }
    for (const [name, value] of Object.entries(line.has)) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    put(node, line.text ?? '');
  });
}

/** @typedef {{left: number, right: number, middle: number}} Box */

/** @param {Element} node @param {DOMRect} frame @returns {Box} */
function box(node, frame) {
  const { left, right, top, bottom } = node.getBoundingClientRect();
  return { left: left - frame.left, right: right - frame.left, middle: (top + bottom) / 2 - frame.top };
}

/** One line each way, and what stands at them. @param {Site} one @param {Box} here @param {Box} there */
function connect({ flows, label, state }, here, there) {
  const isBeside = there.left >= here.right || there.right <= here.left;
  const away = flows[0] < 0;
  /** @type {Line[]} */
  const lines = (away ? [0] : [-4, 4]).map((shift, way) => {
    const bits = flows[way];
    const width = bits > 0 ? 1.5 + 2.5 * Math.min(1, Math.log10(1 + bits) / Math.log10(THICK)) : 1.5;
    const kind = away ? 'away' : `${way ? 'back' : 'out'}${bits > 0 ? ' moves' : ''}`;
    const d = isBeside ? across(here, there, shift) : `M${there.left - STEM} ${there.middle + shift}H${there.left}`;
    return { tag: 'path', has: { d, class: kind, 'data-state': state, 'stroke-width': width.toFixed(1) } };
  });
  if (isBeside && label) {
    // At the card, on the side that the curve does not come from.
    const [x, anchor] = there.left >= here.right ? [there.left - 10, 'end'] : [there.right + 10, 'start'];
    const y = there.middle + (there.middle > here.middle + 1 ? 22 : -12);
    lines.push({ tag: 'text', has: { x: `${x}`, y: `${y}`, 'text-anchor': anchor, 'data-state': state }, text: label });
  }
  return lines;
}

/** Where the cards stand one below the other: what joins them at their left. @param {Box[]} boxes @returns {Line[]} */
function trunk(boxes) {
  const [{ left, middle: here }] = boxes;
  const middles = boxes.map(({ middle }) => middle);
  const d = `M${left - STEM} ${Math.min(...middles)}V${Math.max(...middles)}M${left - STEM} ${here}H${left}`;
  return [{ tag: 'path', has: { d, class: 'trunk', 'data-state': '', 'stroke-width': '2' } }];
}

/** From side to side. @param {Box} here @param {Box} there @param {number} shift */
function across(here, there, shift) {
  const [from, to] = there.left >= here.right ? [here.right, there.left] : [here.left, there.right];
  const middle = (from + to) / 2;
  return `M${from} ${here.middle + shift}C${middle} ${here.middle + shift} ${middle} ${there.middle + shift} ${to} ${there.middle + shift}`;
}

new ResizeObserver(() => $('topology').hidden || draw()).observe($('map'));
