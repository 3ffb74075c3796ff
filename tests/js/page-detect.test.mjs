// What the page takes a stream for.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Detector, look } from '../../src/web/page/detect.js';
import { axis } from '../../src/web/page/chart.js';
import { hex, unhex } from '../../src/web/page/hex.js';
import { indent, leaves, parsed } from '../../src/web/page/json.js';
import { nameOf, parse, path, spell, within } from '../../src/web/page/target.js';

const bytes = (text) => new TextEncoder().encode(text);
const transport = (packets) => Uint8Array.from({ length: 188 * packets }, (_, at) => (at % 188 ? at & 0xff : 0x47));
const rtp = (sequence, payload, type = 96) => Uint8Array.from([0x80, type, sequence >> 8, sequence & 255, 0, 0, 0, 1, 1, 2, 3, 4, ...payload]);

test('each kind is recognised by one datagram', () => {
  const mdns = Uint8Array.from([0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, ...bytes('_http'), 4, ...bytes('_tcp'), 5, ...bytes('local'), 0, 0, 12, 0, 1]);
  const sap = Uint8Array.from([0x20, 0, 1, 2, 10, 0, 0, 1, ...bytes('application/sdp\0v=0\r\n')]);
  const coap = Uint8Array.from([0x50, 0x01, 0, 1, 0xbb, ...bytes('.well-known'), 0x04, ...bytes('core')]);
  const ptp = Uint8Array.from([0x10, 0x02, ...new Array(42).fill(0)]);
  for (const [kind, datagram, port] of [
    ['mpeg-ts', transport(7), 5000],
    ['rtp-ts', rtp(1, transport(7), 33), 5004],
    ['rtcp', Uint8Array.from([0x80, 200, 0, 6, ...new Array(24).fill(1)]), 5005],
    ['json', bytes(' {"a":1}\n'), 5000],
    ['json', bytes('[1,2]'), 5000],
    ['json-lines', bytes('{"a":1}\n{"a":2}\n'), 5000],
    ['text', bytes('grüße\n'), 5000],
    ['text', bytes('42'), 5000],
    ['xml', bytes('<?xml version="1.0"?><a/>'), 3702],
    ['nmea', bytes('$GPGLL,4916.45,N,12311.12,W,225444,A*31\r\n'), 10110],
    ['nmea', bytes('!AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C'), 10110],
    ['nmea', bytes('UdPbC\0\\s:GP0001*00\\$GPGLL'), 60002],
    ['text', bytes('$GPGLL,4916.45,N,12311.12,W,225444,A*32'), 10110],
    ['ssdp', bytes('NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n\r\n'), 1900],
    ['ssdp', bytes('M-SEARCH * HTTP/1.1\r\n\r\n'), 1900],
    ['mdns', mdns, 5353],
    ['binary', mdns, 5000],
    ['sap', sap, 9875],
    ['sap', sap, 5000],
    ['coap', coap, 5683],
    ['ptp', ptp, 319],
    ['syslog', bytes('<34>Oct 11 22:14:15 host su: failed'), 514],
    ['art-net', bytes('Art-Net\0\0P'), 6454],
    ['osc', Uint8Array.from([...bytes('/fader/1\0\0\0\0,f\0\0'), 0x3f, 0, 0, 0]), 9000],
    ['asterix', Uint8Array.from([48, 0, 8, 0xff, 0, 0, 1, 2]), 8600],
    ['jpeg', Uint8Array.from([0xff, 0xd8, 0xff, 0xe0]), 5000],
    ['binary', Uint8Array.from([0, 1, 2, 3]), 5000],
    ['empty', new Uint8Array(0), 5000],
  ]) assert.equal(look(datagram, port).kind, kind, `${kind} from ${datagram.slice(0, 20)}`);
});

test('RTP is believed when its numbers follow each other', () => {
  const one = new Detector(5004);
  for (let n = 0; n < 6; n += 1) one.add(rtp(65533 + n & 0xffff, [0, 1, 2, 3]));
  assert.deepEqual(one.verdict, { kind: 'rtp', label: 'RTP, payload type 96' });
  const other = new Detector(5004);
  for (let n = 0; n < 6; n += 1) other.add(rtp((n * 7919) & 0xffff, [n]));
  assert.equal(other.verdict.kind, 'binary');
});

test('an exception changes no verdict, a change does', () => {
  const detector = new Detector(5000);
  assert.equal(detector.verdict, null);
  for (let n = 0; n < 10; n += 1) detector.add(bytes(`{"n":${n}}`));
  detector.add(bytes('hello'));
  assert.equal(detector.verdict.kind, 'json');
  for (let n = 0; n < 16; n += 1) detector.add(bytes('hello'));
  assert.equal(detector.verdict.kind, 'text');
});

test('nothing that a stranger sends breaks it', () => {
  let seed = 7;
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
  const starts = [[], [0x80, 33], [0x50, 1], [0x20, 0, 255], [0x7b], [0x5b, 0x5b], [0x2f], [0x24, 0x47, 0x50], [0x47], [48, 0, 9]];
  for (let round = 0; round < 4000; round += 1) {
    const start = starts[round % starts.length];
    const datagram = Uint8Array.from([...start, ...Array.from({ length: random() % 60 }, () => random() & 255)]);
    for (const port of [319, 5353, 5683, 9875, 5000]) assert.equal(typeof look(datagram, port).label, 'string');
    if (parsed(datagram) !== undefined) leaves(parsed(datagram));
  }
});

test('what people type becomes a stream, or a sentence that says how', () => {
  const named = { camera: { group: '239.1.2.3:5000', sources: [], exclude: [], interface: 'lan1' } };
  for (const [typed, means] of [
    ['239.1.2.3:5000', '239.1.2.3:5000'],
    [' udp://@239.1.2.3:5000 ', '239.1.2.3:5000'],
    ['10.0.0.5@232.1.2.3:5000', '10.0.0.5@232.1.2.3:5000'],
    ['10.0.0.5,10.0.0.6%40232.1.2.3:5000/', '10.0.0.5,10.0.0.6@232.1.2.3:5000'],
    ['[ff15::42]:5000', '[ff15::42]:5000'],
    ['[2001:db8::5]@[ff35::1]:5000', '[2001:db8::5]@[ff35::1]:5000'],
    ['ws://gateway:8080/udp/239.1.2.3:5000?interface=lan0', '239.1.2.3:5000'],
    ['camera', '239.1.2.3:5000'],
    ['/streams/camera', '239.1.2.3:5000'],
  ]) assert.equal(spell(parse(typed, named)), means);
  assert.equal(path(parse('/udp/239.1.2.3:5000?interface=lan0&exclude=10.0.0.9', named)), '/udp/239.1.2.3:5000?interface=lan0&exclude=10.0.0.9');
  assert.equal(parse('camera', named).interface, 'lan1');
  assert.equal(nameOf(parse('239.1.2.3:5000', named), named), 'camera');
  for (const [typed, words] of [
    ['', 'Write a group'], ['239.1.2.3', 'write 239.1.2.3:5000'], ['ff15::42', 'write [ff15::42]:5000'], ['[ff15::42]', 'write [ff15::42]:5000'],
    ['10.0.0.1:5000', 'no multicast group'], ['239.1.2.300:5000', 'no IP address'], ['239.1.2.3:70000', 'no port'],
    ['239.9.9.9@239.1.2.3:5000', 'be a source'], ['kitchen', 'there are: camera'], ['constructor', 'no stream called'], ['a b', 'neither'], ['<b>', 'neither'],
  ]) assert.throws(() => parse(typed, named), ({ message }) => message.includes(words), typed);
});

test('the ranges of a policy hold what the gateway says they hold', () => {
  for (const [range, group, holds] of [
    ['239.0.0.0/8', '239.1.2.3:5000', true], ['239.0.0.0/8', '238.1.2.3:5000', false], ['239.1.2.3:5000', '239.1.2.3:5000', true],
    ['239.1.2.3:5000', '239.1.2.3:5001', false], ['239.1.2.3:5000-5999', '239.1.2.3:5999', true], ['239.0.0.0/8:1-10', '239.1.2.3:11', false],
    ['[ff15::]/16:5000-5999', '[ff15::42]:5000', true], ['ff15::/16', '[ff15::42]:9', true], ['[ff15::]/16', '[ff14::42]:9', false],
    ['[ff15::42]:5000', '[ff15:0:0:0:0:0:0:42]:5000', true], ['239.0.0.0/8', '[ff15::42]:5000', false], ['224.0.0.0/4', '255.0.0.1:1', false],
  ]) assert.equal(within([range], group), holds, `${range} and ${group}`);
  assert.equal(within([], '239.1.2.3:5000'), false);
});

test('datagrams are shown as they are', () => {
  assert.equal(hex(bytes('AB\n'), 8), '0000  41 42 0a                 AB·');
  assert.deepEqual(unhex('48 65:6c'), bytes('Hel'));
  assert.equal(unhex('4'), null);
  assert.equal(unhex('xy'), null);
  assert.equal(indent('{"a":[9007199254740993,{}],"b":"x,y"}'), '{\n  "a": [\n    9007199254740993,\n    {}\n  ],\n  "b": "x,y"\n}');
  const { numbers, words } = leaves({ room: { celsius: 21.5, name: 'attic' }, list: [1, null], huge: 'x'.repeat(100) });
  assert.deepEqual([...numbers], [['room.celsius', 21.5], ['list.0', 1]]);
  assert.deepEqual([...words], [['room.name', 'attic']]);
});

test('an axis has round numbers around what is shown', () => {
  for (const [low, high] of [[11.8, 23.6], [0, 1], [5, 5], [-3, 1e6], [0, 0], [1e-4, 2e-4], [1e15, 1e15]]) {
    const ticks = axis(low, high);
    assert.ok(ticks.length >= 2 && ticks.length <= 12 && ticks[0] <= low && ticks[ticks.length - 1] >= high, `${low} to ${high}: ${ticks}`);
  }
});
