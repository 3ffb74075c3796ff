// @ts-check
// The gateway's own page: what runs, and a look into any stream. Plain DOM, served under a CSP without any 'unsafe-...'.
// Whatever comes from the network reaches the document through textContent, `value` or dataset only, never as markup.

/** JSON of the gateway, documented in src/model/status.rs. @typedef {Record<string, any>} Json */
/** @typedef {{text: string, note?: string, state?: string}} Cell */

// List entries kept (the page runs for days); bytes of a text, and of anything else, shown; sessions listed (the JSON has all).
const [KEEP, TEXT_LIMIT, HEX_LIMIT, ROWS] = [100, 16384, 256, 200];
const RENDER_MS = 100; // as fast as the eye follows, whatever the stream does
/** An element of index.html. @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
/** Only changes, so that a selection survives the update each second. @type {(node: Element, text: string) => void} */
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
/** @type {(tag: string, text?: string, className?: string) => HTMLElement} */
const make = (tag, textContent = '', className = '') => Object.assign(document.createElement(tag), { textContent, className });
/** @type {(id: string, type: string, act: (target: HTMLElement) => void) => void} */
const on = (id, type, act) => $(id).addEventListener(type, (/** @type {any} */ event) => {
  if (type === 'submit') event.preventDefault();
  act(event.target);
});

// ---- Numbers in words ----

const whole = new Intl.NumberFormat('en');
const three = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const scaled = (/** @type {number} */ value, /** @type {string} */ unit) => {
  const step = value >= 999.5e6 ? 3 : value >= 999.5e3 ? 2 : value >= 999.5 ? 1 : 0;
  return `${three.format(value / 1000 ** step)} ${['', 'k', 'M', 'G'][step]}${unit}`;
};
const duration = (/** @type {number} */ seconds) => {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const parts = [(seconds / 3600) % 24, (seconds / 60) % 60, seconds % 60].map((n) => String(Math.floor(n)).padStart(2, '0'));
  return `${seconds < 86400 ? '' : `${Math.floor(seconds / 86400)} d `}${parts.join(':')}`;
};
const clock = (/** @type {Date} */ at) => at.toTimeString().slice(0, 8);
/** `kernel 3, truncated 1`: only what happened. @param {Record<string, number>} counts */
function causes(counts) {
  const happened = Object.entries(counts).filter(([, count]) => count > 0);
  return happened.map(([cause, count]) => `${cause.replaceAll('_', ' ')} ${whole.format(count)}`).join(', ') || '0';
}
/** Full jitter, capped at 1 s for the first 30 s of an outage, then at 20 s: a gateway that comes back must not be run over by
 * its own clients. @type {(attempt: number, since: number) => number} */
const backoff = (attempt, since) =>
  Math.random() * Math.min(performance.now() - since < 30000 ? 1000 : 20000, 250 * 2 ** Math.min(attempt, 10));

// ---- Tables ----

/** Brings a table to `rows` in place: rows are kept by key, so that a focused button stays focused from poll to poll.
 * @param {string} id @param {{key: string, cells: (Cell | string)[], watch?: string}[]} rows */
function fill(id, rows) {
  const [body] = $(id).tBodies;
  const heads = [...$(id).tHead.rows[0].cells];
  const present = new Map([...body.rows].map((tr) => [tr.dataset.key, tr]));
  const wanted = new Set(rows.map(({ key }) => key));
  for (const [key, tr] of present) if (!wanted.has(key)) tr.remove();
  rows.forEach(({ key, cells, watch: path }, place) => {
    const tr = present.get(key) ?? make('tr');
    if (!tr.dataset.key) {
      tr.dataset.key = key;
      tr.role = 'row'; // explicit roles: the narrow layout takes `display: table` away, and with it the implied ones
      heads.forEach((head, column) => {
        const cell = make(column ? 'td' : 'th', '', head.className);
        cell.role = column ? 'cell' : 'rowheader';
        if (!column) cell.setAttribute('scope', 'row');
        if (column && column < cells.length) cell.dataset.label = head.textContent;
        cell.append(...(column < cells.length ? [make('span', '', 'text'), make('small')] : [make('button', 'Watch')]));
        tr.append(cell);
      });
    }
    cells.forEach((value, column) => {
      const { text, note = '', state = '' } = typeof value === 'string' ? { text: value } : value;
      [text, note].forEach((words, part) => put(tr.cells[column].children[part], words));
      if (state) tr.cells[column].dataset.state = state;
    });
    const button = tr.querySelector('button');
    if (button) [button.dataset.watch, button.ariaLabel] = [path, `Watch ${tr.cells[0].children[0].textContent}`];
    if (body.rows[place] !== tr) body.insertBefore(tr, body.rows[place] ?? null);
  });
  $(id).hidden = rows.length === 0;
  $(`${id}-empty`).hidden = rows.length > 0;
}
/** @type {Record<string, string>} */
const COLOURS = { receiving: 'good', silent: 'warn', up: 'good', 'no carrier': 'warn' };
/** Counters of the poll before, for the rates. @type {Map<string, {at: number, received: number, bytes: number}>} */
let before = new Map();
/** `SOURCE@GROUP:PORT` as the URL has it. @param {Json} stream */
const address = ({ sources, group }) =>
  sources.map((/** @type {string} */ each) => (/^[^[]*:/.test(each) ? `[${each}]` : each)).join() + (sources.length ? '@' : '') + group;
/** @param {Json} status */
function showStreams({ gateway, streams }) {
  const now = performance.now();
  const counters = new Map();
  const named = new Map(Object.entries(gateway.named_streams));
  const rows = streams.map((/** @type {Json} */ stream) => {
    // The gateway's id is part of the key: numbers begin again with its next run, and a difference across runs means nothing.
    const key = `${gateway.id}/${stream.number}`;
    const counted = { at: now, received: stream.received, bytes: stream.received_bytes };
    // After a pause (hidden page) the difference would be an average that looks like a rate of now.
    const last = now - (before.get(key)?.at ?? 0) < 5000 ? before.get(key) : null;
    const seconds = last ? (now - last.at) / 1000 : 0;
    counters.set(key, counted);
    const names = [...named].filter(([, path]) => path.replace(/^\/udp\/([^?]*).*$/, '$1') === address(stream));
    for (const [name] of names) named.delete(name);
    const asked = stream.asked_interface === 'all' ? stream.interface : stream.asked_interface;
    const options = { interface: asked, exclude: stream.exclude.join() };
    const query = String(new URLSearchParams(Object.entries(options).filter(([, value]) => value)));
    const { count } = stream.outages;
    const outages = count ? `unknown in ${count} outage${count > 1 ? 's' : ''}, ${duration(stream.outages.seconds)}` : '';
    const cells = [
      { text: stream.group, note: names.map(([name]) => name).join(', ') },
      { text: stream.sources.join(', ') || 'all', note: stream.exclude.length ? `not ${stream.exclude.join(', ')}` : '' },
      { text: stream.interface || '–', note: asked && asked !== stream.interface ? `asked: ${asked}` : '' },
      { text: stream.state.replaceAll('-', ' '), note: stream.waiting ?? '', state: COLOURS[stream.state] ?? 'bad' },
      last ? three.format((counted.received - last.received) / seconds) : '–',
      last ? scaled(((counted.bytes - last.bytes) * 8) / seconds, 'bit/s') : '–',
      { text: whole.format(stream.received), note: scaled(stream.received_bytes, 'B') },
      { text: causes({ kernel: stream.lost.kernel, truncated: stream.refused.truncated }), note: outages },
      whole.format(stream.subscribers),
    ];
    return { key, cells, watch: `/udp/${address(stream)}${query && `?${query}`}` };
  });
  const rest = ['–', '–', { text: 'named', note: 'joined when watched', state: 'idle' }, '–', '–', '–', '–', '–'];
  const idle = [...named].map(([name, note]) => ({ key: `name/${name}`, watch: note, cells: [{ text: name, note }, ...rest] }));
  before = counters;
  fill('streams', [...idle, ...rows]);
}
/** Adds up a counter, or each of a group of counters, over all books. @param {Json[]} books @param {string} field @returns {any} */
function total(books, field) {
  if (typeof books[0]?.[field] !== 'object') return books.reduce((sum, book) => sum + book[field], 0);
  return Object.fromEntries(Object.keys(books[0][field]).map((key) => [key, total(books.map((book) => book[field]), key)]));
}
/** @param {Json[]} sessions */
function showSessions(sessions) {
  fill('sessions', sessions.slice(0, ROWS).map(({ number, peer, kind, seconds, subscriptions: books, bytes, blocked, sender }) => {
    const [written, pending, lost, withheld] = ['written', 'pending', 'lost', 'withheld'].map((field) => total(books, field));
    const groups = books.slice(0, 4).map((/** @type {Json} */ book) => `${book.group} (${book.interface})`);
    const notes = books.length > 4 ? [`and ${books.length - 4} more`] : [];
    if (sender) notes.push(`sends to ${sender.group}: sent ${whole.format(sender.sent)}, refused ${causes(sender.refused)}`);
    const cells = [
      peer, kind, duration(seconds), { text: groups.join(', ') || '–', note: notes.join('; ') },
      { text: whole.format(written), note: scaled(bytes, 'B') }, causes(lost), causes(withheld), whole.format(pending),
      { text: blocked ? 'yes' : 'no', state: blocked ? 'warn' : 'good' },
    ];
    return { key: String(number), cells };
  }));
  $('sessions-more').hidden = sessions.length <= ROWS;
  put($('sessions-more'), `${whole.format(sessions.length - ROWS)} more are in the JSON.`);
}
/** @param {Json[]} interfaces */
function showInterfaces(interfaces) {
  fill('interfaces', interfaces.map(({ index, name, addresses, up, running, loopback, multicast, mtu }) => {
    const state = !up ? 'down' : running ? 'up' : 'no carrier';
    const shown = { text: state, note: loopback ? 'loopback' : '', state: COLOURS[state] ?? 'bad' };
    const cells = [name, addresses.join(', ') || 'none', shown, multicast ? 'yes' : 'no', whole.format(mtu), String(index)];
    return { key: `${index}/${name}`, cells };
  }));
  const select = $('interface');
  const options = [['', 'default'], ...interfaces.map(({ name, addresses }) => [name, `${name} ${addresses[0] ?? ''}`])];
  const { value, dataset } = select;
  // A choice that came with a link, or whose interface is away just now, stays: the gateway waits for it too.
  if (!options.some(([name]) => name === value)) options.push([value, value]);
  if (JSON.stringify(options) === dataset.options) return; // an open list closes when it's rebuilt
  dataset.options = JSON.stringify(options);
  select.replaceChildren(...options.map(([name, text]) => new Option(text, name)));
  select.value = value;
}

// ---- Polling ----

/** @param {string} path @returns {Promise<Json>} */
async function load(path) {
  const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${response.status} ${(await response.text()).slice(0, 200).trim()}`);
  return response.json();
}
let [timer, polling, polls, failures, failing] = [0, false, 0, 0, 0]; // polls since a failure, failures since a success, the first one's time
async function poll() {
  clearTimeout(timer);
  if (polling || document.hidden) return;
  polling = true;
  try { // interfaces change rarely
    const [status, interfaces] = await Promise.all([load('/api/v1/status'), polls % 10 ? null : load('/api/v1/interfaces')]);
    [failures, polls] = [0, polls + 1];
    put($('version'), status.gateway.version);
    put($('uptime'), `up ${duration(status.gateway.uptime_seconds)}`);
    $('banner-draining').hidden = !status.gateway.draining;
    showStreams(status);
    showSessions(status.sessions);
    if (interfaces) showInterfaces(interfaces.interfaces);
  } catch (/** @type {any} */ error) {
    [failing, failures, polls] = [failures ? failing : performance.now(), failures + 1, 0];
    put($('banner-unreachable'), `The gateway can't be reached (${error.message}); trying again. What stands below is from before.`);
  }
  $('banner-unreachable').hidden = failures === 0;
  document.body.classList.toggle('stale', failures > 0);
  polling = false;
  timer = setTimeout(poll, failures ? 500 + backoff(failures, failing) : 1000);
}
document.addEventListener('visibilitychange', poll); // hidden: clears the timer; visible again: asks at once

// ---- What a datagram holds ----

/** Indents valid JSON without parsing its numbers: 9007199254740993 must not become ...992 on an operator's screen.
 * @param {string} json */
function indent(json) {
  let depth = 0;
  const line = () => `\n${'  '.repeat(Math.min(depth, 16))}`; // capped: a datagram of brackets must not grow with its square
  return json.trim().replace(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|\s+/g, (token) => {
    if (token[0] === '"') return token;
    if (token === ',' || token === ':') return token === ',' ? `,${line()}` : ': ';
    if (token === '{' || token === '[') return (depth += 1, token + line());
    if (token === '}' || token === ']') return (depth -= 1, line() + token);
    return token.replace(/\s+/g, '');
  });
}
/** @param {Uint8Array} bytes */
function hex(bytes) {
  const width = matchMedia('(max-width: 40rem)').matches ? 8 : 16;
  let dump = '';
  for (let at = 0; at < Math.min(bytes.length, HEX_LIMIT); at += width) {
    const part = [...bytes.subarray(at, at + width)];
    const digits = part.map((byte) => byte.toString(16).padStart(2, '0')).join(' ').padEnd(width * 3 - 1);
    dump += `${at.toString(16).padStart(4, '0')}  ${digits} ${String.fromCharCode(...part).replace(/[^ -~]/g, '.')}\n`;
  }
  return dump;
}
/** @param {Uint8Array} bytes @returns {[kind: string, text: string, shown: number]} */
function describe(bytes) {
  const cut = bytes.length > TEXT_LIMIT;
  let text = '\0';
  try {
    // `stream` forgives the character that the cut went through; a whole datagram has to be valid to its end.
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, TEXT_LIMIT), { stream: cut });
  } catch { /* not UTF-8 */ }
  if (/[^\P{Cc}\t\r\n]/u.test(text)) return ['hex', hex(bytes), HEX_LIMIT];
  try {
    if (!cut && typeof JSON.parse(text) === 'object') return ['json', indent(text), TEXT_LIMIT];
  } catch { /* plain text */ }
  return ['text', text, TEXT_LIMIT];
}
/** @param {{at: Date, data: ArrayBuffer}} arrival */
function entry({ at, data }) {
  const [kind, text, shown] = describe(new Uint8Array(data));
  const [item, head] = [make('li'), make('div', '', 'head')];
  item.dataset.kind = kind;
  const time = make('time', `${clock(at)}.${String(at.getMilliseconds()).padStart(3, '0')}`);
  time.setAttribute('datetime', at.toISOString());
  const rest = shown < data.byteLength ? `, the first ${whole.format(shown)} shown` : '';
  head.append(time, ' · ', make('span', `${whole.format(data.byteLength)} bytes`, 'size'), rest);
  item.append(head, make('pre', text, kind));
  return item;
}

// ---- Watching ----

/** @type {Record<number, string>} */
const WORDS = {
  1000: 'closed as asked', 1001: 'the gateway is stopping', 1002: 'protocol error', 1006: 'connection lost',
  1008: 'too many messages', 1009: 'message too large', 1011: 'error in the gateway', 1013: 'the gateway is overloaded',
  4401: 'token missing or expired', 4403: 'not allowed', 4404: 'no such stream', 4413: 'datagram too large to send',
  4508: 'this page read too slowly', 4529: 'too many at once', 4530: 'the interface has gone',
};
const retryable = (/** @type {number} */ code) => (code >= 4500 && code <= 4999) || [1001, 1006, 1011, 1013].includes(code);
/** One stream being watched, over as many connections as that takes. */
class Watch {
  /** @param {URL} url */
  constructor(url) {
    this.url = url;
    this.over = this.paused = this.joined = false;
    this.attempt = this.outage = this.total = this.bytes = this.unshown = this.timer = this.renderer = 0;
    /** Arrived, not rendered yet; bounded like the list. @type {{at: Date, data: ArrayBuffer}[]} */
    this.waiting = [];
    this.last = { at: performance.now(), total: 0, bytes: 0 };
    this.ticker = setInterval(() => this.tick(), 1000);
    $('messages').replaceChildren();
    for (const id of ['rate', 'sent']) put($(id), '');
    this.pause(false);
    this.say('connecting', 'Connecting…');
    this.connect();
  }
  connect() {
    const url = new URL(this.url);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    if (this.joined) url.searchParams.delete('replay'); // else every reconnection shows the same datagrams again
    const socket = this.socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    let opened = 0;
    socket.onopen = () => {
      [opened, this.joined] = [performance.now(), true];
      this.say('open', 'Connected; nothing has arrived yet. A quiet group is nothing unusual.');
    };
    socket.onmessage = ({ data }) => this.arrived(data);
    socket.onclose = async ({ code, reason }) => {
      // A script isn't told why an upgrade failed; a plain request to the same URL is.
      const refusal = opened ? '' : await this.refusal();
      if (this.over) return;
      const words = refusal || `${code} ${WORDS[code] ?? 'closed'}${reason && `: ${reason}`}`;
      if (refusal || !retryable(code)) return this.end(`Ended: ${words}`);
      // A gateway that accepts and hangs up at once is still in its outage; only a connection that lasted ends it.
      if (!this.attempt || (opened && performance.now() - opened > 5000)) [this.attempt, this.outage] = [0, performance.now()];
      this.attempt += 1;
      this.say('retrying', `Interrupted: ${words}. Connecting again…`);
      this.timer = setTimeout(() => this.connect(), backoff(this.attempt, this.outage));
    };
  }
  /** Why the gateway will never serve this URL, or nothing where trying again may help. HEAD joins no group. */
  async refusal() {
    try {
      const { status } = await fetch(this.url, { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(5000) });
      if (status < 400 || status > 499 || status === 408 || status === 429) return '';
      // The time limit also ends the endless body, were it served after all.
      const answer = await fetch(this.url, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      const reason = answer.ok ? '' : (await answer.text()).slice(0, 300).trim();
      return `refused with ${status}${reason && `: ${reason}`}`;
    } catch { return ''; }
  }
  /** @param {ArrayBuffer} data */
  arrived(data) {
    this.say('open', 'Receiving.');
    this.total += 1;
    this.bytes += data.byteLength;
    this.waiting.push({ at: new Date(), data });
    if (this.waiting.length > KEEP && this.waiting.shift()) this.unshown += 1;
    if (!this.renderer && !this.paused) this.renderer = setTimeout(() => this.render(), RENDER_MS);
  }
  render() {
    this.renderer = 0;
    if (this !== current || this.paused) return;
    $('messages').prepend(...this.waiting.reverse().map(entry));
    this.waiting = [];
    while ($('messages').children.length > KEEP) $('messages').lastElementChild.remove();
    this.count();
  }
  count() {
    put($('total'), whole.format(this.total));
    put($('unshown'), whole.format(this.unshown + (this.paused ? this.waiting.length : 0)));
  }
  tick() {
    const { at, total, bytes } = this.last;
    this.last = { at: performance.now(), total: this.total, bytes: this.bytes };
    const seconds = (this.last.at - at) / 1000;
    put($('rate'), `${three.format((this.total - total) / seconds)}/s, ${scaled(((this.bytes - bytes) * 8) / seconds, 'bit/s')}`);
    this.count();
  }
  /** Paused, the connection goes on and the newest are kept for afterwards. @param {boolean} paused */
  pause(paused) {
    this.paused = paused;
    put($('pause'), paused ? 'Continue' : 'Pause');
    if (!paused && this.waiting.length) this.render();
    this.count();
  }
  /** @param {'connecting' | 'open' | 'retrying' | 'closed'} state @param {string} words */
  say(state, words) {
    if ($('watch-status').textContent === words) return;
    $('watch-status').dataset.state = state;
    put($('watch-status'), words);
    $('send-button').disabled = state !== 'open';
    $('stop').disabled = $('pause').disabled = state === 'closed';
  }
  /** @param {string} words */
  end(words) {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.timer);
    clearInterval(this.ticker);
    if (this.socket) this.socket.onopen = this.socket.onmessage = this.socket.onclose = null; // what still comes is nobody's
    this.socket?.close(1000);
    this.pause(false);
    for (const [id, text] of [['rate', '–'], ['sent', '']]) put($(id), text);
    this.say('closed', words);
  }
}
/** @type {Watch | null} */
let current = null;
/** A stream URL of this gateway. A link's `#watch=` may say anything, so what comes out is checked. @param {string} path */
function within(path) {
  const url = new URL(path.replaceAll("'", '%27'), location.origin); // it gets pasted between quotes in shells
  url.hash = '';
  if (url.origin === location.origin && /^\/(udp|streams)\/./.test(url.pathname)) return url;
  throw new Error('This is no stream of this gateway.');
}
/** The URL of what a person typed. @param {string} typed */
function resolve(typed) {
  const text = typed.trim().replace(/^udp:\/\/@?/, '/udp/'); // VLC's spelling, which many have at hand
  if (text[0] === '/') return within(text);
  if (/^([\d.,a-f:[\]]+@)?([\d.]+|\[[\da-f:.]+\]):\d+$/i.test(text)) return within(`/udp/${text}`);
  if (/^(\d+\.[\d.]+|\[?[\da-f]*:[\da-f:.]*\]?)$/i.test(text)) throw new Error('The port is missing, as in 239.1.2.3:5000.');
  if (!text || /[\s:@[\]/?#]/.test(text)) throw new Error('This is neither GROUP:PORT nor the name of a stream.');
  return within(`/streams/${encodeURIComponent(text)}`);
}
/** Starts watching; problems go beside the form. @param {() => URL} choose */
function watch(choose) {
  try {
    const url = choose();
    current?.end('');
    history.replaceState(null, '', `#watch=${url.pathname}${url.search}`);
    put($('target-error'), '');
    put($('live-title'), url.pathname + url.search);
    $('live').hidden = false;
    [$('url-http').value, $('url-ws').value] = [url.href, url.href.replace(/^http/, 'ws')];
    current = new Watch(url);
  } catch (/** @type {any} */ problem) {
    put($('target-error'), problem.message);
  }
}
/** Watches `path` and lets the form say the same, for the next try. @param {string} path */
const follow = (path) => watch(() => {
  const url = within(/^%2f/i.test(path) ? decodeURIComponent(path) : path); // links made with encodeURIComponent mean the same
  const form = new URL(url);
  const name = form.searchParams.get('interface') ?? '';
  $('interface').value = name;
  if ($('interface').value !== name) $('interface').add(new Option(name, name, true, true));
  $('replay').checked = form.searchParams.has('replay');
  for (const option of ['interface', 'replay']) form.searchParams.delete(option);
  $('target').value = form.search ? form.pathname + form.search : form.pathname.replace(/^\/udp\//, '');
  return url;
});
const fromHash = () => { if (location.hash.startsWith('#watch=')) follow(location.hash.slice(7)); };

on('watch-form', 'submit', () => watch(() => {
  const url = resolve($('target').value);
  if ($('interface').value) url.searchParams.set('interface', $('interface').value);
  if ($('replay').checked) url.searchParams.set('replay', '5');
  return url;
}));
on('streams', 'click', ({ dataset }) => {
  if (!dataset.watch) return;
  follow(dataset.watch);
  $('watch-title').focus(); // the keyboard goes where the datagrams appear
});
on('send-form', 'submit', () => {
  if (current?.socket?.readyState !== WebSocket.OPEN) return;
  const { value } = $('send-text');
  current.socket.send(value);
  put($('sent'), `Given to the gateway at ${clock(new Date())}: ${whole.format(new TextEncoder().encode(value).length)} bytes.`);
  $('send-text').select();
});
on('urls', 'click', ({ dataset }) => {
  if (!dataset.copy) return;
  $(dataset.copy).select();
  // Not navigator.clipboard: plain http from another machine has none.
  put($('copied'), document.execCommand('copy') ? 'Copied.' : 'Selected; copy it with Ctrl+C.');
});
on('pause', 'click', () => current?.pause(!current.paused));
on('stop', 'click', () => (current?.end('Stopped.'), history.replaceState(null, '', location.pathname)));
addEventListener('hashchange', fromHash);
poll();
fromHash();
