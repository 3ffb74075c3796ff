// @ts-check
// Takes MPEG-TS apart (ISO/IEC 13818-1): what is in its first programme, and its H.264 pictures and AAC sound in pieces as
// WebCodecs takes them.

/** Bytes of a transport packet, and the first of them. */
export const [PACKET, SYNC] = [188, 0x47];
/** Bytes of one picture or piece of sound; more is not waited for. */
const LONGEST = 4 << 20;
/** Presentation times count 90 kHz in 33 bits. */
const WRAP = 2 ** 33;
const RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
/** Stream types (table 2-34, ATSC A/52, DVB) by what people call them. @type {Record<number, string>} */
const NAMES = { 1: 'MPEG-1 video', 2: 'MPEG-2 video', 3: 'MPEG-1 audio', 4: 'MPEG-2 audio', 15: 'AAC', 16: 'MPEG-4 video', 17: 'AAC (LATM)', 21: 'metadata', 27: 'H.264', 36: 'H.265', 51: 'H.266', 0x81: 'AC-3', 0x87: 'E-AC-3' };
const [H264, AAC] = [0x1b, 0x0f];

/** One elementary stream. @typedef {{pid: number, type: number, name: string, plays: boolean}} Track */
/** A picture, in decoding order: Annex B, times in microseconds.
 * @typedef {{type: 'key' | 'delta', timestamp: number, data: Uint8Array, codec: string}} Picture */
/** An ADTS frame. @typedef {{timestamp: number, data: Uint8Array, codec: string, sampleRate: number, channels: number}} Sound */
/** @typedef {{track: Track, at: number | null, parts: Uint8Array[], size: number, wanted: number}} Pending */

/** The payload of an RTP packet (RFC 3550 section 5.1), or what is no RTP as it is. @param {Uint8Array} b */
export function withoutRtp(b) {
  if (b.length < 12 || b[0] >> 6 !== 2) return b;
  let start = 12 + (b[0] & 15) * 4;
  if (b[0] & 0x10) start += 4 + ((b[start + 2] << 8 | b[start + 3]) || 0) * 4;
  const end = b.length - (b[0] & 0x20 ? b[b.length - 1] : 0);
  return start <= end ? b.subarray(start, end) : b.subarray(b.length);
}

export class Demuxer {
  /** @param {{tracks?: (tracks: Track[]) => void, picture?: (picture: Picture) => void, sound?: (sound: Sound) => void}} heard */
  constructor(heard) {
    this.heard = heard;
    /** Packets that are missing by their continuity counters, broken, or scrambled. */
    this.missing = this.broken = this.scrambled = 0;
    /** @type {Track[]} */
    this.tracks = [];
    this.map = -1; // the PID of the programme's map
    /** @type {Map<number, number>} */
    this.counters = new Map();
    /** @type {Map<number, {bytes: Uint8Array, wanted: number}>} */
    this.sections = new Map();
    /** @type {Map<number, Pending>} */
    this.pending = new Map();
    this.rest = new Uint8Array(0);
    /** Codec of the pictures, from their last parameter set. */
    this.codec = '';
    /** @type {number | null} */
    this.last = null; // last time, unwrapped, in ticks
    this.sound = { rest: new Uint8Array(0), next: 0 };
  }

  /** The next bytes of the stream, however they are cut. @param {Uint8Array} bytes */
  push(bytes) {
    const all = this.rest.length ? joined([this.rest, bytes]) : bytes;
    let at = 0;
    while (at + PACKET <= all.length) {
      if (all[at] === SYNC && (at + PACKET === all.length || all[at + PACKET] === SYNC)) {
        this.packet(all.subarray(at, at + PACKET));
        at += PACKET;
      } else {
        at += 1; // out of step: on to where two packets begin one after the other
        this.broken += Number(all[at] === SYNC);
      }
    }
    this.rest = at < all.length ? all.slice(at) : new Uint8Array(0);
  }

  /** @param {Uint8Array} p */
  packet(p) {
    const pid = (p[1] & 0x1f) << 8 | p[2];
    const track = this.tracks.find((one) => one.pid === pid && one.plays);
    if (pid !== 0 && pid !== this.map && !track) return;
    if (p[1] & 0x80) return void (this.broken += 1);
    if (p[3] & 0xc0) return void (this.scrambled += 1);
    const begins = (p[1] & 0x40) !== 0;
    const start = 4 + (p[3] & 0x20 ? 1 + p[4] : 0);
    if (!(p[3] & 0x10) || start >= PACKET) return;
    const [before, counter] = [this.counters.get(pid), p[3] & 15];
    this.counters.set(pid, counter);
    if (before !== undefined && counter !== ((before + 1) & 15)) {
      if (counter === before) return; // sent twice, as it may be
      const announced = p[3] & 0x20 && p[4] > 0 && p[5] & 0x80;
      // Tables come again and again: between two of them nothing is missing.
      if (track && !announced) this.missing += (counter - before - 1) & 15;
      this.pending.delete(pid);
      this.sections.delete(pid);
      if (track?.type === AAC) this.sound.rest = new Uint8Array(0);
    }
    const payload = p.subarray(start);
    if (track) this.piece(track, payload, begins);
    else this.section(pid, payload, begins);
  }

  // ---- Tables ----

  /** @param {number} pid @param {Uint8Array} payload @param {boolean} begins */
  section(pid, payload, begins) {
    let open = this.sections.get(pid);
    if (begins) {
      const from = 1 + payload[0];
      if (from + 3 > payload.length) return;
      open = { bytes: payload.slice(from), wanted: 3 + ((payload[from + 1] & 15) << 8 | payload[from + 2]) };
    } else if (open) {
      open = { bytes: joined([open.bytes, payload]), wanted: open.wanted };
    } else return;
    this.sections.set(pid, open);
    if (open.bytes.length < open.wanted) return;
    this.sections.delete(pid);
    const table = open.bytes.subarray(0, open.wanted);
    if (table.length < 12 || checksum(table) !== 0) return void (this.broken += 1);
    if (pid === 0 && table[0] === 0) this.association(table);
    else if (table[0] === 2) this.programme(table);
  }

  /** The first programme's map. @param {Uint8Array} table */
  association(table) {
    for (let at = 8; at + 4 <= table.length - 4; at += 4) {
      const [number, pid] = [table[at] << 8 | table[at + 1], (table[at + 2] & 0x1f) << 8 | table[at + 3]];
      if (number === 0) continue; // the network's own table
      if (pid !== this.map) this.tracks = [];
      this.map = pid;
      return;
    }
  }

  /** @param {Uint8Array} table */
  programme(table) {
    /** @type {Track[]} */
    const tracks = [];
    let at = 12 + ((table[10] & 15) << 8 | table[11]);
    while (at + 5 <= table.length - 4) {
      const [type, pid] = [table[at], (table[at + 1] & 0x1f) << 8 | table[at + 2]];
      // One picture and one sound are played: the first of each.
      const plays = (type === H264 || type === AAC) && !tracks.some((track) => track.plays && track.type === type);
      tracks.push({ pid, type, name: NAMES[type] ?? `type 0x${type.toString(16)}`, plays });
      at += 5 + ((table[at + 3] & 15) << 8 | table[at + 4]);
    }
    if (JSON.stringify(tracks) === JSON.stringify(this.tracks)) return;
    this.tracks = tracks;
    this.pending.clear();
    this.heard.tracks?.(tracks);
  }

  // ---- Pictures and sound ----

  /** @param {Track} track @param {Uint8Array} payload @param {boolean} begins */
  piece(track, payload, begins) {
    if (begins) {
      this.finish(track.pid);
      if (payload.length < 9 || payload[0] || payload[1] || payload[2] !== 1) return;
      const header = 9 + payload[8];
      const length = payload[4] << 8 | payload[5];
      const at = payload[7] & 0x80 && payload.length >= 14 ? this.time(payload) : null;
      this.pending.set(track.pid, { track, at, parts: [], size: 0, wanted: length ? Math.max(0, length + 6 - header) : 0 });
      payload = payload.subarray(header);
    }
    const open = this.pending.get(track.pid);
    if (!open) return;
    open.parts.push(payload.slice());
    open.size += payload.length;
    if (open.size > LONGEST) this.pending.delete(track.pid);
    else if (open.wanted && open.size >= open.wanted) this.finish(track.pid);
  }

  /** The presentation time, in ticks that go on where their counter begins again. @param {Uint8Array} p */
  time(p) {
    const ticks = (p[9] & 14) * 2 ** 29 + (p[10] << 22 | (p[11] & 254) << 14 | p[12] << 7 | p[13] >> 1);
    const step = this.last === null ? 0 : ((ticks - this.last) % WRAP + WRAP * 1.5) % WRAP - WRAP / 2;
    this.last = this.last === null ? ticks : this.last + step;
    return this.last;
  }

  /** @param {number} pid */
  finish(pid) {
    const open = this.pending.get(pid);
    this.pending.delete(pid);
    if (!open || open.size === 0) return;
    const data = joined(open.parts);
    if (open.track.type === H264) this.picture(data, open.at);
    else this.sounds(data, open.at);
  }

  /** @param {Uint8Array} data @param {number | null} at */
  picture(data, at) {
    /** @type {'key' | 'delta' | null} */
    let type = null;
    for (let i = 0; i + 4 < data.length && !type; i += 1) {
      if (data[i + 2] > 1) i += 2; // no start code can lie here
      else if (data[i] === 0 && data[i + 1] === 0 && data[i + 2] === 1) {
        const unit = data[i + 3] & 31;
        if (unit === 7) this.codec = `avc1.${[...data.subarray(i + 4, i + 7)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
        if (unit === 5) type = 'key';
        if (unit === 1) type = 'delta';
      }
    }
    if (!type || at === null || !this.codec) return;
    this.heard.picture?.({ type, timestamp: micros(at), data, codec: this.codec });
  }

  /** Cuts sound into its frames, of which one may lie across two pieces. @param {Uint8Array} data @param {number | null} at */
  sounds(data, at) {
    const old = this.sound.rest.length;
    let all = old ? joined([this.sound.rest, data]) : data;
    let [from, time] = [0, old || at === null ? this.sound.next : at];
    while (from + 7 <= all.length) {
      const length = (all[from + 3] & 3) << 11 | all[from + 4] << 3 | all[from + 5] >> 5;
      const sampleRate = RATES[(all[from + 2] >> 2) & 15];
      if (all[from] !== 0xff || (all[from + 1] & 0xf6) !== 0xf0 || length < 7 || !sampleRate) {
        from += 1;
        continue;
      }
      if (from + length > all.length) break;
      const channels = [0, 1, 2, 3, 4, 5, 6, 8][(all[from + 2] & 1) << 2 | all[from + 3] >> 6] || 2;
      const codec = `mp4a.40.${(all[from + 2] >> 6) + 1}`;
      this.heard.sound?.({ timestamp: micros(time), data: all.slice(from, from + length), codec, sampleRate, channels });
      time += (1024 * 90000) / sampleRate;
      // The time in the header is that of the first frame that begins behind it.
      if (from < old && from + length >= old && at !== null) time = at;
      from += length;
    }
    this.sound = { rest: all.slice(from), next: time };
  }
}

/** Ticks of 90 kHz in microseconds. @param {number} ticks */
const micros = (ticks) => Math.round((ticks * 100) / 9);

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** CRC-32 of MPEG-2, its own bytes included: 0 where it is right (annex A). @param {Uint8Array} bytes */
export function checksum(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte << 24;
    for (let bit = 0; bit < 8; bit += 1) sum = sum < 0 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
  }
  return sum >>> 0;
}
