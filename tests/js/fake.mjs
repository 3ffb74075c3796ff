// A WebSocket class without a network, and behind it a gateway that answers as docs/protocol.md says or as a test tells it to.

/** Lets everything that waits for nothing but promises happen. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A record of kind 1 or 2, as the gateway writes it. */
export function record({ kind = 1, flags = 0, stream, sequence = 0, payload = '', port = 4000, ttl = 1, source = [10, 0, 0, 5] }) {
  const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
  const out = new Uint8Array(40 + bytes.length);
  const view = new DataView(out.buffer);
  out.set([kind, flags]);
  view.setUint16(2, bytes.length, true);
  view.setUint32(4, stream, true);
  view.setUint32(8, sequence, true);
  view.setUint16(12, port, true);
  out[14] = ttl;
  out.set([0xff, 0xff, ...source], 34);
  out.set(bytes, 40);
  return out;
}

export class FakeGateway {
  /** All connections that were tried, the last one last. */
  sockets = [];
  /** Everything that clients said, parsed; binary as Uint8Array. */
  said = [];
  id = 'run-1';
  accepting = true;
  /** Whether it says hello. */
  greeting = true;
  /** By `type`: another answer than the ordinary one, or null for none. */
  answers = {};
  #streams = new Map();
  #next = 7;

  constructor() {
    const gateway = this;
    this.WebSocket = class FakeWebSocket {
      readyState = 0;
      bufferedAmount = 0;
      onopen = null;
      onmessage = null;
      onclose = null;
      onerror = null;
      constructor(url, protocols) {
        Object.assign(this, { url, protocols });
        gateway.sockets.push(this);
        queueMicrotask(() => gateway.#arrive(this));
      }
      send(data) {
        const message = typeof data === 'string' ? JSON.parse(data) : new Uint8Array(data);
        gateway.said.push(message);
        if (typeof data === 'string') queueMicrotask(() => gateway.#answer(this, message));
      }
      close(code, reason = '') {
        [this.readyState, this.closedWith] = [3, { code, reason }];
      }
    };
  }
  get socket() { return this.sockets.at(-1); }
  #arrive(socket) {
    if (socket.readyState !== 0) return;
    if (!this.accepting) return this.close(1006, '', socket);
    socket.readyState = 1;
    socket.onopen?.({});
    if (!this.greeting) return;
    this.say({ type: 'hello', gateway: this.id, version: '0.1.0', limits: { streams: 16, datagram: 1452 }, heartbeat: 20 }, socket);
  }
  say(message, socket = this.socket) { socket.onmessage?.({ data: JSON.stringify(message) }); }
  send(...records) {
    const all = new Uint8Array(records.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const each of records) { all.set(each, at); at += each.length; }
    this.socket.onmessage?.({ data: all.buffer });
  }
  close(code, reason = '', socket = this.socket) {
    this.#streams.clear();
    socket.readyState = 3;
    socket.onclose?.({ code, reason });
  }
  /** Ends as a process does: everybody's connection, all numbers, and with the next start another id. */
  restart(id) {
    this.id = id;
    this.#next += 100;
    this.close(1006);
  }
  of(type) { return this.said.filter((message) => message.type === type); }
  #answer(socket, message) {
    const { type, id } = message;
    if (type in this.answers) {
      const answer = this.answers[type]?.(message);
      if (answer) this.say({ id, ...answer }, socket);
      return;
    }
    if (type === 'join') {
      const key = JSON.stringify([message.name, message.group, message.port, message.sources, message.interface]);
      const known = this.#streams.get(key);
      if (known) return this.say({ type: 'error', id, code: 'already_joined', message: 'it is', retry: false, stream: known }, socket);
      const stream = message.resume?.gateway === this.id ? message.resume.stream : this.#next++;
      this.#streams.set(key, stream);
      this.say({ type: 'joined', id, stream, interface: message.interface ?? 'lan0', state: 'silent', next_sequence: 1 }, socket);
    } else if (type === 'leave') {
      for (const [key, stream] of this.#streams) if (stream === message.stream) this.#streams.delete(key);
      this.say({ type: 'left', id, stream: message.stream }, socket);
    } else if (type === 'open_send') {
      this.say({ type: 'sender', id, sender: this.#next++, interface: message.interface ?? 'lan0', source: '10.0.0.1:41234' }, socket);
    } else if (type === 'ping') {
      this.say({ type: 'pong', id }, socket);
    }
  }
}
