// Types of wscast-udpsocket.js: the WICG Direct Sockets draft, with what is additional marked so.
import type { GatewayOptions, JoinOptions } from './wscast.js';

export type SocketDnsQueryType = 'ipv4' | 'ipv6';
export interface UDPSocketOptions {
  remoteAddress?: string;
  remotePort?: number;
  localAddress?: string;
  localPort?: number;
  /** Accepted, without effect: the buffers are the gateway's. */
  sendBufferSize?: number;
  /** Accepted, without effect. */
  receiveBufferSize?: number;
  dnsQueryType?: SocketDnsQueryType;
  ipv6Only?: boolean;
  /** 1 by default. */
  multicastTimeToLive?: number;
  /** True by default. */
  multicastLoopback?: boolean;
  /** False by default. */
  multicastAllowAddressSharing?: boolean;
}
export interface UDPMessage {
  data?: BufferSource;
  remoteAddress?: string;
  remotePort?: number;
  dnsQueryType?: SocketDnsQueryType;
}
/** What `readable` gives. */
export interface ReceivedUDPMessage extends UDPMessage {
  data: Uint8Array<ArrayBuffer>;
  /** Additional: the group that it was sent to. */
  groupAddress: string;
  /** Additional: where it arrived at the gateway, by name. */
  interface: string;
  /** Additional: when it arrived at the gateway's kernel, in milliseconds since 1970. */
  timestamp: number;
  /** Additional: counts the datagrams of the stream, modulo 2^32; a hole is a loss. */
  sequence: number;
  /** Additional: TTL or hop limit on arrival, 0 if unknown. */
  ttl: number;
}
export interface UDPSocketOpenInfo {
  readable: ReadableStream<ReceivedUDPMessage>;
  writable: WritableStream<UDPMessage>;
  remoteAddress?: string;
  remotePort?: number;
  localAddress: string;
  localPort: number;
  /** In bound mode. */
  multicastController?: MulticastController;
}
export declare class UDPSocket {
  constructor(options?: UDPSocketOptions);
  readonly opened: Promise<UDPSocketOpenInfo>;
  readonly closed: Promise<undefined>;
  close(): Promise<undefined>;
}
export interface MulticastGroupOptions {
  sourceAddress?: string;
  /** Additional: where the gateway joins: a name, an address on it, an index, or `all`. */
  interface?: string;
}
export interface MulticastMembership {
  groupAddress: string;
  sourceAddress?: string;
  /** Additional: as it was joined. */
  interface?: string;
}
export declare class MulticastController {
  private constructor();
  joinGroup(group: string, options?: MulticastGroupOptions): Promise<undefined>;
  leaveGroup(group: string, options?: MulticastGroupOptions): Promise<undefined>;
  readonly joinedGroups: readonly (string | MulticastMembership)[];
}

/** Additional: which gateway, how to get in, and what it does when this page is too slow; for sockets made from then on. By default
 * the gateway that served the module. */
export declare function configure(options: GatewayOptions & Pick<JoinOptions, 'overflow' | 'latency'> & { url?: string | URL }): void;

declare global {
  var UDPSocket: typeof import('./wscast-udpsocket.js').UDPSocket;
  var MulticastController: typeof import('./wscast-udpsocket.js').MulticastController;
}
