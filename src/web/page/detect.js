// @ts-check
// What a stream is, from what its datagrams look like.

import { parsed } from './json.js';
import { PACKET, SYNC, withoutRtp } from './ts.js';

/** `kind` is a stable word, `label` for people. @typedef {{kind: string, label: string}} Verdict */

/** Datagrams that a verdict rests on. */
const LOOKED_AT = 16;

/** Static payload types of RFC 3551 that are met. @type {Record<number, string>} */
const RTP_TYPES = { 0: 'PCMU audio', 8: 'PCMA audio', 9: 'G.722 audio', 10: 'L16 audio', 11: 'L16 audio', 14: 'MPEG audio', 26: 'JPEG video', 32: 'MPEG video', 33: 'MPEG-TS' };

/** @param {Uint8Array} bytes @param {number} at @param {string} text */
const says = (bytes, at, text) => bytes.length >= at + text.length && [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));

/** The datagram as text without control characters; `null` where it is none. @param {Uint8Array} bytes */
export function plain(bytes) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return /[^\P{Cc}\t\r\n]/u.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** @param {Uint8Array} bytes */
export const isTransport = (bytes) => bytes.length >= PACKET && bytes.length % PACKET === 0 && bytes.every((byte, at) => at % PACKET || byte === SYNC);

/** NMEA 0183: `$GPGGA,...*47`, the checksum right. @param {string} text */
function isNmea(text) {
  const sentence = /^(?:\\[^\\]*\\)?[$!]([A-Z]{2,}[^*\r\n]*)\*([\dA-F]{2})/i.exec(text);
  if (!sentence) return false;
  const sum = [...sentence[1]].reduce((sum, letter) => sum ^ letter.charCodeAt(0), 0);
  return sum === parseInt(sentence[2], 16);
}

/** A DNS message whose sections are those of a name service without recursion (RFC 6762). @param {Uint8Array} b */
function isDns(b) {
  if (b.length < 12 || b[2] & 0x78) return false;
  const counts = [4, 6, 8, 10].map((at) => b[at] << 8 | b[at + 1]);
  const total = counts.reduce((sum, count) => sum + count);
  return total > 0 && total < 200 && b.length > 12 && b[12] <= 63;
}

/** CoAP (RFC 7252 section 3), options and payload marker followed to the end. @param {Uint8Array} b */
function isCoap(b) {
  if (b.length < 4 || b[0] >> 6 !== 1 || (b[0] & 15) > 8) return false;
  const [code, detail] = [b[1] >> 5, b[1] & 31];
  if (!((code === 0 && detail >= 1 && detail <= 7) || [2, 4, 5].includes(code))) return false;
  let at = 4 + (b[0] & 15);
  while (at < b.length && b[at] !== 0xff) {
    let [delta, length] = [b[at] >> 4, b[at] & 15];
    if (delta === 15 || length === 15) return false;
    at += 1 + [0, 1, 2][Math.max(delta - 12, 0)];
    length = length === 13 ? 13 + b[at] : length === 14 ? 269 + (b[at] << 8 | b[at + 1]) : length;
    at += [0, 1, 2][Math.max((length >= 269 ? 14 : length >= 13 ? 13 : 12) - 12, 0)] + length;
  }
  return at === b.length || (b[at] === 0xff && at + 1 < b.length);
}

/** What one datagram looks like. `port` is the group's. @param {Uint8Array} bytes @param {number} port @returns {Verdict} */
export function look(bytes, port) {
  const is = (/** @type {string} */ kind, /** @type {string} */ label) => ({ kind, label });
  if (bytes.length === 0) return is('empty', 'empty datagrams');
  if (isTransport(bytes)) return is('mpeg-ts', 'MPEG-TS');
  const [first, second] = bytes;
  if (first >> 6 === 2 && bytes.length >= 12) {
    const type = second & 0x7f;
    if (isTransport(withoutRtp(bytes))) return is('rtp-ts', 'MPEG-TS in RTP');
    if (second >= 200 && second <= 207 && ((bytes[2] << 8 | bytes[3]) + 1) * 4 <= bytes.length) return is('rtcp', 'RTCP reports');
    // Two bits are little: a Detector believes it when sequence numbers follow each other.
    if (type < 72 || type > 79) return is('rtp', `RTP${RTP_TYPES[type] ? `, ${RTP_TYPES[type]}` : `, payload type ${type}`}`);
  }
  if (says(bytes, 0, 'UdPbC\0')) return is('nmea', 'NMEA (IEC 61162-450)');
  if (says(bytes, 0, 'Art-Net\0')) return is('art-net', 'Art-Net light control');
  if (says(bytes, 4, 'ASC-E1.17\0')) return is('sacn', 'sACN light control (E1.31)');
  if (says(bytes, 0, '#bundle\0')) return is('osc', 'Open Sound Control');
  if ((port === 319 || port === 320) && (second & 15) === 2 && bytes.length >= 34) return is('ptp', 'PTP clock synchronisation');
  if (first >> 5 === 1 && bytes.length > 8 && (port === 9875 || /^\0?application\/sdp\0|^v=0\r?\n/.test(latin(bytes, sapText(bytes), 20)))) {
    return is('sap', 'SAP announcements');
  }
  if ((port === 5353 || port === 5355) && isDns(bytes)) return is(port === 5353 ? 'mdns' : 'llmnr', port === 5353 ? 'mDNS' : 'LLMNR');
  const text = plain(bytes);
  if (text === null) {
    if ((port === 5683 || bytes.includes(0xff)) && isCoap(bytes)) return is('coap', 'CoAP');
    if (says(bytes, 0, '/') && bytes.length % 4 === 0 && /^\/[!-~]+\0{1,4},[a-zA-Z]*\0/.test(latin(bytes, 0, bytes.length))) return is('osc', 'Open Sound Control');
    if (first === 0xff && second === 0xd8) return is('jpeg', 'JPEG pictures');
    if (bytes.length > 3 && (bytes[1] << 8 | bytes[2]) === bytes.length && first >= 1 && first <= 252 && bytes.length < 1500 && [1, 2, 10, 19, 20, 21, 34, 48, 62, 65].includes(first)) {
      return is('asterix', `ASTERIX category ${String(first).padStart(3, '0')}`);
    }
    return is('binary', 'binary');
  }
  if (/^(NOTIFY|M-SEARCH) \* HTTP\/1\.1\r\n/.test(text) || (port === 1900 && /^HTTP\/1\.1 200 OK\r\n/i.test(text))) return is('ssdp', 'SSDP');
  if (isNmea(text)) return is('nmea', text[0] === '!' || text.includes('!AIVDM') ? 'NMEA, AIS' : 'NMEA 0183');
  if (parsed(bytes) !== undefined) return is('json', 'JSON');
  const lines = text.trim().split(/\r?\n/);
  if (lines.length > 1 && lines.length < 1000 && lines.every((line) => parsed(new TextEncoder().encode(line)) !== undefined)) return is('json-lines', 'JSON, several lines a datagram');
  if (/^\s*<(\?xml|[A-Za-z][\w:.-]*[\s>/])/.test(text)) return is('xml', 'XML');
  if (/^<\d{1,3}>/.test(text)) return is('syslog', 'syslog');
  if (/^v=0\r?\n/.test(text)) return is('sdp', 'SDP');
  return is('text', 'text');
}

/** Where SAP's text begins (RFC 2974 section 6). @param {Uint8Array} b */
const sapText = (b) => 4 + (b[0] & 0x10 ? 16 : 4) + b[1] * 4;
/** @param {Uint8Array} b @param {number} from @param {number} count */
const latin = (b, from, count) => String.fromCharCode(...b.subarray(from, from + Math.min(count, 2000)));

/** A verdict over several datagrams, of which one may be an exception. */
export class Detector {
  /** @param {number} port of the group */
  constructor(port) {
    this.port = port;
    /** @type {Verdict[]} */
    this.votes = [];
    /** SSRC and sequence number of the last RTP packet of each source. @type {Map<number, number>} */
    this.rtp = new Map();
  }

  /** @param {Uint8Array} bytes */
  add(bytes) {
    let vote = look(bytes, this.port);
    if (vote.kind === 'rtp' && !this.follows(bytes)) vote = { kind: 'binary', label: 'binary' };
    this.votes.push(vote);
    if (this.votes.length > LOOKED_AT) this.votes.shift();
  }

  /** Whether an RTP packet comes soon after another of its source. @param {Uint8Array} b */
  follows(b) {
    const [sequence, ssrc] = [b[2] << 8 | b[3], (b[8] << 24 | b[9] << 16 | b[10] << 8 | b[11]) >>> 0];
    const last = this.rtp.get(ssrc);
    if (this.rtp.size > 32) this.rtp.clear();
    this.rtp.set(ssrc, sequence);
    return last !== undefined && ((sequence - last) & 0xffff) < 64;
  }

  /** What most are; of a draw, the latest. `null` before the first. @returns {Verdict | null} */
  get verdict() {
    const counts = new Map();
    for (const { kind } of this.votes) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    const most = Math.max(...counts.values());
    return this.votes.findLast(({ kind }) => counts.get(kind) === most) ?? null;
  }
}
