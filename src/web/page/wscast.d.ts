// Types of wscast.js. How to use it: docs/javascript.md; what is behind it: docs/protocol.md, sections 2, 4 and 5.

/** `[SOURCE[,SOURCE...]@]GROUP:PORT`, IPv6 addresses in brackets, or its parts; or the name of a stream in the gateway's
 * configuration, for which no address is needed: a text without a port. */
export type Target = string | { group: string; port: number; sources?: string[] } | { name: string };
/** What may be sent; a string as UTF-8. */
export type Data = string | ArrayBuffer | ArrayBufferView;

export interface GatewayOptions {
  /** What lets this page in, or a function that is asked for it at every connection; a promise will do. */
  token?: string | (() => string | Promise<string>);
  /** How it travels: as a subprotocol (the default), in the first message, or in the URL, which is for single-use tickets only. */
  tokenIn?: 'protocol' | 'message' | 'query';
  /** Another implementation, for runtimes without one, and for tests. */
  WebSocket?: new (url: string, protocols: string[]) => any;
  /** False for a connection of one's own. By default those who connect to the same URL with the same options share one. */
  shared?: boolean;
}
export interface QueueOptions {
  /** Leaves, or closes, when it aborts; the iteration ends without an error. */
  signal?: AbortSignal;
  /** Datagrams that wait for the consumer at most, 4096 by default; the oldest is dropped, counted and told. */
  queue?: number;
  /** Bytes of payload that wait at most, 16 MiB by default. */
  queueBytes?: number;
}
export interface JoinOptions extends QueueOptions {
  /** Where to join: a name, an address on it, an index, or `all`. By default where the gateway is told to. */
  interface?: string;
  /** Whom to hear, if not everybody (source-specific multicast). */
  sources?: string[];
  /** Whom not to hear. */
  exclude?: string[];
  /** What the gateway does when this client is too slow: lose the oldest (`skip`), jump to the newest, or close. */
  overflow?: 'skip' | 'latest' | 'close';
  /** Begin with so many of the last datagrams (`20`), or those of a time (`'500ms'`). */
  replay?: number | string;
  /** How long the gateway may hold a datagram to send several at once: `'5ms'`, at most `'50ms'`. */
  latency?: string;
  /** Hear what this page sent itself, too. */
  echo?: boolean;
  /** Datagrams that the gateway may send ahead of the consumer. With it, a consumer that stalls stops the flow at the gateway,
   * where `overflow` applies; without it, the flow goes on and `queue` applies. */
  credit?: number;
}
export interface SenderOptions extends QueueOptions {
  /** Where to send: a name, an address on it or an index. */
  interface?: string;
  /** TTL or hop limit, 1 by default. */
  ttl?: number;
  /** Whether the gateway's host hears it, true by default. */
  loop?: boolean;
  /** Whether unicast answers are wanted, true by default: they are what a sender is iterated for. */
  replies?: boolean;
}

/** A datagram that arrived. Only the payload is there at once; the rest is read when asked for. */
export interface Datagram {
  /** A view into the message that it came in: copy it (`copy()`, `payload.slice()`) to keep few of many for long. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** The payload as UTF-8. */
  readonly text: string;
  readonly kind: 'datagram' | 'reply';
  /** Who sent it: address and port. */
  readonly source: string;
  readonly port: number;
  /** Where it was sent to; empty and 0 where the stream was joined by name. */
  readonly group: string;
  readonly groupPort: number;
  /** Where it arrived, by name. */
  readonly interface: string;
  /** When it arrived at the gateway's kernel: milliseconds since 1970, as `Date.now()` has them, with a fraction; 0 if unknown. */
  readonly time: number;
  /** The same, exactly. */
  readonly nanoseconds: bigint;
  /** Counts the datagrams of a stream, modulo 2^32. */
  readonly sequence: number;
  /** TTL or hop limit on arrival; 0 if unknown. */
  readonly ttl: number;
  /** The bits of the record: 1 IPv6, 2 truncated, 4 sent by a client of this gateway. */
  readonly flags: number;
  readonly truncated: boolean;
  readonly fromClient: boolean;
  /** The gateway's number of the stream, or of the sender for a reply. */
  readonly stream: number;
  /** A plain object with a payload of its own, to keep or to post to another thread. */
  copy(): Omit<Datagram, 'copy' | 'text' | 'nanoseconds'>;
}

/** What could not be had. */
export interface Loss {
  /** How many; null where that can't be known. */
  datagrams: number | null;
  /** `queue`: this page took them too slowly from the library; `client`: it took them too slowly from the gateway; `kernel`: the
   * gateway's host was too slow; `interface`: it was away; `rate-limit`; `unknown`: the connection was away, or another gateway
   * took over. */
  where: 'queue' | 'client' | 'kernel' | 'rate-limit' | 'interface' | 'unknown' | 'echo';
  /** How long the gap was, where the number is not known; else 0. */
  seconds: number;
  /** The gateway's number of the stream, where it lost them. */
  stream?: number;
}
export type StreamState = 'receiving' | 'silent' | 'waiting-for-interface';
export type GatewayState = 'connecting' | 'open' | 'waiting' | 'paused' | 'closed';

/** What is read datagram by datagram (`for await`), in batches, or without waiting. */
export interface Feed<T> extends EventTarget, AsyncIterableIterator<T, undefined, void> {
  /** How many came so far, those that were dropped included. */
  readonly received: number;
  /** How many wait. */
  readonly waiting: number;
  readonly ended: boolean;
  /** Called when something begins to wait, or more does. */
  onwaiting: (() => void) | null;
  next(): Promise<IteratorResult<T, undefined>>;
  return(): Promise<IteratorResult<T, undefined>>;
  /** What waits, oldest first. */
  take(most?: number): T[];
  /** All that waits, again and again: one promise for many. */
  batches(): AsyncGenerator<T[], void, void>;
  /** Leaves or closes; what waits is thrown away. */
  leave(): void;
  [Symbol.asyncIterator](): this;
}
/** A claim on one stream. Ends when its iteration ends; events: `state`, `lost`. */
export interface Subscription extends Feed<Datagram> {
  /** Where it was asked for by name, `group` is empty and `port` 0. */
  readonly name: string | undefined;
  readonly group: string;
  readonly port: number;
  /** Where it is joined, by name. */
  readonly interface: string;
  readonly state: 'joining' | StreamState | 'left';
  /** Settles when the gateway has answered. Silence is a state and no error. */
  readonly joined: Promise<{ stream: number; interface: string; state: StreamState }>;
  /** Datagrams lost so far, by `where`. `echo` counts those of its own that were held back. */
  readonly lost: Partial<Record<Loss['where'], number>>;
  /** Losses of unknown size. */
  readonly gaps: { readonly count: number; readonly seconds: number };
  addEventListener<K extends keyof SubscriptionEvents>(type: K, listener: (event: SubscriptionEvents[K]) => void, options?: AddEventListenerOptions | boolean): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void;
}
/** A right to send to one group. Iterated, it gives the unicast answers. Event: `refused`. */
export interface Sender extends Feed<Datagram> {
  readonly name: string | undefined;
  readonly group: string;
  readonly port: number;
  readonly interface: string;
  /** Address and port that its datagrams come from. */
  readonly source: string;
  /** Datagrams that the gateway did not send. */
  readonly refused: number;
  readonly opened: Promise<{ interface: string; source: string }>;
  /** Hands one datagram to the browser; what becomes of it nobody says, but for `refused`.
   * Throws a {@link WscastError}: `not_open`, `closed`, `too_large`, or `buffer_full` above 256 KiB in the browser's buffer. */
  send(data: Data): void;
  /** Resolves when `buffer_full` is over. */
  drained(): Promise<void>;
  close(): void;
  addEventListener(type: 'refused', listener: (event: CustomEvent<{ sender: Sender; code: string; message: string; datagrams: number }>) => void, options?: AddEventListenerOptions | boolean): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void;
}

export interface SubscriptionEvents {
  state: CustomEvent<{ subscription: Subscription; name: string | undefined; group: string; port: number; stream: number; interface: string; state: StreamState }>;
  lost: CustomEvent<{ subscription: Subscription; name: string | undefined; group: string; port: number } & Loss>;
}
export interface GatewayEvents {
  /** Of the connection, or with `subscription` of a stream. `waiting` comes with `code`, `reason` and `wait` (ms until the next
   * attempt), `closed` with `error`. */
  state: CustomEvent<{ state: GatewayState | StreamState; subscription?: Subscription; gateway?: string; version?: string; code?: number; reason?: string; wait?: number; error?: WscastError | null }>;
  lost: SubscriptionEvents['lost'];
  /** It is back; `same`: the same run of the same gateway. Every stream is joined again by itself. */
  reconnect: CustomEvent<{ gateway: string; same: boolean; seconds: number }>;
  /** The gateway did not understand something that no promise waits for. */
  error: CustomEvent<{ error: WscastError }>;
}
export interface Hello {
  /** The random name of this run of the gateway. */
  gateway: string;
  version: string;
  /** Streams joined at once (null: any number), and bytes of a datagram that may be sent. */
  limits: { streams: number | null; datagram: number };
  /** Seconds between two signs of life. */
  heartbeat: number;
}
/** A connection to a gateway, shared by all on this page who connect to the same. */
export declare class Gateway extends EventTarget {
  private constructor();
  readonly url: string;
  readonly state: GatewayState;
  /** The first greeting; rejects when the connection is refused for good. */
  readonly opened: Promise<Hello>;
  readonly limits: Hello['limits'] | null;
  join(target: Target, options?: JoinOptions): Subscription;
  sender(target: Target, options?: SenderOptions): Sender;
  /** The gateway's status (`/api/v1/status`), where this client may see it, every `interval` milliseconds (250 to 60000); only the newest waits. */
  watch(interval?: number, options?: { signal?: AbortSignal }): Feed<Record<string, any>>;
  /** Closes, once all who connected have said so. */
  close(): void;
  addEventListener<K extends keyof GatewayEvents>(type: K, listener: (event: GatewayEvents[K]) => void, options?: AddEventListenerOptions | boolean): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void;
}
/** What went wrong. */
export declare class WscastError extends Error {
  constructor(code: string, message: string, retry?: boolean);
  /** A stable word: `not_allowed`, `no_interface`, `too_many_streams`, ... (docs/protocol.md). */
  code: string;
  /** Whether the same may work at another time. */
  retry: boolean;
}

/** Connects, or shares the connection that there is. `url` is the gateway's (`http:`, `https:`, `ws:` or `wss:`; relative to the
 * page); left out, it is the one that served this file. */
export declare function connect(url?: string | URL, options?: GatewayOptions): Gateway;

/** Milliseconds until attempt number `attempt` of an outage that has lasted `outage` milliseconds. */
export declare function backoff(attempt: number, outage: number, random?: () => number): number;
/** The records of one binary message; those for which `find` knows no origin are left out. Throws where the bytes are none. */
export declare function decode(
  buffer: ArrayBuffer,
  find?: (kind: number, number: number) => { group: string; port: number; interface: string } | undefined,
): Datagram[];
/** The bytes that ask the gateway to send a payload. */
export declare function encodeSend(sender: number, payload: Uint8Array): Uint8Array<ArrayBuffer>;
/** Takes a target apart. Throws a TypeError where it is none. */
export declare function parseTarget(target: Target): { group: string; port: number; sources: string[]; name?: string };
