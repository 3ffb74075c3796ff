// @ts-check
// UDPSocket and MulticastController of the WICG Direct Sockets draft, over a wscast gateway, for ordinary pages. What differs
// from a browser's own is a table in docs/direct-sockets.md; the types are in wscast-udpsocket.d.ts.
import { WscastError, connect } from './wscast.js';

const CREDIT = 32; // datagrams that a stream may send ahead of the reader, as many as Chromium reads ahead
const PRIVILEGED = 1024; // ports below are refused
const EPHEMERAL = 49152; // the first port that is given to those who name none
const SECRET = {};

let settings = {};
/** Which gateway, and how to get in; for sockets made from then on. @type {typeof import('./wscast-udpsocket.d.ts').configure} */
export function configure(options) { settings = { ...settings, ...options }; }

const invalid = (message) => new DOMException(message, 'InvalidStateError');
const denied = (message) => new DOMException(message, 'NotAllowedError');
const failed = (message) => new DOMException(message, 'NetworkError');
const aborted = () => new DOMException('Socket closed.', 'AbortError');
/** The draft's error for one of the gateway's. */
const translated = (error) => {
  if (!(error instanceof WscastError)) return error;
  return ['not_allowed', 'bad_token', 'unauthorized'].includes(error.code) ? denied(error.message) : failed(error.message);
};

// ---- What WebIDL does with arguments ----

function whole(value, name, most) {
  const number = Math.trunc(Number(value));
  if (!(number >= 0 && number <= most)) throw new TypeError(`${name}: ${String(value)} is not between 0 and ${most}`);
  return number + 0; // no negative zero
}
const CONVERT = {
  remoteAddress: String, localAddress: String, ipv6Only: Boolean, multicastLoopback: Boolean, multicastAllowAddressSharing: Boolean,
  remotePort: (value) => whole(value, 'remotePort', 65535),
  localPort: (value) => whole(value, 'localPort', 65535),
  sendBufferSize: (value) => whole(value, 'sendBufferSize', 4294967295),
  receiveBufferSize: (value) => whole(value, 'receiveBufferSize', 4294967295),
  multicastTimeToLive: (value) => whole(value, 'multicastTimeToLive', 255),
  dnsQueryType: (value) => {
    if (value !== 'ipv4' && value !== 'ipv6') throw new TypeError(`dnsQueryType: ${value} is neither ipv4 nor ipv6`);
    return value;
  },
};
function dictionary(given, name) {
  if (given === undefined || given === null) return {};
  if (typeof given !== 'object' && typeof given !== 'function') throw new TypeError(`${name} is not an object`);
  return given;
}
function text(value, name) {
  if (typeof value === 'symbol') throw new TypeError(`${name}: a symbol is no text`);
  return String(value);
}

// ---- Addresses ----

/** An IP address in its canonical form with what it is, or null for anything else. */
function parse(address) {
  const four = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/.exec(address);
  if (four) {
    const [a, b, c, d] = four.slice(1).map(Number);
    if (Math.max(a, b, c, d) > 255) return null;
    return { text: address, family: 4, multicast: a >> 4 === 14, unspecified: a + b + c + d === 0, loopback: a === 127 };
  }
  if (!address.includes(':') || !/^[\da-f:.]+$/i.test(address)) return null;
  try {
    const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
    const is = { multicast: /^ff[\da-f]{2}:/.test(canonical), unspecified: canonical === '::', loopback: canonical === '::1' };
    return { text: canonical, family: 6, ...is };
  } catch {
    return null;
  }
}
function multicast(address, name) {
  const group = parse(text(address, name));
  if (!group) throw new TypeError(`${name}: ${String(address)} is no IP address`);
  if (!group.multicast) throw new TypeError(`${name}: ${group.text} is not a multicast address`);
  return group;
}

// ---- MulticastController ----

/** Joins and leaves the groups of one bound socket. */
export class MulticastController {
  /** Each: `{group, source, on, subscription, state}`, by all three of the former, in the order of joining. */
  #memberships = new Map();
  #socket;
  constructor(secret, socket) {
    if (secret !== SECRET) throw new TypeError('Illegal constructor');
    this.#socket = socket;
  }
  async joinGroup(group, options = {}) {
    const member = this.#member(group, options, arguments.length);
    const { key, source, on } = member;
    const known = this.#memberships.get(key);
    if (known) throw invalid(`${named(member)} is ${known.state} already`);
    const others = [...this.#memberships.values()].filter((one) => one.group === member.group);
    if (others.some((one) => Boolean(one.source) !== Boolean(source)))
      throw invalid(`${member.group} is joined ${source ? 'from any source' : 'from certain sources'} already: a socket does one or the other`);
    this.#memberships.set(key, member);
    member.subscription = this.#socket.receive(member.group, { sources: source ? [source] : [], interface: on });
    const error = await member.subscription.joined.then(() => null, (/** @type {unknown} */ refusal) => refusal);
    if (!this.#socket.open) throw aborted();
    if (error) {
      this.#memberships.delete(key);
      throw translated(error);
    }
    member.state = 'joined';
  }
  async leaveGroup(group, options = {}) {
    const member = this.#member(group, options, arguments.length);
    const known = this.#memberships.get(member.key);
    if (known?.state !== 'joined') throw invalid(`${named(member)} is not joined`);
    known.state = 'being left';
    known.subscription.leave();
    await null;
    this.#memberships.delete(member.key);
    if (!this.#socket.open) throw aborted();
  }
  get joinedGroups() {
    const joined = [...this.#memberships.values()].filter(({ state }) => state === 'joined');
    return Object.freeze(joined.map(({ group, source, on }) => {
      if (!source && on === undefined) return group;
      return { groupAddress: group, ...(source && { sourceAddress: source }), ...(on !== undefined && { interface: on }) };
    }));
  }
  /** Checks in Chromium's order: the socket, then the arguments. */
  #member(address, given, count) {
    if (!count) throw new TypeError('1 argument required, but only 0 present');
    const options = dictionary(given, 'options');
    if (!this.#socket.open) throw invalid('the socket is closed');
    const group = multicast(address, 'group');
    let source;
    if (options.sourceAddress !== undefined) {
      source = parse(text(options.sourceAddress, 'sourceAddress'));
      if (!source) throw new TypeError(`sourceAddress: ${options.sourceAddress} is no IP address`);
      if (source.multicast || source.unspecified || source.loopback) throw new TypeError(`sourceAddress: ${source.text} sends nothing to a group`);
      if (source.family !== group.family) throw new TypeError(`sourceAddress: ${source.text} and ${group.text} are of different IP versions`);
    }
    const on = options.interface === undefined ? undefined : text(options.interface, 'interface');
    if (!this.#socket.speaks(group.family)) throw failed(`${group.text}: the socket is bound to an address of the other IP version`);
    const key = [group.text, source?.text, on].join('|');
    return { key, group: group.text, source: source?.text, on, state: 'being joined', subscription: /** @type {any} */ (null) };
  }
  get [Symbol.toStringTag]() { return 'MulticastController'; }
}
const named = ({ group, source }) => (source ? `${group} from ${source}` : group);

// ---- UDPSocket ----

/** What is bound on this page: address, port and whether it shares them, by gateway. */
const bound = new Set();

/** One virtual socket. */
export class UDPSocket {
  #options;
  #gateway;
  #state = 'opening';
  #opened;
  #closed;
  #settle = /** @type {any} */ ({});
  #binding = null;
  #readable = /** @type {any} */ (null);
  #writable = /** @type {any} */ (null);
  #reader = /** @type {any} */ (null);
  #subscriptions = new Set();
  /** Senders by destination, as promises. */
  #senders = new Map();
  #sides = 2;
  #error;

  constructor(given = {}) {
    const options = check(dictionary(given, 'options'));
    this.#options = options;
    this.#closed = new Promise((resolve, reject) => { this.#settle = { resolve, reject }; });
    this.#opened = this.#open();
    for (const promise of [this.#opened, this.#closed]) promise.catch(() => {}); // no news for whoever doesn't ask
  }
  get opened() { return this.#opened; }
  get closed() { return this.#closed; }
  get [Symbol.toStringTag]() { return 'UDPSocket'; }

  async close() {
    if (this.#state === 'closed') return this.#closed;
    if (this.#state !== 'open') throw invalid(`the socket is ${this.#state}`);
    if (this.#readable.locked || this.#writable.locked) throw invalid('a stream of the socket is locked: release or cancel its reader and writer');
    const reason = new DOMException('Stream closed.', 'AbortError');
    await Promise.allSettled([this.#readable.cancel(reason), this.#writable.abort(reason)]);
    return this.#closed;
  }

  async #open() {
    const { remoteAddress, remotePort, localAddress } = this.#options;
    try {
      if (localAddress !== undefined) this.#bind();
      const { url, ...access } = settings;
      this.#gateway = connect(url, access);
      await reached(this.#gateway);
      const info = localAddress === undefined ? await this.#connect(remoteAddress, remotePort) : this.#info();
      this.#state = 'open';
      return { readable: (this.#readable = this.#makeReadable()), writable: (this.#writable = this.#makeWritable()), ...info };
    } catch (error) {
      this.#end('failed to open');
      this.#settle.reject(translated(error));
      throw translated(error);
    }
  }
  /** Claims the port among the sockets of this page. */
  #bind() {
    const { localAddress: address, localPort: wanted, multicastAllowAddressSharing: shares = false } = this.#options;
    if (wanted !== undefined && wanted < PRIVILEGED) throw denied(`port ${wanted}: ports below ${PRIVILEGED} are not for pages`);
    const gateway = `${settings.url ?? ''}`;
    const taken = (port) => [...bound].some((one) => {
      const same = one.address === address || [one.address, address].some((either) => either === '0.0.0.0' || either === '::');
      return one.gateway === gateway && one.port === port && same && !(one.shares && shares);
    });
    let port = wanted ?? EPHEMERAL + Math.floor(Math.random() * (65536 - EPHEMERAL));
    while (wanted === undefined && taken(port)) port = port === 65535 ? EPHEMERAL : port + 1;
    if (taken(port)) throw failed(`port ${port} is in use by another socket of this page: both need multicastAllowAddressSharing to share it`);
    this.#binding = { gateway, address, port, shares };
    bound.add(this.#binding);
  }
  #info() {
    const socket = this;
    const { localAddress: address, ipv6Only } = this.#options;
    const family = parse(address)?.family;
    const multicastController = new MulticastController(SECRET, {
      get open() { return socket.#state === 'open'; },
      speaks: (wanted) => wanted === family || (address === '::' && !ipv6Only),
      receive: (group, options) => socket.#receive(group, options),
    });
    return { localAddress: address, localPort: this.#binding.port, multicastController };
  }
  /** To one group and no other; what comes back is what hosts answer to it. */
  async #connect(remoteAddress, remotePort) {
    const remote = parse(remoteAddress);
    if (!remote) throw failed(`${remoteAddress}: names are not resolved here, give an IP address`);
    if (!remote.multicast) throw denied(`${remote.text}: a wscast gateway sends to multicast groups, never to single hosts`);
    const sender = await this.#sender(remote, remotePort, false);
    const [, address, port] = /^\[?(.*?)\]?:(\d+)$/.exec(sender.source) ?? [];
    return { remoteAddress: remote.text, remotePort, localAddress: address, localPort: Number(port) };
  }
  /** The interface that the local address stands for. */
  get #interface() {
    const local = parse(this.#options.localAddress ?? '::');
    return local?.unspecified ? undefined : local?.text;
  }
  #receive(group, { sources, interface: on = this.#interface }) {
    const { url: _url, token: _token, tokenIn: _in, WebSocket: _socket, shared: _shared, ...how } = settings;
    // Its own too, if it is looped back: a socket hears what its host sends.
    const subscription = this.#gateway.join({ group, port: this.#binding.port }, { ...how, sources, interface: on, echo: true, credit: CREDIT });
    return this.#feed(subscription);
  }
  #feed(feed) {
    this.#subscriptions.add(feed);
    feed.onwaiting = () => this.#pump();
    return feed;
  }
  /** A sender to a group, opened at the first datagram for it. */
  #sender({ text: group, family }, port, replies) {
    const key = `${group}|${port}`;
    const known = this.#senders.get(key);
    if (known) return known;
    const local = parse(this.#options.localAddress ?? '::');
    if (this.#binding && local?.family !== family && !(local?.text === '::' && !this.#options.ipv6Only))
      return Promise.reject(failed(`${group}: the socket is bound to an address of the other IP version`));
    const { multicastTimeToLive: ttl, multicastLoopback: loop = true } = this.#options;
    const sender = this.#gateway.sender({ group, port }, { interface: this.#interface, ttl, loop, replies });
    this.#feed(sender);
    const opened = sender.opened.then(() => sender, (error) => {
      this.#senders.delete(key);
      this.#subscriptions.delete(sender);
      throw translated(error);
    });
    this.#senders.set(key, opened);
    return opened;
  }

  // The streams.

  #makeReadable() {
    return new ReadableStream({
      start: (controller) => { this.#reader = controller; },
      pull: () => this.#pump(),
      cancel: () => {
        this.#reader = null;
        this.#done();
      },
    }, { highWaterMark: CREDIT });
  }
  /** Hands over what waits, as far as the reader has room: what it has no room for stays the gateway's. */
  #pump() {
    for (const feed of this.#subscriptions) {
      if (feed.ended) this.#subscriptions.delete(feed);
      while (this.#reader?.desiredSize > 0) {
        const [datagram] = feed.take(1);
        if (!datagram) break;
        this.#reader.enqueue(this.#message(datagram));
      }
    }
  }
  #message({ payload, source, port, group, interface: on, time, sequence, ttl }) {
    const from = this.#binding ? { remoteAddress: source, remotePort: port } : {};
    return { data: payload.slice(), ...from, groupAddress: group, interface: on, timestamp: time, sequence, ttl };
  }
  #makeWritable() {
    return new WritableStream({
      write: (message) => this.#write(message).catch((error) => {
        this.#done(error);
        throw error;
      }),
      close: () => this.#done(),
      abort: () => this.#done(),
    }, new CountQueuingStrategy({ highWaterMark: 1 }));
  }
  async #write(given) {
    const message = dictionary(given, 'the message');
    const { data, remoteAddress, remotePort, dnsQueryType } = message;
    const payload = copied(data);
    if (!this.#binding) {
      if (remoteAddress !== undefined || remotePort !== undefined) throw new TypeError('remoteAddress and remotePort are those of the socket, which is connected');
      if (dnsQueryType !== undefined) throw new TypeError('dnsQueryType has no meaning where no name is looked up');
      return this.#give(await [...this.#senders.values()][0], payload);
    }
    if (remoteAddress === undefined || remotePort === undefined) throw new TypeError('a bound socket needs remoteAddress and remotePort with every message');
    const port = whole(remotePort, 'remotePort', 65535);
    if (dnsQueryType !== undefined) CONVERT.dnsQueryType(dnsQueryType);
    const remote = parse(text(remoteAddress, 'remoteAddress'));
    if (!remote) throw failed(`${remoteAddress}: names are not resolved here, give an IP address`);
    if (!remote.multicast) throw denied(`${remote.text}: a wscast gateway sends to multicast groups, never to single hosts`);
    if (!port) throw failed('nothing can be sent to port 0');
    return this.#give(await this.#sender(remote, port, true), payload);
  }
  async #give(sender, payload) {
    await sender.drained();
    try {
      sender.send(payload);
    } catch (error) {
      throw translated(error);
    }
  }
  /** One side is finished; after the other, the socket is. */
  #done(error) {
    this.#error ??= error;
    this.#sides -= 1;
    if (this.#sides) return;
    this.#end('closed');
    if (this.#error) this.#settle.reject(this.#error);
    else this.#settle.resolve();
  }
  #end(state) {
    this.#state = state;
    for (const feed of this.#subscriptions) feed.leave();
    if (this.#binding) bound.delete(this.#binding);
    this.#gateway?.close();
  }
}

/** Converts the options and finds what contradicts itself, in the draft's order. */
function check(given) {
  const options = /** @type {any} */ ({});
  for (const [name, convert] of Object.entries(CONVERT).sort()) {
    if (given[name] !== undefined) options[name] = convert === String ? text(given[name], name) : convert(given[name]);
  }
  const { remoteAddress, remotePort, localAddress, localPort, ipv6Only } = options;
  const remote = remoteAddress !== undefined || remotePort !== undefined;
  if ((remoteAddress === undefined) !== (remotePort === undefined)) throw new TypeError('remoteAddress and remotePort go together');
  if (remote && (localAddress !== undefined || localPort !== undefined)) throw new TypeError('a socket is connected (remote...) or bound (local...), not both');
  if (localPort !== undefined && localAddress === undefined) throw new TypeError('localPort needs localAddress');
  if (localPort === 0) throw new TypeError('localPort: 0 is none, leave it out to get a free one');
  if (!remote && localAddress === undefined) throw new TypeError('give remoteAddress and remotePort, or localAddress');
  if (options.sendBufferSize === 0 || options.receiveBufferSize === 0) throw new TypeError('a buffer of 0 bytes holds nothing');
  if (remote && ipv6Only !== undefined) throw new TypeError('ipv6Only is for bound sockets');
  if (localAddress !== undefined) {
    const local = parse(localAddress);
    if (!local) throw new TypeError(`localAddress: ${localAddress} is no IP address`);
    if (options.dnsQueryType !== undefined) throw new TypeError('dnsQueryType is for connected sockets');
    if (ipv6Only !== undefined && !(local.family === 6 && local.unspecified)) throw new TypeError('ipv6Only needs localAddress "::"');
    options.localAddress = local.text;
  }
  return options;
}
/** A copy of what is to be sent: the page may change its own at once. */
function copied(data) {
  if (data === undefined) throw new TypeError('data is missing');
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  if (Object.prototype.toString.call(data) === '[object ArrayBuffer]') return new Uint8Array(data).slice();
  throw new TypeError('data is neither an ArrayBuffer nor a view of one');
}
/** Waits for the first connection: one failure is enough to say so. */
async function reached(gateway) {
  if (gateway.state === 'open') return;
  await new Promise((resolve, reject) => {
    const changed = ({ detail }) => {
      if (detail.state === 'connecting') return;
      gateway.removeEventListener('state', changed);
      if (detail.state === 'open') resolve(undefined);
      else if (detail.error) reject(detail.error);
      else reject(failed(`${gateway.url}: ${detail.reason || 'no gateway answers there'}`));
    };
    gateway.addEventListener('state', changed);
    gateway.opened.catch((error) => reject(error));
  });
}

for (const [name, value] of Object.entries({ UDPSocket, MulticastController })) {
  if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
}
