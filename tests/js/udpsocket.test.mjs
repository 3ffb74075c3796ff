import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { MulticastController, UDPSocket, configure } from '../../src/web/page/wscast-udpsocket.js';
import { FakeGateway, record, settled } from './fake.mjs';

let [fake, number] = [null, 0];
beforeEach(() => {
  fake = new FakeGateway();
  configure({ url: `http://gateway-${(number += 1)}.test`, WebSocket: fake.WebSocket });
});
// What a test leaves open ends here, and with it what would keep the process.
afterEach(() => { for (const socket of fake.sockets) fake.close(4404, '', socket); });
const named = (name) => (error) => error instanceof DOMException && error.name === name;
async function bind(options = {}) {
  const socket = new UDPSocket({ localAddress: '0.0.0.0', localPort: 5000, ...options });
  return { socket, ...(await socket.opened) };
}
const GROUP = '239.1.2.3';

test('both classes are there for code that knows nothing of the module', () => {
  assert.equal(globalThis.UDPSocket, UDPSocket);
  assert.equal(globalThis.MulticastController, MulticastController);
  assert.throws(() => new MulticastController(), TypeError);
  assert.equal(String(UDPSocket.prototype), '[object UDPSocket]');
});

test('what the constructor refuses, at once and with a TypeError', () => {
  const remote = { remoteAddress: GROUP, remotePort: 5000 };
  const local = { localAddress: '0.0.0.0' };
  for (const wrong of [
    undefined, null, {}, 5, 'text',
    { remoteAddress: GROUP }, { remotePort: 5000 },
    { ...remote, ...local }, { ...remote, localPort: 5000 },
    { localPort: 5000 }, { ...local, localPort: 0 },
    { localAddress: 'localhost' }, { localAddress: '' }, { localAddress: '1.2.3' }, { localAddress: '01.2.3.4' }, { localAddress: '1.2.3.256' }, { localAddress: 'fe80::1%lan0' }, { localAddress: '1::2::3' },
    { ...local, dnsQueryType: 'ipv4' }, { ...remote, dnsQueryType: 'ipv5' },
    { ...remote, ipv6Only: true }, { ...local, ipv6Only: true }, { localAddress: '::1', ipv6Only: false },
    { ...local, sendBufferSize: 0 }, { ...local, receiveBufferSize: 0 }, { ...local, sendBufferSize: 2 ** 32 },
    { ...local, multicastTimeToLive: -1 }, { ...local, multicastTimeToLive: 256 }, { ...local, multicastTimeToLive: NaN },
    { ...local, localPort: -1 }, { ...local, localPort: 65536 }, { ...local, localPort: 'x' }, { ...remote, remotePort: Infinity },
    { localAddress: Symbol('address') },
  ]) assert.throws(() => new UDPSocket(wrong), TypeError, JSON.stringify(wrong));
  assert.equal(fake.sockets.length, 0);
});

test('what the constructor takes', async () => {
  for (const options of [
    { multicastTimeToLive: 0 }, { multicastTimeToLive: 255 }, { multicastTimeToLive: 1.9 }, { multicastTimeToLive: undefined },
    { localAddress: '::', ipv6Only: true }, { localAddress: '0:0::0' }, { sendBufferSize: 1, receiveBufferSize: 4294967295 },
    { multicastLoopback: false, multicastAllowAddressSharing: true },
  ]) {
    const { socket, localPort } = await bind(options);
    assert.equal(localPort, 5000);
    await socket.close();
  }
  const socket = new UDPSocket({ localAddress: '::0' });
  const { localAddress, localPort } = await socket.opened;
  assert.equal(localAddress, '::');
  assert.ok(localPort >= 49152 && localPort < 65536);
  await socket.close();
});

test('opening that fails rejects both promises and leaves nothing behind', async () => {
  for (const [options, name] of [
    [{ localAddress: '0.0.0.0', localPort: 1023 }, 'NotAllowedError'],
    [{ remoteAddress: '10.0.0.5', remotePort: 5000 }, 'NotAllowedError'],
    [{ remoteAddress: 'tv.example.org', remotePort: 5000 }, 'NetworkError'],
  ]) {
    const socket = new UDPSocket(options);
    await assert.rejects(socket.opened, named(name));
    await assert.rejects(socket.closed, named(name));
    await assert.rejects(socket.close(), named('InvalidStateError'));
  }
  const tried = fake.sockets.length;
  fake.accepting = false;
  const socket = new UDPSocket({ localAddress: '0.0.0.0', localPort: 5000 });
  await assert.rejects(socket.close(), named('InvalidStateError'), 'while it opens');
  await assert.rejects(socket.opened, named('NetworkError'));
  await assert.rejects(socket.closed, named('NetworkError'));
  assert.equal(fake.sockets.length, tried + 1, 'nobody goes on trying');
});

test('a refused sender is the draft\'s error', async () => {
  fake.answers.open_send = () => ({ type: 'error', code: 'not_allowed', message: 'allow it with --allow-send', retry: false });
  const socket = new UDPSocket({ remoteAddress: GROUP, remotePort: 5000 });
  await assert.rejects(socket.opened, (error) => named('NotAllowedError')(error) && /--allow-send/.test(error.message));
});

test('a port is for one, unless all share', async () => {
  const { socket: first } = await bind();
  await assert.rejects(new UDPSocket({ localAddress: '0.0.0.0', localPort: 5000, multicastAllowAddressSharing: true }).opened, named('NetworkError'));
  await assert.rejects(new UDPSocket({ localAddress: '10.0.0.1', localPort: 5000 }).opened, named('NetworkError'));
  const { socket: other } = await bind({ localPort: 5001 });
  await first.close();
  const sharing = await Promise.all([1, 2, 3].map(() => bind({ multicastAllowAddressSharing: true })));
  for (const { socket } of [...sharing, { socket: other }]) await socket.close();
});

test('join and leave: every error of the draft', async () => {
  const { socket, multicastController: controller } = await bind();
  for (const wrong of ['', 'localhost', '224.0.0', '10.0.0.1', '239.1.2.3.4', 'ff:1:2::', '2001:db8::1', '239.1.2.3:5000', '[ff15::42]'])
    await assert.rejects(controller.joinGroup(wrong), TypeError, wrong);
  await assert.rejects(controller.joinGroup(), TypeError);
  for (const sourceAddress of ['', 'name', '239.0.0.1', '0.0.0.0', '127.0.0.1', 'fe80::1'])
    await assert.rejects(controller.joinGroup(GROUP, { sourceAddress }), TypeError, sourceAddress);
  await assert.rejects(controller.joinGroup(GROUP, 5), TypeError);
  await assert.rejects(controller.joinGroup('ff15::42'), named('NetworkError'), 'the socket speaks IPv4');

  await controller.joinGroup(GROUP);
  await assert.rejects(controller.joinGroup(GROUP), named('InvalidStateError'), 'twice');
  await assert.rejects(controller.joinGroup(GROUP, { sourceAddress: '10.0.0.5' }), named('InvalidStateError'), 'SSM after ASM');
  await assert.rejects(controller.leaveGroup(GROUP, { sourceAddress: '10.0.0.5' }), named('InvalidStateError'), 'another source');
  await controller.joinGroup('232.1.2.3', { sourceAddress: '10.0.0.5' });
  await controller.joinGroup('232.1.2.3', { sourceAddress: '10.0.0.6' });
  await assert.rejects(controller.joinGroup('232.1.2.3', { sourceAddress: '10.0.0.6' }), named('InvalidStateError'));
  await assert.rejects(controller.joinGroup('232.1.2.3'), named('InvalidStateError'), 'ASM after SSM');
  await assert.rejects(controller.leaveGroup('232.1.2.3'), named('InvalidStateError'), 'without its source');
  await assert.rejects(controller.leaveGroup('239.9.9.9'), named('InvalidStateError'));
  await assert.rejects(controller.leaveGroup('10.0.0.1'), TypeError);
  const [pending, again, leave] = [controller.joinGroup('239.1.2.4'), controller.joinGroup('239.1.2.4'), controller.leaveGroup('239.1.2.4')];
  assert.equal(controller.joinedGroups.length, 3, 'without the pending one');
  await assert.rejects(again, named('InvalidStateError'), 'while it is being joined');
  await assert.rejects(leave, named('InvalidStateError'));
  await pending;
  assert.deepEqual(controller.joinedGroups, [
    GROUP, { groupAddress: '232.1.2.3', sourceAddress: '10.0.0.5' }, { groupAddress: '232.1.2.3', sourceAddress: '10.0.0.6' }, '239.1.2.4',
  ]);
  assert.ok(Object.isFrozen(controller.joinedGroups));
  assert.notEqual(controller.joinedGroups, controller.joinedGroups);
  const [leaving, second] = [controller.leaveGroup(GROUP), controller.leaveGroup(GROUP)];
  await assert.rejects(second, named('InvalidStateError'), 'while it is being left');
  await leaving;
  await assert.rejects(controller.leaveGroup(GROUP), named('InvalidStateError'), 'twice');
  await controller.joinGroup(GROUP);
  assert.deepEqual(controller.joinedGroups.at(-1), GROUP, 'in the order of joining');

  fake.answers.join = () => ({ type: 'error', code: 'not_allowed', message: 'no', retry: false });
  await assert.rejects(controller.joinGroup('239.1.2.5'), named('NotAllowedError'));
  fake.answers.join = () => ({ type: 'error', code: 'join_failed', message: 'ENOBUFS', retry: true });
  await assert.rejects(controller.joinGroup('239.1.2.5'), named('NetworkError'));
  fake.answers.join = null;
  const never = controller.joinGroup('239.1.2.6');
  const rejected = assert.rejects(never, named('AbortError'));
  await socket.close();
  await rejected;
  await assert.rejects(controller.joinGroup(GROUP), named('InvalidStateError'));
  await assert.rejects(controller.leaveGroup('nonsense'), named('InvalidStateError'), 'the state comes first');
});

test('IPv6: canonical addresses, and both families where :: says so', async () => {
  const { socket, multicastController: controller } = await bind({ localAddress: '::' });
  await controller.joinGroup('FF15:0::0042', { sourceAddress: '2001:DB8::5' });
  await controller.joinGroup(GROUP);
  assert.deepEqual(controller.joinedGroups, [{ groupAddress: 'ff15::42', sourceAddress: '2001:db8::5' }, GROUP]);
  await assert.rejects(controller.joinGroup('ff15:0:0::42', { sourceAddress: '2001:db8::5' }), named('InvalidStateError'));
  await socket.close();
  const six = await bind({ localAddress: '::', ipv6Only: true });
  await assert.rejects(six.multicastController.joinGroup(GROUP), named('NetworkError'));
  await six.socket.close();
});

test('a join carries the port, the interface and the wish to hear what loops back', async () => {
  const { socket, multicastController: controller } = await bind({ localAddress: '10.0.0.1' });
  await controller.joinGroup(GROUP);
  await controller.joinGroup(GROUP, { interface: 'lan1' });
  const [first, second] = fake.of('join');
  assert.deepEqual([first.port, first.interface, first.echo, second.interface], [5000, '10.0.0.1', true, 'lan1']);
  assert.deepEqual(controller.joinedGroups, [GROUP, { groupAddress: GROUP, interface: 'lan1' }]);
  await controller.leaveGroup(GROUP, { interface: 'lan1' });
  await socket.close();
});

test('messages: the draft\'s fields, and more', async () => {
  const { socket, readable, multicastController: controller } = await bind();
  await controller.joinGroup(GROUP);
  const [{ datagrams, stream }] = fake.of('credit');
  assert.equal(datagrams, 32);
  fake.send(record({ stream, sequence: 9, payload: 'abc', ttl: 3 }), record({ stream, sequence: 10, payload: '' }));
  const reader = readable.getReader();
  const { value } = await reader.read();
  const { data, timestamp, ...rest } = value;
  assert.deepEqual(rest, { remoteAddress: '10.0.0.5', remotePort: 4000, groupAddress: GROUP, interface: 'lan0', sequence: 9, ttl: 3 });
  assert.ok(data instanceof Uint8Array && data.buffer.byteLength === 3, 'a buffer of its own');
  assert.equal(typeof timestamp, 'number');
  assert.equal((await reader.read()).value.data.length, 0);
  await assert.rejects(socket.close(), named('InvalidStateError'), 'a stream is locked');
  reader.releaseLock();
  await socket.close();
  assert.equal(await socket.closed, undefined);
  assert.equal(socket.close() === socket.closed, false);
  await socket.close();
});

test('a reader that stalls gives no credit, and one that reads on does', async () => {
  const { socket, readable, multicastController: controller } = await bind();
  await controller.joinGroup(GROUP);
  const granted = () => fake.of('credit').reduce((sum, { datagrams }) => sum + datagrams, 0);
  const [{ stream }] = fake.of('credit');
  let sent = 0;
  for (let turn = 0; turn < 10; turn += 1) {
    while (sent < granted()) fake.send(record({ stream, sequence: sent++ }));
    await settled();
  }
  assert.ok(sent >= 32 && sent <= 64, `32 in the stream and at most 32 ahead of it: ${sent}`);
  const reader = readable.getReader();
  const read = [];
  while (read.length < 40) read.push((await reader.read()).value.sequence);
  await settled();
  assert.deepEqual(read, [...Array(40).keys()]);
  assert.ok(granted() > sent);
  await reader.cancel();
});

test('writing: copies, opens a sender for each group and port, and refuses the rest', async () => {
  const { socket, writable } = await bind({ multicastTimeToLive: 4, multicastLoopback: false });
  const writer = writable.getWriter();
  await writer.write({ data: new Uint8Array([1, 2]), remoteAddress: GROUP, remotePort: 5000 });
  await writer.write({ data: new Uint8Array([3]).buffer, remoteAddress: GROUP, remotePort: 5000 });
  await writer.write({ data: new DataView(new ArrayBuffer(1)), remoteAddress: GROUP, remotePort: 5001 });
  assert.deepEqual(fake.of('open_send').map(({ port, ttl, loop, replies }) => [port, ttl, loop, replies]), [[5000, 4, false, true], [5001, 4, false, true]]);
  assert.equal(fake.said.filter((one) => one instanceof Uint8Array).length, 3);
  await writer.close();
  assert.equal(await Promise.race([socket.closed, settled().then(() => 'open')]), 'open', 'the other side is not finished');
  for (const [message, check] of [
    [undefined, TypeError], [{}, TypeError], [{ data: 'text', remoteAddress: GROUP, remotePort: 1 }, TypeError],
    [{ data: new Uint8Array(1) }, TypeError], [{ data: new Uint8Array(1), remoteAddress: GROUP }, TypeError],
    [{ data: new Uint8Array(1), remoteAddress: GROUP, remotePort: 65536 }, TypeError],
    [{ data: new Uint8Array(1), remoteAddress: '10.0.0.5', remotePort: 5000 }, named('NotAllowedError')],
    [{ data: new Uint8Array(1), remoteAddress: 'name', remotePort: 5000 }, named('NetworkError')],
    [{ data: new Uint8Array(2000), remoteAddress: GROUP, remotePort: 5000 }, named('NetworkError')],
  ]) {
    const { socket: other, writable: side, readable } = await bind({ localPort: 6000 });
    const writing = side.getWriter();
    await assert.rejects(writing.write(message), check);
    writing.releaseLock();
    await readable.cancel();
    await assert.rejects(other.closed, check);
  }
});

test('replies to what a bound socket sends are read from it', async () => {
  const { socket, readable, writable } = await bind();
  const writer = writable.getWriter();
  await writer.write({ data: new Uint8Array(1), remoteAddress: '239.255.255.250', remotePort: 1900 });
  const sender = fake.said.find((one) => one instanceof Uint8Array);
  const stream = new DataView(sender.buffer).getUint32(4, true);
  fake.send(record({ kind: 2, stream, payload: 'HTTP/1.1 200 OK', source: [10, 0, 0, 9], port: 1900 }));
  const { value } = await readable.getReader().read();
  assert.deepEqual([value.remoteAddress, value.remotePort, value.groupAddress], ['10.0.0.9', 1900, '239.255.255.250']);
});

test('connected to a group', async () => {
  const socket = new UDPSocket({ remoteAddress: GROUP, remotePort: 5000 });
  const info = await socket.opened;
  assert.deepEqual([info.remoteAddress, info.remotePort, info.localAddress, info.localPort], [GROUP, 5000, '10.0.0.1', 41234]);
  assert.equal('multicastController' in info, false);
  const writer = info.writable.getWriter();
  await writer.write({ data: new Uint8Array([7]) });
  assert.deepEqual([...fake.said.at(-1).subarray(8)], [7]);
  await assert.rejects(writer.write({ data: new Uint8Array(1), remoteAddress: GROUP, remotePort: 5000 }), TypeError);
});

test('the gateway goes away and comes back: the socket stays', async () => {
  const { socket, readable, multicastController: controller } = await bind();
  await controller.joinGroup(GROUP);
  fake.restart('run-2');
  while (fake.of('join').length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await settled();
  const { stream } = fake.of('credit').at(-1);
  fake.send(record({ stream, payload: 'back' }));
  const { value } = await readable.getReader().read();
  assert.equal(new TextDecoder().decode(value.data), 'back');
  assert.deepEqual(controller.joinedGroups, [GROUP]);
});
