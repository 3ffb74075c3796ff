// What TypeScript says of programs that use the library: `tsc` fails where a line that should be an error is none.
import { WscastError, backoff, connect, decode, encodeSend, parseTarget } from '../../../src/web/page/wscast.js';
import type { Datagram, Gateway, Sender, Subscription } from '../../../src/web/page/wscast.js';
import { UDPSocket, configure } from '../../../src/web/page/wscast-udpsocket.js';

export async function library(): Promise<void> {
  const gateway: Gateway = connect('https://gateway.example.org', { token: async () => 'secret', tokenIn: 'message' });
  const { limits: { datagram } } = await gateway.opened;
  const abort = new AbortController();
  const subscription: Subscription = gateway.join('239.1.2.3:5000', { signal: abort.signal, overflow: 'latest', replay: 5 });
  gateway.addEventListener('lost', ({ detail }) => {
    const known: number = detail.datagrams ?? 0;
    if (detail.where === 'unknown') console.log(known, detail.seconds, detail.subscription.group);
  });
  gateway.addEventListener('reconnect', ({ detail }) => detail.same);
  for await (const { payload, source, port, sequence, nanoseconds } of subscription) {
    const view: Uint8Array<ArrayBuffer> = payload;
    const exact: bigint = nanoseconds;
    console.log(view, source.length + port + sequence, exact, datagram);
  }
  for await (const batch of subscription.batches()) batch.map(({ text }: Datagram) => text);
  const sender: Sender = gateway.sender({ group: 'ff15::42', port: 5000 }, { ttl: 4 });
  const { source } = await sender.opened;
  sender.send(`from ${source}`);
  sender.send(new Uint8Array(3));
  for await (const status of gateway.watch(500)) console.log(status.streams);
  const named: string | undefined = gateway.join('camera').name ?? gateway.sender({ name: 'camera' }).name;
  console.log(named);
  // @ts-expect-error: a number is no datagram
  sender.send(5);
  // @ts-expect-error: no such policy
  gateway.join('239.1.2.3:5000', { overflow: 'block' });
  // @ts-expect-error: only `connect` makes one
  new Gateway();
  const error = new WscastError('not_allowed', 'no', false);
  const numbers: number[] = [backoff(1, 0), decode(new ArrayBuffer(0)).length, encodeSend(1, new Uint8Array()).length, parseTarget('').port];
  console.log(error.code, error.retry, numbers);
}

// Written against the draft, without a word of wscast but for the import.
export async function draft(): Promise<void> {
  configure({ url: 'https://gateway.example.org', overflow: 'skip' });
  const socket = new UDPSocket({ localAddress: '0.0.0.0', localPort: 5000, multicastAllowAddressSharing: true });
  const { readable, writable, multicastController } = await socket.opened;
  await multicastController!.joinGroup('239.1.2.3', { sourceAddress: '10.0.0.5' });
  const joined: readonly (string | { groupAddress: string; sourceAddress?: string })[] = multicastController!.joinedGroups;
  const reader = readable.getReader();
  const { value, done } = await reader.read();
  if (!done) console.log(value.data.byteLength, value.remoteAddress, joined);
  await writable.getWriter().write({ data: new Uint8Array(1), remoteAddress: '239.1.2.3', remotePort: 5000 });
  // @ts-expect-error: text is no BufferSource
  await writable.getWriter().write({ data: 'text' });
  await socket.close();
}
