// @ts-check
// wscast for JavaScript: any number of multicast groups over one WebSocket, in pages, workers and other runtimes.
// The wire is in docs/protocol.md (sections 2, 4 and 5), how to use this in docs/javascript.md, the types in wscast.d.ts;
// a member that is not in wscast.d.ts is this module's own.

const PROTOCOL = 'wscast.v1';
const [DATAGRAM, REPLY, SEND] = [1, 2, 3]; // kinds of records
const [HEADER, SEND_HEADER] = [40, 8]; // bytes before the payload: of what comes, of what goes
const [QUEUE, QUEUE_BYTES] = [4096, 16 << 20]; // what waits for a consumer at most, unless it says otherwise
const BUFFERED = 256 << 10; // bytes in the browser's send buffer above which nothing is taken
const PLENTY = 65536; // credit of a stream that others on this page read without one
// Milliseconds: to be greeted; of silence until it is dead, and of them after a question; between attempts that the eye or the
// network asks for; between notices of an overflowing queue; that a connection has to hold to count as good.
const [GREETING, SILENCE, ANSWER, EAGER, NOTICE, STABLE] = [10_000, 45_000, 5_000, 1_000, 1_000, 30_000];
const TRANSIENT = [1001, 1005, 1006, 1011, 1012, 1013]; // close codes; 1005 and 1012 come from what stands between

/** What went wrong: a stable word, a sentence, and whether the same may work at another time. */
export class WscastError extends Error {
  constructor(/** @type {string} */ code, /** @type {string} */ message, retry = false) {
    super(message);
    Object.assign(this, { name: 'WscastError', code, retry });
  }
}
/** Milliseconds until the next attempt: full jitter, capped at 1 s in the first 30 s of an outage and at 20 s after, so that a
 * gateway that comes back is not run over by its own clients. @type {typeof import('./wscast.d.ts').backoff} */
export const backoff = (attempt, outage, random = Math.random) =>
  random() * Math.min(outage < 30_000 ? 1_000 : 20_000, 250 * 2 ** Math.min(attempt, 10));

// ---- Records and addresses ----
/** A datagram that arrived. All but the payload is read from the message when it is asked for. */
class Datagram {
  #view; #at;
  constructor(view, at, length, from) {
    this.payload = new Uint8Array(view.buffer, at + HEADER, length);
    this.#view = view; this.#at = at; this.from = from;
  }
  get kind() { return this.#view.getUint8(this.#at) === REPLY ? 'reply' : 'datagram'; } get stream() { return this.#view.getUint32(this.#at + 4, true); }
  get flags() { return this.#view.getUint8(this.#at + 1); } get sequence() { return this.#view.getUint32(this.#at + 8, true); }
  get truncated() { return (this.flags & 2) !== 0; } get fromClient() { return (this.flags & 4) !== 0; }
  get source() { return address(this.#view, this.#at + 24, this.flags & 1); }
  get port() { return this.#view.getUint16(this.#at + 12, true); } get ttl() { return this.#view.getUint8(this.#at + 14); }
  get nanoseconds() { return this.#view.getBigUint64(this.#at + 16, true); } get time() { return Number(this.nanoseconds / 1000n) / 1000; }
  get group() { return this.from.group; } get groupPort() { return this.from.port; }
  get interface() { return this.from.interface; } get text() { return new TextDecoder().decode(this.payload); }
  copy() { return Object.fromEntries([...FIELDS.map((field) => [field, this[field]]), ['payload', this.payload.slice()]]); }
}
/** The text of sixteen bytes (RFC 5952). */
function address(view, at, six) {
  if (!six) return [12, 13, 14, 15].map((byte) => view.getUint8(at + byte)).join('.');
  const text = [0, 2, 4, 6, 8, 10, 12, 14].map((byte) => view.getUint16(at + byte).toString(16)).join(':');
  let [zeros, from] = ['', 0];
  for (const run of text.matchAll(/\b0(?::0)+\b/g)) if (run[0].length > zeros.length) [zeros, from] = [run[0], run.index];
  return zeros ? `${text.slice(0, from)}::${text.slice(from + zeros.length)}`.replace(/:{3,}/, '::') : text;
}
const FIELDS = 'kind flags truncated fromClient stream sequence source port ttl time group groupPort interface'.split(' ');
const NOWHERE = { group: '', port: 0, interface: '' };
/** The records of one binary message, but for those that `find` knows nothing of. @type {typeof import('./wscast.d.ts').decode} */
export function decode(buffer, find = () => NOWHERE) {
  const [view, end, records] = [new DataView(buffer), buffer.byteLength, /** @type {any[]} */ ([])];
  if (!end) throw new WscastError('bad_record', 'an empty binary message: it holds one record or more');
  for (let at = 0, next; at < end; at = next) {
    const kind = view.getUint8(at);
    if (kind !== DATAGRAM && kind !== REPLY) throw new WscastError('bad_record', `the record at byte ${at} is of kind ${kind}`);
    const length = end - at < HEADER ? 0 : view.getUint16(at + 2, true);
    next = at + HEADER + length;
    if (next > end) throw new WscastError('bad_record', `the record at byte ${at} takes ${HEADER + length} bytes of ${end - at}`);
    const from = find(kind, view.getUint32(at + 4, true));
    if (from) records.push(new Datagram(view, at, length, from));
  }
  return records;
}
/** The record that asks the gateway to send a payload. @type {typeof import('./wscast.d.ts').encodeSend} */
export function encodeSend(sender, payload) {
  const record = new Uint8Array(SEND_HEADER + payload.length);
  new DataView(record.buffer).setUint32(4, sender, true);
  record.set([SEND, 0, payload.length & 255, payload.length >> 8]); record.set(payload, SEND_HEADER);
  return record;
}
/** `[SOURCE[,SOURCE...]@]GROUP:PORT`, IPv6 addresses in brackets; or a stream's name. @type {typeof import('./wscast.d.ts').parseTarget} */
export function parseTarget(target) {
  if (typeof target !== 'string') return { group: '', port: 0, sources: [], ...target };
  if (/^(?!\d+(\.\d+){3}$|\.\.?$)[\w.-]{1,64}$/.test(target)) return { name: target, group: '', port: 0, sources: [] };
  const parts = /^(?:([^@]+)@)?(?:\[([\da-f:.]+)\]|([\d.]+)):(\d{1,5})$/i.exec(target.trim());
  if (!parts) throw new TypeError(`${target} is neither a name nor GROUP:PORT, like 239.1.2.3:5000, 10.0.0.5@232.1.2.3:5000 or [ff15::42]:5000`);
  const sources = parts[1]?.split(',').map((source) => source.trim().replace(/^\[(.*)\]$/, '$1')) ?? [];
  return { group: parts[2] ?? parts[3], port: Number(parts[4]), sources };
}
/** What is sent, as bytes. @returns {Uint8Array} */
function bytes(data) {
  if (typeof data === 'string') return new TextEncoder().encode(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (/ (Shared)?ArrayBuffer\]$/.test(Object.prototype.toString.call(data))) return new Uint8Array(data);
  throw new TypeError('a datagram is a string, an ArrayBuffer or a view of one');
}
const base64url = (text) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
/** A promise whose rejection is no news: whoever doesn't ask is told in another way. */
function promised() {
  const it = /** @type {any} */ ({});
  (it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }))).catch(() => {});
  return it;
}
const tell = (target, type, detail) => target.dispatchEvent(new CustomEvent(type, { detail }));

// ---- What a consumer holds ----
/** A bounded queue that is read as an async iterable, or with `take`. */
class Feed extends EventTarget {
  received = 0; onwaiting = null; ended = false; opening = promised(); name; group = ''; port = 0;
  #error = null; #items = []; #head = 0; #bytes = 0; #waiters = []; #abort = () => this.leave();
  constructor(gateway, options) {
    super();
    this.gateway = gateway; this.options = options; options.signal?.addEventListener('abort', this.#abort);
  }
  get waiting() { return this.#items.length - this.#head; } get title() { return this.name ?? `${this.group}:${this.port}`; }
  push(item) {
    if (this.ended) return;
    this.received += 1;
    const waiter = this.#waiters.shift();
    if (waiter) return waiter({ value: item, done: false }), this.taken();
    const { queue = QUEUE, queueBytes = QUEUE_BYTES } = this.options;
    this.#bytes += item.payload?.length ?? 0; this.#items.push(item);
    while (this.waiting > Math.max(queue, 1) || (this.#bytes > queueBytes && this.waiting > 1)) this.dropped(this.#shift());
    this.onwaiting?.();
  }
  #shift() {
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined; this.#bytes -= item.payload?.length ?? 0;
    // Moved now and then: shifting an array moves all that is behind, each time.
    if (this.#head === this.#items.length || this.#head > 4096) this.#items.splice(0, this.#head), (this.#head = 0);
    return item;
  }
  take(most = Infinity) {
    const items = [];
    while (items.length < most && this.waiting) items.push(this.#shift());
    if (items.length) this.taken();
    return items;
  }
  async next() {
    if (this.waiting) return { value: this.take(1)[0], done: false };
    return this.ended ? this.#last() : new Promise((resolve) => this.#waiters.push(resolve));
  }
  #last() {
    const [error] = [this.#error, (this.#error = null)]; // told once
    return error ? Promise.reject(error) : Promise.resolve({ value: undefined, done: true });
  }
  async *batches() {
    try { for (let one = await this.next(); !one.done; one = await this.next()) yield [one.value, ...this.take()]; } finally { this.leave(); }
  }
  async return() { return this.leave(), { value: undefined, done: true }; }
  [Symbol.asyncIterator]() { return this; }
  leave() { [this.#items, this.#head] = [[], 0]; this.end(null); }
  end(error) {
    if (this.ended) return;
    [this.ended, this.#error] = [true, error]; this.options.signal?.removeEventListener('abort', this.#abort);
    for (const waiter of this.#waiters.splice(0)) waiter(this.#last());
    this.opening.reject(error ?? new WscastError('left', 'it was left before it was open')); this.gone();
  }
  taken() {} dropped(_item) {} gone() {} // for those that extend it
}
/** Datagrams of one group. */
class Subscription extends Feed {
  lost = {}; gaps = { count: 0, seconds: 0 }; state = 'joining'; interface = '';
  #credit; #dropped = 0; #noticed = 0;
  constructor(gateway, { group, port, name = undefined, sources: named }, options) {
    super(gateway, options); this.name = name;
    const { sources = named, exclude, interface: on, overflow, echo, replay = 0, latency, credit = 0 } = options;
    this.group = group; this.port = port; this.#credit = credit;
    const late = latency === undefined ? undefined : `${latency}`;
    this.request = { ...(name ? { name, sources: sources.length ? sources : undefined } : { group, port, sources }), exclude, interface: on, overflow, echo, replay: `${replay}`, latency: late };
    this.key = JSON.stringify([name, group, port, [...sources].sort(), [...(exclude ?? [])].sort(), on]);
  }
  get joined() { return this.opening.promise; } get pulls() { return this.#credit > 0; }
  get room() { return this.pulls ? Math.max(0, this.#credit - this.waiting) : PLENTY; }
  settle({ number: stream, interface: on, state }) {
    [this.interface, this.state] = [on, state];
    this.opening.resolve({ stream, interface: on, state }); this.#tell('state', { stream, interface: on, state });
    if (this.pulls) this.gateway.grant(this);
  }
  #tell(type, about) {
    for (const to of [this, this.gateway]) tell(to, type, { subscription: this, group: this.group, port: this.port, name: this.name, ...about });
  }
  /** Counts and tells a loss; `datagrams` is null where the number can't be known. */
  miss({ datagrams, where, seconds = 0, stream = undefined }) {
    if (datagrams === null) [this.gaps.count, this.gaps.seconds] = [this.gaps.count + 1, this.gaps.seconds + seconds];
    else this.lost[where] = (this.lost[where] ?? 0) + datagrams;
    // What this page sent itself is held back, not lost: it explains a hole in the sequence.
    if (where !== 'echo') this.#tell('lost', { datagrams, where, seconds, stream });
  }
  taken() { this.#notice(); if (this.pulls) this.gateway.grant(this); }
  dropped() { this.#dropped += 1; if (performance.now() - this.#noticed > NOTICE) this.#notice(); }
  #notice() {
    const datagrams = this.#dropped;
    if (datagrams) [this.#dropped, this.#noticed] = [0, performance.now()], this.miss({ datagrams, where: 'queue' });
  }
  gone() { this.#notice(); this.state = 'left'; this.gateway.unsubscribe(this); }
}
/** A right to send to one group; what it is read for are the unicast replies. */
class Sender extends Feed {
  interface = ''; source = ''; refused = 0; number = null; was = false; timer;
  constructor(gateway, { group, port, name = undefined }, options) {
    super(gateway, options); this.name = name;
    const { interface: on, ttl, loop, replies = true } = options;
    this.group = group; this.port = port;
    this.request = { type: 'open_send', ...(name ? { name } : { group, port }), interface: on, ttl, loop, replies };
  }
  get opened() { return this.opening.promise; }
  settle({ sender, interface: on, source }) {
    [this.number, this.interface, this.source, this.was] = [sender, on, source, true]; this.opening.resolve({ interface: on, source });
  }
  send(data) {
    const [payload, to, { limits, buffered }] = [bytes(data), `the sender to ${this.title}`, this.gateway];
    if (this.ended) throw new WscastError('closed', `${to} is closed`);
    if (this.number === null) throw new WscastError('not_open', `${to} is not open yet, or not until the gateway is back`, true);
    if (payload.length > limits.datagram) throw new WscastError('too_large', `${payload.length} bytes: ${to} takes ${limits.datagram}`);
    if (buffered >= BUFFERED) throw new WscastError('buffer_full', `${buffered} bytes wait in the browser already, of ${BUFFERED}`, true);
    this.gateway.transmit(encodeSend(this.number, payload));
  }
  /** Resolves when `send` takes something again. */
  async drained() { while (!this.ended && this.gateway.buffered >= BUFFERED) await new Promise((resolve) => setTimeout(resolve, 4)); }
  refuse({ code, message, datagrams = 1 }) { this.refused += datagrams; tell(this, 'refused', { sender: this, code, message, datagrams }); }
  close() { this.leave(); } gone() { this.gateway.closeSender(this); }
}

// ---- The connection ----
/** A stream as the gateway numbers it: where it is, the last sequence, the credit that is left, and for whom. */
class Flow {
  granted = 0; told = false; streams = new Set();
  constructor(fields) { Object.assign(this, fields); }
  push(record) {
    this.after = record.sequence;
    if (this.granted) this.granted -= 1;
    for (const stream of this.streams) for (const one of stream.subscribers) one.push(record);
  }
}
/** One join, shared by all on this page who want the same. `resume`: where it was when the connection ended. */
class Stream {
  subscribers = new Set(); flows = new Set(); resume = null; was = false; timer;
  constructor(key, request) { this.key = key; this.request = request; }
}

const shared = new Set();
/** Connects, or gives the connection that there is. @type {typeof import('./wscast.d.ts').connect} */
export function connect(url = import.meta.url, options = {}) {
  const base = new URL(url, globalThis.location?.href); base.protocol = base.protocol.replace('http', 'ws');
  if (!/^wss?:$/.test(base.protocol)) throw new TypeError(`${url} is no gateway: its URL begins with http, https, ws or wss`);
  const { href } = base.pathname.endsWith('/v1') ? base : new URL('v1', base);
  const same = (one) => one.url === href && ['token', 'tokenIn', 'WebSocket'].every((name) => one.options[name] === options[name]);
  const gateway = (options.shared !== false && [...shared].find(same)) || new Gateway(href, options);
  if (options.shared !== false) shared.add(gateway);
  return (gateway.users += 1), gateway;
}
/** One WebSocket, kept alive for all who use it. */
export class Gateway extends EventTarget {
  users = 0; state = 'connecting'; hello = null; opening = promised();
  #streams = new Map(); // by what was asked for
  #flows = new Map(); #sending = new Map(); // flows and senders, by the gateway's number
  #senders = new Set(); #watches = new Set(); #audience = { end: (error) => [...this.#watches].forEach((one) => one.end(error)) };
  #asked = new Map(); #id = 0; // streams and senders, by the number of their question
  #socket = null; #heard = 0; #greeted = 0; #asking = false; #refused = false; #watching = 0; #timer;
  #attempt = 0; #turn = 0; #tried = -Infinity; // `turn`: what an overtaken attempt still does is ignored
  #out = null; #hint = null; // the beginning of an outage; the gateway's word on when to come back
  #listening = new AbortController();
  constructor(url, options) {
    super();
    this.url = url; this.options = options;
    const page = globalThis.document;
    const on = (target, type, act) => target?.addEventListener?.(type, act, { signal: this.#listening.signal });
    on(page && globalThis, 'pagehide', () => (this.#drop(), this.#set('paused'))); // an open one keeps a page out of the back/forward cache
    on(page && globalThis, 'pageshow', () => this.#wake());
    on(page, 'visibilitychange', () => page.visibilityState === 'visible' && this.#wake());
    on(globalThis, 'online', () => this.#wake()); this.#open();
  }
  get opened() { return this.opening.promise; } get limits() { return this.hello?.limits ?? null; }
  get buffered() { return this.#socket?.bufferedAmount ?? 0; }
  join(target, options = {}) { return this.#begin(new Subscription(this, parseTarget(target), options), (it) => this.#subscribe(it)); }
  sender(target, options = {}) { return this.#begin(new Sender(this, parseTarget(target), options), (it) => this.#openSender(it)); }
  /** The gateway's status, the newest only. */
  watch(interval = 1000, options = {}) {
    const watch = new Feed(this, { ...options, queue: 1 });
    Object.assign(watch, { interval: Math.min(60_000, Math.max(250, interval)), gone: () => this.#watched(this.#watches.delete(watch)) });
    return this.#begin(watch, (it) => this.#watched(this.#watches.add(it)));
  }
  #begin(feed, begin) {
    if (this.state === 'closed') feed.end(new WscastError('closed', `the connection to ${this.url} is closed`));
    else feed.options.signal?.aborted ? feed.leave() : begin(feed);
    return feed;
  }
  /** Closes it once all who connected have said so. */
  close() { this.users -= 1; if (this.users <= 0 && this.state !== 'closed') this.#end(null); }
  #end(error) {
    const feeds = [...[...this.#streams.values()].flatMap((stream) => [...stream.subscribers]), ...this.#senders, ...this.#watches];
    this.#drop(); this.#listening.abort(); shared.delete(this);
    this.opening.reject(error ?? new WscastError('closed', 'closed by this page'));
    this.#set('closed', { error });
    for (const feed of feeds) error ? feed.end(error) : feed.leave();
  }
  async #open() {
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    this.#tried = performance.now(); this.#set('connecting');
    const { token, tokenIn = 'protocol', WebSocket: Socket = globalThis.WebSocket } = this.options;
    let secret;
    try { secret = typeof token === 'function' ? await token() : token; } catch (/** @type {any} */ error) {
      return turn === this.#turn && this.#closed(1006, `no token: ${error?.message ?? error}`);
    }
    if (turn !== this.#turn) return;
    try {
      const [url, protocols] = [new URL(this.url), [PROTOCOL]];
      if (secret && tokenIn === 'query') url.searchParams.set('token', secret);
      if (secret && tokenIn === 'protocol') protocols.push(`wscast.bearer.${base64url(secret)}`);
      const socket = new Socket(url.href, protocols);
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => { if (secret && tokenIn === 'message') this.#say({ type: 'auth', token: secret }); };
      socket.onmessage = ({ data }) => this.#hear(data);
      socket.onclose = ({ code, reason }) => this.#closed(code, reason);
      socket.onerror = () => {}; // a close follows, and says more
      this.#socket = socket;
      this.#timer = setTimeout(() => this.#closed(1006, `no greeting within ${GREETING / 1000} s`), GREETING);
    } catch (/** @type {any} */ error) {
      this.#end(new WscastError('no_connection', `connecting to ${this.url}: ${error?.message ?? error}`));
    }
  }
  #say(message) { if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message)); }
  /** Asks, remembering for whom the answer is. */
  #ask(who, message) { if (this.state === 'open') this.#asked.set(++this.#id, who), this.#say({ ...message, id: this.#id }); }
  #set(state, detail = {}) { if (this.state !== state) tell(this, 'state', { state: (this.state = state), ...detail }); }
  /** Gives the socket up, and remembers where every stream was. */
  #drop(code = 1000) {
    clearTimeout(this.#timer); this.#turn += 1;
    const [socket, now] = [this.#socket, performance.now()]; this.#socket = null;
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    socket?.close(code);
    this.#out ??= now; if (this.state === 'open' && now - this.#greeted > STABLE) this.#attempt = 0;
    for (const stream of this.#streams.values()) {
      clearTimeout(stream.timer);
      const numbers = new Map([...stream.flows].map(({ number, after }) => [number, after]));
      if (numbers.size) stream.resume = { gateway: this.hello.gateway, at: this.#heard, numbers };
      stream.flows.clear();
    }
    for (const sender of this.#senders) sender.number = null;
    for (const map of [this.#flows, this.#sending, this.#asked]) map.clear();
    this.#watching = 0;
  }
  #closed(code, reason, ours = false) {
    this.#drop(ours ? 4400 : 1000);
    const renewed = code === 4401 && typeof this.options.token === 'function' && !this.#refused;
    if (renewed) this.#refused = true; // a fresh token that is refused too ends it
    if (ours || renewed || TRANSIENT.includes(code) || (code >= 4500 && code < 5000)) return this.#retry(code, reason);
    this.#end(new WscastError(/^(\w+):/.exec(reason)?.[1] ?? 'closed', `the gateway at ${this.url} closed the connection: ${code} ${reason}`));
  }
  #retry(code, reason) {
    const wait = this.#hint ?? backoff(this.#attempt, performance.now() - this.#out);
    [this.#hint, this.#attempt, this.#timer] = [null, this.#attempt + 1, setTimeout(() => this.#try(), wait)];
    this.#set('waiting', { code, reason, wait });
  }
  /** After a few failures it asks with HTTP first, most times: Chromium lets WebSockets wait, by seconds in the end, when others
   * to the same place have failed. Where a page may not ask so, every fifth attempt still is a WebSocket. */
  async #try() {
    if (!this.options.WebSocket && globalThis.location && this.#attempt > 4 && this.#attempt % 5) {
      const turn = ++this.#turn; this.#tried = performance.now();
      const how = /** @type {const} */ ({ mode: 'no-cors', cache: 'no-store', credentials: 'omit' });
      const answer = fetch(new URL('healthz', this.url.replace(/^ws/, 'http')), { ...how, signal: AbortSignal.timeout(GREETING) });
      const back = await answer.then(() => true, () => false);
      if (turn !== this.#turn) return;
      if (!back) return this.#retry(1006, 'the gateway does not answer');
    }
    this.#open();
  }
  /** The page is looked at, or the network is back: no reason to wait, unless it was tried just now. */
  #wake() {
    if (this.state === 'open') return this.#guard(true);
    if (this.state === 'connecting') return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), Math.max(0, EAGER - (performance.now() - this.#tried)));
  }
  /** Timers of hidden pages and sleeping machines are late, so silence alone is no proof: a question without an answer is. */
  #guard(ask = false) {
    clearTimeout(this.#timer);
    const silent = performance.now() - this.#heard;
    if (this.#asking && !ask) return this.#closed(1006, `nothing heard for ${Math.round(silent / 1000)} s`);
    this.#asking = ask || silent >= SILENCE - ANSWER;
    if (this.#asking) this.#say({ type: 'ping' });
    this.#timer = setTimeout(() => this.#guard(), this.#asking ? ANSWER : SILENCE - ANSWER - silent);
  }
  #hear(data) {
    [this.#heard, this.#asking] = [performance.now(), false];
    let message, records;
    try {
      typeof data === 'string' ? (message = JSON.parse(data)) : (records = decode(data, this.#origin));
    } catch (/** @type {any} */ error) {
      return this.#closed(4400, `the gateway's message makes no sense: ${error.message}`, true);
    }
    if (message) return this.#obey(message);
    for (const record of /** @type {any[]} */ (records)) record.from.push(record);
  }
  #origin = (kind, number) => (kind === REPLY ? this.#sending : this.#flows).get(number);
  #obey(message) {
    const [flow, who] = [this.#flows.get(message.stream), this.#asked.get(message.id)];
    switch (message.type) {
      case 'hello': return this.#greet(message);
      case 'joined': return who && this.#joined(who, message);
      case 'sender': return who && this.#opened(who, message);
      case 'state':
        if (flow) Object.assign(flow, { state: message.state, interface: message.interface });
        return this.#each(flow, (one) => one.settle(flow));
      case 'lost':
        if (flow?.told && message.datagrams === null) return void (flow.told = false);
        return this.#each(flow, (one) => one.miss(message));
      case 'left': return this.#each(flow, (one) => one.end(new WscastError('left', `the gateway ended ${one.title}`)));
      case 'sender_closed': return this.#sending.get(message.sender)?.end(new WscastError('closed', 'the gateway closed the sender'));
      case 'error': return this.#refuse(who, message);
      case 'draining': this.#hint = message.reconnect_after_ms; return;
      case 'status': for (const watch of [...this.#watches]) watch.push(message.status);
    }
  }
  #each(flow, act) { for (const stream of [...(flow?.streams ?? [])]) for (const one of [...stream.subscribers]) act(one); }
  #greet(hello) {
    const [before, seconds] = [this.hello, this.#out === null ? 0 : (performance.now() - this.#out) / 1000];
    [this.hello, this.#greeted, this.#out, this.#hint, this.#refused] = [hello, performance.now(), null, null, false];
    this.#guard(); this.#set('open', { gateway: hello.gateway, version: hello.version });
    this.opening.resolve(hello);
    for (const stream of this.#streams.values()) this.#join(stream);
    for (const sender of this.#senders) this.#openSender(sender);
    this.#watched();
    if (before) tell(this, 'reconnect', { gateway: hello.gateway, same: before.gateway === hello.gateway, seconds });
  }
  #refuse(who, { id, code, message, retry, ...about }) {
    const [error, flow] = [new WscastError(code, message, retry), this.#flows.get(about.stream)];
    this.#asked.delete(id);
    if (!who && about.sender !== undefined) this.#sending.get(about.sender)?.refuse({ code, message, ...about });
    else if (!who) tell(this, 'error', { error });
    else if (code === 'already_joined' && flow) this.#attach(who, flow);
    // One that is being left is free in a moment.
    else if (code === 'already_joined' || (retry && who !== this.#audience && (who.was || ['join_rate', 'overloaded'].includes(code))))
      who.timer = setTimeout(() => (who instanceof Stream ? this.#join(who) : this.#openSender(who)), 250 + Math.random() * 1000);
    else for (const one of who instanceof Stream ? [...who.subscribers] : [who]) one.end(error);
  }
  #subscribe(subscription) {
    const known = this.#streams.get(subscription.key);
    const stream = known ?? new Stream(subscription.key, subscription.request);
    stream.subscribers.add(subscription); this.#streams.set(subscription.key, stream);
    if (!known) this.#join(stream);
    for (const flow of stream.flows) subscription.settle(flow);
  }
  unsubscribe(subscription) {
    const stream = this.#streams.get(subscription.key);
    if (!stream?.subscribers.delete(subscription) || stream.subscribers.size) return;
    this.#streams.delete(subscription.key); clearTimeout(stream.timer);
    for (const flow of stream.flows) if (flow.streams.delete(stream) && !flow.streams.size) this.#leave(flow.number);
  }
  #leave(number) { this.#flows.delete(number); this.#say({ type: 'leave', id: ++this.#id, stream: number }); }
  #join(stream) {
    const { gateway, numbers = [] } = stream.resume ?? {};
    const [[number, after] = []] = numbers;
    this.#ask(stream, { type: 'join', ...stream.request, ...(numbers.size === 1 && { resume: { gateway, stream: number, after } }) });
  }
  #joined(asked, { stream: number, interface: on, state, next_sequence: next }) {
    // It may have been left meanwhile, and joined again by others.
    const stream = asked.subscribers.size ? asked : this.#streams.get(asked.key);
    if (!stream) return this.#leave(number);
    const { group = '', port = 0 } = stream.request;
    const flow = this.#flows.get(number) ?? new Flow({ number, group, port, interface: on, state, after: (next - 1) >>> 0 });
    this.#flows.set(number, flow); this.#attach(stream, flow);
  }
  #attach(stream, flow) {
    const { resume } = stream;
    [stream.resume, stream.was] = [null, true]; flow.streams.add(stream); stream.flows.add(flow);
    // The gateway fills or tells the gap where both are what they were; otherwise nobody can know its size.
    const known = !resume || (resume.gateway === this.hello.gateway && resume.numbers.size === 1 && resume.numbers.has(flow.number));
    const gap = { datagrams: null, where: 'unknown', seconds: (performance.now() - resume?.at) / 1000, stream: flow.number };
    flow.told = !known && resume.numbers.size === 1; // the gateway will say the same, without knowing how long
    for (const one of [...stream.subscribers]) known || one.miss(gap), one.settle(flow);
  }
  /** Tells the gateway of the room that whoever has most of it has. */
  grant({ key }) {
    for (const flow of this.#streams.get(key)?.flows ?? []) {
      let room = 0;
      this.#each(flow, (one) => { room = Math.max(room, one.room); });
      if (flow.granted * 2 >= room) continue;
      this.#say({ type: 'credit', stream: flow.number, datagrams: room - flow.granted }); flow.granted = room;
    }
  }
  #openSender(sender) { this.#senders.add(sender); this.#ask(sender, sender.request); }
  #opened(sender, message) {
    if (sender.ended) return this.#say({ type: 'close_send', id: ++this.#id, sender: message.sender });
    this.#sending.set(message.sender, sender); sender.settle(message);
  }
  closeSender(sender) {
    if (clearTimeout(sender.timer), !this.#senders.delete(sender) || sender.number === null) return;
    this.#sending.delete(sender.number); this.#say({ type: 'close_send', id: ++this.#id, sender: sender.number });
  }
  transmit(record) { this.#socket.send(record); }
  /** Asks for the status as often as whoever wants it most often. */
  #watched(_changed = undefined) {
    const interval = this.#watches.size ? Math.min(...[...this.#watches].map((one) => one.interval)) : 0;
    if (this.state !== 'open' || interval === this.#watching) return;
    this.#ask(this.#audience, { type: 'watch', interval_ms: (this.#watching = interval) });
  }
}
