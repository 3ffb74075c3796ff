import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { WscastError, backoff, connect, decode, parseTarget } from '../../src/web/page/wscast.js';
import { FakeGateway, record, settled } from './fake.mjs';

async function open(options = {}, url = 'http://gateway.test/') {
  const fake = new FakeGateway();
  const gateway = connect(url, { WebSocket: fake.WebSocket, shared: false, ...options });
  const events = [];
  for (const type of ['state', 'lost', 'reconnect', 'error'])
    gateway.addEventListener(type, ({ detail: { subscription, ...rest } }) => events.push({ type, ...rest }));
  await gateway.opened;
  return { fake, gateway, events, of: (type) => events.filter((event) => event.type === type) };
}
const texts = (datagrams) => datagrams.map(({ text }) => text);

test('targets', () => {
  assert.deepEqual(parseTarget('239.1.2.3:5000'), { group: '239.1.2.3', port: 5000, sources: [] });
  assert.deepEqual(parseTarget('10.0.0.5,10.0.0.6@232.1.2.3:5000'), { group: '232.1.2.3', port: 5000, sources: ['10.0.0.5', '10.0.0.6'] });
  assert.deepEqual(parseTarget('[2001:db8::5]@[ff35::1]:5000'), { group: 'ff35::1', port: 5000, sources: ['2001:db8::5'] });
  assert.deepEqual(parseTarget({ group: 'ff15::42', port: 1 }), { group: 'ff15::42', port: 1, sources: [] });
  assert.deepEqual(parseTarget('door-1.hd'), { name: 'door-1.hd', group: '', port: 0, sources: [] });
  assert.deepEqual(parseTarget({ name: 'camera' }), { name: 'camera', group: '', port: 0, sources: [] });
  for (const wrong of ['239.1.2.3', '..', 'a/b', 'a b', 'x'.repeat(65), 'ff15::42:5000', 'example.org:5000', '', ':5000']) assert.throws(() => parseTarget(wrong), TypeError);
});

test('streams are joined and sent to by name', async () => {
  const { fake, gateway } = await open();
  const [one, other, sender] = [gateway.join('camera', { replay: 5 }), gateway.join({ name: 'camera' }, { replay: 5 }), gateway.sender('camera')];
  const { stream } = await one.joined;
  await sender.opened;
  assert.deepEqual(fake.of('join'), [{ type: 'join', id: 1, name: 'camera', echo: undefined, replay: '5' }].map(({ echo, ...rest }) => rest));
  assert.deepEqual(fake.of('open_send'), [{ type: 'open_send', id: 2, name: 'camera', replies: true }]);
  fake.send(record({ stream, payload: 'picture' }));
  for (const each of [one, other]) {
    const { value } = await each.next();
    assert.deepEqual([value.text, value.group, value.groupPort, each.name], ['picture', '', 0, 'camera']);
  }
  assert.throws(() => sender.send('x'.repeat(2000)), /the sender to camera takes 1452/);
  fake.close(1001);
  for (const each of [one, other, sender]) each.leave();
  gateway.close();
});

test('a status that this client may not see ends the watch with the reason', async () => {
  const { fake, gateway, of } = await open();
  fake.answers.watch = () => ({ type: 'error', code: 'not_allowed', message: 'the status is for operators', retry: false });
  await assert.rejects(gateway.watch().next(), { code: 'not_allowed' });
  await settled();
  assert.deepEqual(of('error'), []);
  gateway.close();
});

test('IPv6 sources are written as RFC 5952 says', () => {
  for (const text of ['::', '::1', '2001:db8::5', 'fe80::1:0:0:1', '2001:db8:0:1::', '1:0:2:3:4:5:6:7', '10:0:5::', 'ff02::1:ff00:1']) {
    const full = new Uint8Array(40);
    full.set([1, 1]);
    const [head, tail] = text.includes('::') ? text.split('::') : [text, ''];
    const [front, back] = [head, tail].map((part) => (part ? part.split(':') : []));
    const words = [...front, ...Array(8 - front.length - back.length).fill('0'), ...back];
    words.forEach((word, at) => new DataView(full.buffer).setUint16(24 + 2 * at, parseInt(word, 16)));
    assert.equal(decode(full.buffer)[0].source, new URL(`http://[${text}]`).hostname.slice(1, -1));
  }
});

test('back-off: full jitter, at most 1 s for 30 s, then at most 20 s', () => {
  assert.deepEqual([0, 1, 2, 3, 50].map((attempt) => backoff(attempt, 0, () => 1)), [250, 500, 1000, 1000, 1000]);
  assert.deepEqual([0, 3, 6, 7, 50].map((attempt) => backoff(attempt, 30_000, () => 1)), [250, 2000, 16_000, 20_000, 20_000]);
  assert.equal(backoff(9, 0, () => 0), 0);
  for (let turn = 0; turn < 100; turn += 1) assert.ok(backoff(20, 29_999) < 1000);
});

test('the URL of /v1 comes from any URL of the gateway', async () => {
  for (const [url, expected] of [
    ['http://gateway.test', 'ws://gateway.test/v1'],
    ['https://gateway.test/wscast.js', 'wss://gateway.test/v1'],
    ['wss://gateway.test/inside/', 'wss://gateway.test/inside/v1'],
    ['ws://gateway.test/v1', 'ws://gateway.test/v1'],
  ]) {
    const { gateway, fake } = await open({}, url);
    assert.equal(fake.socket.url, expected);
    assert.deepEqual(fake.socket.protocols, ['wscast.v1']);
    gateway.close();
  }
  assert.throws(() => connect('file:///tmp/page.html'), TypeError);
});

test('one connection for all who want the same, closed by the last', async () => {
  const fake = new FakeGateway();
  const options = { WebSocket: fake.WebSocket };
  const [one, two] = [connect('http://gateway.test', options), connect('http://gateway.test/', options)];
  assert.equal(one, two);
  const other = connect('http://gateway.test', { ...options, token: 'another' });
  assert.notEqual(other, one);
  other.close();
  await one.opened;
  one.close();
  assert.equal(fake.sockets[0].closedWith, undefined);
  two.close();
  assert.equal(fake.sockets[0].closedWith.code, 1000);
  assert.equal(one.state, 'closed');
  const [ended] = await Promise.allSettled([one.join('239.1.2.3:5000').next()]);
  assert.equal(ended.reason.code, 'closed');
});

test('a token travels as asked', async () => {
  const by = async (options) => {
    const { fake, gateway } = await open(options);
    gateway.close();
    return fake;
  };
  assert.deepEqual((await by({ token: 'grüß?>' })).socket.protocols, ['wscast.v1', 'wscast.bearer.Z3LDvMOfPz4']);
  assert.equal((await by({ token: async () => 'ticket', tokenIn: 'query' })).socket.url, 'ws://gateway.test/v1?token=ticket');
  assert.deepEqual((await by({ token: () => 'secret', tokenIn: 'message' })).said[0], { type: 'auth', token: 'secret' });
});

test('datagrams arrive in order, by for await, by batches and by take', async () => {
  const { fake, gateway } = await open();
  const subscription = gateway.join('239.1.2.3:5000', { interface: 'lan1' });
  const { stream } = await subscription.joined;
  fake.send(record({ stream, sequence: 1, payload: 'a' }), record({ stream, sequence: 2, payload: 'b' }));
  const { value } = await subscription.next();
  const { source, port, ttl, sequence, group, groupPort, interface: on, text, kind } = value;
  assert.deepEqual([source, port, ttl, sequence, group, groupPort, on, text, kind], ['10.0.0.5', 4000, 1, 1, '239.1.2.3', 5000, 'lan1', 'a', 'datagram']);
  assert.deepEqual(texts(subscription.take()), ['b']);
  assert.equal(structuredClone(value.copy()).source, '10.0.0.5');
  const batches = subscription.batches();
  const next = batches.next();
  fake.send(...'cde'.split('').map((payload) => record({ stream, payload })));
  assert.deepEqual(texts((await next).value), ['c', 'd', 'e']);
  await batches.return();
  assert.deepEqual(fake.of('leave').map((message) => message.stream), [stream]);
  gateway.close();
});

test('an iteration that ends leaves, and so does a signal; neither is an error', async () => {
  const { fake, gateway } = await open();
  const first = gateway.join('239.1.2.3:5000');
  const { stream } = await first.joined;
  fake.send(record({ stream }), record({ stream }));
  for await (const datagram of first) {
    assert.equal(datagram.stream, stream);
    break;
  }
  const controller = new AbortController();
  const second = gateway.join('239.1.2.4:5000', { signal: controller.signal });
  await second.joined;
  const waiting = second.next();
  controller.abort();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  assert.deepEqual(await second.next(), { value: undefined, done: true });
  assert.equal(fake.of('leave').length, 2);
  const third = gateway.join('239.1.2.5:5000', { signal: AbortSignal.abort() });
  assert.deepEqual(await third.next(), { value: undefined, done: true });
  assert.equal(fake.of('join').length, 2);
  gateway.close();
});

test('a queue is bounded: the oldest goes, is counted, and is told', async () => {
  const { fake, gateway, of } = await open();
  const subscription = gateway.join('239.1.2.3:5000', { queue: 3 });
  const { stream } = await subscription.joined;
  fake.send(...'abcdefgh'.split('').map((payload) => record({ stream, payload })));
  assert.deepEqual(texts(subscription.take()), ['f', 'g', 'h']);
  assert.equal(subscription.received, 8);
  assert.equal(subscription.lost.queue, 5);
  assert.equal(of('lost').reduce((sum, { datagrams }) => sum + datagrams, 0), 5);
  assert.ok(of('lost').every(({ where, group }) => where === 'queue' && group === '239.1.2.3'));
  // By bytes too, and one always fits.
  const large = gateway.join('239.1.2.4:5000', { queueBytes: 100 });
  const { stream: other } = await large.joined;
  fake.send(...[60, 60, 200].map((length) => record({ stream: other, payload: new Uint8Array(length) })));
  assert.deepEqual(large.take().map(({ payload }) => payload.length), [200]);
  assert.equal(large.lost.queue, 2);
  gateway.close();
});

test('a long queue keeps its order', async () => {
  const { fake, gateway } = await open();
  const subscription = gateway.join('239.1.2.3:5000', { queue: 20_000 });
  const { stream } = await subscription.joined;
  const taken = [];
  for (let sequence = 0; sequence < 20_000; sequence += 1) {
    fake.send(record({ stream, sequence }));
    if (sequence % 3 === 0) taken.push(...subscription.take(2));
  }
  taken.push(...subscription.take());
  assert.deepEqual(taken.map(({ sequence }) => sequence), [...Array(20_000).keys()]);
  gateway.close();
});

test('those who want the same share a join, the last one leaves', async () => {
  const { fake, gateway } = await open();
  const [one, two] = [gateway.join('239.1.2.3:5000'), gateway.join('239.1.2.3:5000')];
  const { stream } = await one.joined;
  await two.joined;
  const three = gateway.join({ group: '239.1.2.3', port: 5000 });
  assert.equal((await three.joined).stream, stream);
  assert.equal(fake.of('join').length, 1);
  fake.send(record({ stream, payload: 'x' }));
  for (const each of [one, two, three]) assert.deepEqual(texts(each.take()), ['x']);
  one.leave();
  two.leave();
  assert.equal(fake.of('leave').length, 0);
  three.leave();
  assert.equal(fake.of('leave').length, 1);
  fake.send(record({ stream, payload: 'late' })); // still on its way
  assert.equal(gateway.state, 'open');
  gateway.close();
});

test('what the gateway knows under one number is shared, however it was asked for', async () => {
  const { fake, gateway } = await open();
  const one = gateway.join('239.1.2.3:5000', { interface: 'lan0' });
  const { stream } = await one.joined;
  fake.answers.join = () => ({ type: 'error', code: 'already_joined', message: 'it is', retry: false, stream });
  const two = gateway.join('239.1.2.3:5000');
  assert.equal((await two.joined).stream, stream);
  fake.send(record({ stream, payload: 'x' }));
  assert.deepEqual([...texts(one.take()), ...texts(two.take())], ['x', 'x']);
  one.leave();
  assert.equal(fake.of('leave').length, 0);
  two.leave();
  assert.equal(fake.of('leave').length, 1);
  gateway.close();
});

test('one that is left before it is joined is left when it is', async () => {
  const { fake, gateway } = await open();
  const [first, second] = [gateway.join('239.1.2.3:5000'), gateway.join('239.1.2.4:5000')];
  first.leave();
  const again = gateway.join('239.1.2.3:5000');
  second.leave();
  const { stream } = await again.joined;
  await settled();
  assert.equal(fake.of('leave').length, 1, 'only the one that nobody wants');
  fake.send(record({ stream, payload: 'x' }));
  assert.deepEqual(texts(again.take()), ['x']);
  const [left] = await Promise.allSettled([first.joined]);
  assert.equal(left.reason.code, 'left');
  gateway.close();
});

test('interface=all is one subscription of several streams', async () => {
  const { fake, gateway } = await open();
  fake.answers.join = ({ id }) => {
    for (const [stream, on] of [[1, 'lan0'], [2, 'lan1']]) fake.say({ type: 'joined', id, stream, interface: on, state: 'silent', next_sequence: 0 });
  };
  const all = gateway.join('239.1.2.3:5000', { interface: 'all' });
  await all.joined;
  fake.send(record({ stream: 1 }), record({ stream: 2 }));
  assert.deepEqual(all.take().map((one) => one.interface), ['lan0', 'lan1']);
  all.leave();
  assert.deepEqual(fake.of('leave').map(({ stream }) => stream), [1, 2]);
  gateway.close();
});

test('what the gateway refuses ends the iteration with its words', async () => {
  const { fake, gateway } = await open();
  fake.answers.join = () => ({ type: 'error', code: 'not_allowed', message: 'allow it with --allow-receive', retry: false });
  const subscription = gateway.join('239.1.2.3:5000');
  await assert.rejects(subscription.next(), (error) => error instanceof WscastError && error.code === 'not_allowed' && /--allow-receive/.test(error.message));
  assert.deepEqual(await subscription.next(), { value: undefined, done: true });
  await assert.rejects(subscription.joined, { code: 'not_allowed' });
  assert.equal(fake.of('leave').length, 0);
  gateway.close();
});

test('a join that came too fast is tried again', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const { fake, gateway } = await open();
  let refused = 0;
  fake.answers.join = () => (refused += 1, { type: 'error', code: 'join_rate', message: 'slower', retry: true });
  const subscription = gateway.join('239.1.2.3:5000');
  await settled();
  delete fake.answers.join;
  context.mock.timers.tick(1250);
  await subscription.joined;
  assert.deepEqual([refused, fake.of('join').length], [1, 2]);
  gateway.close();
});

test('losses by cause; its own echo is none', async () => {
  const { fake, gateway, of } = await open();
  const subscription = gateway.join('239.1.2.3:5000');
  const { stream } = await subscription.joined;
  fake.say({ type: 'lost', stream, datagrams: 812, where: 'client', total: 900 });
  fake.say({ type: 'lost', stream, datagrams: 3, where: 'echo', total: 3 });
  fake.say({ type: 'lost', stream, datagrams: null, where: 'interface', total: 0, seconds: 2.5 });
  assert.deepEqual(subscription.lost, { client: 812, echo: 3 });
  assert.deepEqual(subscription.gaps, { count: 1, seconds: 2.5 });
  assert.deepEqual(of('lost').map(({ where, datagrams, seconds }) => [where, datagrams, seconds]), [['client', 812, 0], ['interface', null, 2.5]]);
  fake.say({ type: 'state', stream, state: 'waiting-for-interface', interface: 'lan0' });
  assert.equal(subscription.state, 'waiting-for-interface');
  gateway.close();
});

test('credit: what the consumer has room for, and no more', async () => {
  const { fake, gateway } = await open();
  const subscription = gateway.join('239.1.2.3:5000', { credit: 8 });
  const { stream } = await subscription.joined;
  const credits = () => fake.of('credit').map(({ datagrams }) => datagrams);
  assert.deepEqual(credits(), [8]);
  fake.send(...Array.from({ length: 8 }, (_, sequence) => record({ stream, sequence })));
  assert.deepEqual(credits(), [8], 'nothing was taken');
  assert.equal(subscription.take(2).length, 2);
  assert.deepEqual(credits(), [8, 2]);
  subscription.take();
  assert.equal(credits().reduce((sum, one) => sum + one), 16, 'eight taken, eight more');
  // Somebody who reads without credit must not be stopped by one who stalls.
  gateway.join('239.1.2.3:5000');
  fake.send(...Array.from({ length: 8 }, () => record({ stream })));
  assert.equal(subscription.waiting, 8);
  gateway.close();
});

test('after the same gateway is back, streams resume where they were', async () => {
  const { fake, gateway, of } = await open();
  const subscription = gateway.join('239.1.2.3:5000');
  const { stream } = await subscription.joined;
  fake.send(record({ stream, sequence: 41, payload: 'before' }));
  const back = new Promise((resolve) => gateway.addEventListener('reconnect', resolve, { once: true }));
  fake.close(1006);
  assert.equal(gateway.state, 'waiting');
  assert.ok(of('state').at(-1).wait < 250);
  const { detail } = await back;
  assert.equal(detail.same, true);
  await settled();
  assert.deepEqual(fake.of('join').at(-1).resume, { gateway: 'run-1', stream, after: 41 });
  assert.deepEqual(of('lost'), [], 'the gateway fills or tells the gap');
  fake.send(record({ stream, sequence: 42, payload: 'after' }));
  assert.deepEqual(texts(subscription.take()), ['before', 'after']);
  gateway.close();
});

test('after a restart the gap is told, its size unknown', async () => {
  const { fake, gateway, of } = await open();
  const subscription = gateway.join('239.1.2.3:5000');
  const { stream } = await subscription.joined;
  const sender = gateway.sender('239.1.2.3:5000');
  await sender.opened;
  const lost = new Promise((resolve) => subscription.addEventListener('lost', resolve, { once: true }));
  fake.restart('run-2');
  assert.throws(() => sender.send('x'), { code: 'not_open', retry: true });
  const { detail } = await lost;
  assert.deepEqual([detail.datagrams, detail.where, detail.subscription], [null, 'unknown', subscription]);
  assert.ok(detail.seconds > 0 && detail.seconds < 5);
  assert.equal(subscription.gaps.count, 1);
  await settled();
  assert.equal(of('reconnect')[0].same, false);
  assert.notEqual(stream, fake.of('join').at(-1).stream);
  sender.send('x');
  assert.equal(fake.said.at(-1)[0], 3);
  gateway.close();
});

test('close codes: which are worth another attempt', async () => {
  for (const [code, again] of [[1001, true], [1006, true], [1011, true], [1013, true], [4508, true], [4530, true], [1002, false], [1008, false], [4400, false], [4403, false], [4404, false], [4499, false]]) {
    const { fake, gateway, of } = await open();
    const subscription = gateway.join('239.1.2.3:5000');
    await subscription.joined;
    fake.close(code, 'some_word: and more');
    assert.equal(gateway.state, again ? 'waiting' : 'closed', `${code}`);
    if (!again) {
      await assert.rejects(subscription.next(), { code: 'some_word' });
      assert.equal(of('state').at(-1).error.code, 'some_word');
    }
    gateway.close();
  }
});

test('a token that has expired is asked for once more, and only once', async () => {
  const fake = new FakeGateway();
  let asked = 0;
  const gateway = connect('http://gateway.test', { WebSocket: fake.WebSocket, shared: false, token: () => `${(asked += 1)}` });
  await gateway.opened;
  const back = new Promise((resolve) => gateway.addEventListener('reconnect', resolve, { once: true }));
  fake.close(4401, 'unauthorized: expired');
  await back;
  assert.equal(asked, 2);
  fake.greeting = false;
  fake.close(4401, 'unauthorized: expired');
  while (fake.sockets.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  await settled();
  fake.close(4401, 'unauthorized: unknown');
  assert.deepEqual([asked, gateway.state], [3, 'closed']);
});

test('a draining gateway says when to come back', async () => {
  const { fake, gateway, of } = await open();
  fake.say({ type: 'draining', reconnect_after_ms: 1234 });
  fake.close(1001, 'draining: the gateway is stopping');
  assert.equal(of('state').at(-1).wait, 1234);
  gateway.close();
});

test('silence is asked about, and without an answer the connection is dead', async (context) => {
  let now = 1000;
  context.mock.method(performance, 'now', () => now);
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const pass = (ms) => { now += ms; context.mock.timers.tick(ms); };
  const { fake, gateway, of } = await open();
  pass(30_000);
  fake.say({ type: 'heartbeat', time: 1 });
  pass(10_000);
  pass(29_999);
  assert.equal(fake.of('ping').length, 0);
  fake.answers.ping = null;
  pass(2);
  assert.equal(fake.of('ping').length, 1);
  fake.say({ type: 'heartbeat', time: 1 });
  pass(5_000);
  assert.equal(gateway.state, 'open', 'it spoke');
  pass(35_000);
  pass(5_000);
  assert.equal(gateway.state, 'waiting');
  assert.match(of('state').at(-1).reason, /nothing heard for 45 s/);
  gateway.close();
});

test('senders: sends, refusals, replies', async () => {
  const { fake, gateway } = await open();
  const sender = gateway.sender('239.1.2.3:5000', { ttl: 4, interface: 'lan0' });
  assert.throws(() => sender.send('early'), { code: 'not_open' });
  await sender.opened;
  assert.equal(sender.source, '10.0.0.1:41234');
  const { number } = sender;
  for (const data of ['grüße', new Uint8Array([1, 2]), new Uint16Array([3]).buffer, new DataView(new ArrayBuffer(1))]) sender.send(data);
  const sent = fake.said.filter((message) => message instanceof Uint8Array);
  assert.deepEqual(sent.map((one) => one.length - 8), [7, 2, 2, 1]);
  assert.equal(new DataView(sent[0].buffer).getUint32(4, true), number);
  for (const wrong of [5, null, undefined, {}, [1]]) assert.throws(() => sender.send(wrong), TypeError);
  assert.throws(() => sender.send(new Uint8Array(1453)), { code: 'too_large' });
  fake.socket.bufferedAmount = 256 << 10;
  assert.throws(() => sender.send('x'), (error) => error.code === 'buffer_full' && error.retry && /262144/.test(error.message));
  const drained = sender.drained();
  fake.socket.bufferedAmount = 0;
  await drained;
  const refused = [];
  sender.addEventListener('refused', ({ detail }) => refused.push([detail.code, detail.datagrams]));
  fake.say({ type: 'error', code: 'rate', message: 'slower', retry: true, sender: number, datagrams: 12 });
  assert.deepEqual([sender.refused, refused], [12, [['rate', 12]]]);
  fake.send(record({ kind: 2, stream: number, payload: 'HTTP/1.1 200 OK' }));
  const { value } = await sender.next();
  assert.deepEqual([value.kind, value.text, value.group], ['reply', 'HTTP/1.1 200 OK', '239.1.2.3']);
  sender.close();
  assert.deepEqual(fake.of('close_send').map((message) => message.sender), [number]);
  assert.throws(() => sender.send('late'), { code: 'closed' });
  gateway.close();
});

test('the status is asked for as often as anybody wants it', async () => {
  const { fake, gateway } = await open();
  const slow = gateway.watch(5000);
  const fast = gateway.watch(100);
  fake.say({ type: 'status', id: 1, status: { streams: [1] } });
  fake.say({ type: 'status', id: 1, status: { streams: [2] } });
  assert.deepEqual((await slow.next()).value.streams, [2], 'the newest only');
  fast.leave();
  slow.leave();
  assert.deepEqual(fake.of('watch').map((message) => message.interval_ms), [5000, 250, 5000, 0]);
  gateway.close();
});

test('a gateway that makes no sense is left, and tried again', async () => {
  const { fake, gateway } = await open();
  fake.socket.onmessage({ data: new Uint8Array([9, 9, 9]).buffer });
  assert.equal(gateway.state, 'waiting');
  assert.equal(fake.socket.closedWith.code, 4400);
  gateway.close();
});

test('no WebSocket at all is an error in words', async () => {
  const gateway = connect('http://gateway.test', { WebSocket: class { constructor() { throw new Error('blocked by a policy'); } }, shared: false });
  await assert.rejects(gateway.opened, /blocked by a policy/);
  assert.equal(gateway.state, 'closed');
  mock.reset();
});
