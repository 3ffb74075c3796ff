// The page's demuxer, with the demo's picture and with streams that are not as they should be.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Demuxer, PACKET, checksum, withoutRtp } from '../../src/web/page/ts.js';

const picture = new Uint8Array(readFileSync(new URL('../../src/tools/demo/picture.ts', import.meta.url)));

/** Everything that comes out of `pieces`. */
function demux(pieces) {
  const found = { tracks: [], pictures: [], sounds: [] };
  const demuxer = new Demuxer({
    tracks: (tracks) => found.tracks.push(tracks),
    picture: (one) => found.pictures.push(one),
    sound: (one) => found.sounds.push(one),
  });
  for (const piece of pieces) demuxer.push(piece);
  return { ...found, demuxer };
}

/** Cut into pieces of `size` bytes. */
const cut = (bytes, size) => Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.subarray(at * size, at * size + size));

test('the demo gives 25 pictures a second, a key picture each second, and sound', () => {
  const { tracks, pictures, sounds, demuxer } = demux(cut(picture, 7 * PACKET));
  assert.deepEqual(tracks.map((list) => list.map(({ name }) => name)), [['H.264', 'AAC']]);
  assert.equal(pictures.length, 199, 'the last one ends where the next begins');
  pictures.forEach(({ type, timestamp, codec, data }, at) => {
    assert.equal(type, at % 25 ? 'delta' : 'key');
    assert.equal(codec, 'avc1.42c01e');
    assert.deepEqual([...data.subarray(0, 4)], [0, 0, 0, 1]);
    if (at) assert.ok(Math.abs(timestamp - pictures[at - 1].timestamp - 40_000) <= 1);
  });
  assert.ok(sounds.length > 365, `${sounds.length} frames of sound`);
  sounds.forEach(({ sampleRate, channels, codec, timestamp, data }, at) => {
    assert.deepEqual([sampleRate, channels, codec, data[0]], [48000, 1, 'mp4a.40.2', 0xff]);
    if (at) assert.ok(Math.abs(timestamp - sounds[at - 1].timestamp - 21_333) <= 30, `${timestamp} after ${sounds[at - 1].timestamp}`);
  });
  assert.ok(Math.abs(sounds[0].timestamp - pictures[0].timestamp) < 50_000);
  assert.deepEqual([demuxer.missing, demuxer.broken, demuxer.scrambled], [0, 0, 0]);
});

test('it does not matter how the bytes are cut', () => {
  const whole = demux(cut(picture, 7 * PACKET));
  for (const size of [1, 100, 1000, 65536]) {
    const other = demux(cut(picture, size));
    assert.equal(other.pictures.length, whole.pictures.length);
    assert.deepEqual(other.pictures[57], whole.pictures[57]);
    assert.equal(other.sounds.length, whole.sounds.length);
  }
});

test('it begins anywhere, with the next picture that has its parameters', () => {
  const { pictures } = demux(cut(picture.subarray(700 * PACKET + 17), 1316));
  assert.equal(pictures[0].type, 'key');
  assert.ok(pictures.length > 50);
});

test('a lost datagram costs the picture that it belongs to, and is counted', () => {
  const pieces = cut(picture, 7 * PACKET);
  const all = demux(pieces);
  const { pictures, demuxer } = demux(pieces.filter((_, at) => at !== 100));
  assert.ok(demuxer.missing >= 6 && demuxer.missing <= 7, `${demuxer.missing} packets`);
  assert.ok(pictures.length < all.pictures.length && pictures.length > all.pictures.length - 9);
  const known = new Set(all.pictures.map(({ timestamp, data }) => `${timestamp} ${data.length}`));
  assert.ok(pictures.every(({ timestamp, data }) => known.has(`${timestamp} ${data.length}`)), 'no half pictures');
  // A packet that comes twice, as the standard lets it, changes nothing.
  const twice = demux(pieces.flatMap((piece) => cut(piece, PACKET).flatMap((packet) => [packet, packet])));
  assert.equal(twice.pictures.length, all.pictures.length);
});

test('times go on where their counter begins again', () => {
  const late = picture.slice();
  for (let at = 0; at < late.length; at += PACKET) {
    const from = at + 4 + (late[at + 3] & 0x20 ? 1 + late[at + 4] : 0);
    if (!(late[at + 1] & 0x40) || late[from] || late[from + 1] || late[from + 2] !== 1 || !(late[from + 7] & 0x80)) continue;
    const ticks = BigInt((late[from + 9] & 14) >> 1) << 30n | BigInt(late[from + 10]) << 22n | BigInt(late[from + 11] >> 1) << 15n | BigInt(late[from + 12]) << 7n | BigInt(late[from + 13] >> 1);
    const moved = (ticks + (1n << 33n) - 300_000n) % (1n << 33n);
    late[from + 9] = late[from + 9] & 0xf1 | Number(moved >> 30n) << 1;
    late[from + 10] = Number(moved >> 22n & 255n);
    late[from + 11] = Number(moved >> 15n & 127n) << 1 | 1;
    late[from + 12] = Number(moved >> 7n & 255n);
    late[from + 13] = Number(moved & 127n) << 1 | 1;
  }
  const { pictures } = demux([late]);
  assert.equal(pictures.length, 199);
  pictures.forEach(({ timestamp }, at) => at && assert.ok(Math.abs(timestamp - pictures[at - 1].timestamp - 40_000) <= 1));
});

test('a broken table is no table', () => {
  const broken = picture.slice();
  for (let at = 0; at < broken.length; at += PACKET) if ((broken[at + 1] & 0x1f) === 0x10 && broken[at + 2] === 0) broken[at + 30] ^= 1;
  const { tracks, demuxer } = demux([broken]);
  assert.deepEqual(tracks, []);
  assert.ok(demuxer.broken > 0);
  assert.equal(checksum(Uint8Array.from([0x00, 0xb0, 0x0d, 0x00, 0x01, 0xc1, 0x00, 0x00, 0x00, 0x01, 0xf0, 0x00, 0x2a, 0xb1, 0x04, 0xb2])), 0);
});

test('nothing that a stranger sends breaks it', () => {
  let seed = 3;
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 16;
  for (let round = 0; round < 60; round += 1) {
    const noisy = picture.slice(0, 400 * PACKET);
    for (let n = 0; n < 300; n += 1) noisy[random() * 7 % noisy.length] = random();
    const { demuxer } = demux(cut(noisy, 1316));
    assert.ok(demuxer.rest.length < 2 * PACKET);
  }
});

test('RTP is taken off, with its lists, extension and padding', () => {
  const payload = [0x47, 1, 2, 3];
  const header = [0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
  assert.deepEqual([...withoutRtp(Uint8Array.from([0x80, 33, ...header, ...payload]))], payload);
  assert.deepEqual([...withoutRtp(Uint8Array.from([0x81, 33, ...header, 9, 9, 9, 9, ...payload]))], payload);
  assert.deepEqual([...withoutRtp(Uint8Array.from([0x90, 33, ...header, 0, 0, 0, 1, 8, 8, 8, 8, ...payload]))], payload);
  assert.deepEqual([...withoutRtp(Uint8Array.from([0xa0, 33, ...header, ...payload, 0, 0, 3]))], payload);
  assert.deepEqual([...withoutRtp(Uint8Array.from([0x9f, 33, ...header]))], []);
  assert.deepEqual([...withoutRtp(Uint8Array.from(payload))], payload);
});
