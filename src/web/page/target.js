// @ts-check
// What a person asks to watch: GROUP:PORT, SOURCE@GROUP:PORT, a named stream, or the URL of one.

/** A stream as it is asked for. `interface` is empty for the gateway's default.
 * @typedef {{group: string, sources: string[], exclude: string[], interface: string, name?: string}} Target */
/** The named streams of the status. @typedef {Record<string, {group: string, sources: string[], exclude: string[], interface: string | null}>} Named */

const V4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/** @param {string} address */
function isAddress(address) {
  const four = V4.exec(address);
  if (four) return four.slice(1).every((part) => Number(part) < 256);
  return /^[\da-f:.]*:[\da-f:.]*$/i.test(address) && URL.canParse(`http://[${address}]/`);
}

/** @param {string} address */
const isMulticast = (address) => (V4.test(address) ? /^(22[4-9]|23\d)\./.test(address) : /^ff/i.test(address));

/** An address as it stands before `@`: IPv6 in brackets. @param {string} address */
const bracketed = (address) => (address.includes(':') ? `[${address}]` : address);

/** What `typed` means. Throws an Error whose message says how to write it.
 * @param {string} typed @param {Named} named @returns {Target} */
export function parse(typed, named) {
  // VLC's spelling, and URLs of this gateway, are what many have at hand.
  let text = typed.trim().replace(/^udp:\/\/@?/i, '').replace(/^(wss?|https?):\/\/[^/]+(?=\/(udp|rtp|streams)\/)/i, '');
  const [path, query = ''] = /^\/(udp|rtp|streams)\//.test(text) ? text.split('?') : [text];
  const options = new URLSearchParams(query);
  text = path.replace(/^\/(udp|rtp)\//, '').replace(/\/$/, '');
  const target = /^\/streams\//.test(text) ? byName(decodeURIComponent(text.slice(9)), named) : byAddress(text, named);
  const exclude = options.get('exclude');
  if (exclude) target.exclude = [...target.exclude, ...exclude.split(',')];
  target.interface = options.get('interface') ?? target.interface;
  return target;
}

/** @param {string} name @param {Named} named @returns {Target} */
function byName(name, named) {
  const stream = Object.hasOwn(named, name) ? named[name] : null;
  if (!stream) {
    const names = Object.keys(named);
    const those = names.length ? `there are: ${names.join(', ')}` : 'the gateway names none';
    throw new Error(`There is no stream called “${name}”; ${those}. A group is written 239.1.2.3:5000.`);
  }
  const { group, sources, exclude } = stream;
  return { group, sources, exclude, interface: stream.interface ?? '', name };
}

/** @param {string} text @param {Named} named @returns {Target} */
function byAddress(text, named) {
  if (!text) throw new Error('Write a group and its port, as 239.1.2.3:5000.');
  const parts = /^(?:([^@]+)@)?(?:\[([^\]]+)\]|([^:@[\]]+)):(\d+)$/.exec(text.replaceAll('%40', '@'));
  if (!parts) {
    if (isAddress(text.replace(/^\[(.*)\]$/, '$1'))) {
      const example = text.includes(':') ? `[${text.replace(/[[\]]/g, '')}]:5000` : `${text}:5000`;
      throw new Error(`The port is missing: write ${example}.`);
    }
    if (/^[\w.-]+$/.test(text)) return byName(text, named);
    throw new Error(`“${text}” is neither GROUP:PORT, as 239.1.2.3:5000 or [ff15::42]:5000, nor the name of a stream.`);
  }
  const [, before, six, four, port] = parts;
  const address = six ?? four;
  if (!isAddress(address)) throw new Error(`“${address}” is no IP address: a group is written 239.1.2.3:5000 or [ff15::42]:5000.`);
  if (!isMulticast(address)) {
    throw new Error(`${address} is no multicast group: those are 224.0.0.0 to 239.255.255.255, and ff00:: and above.`);
  }
  if (!(Number(port) > 0 && Number(port) < 65536)) throw new Error(`${port} is no port: those are 1 to 65535.`);
  const sources = before ? before.split(',').map((source) => source.replace(/^\[(.*)\]$/, '$1')) : [];
  const bad = sources.find((source) => !isAddress(source) || isMulticast(source));
  if (bad !== undefined) throw new Error(`“${bad}” can't be a source: write one sender's address before the @.`);
  return { group: `${bracketed(address)}:${Number(port)}`, sources, exclude: [], interface: '' };
}

/** `SOURCE@GROUP:PORT`, or the name of what is known by that alone. @param {Target} target */
export const spell = ({ sources, group, name }) => !group ? name ?? '' : sources.map(bracketed).join() + (sources.length ? '@' : '') + group;

/** The path of the stream's URL, with its query. @param {Target} target */
export function path(target) {
  const options = { interface: target.interface, exclude: target.exclude.join() };
  const query = String(new URLSearchParams(Object.entries(options).filter(([, value]) => value)));
  return `/udp/${spell(target)}${query && `?${query}`}`;
}

/** An address as a number. @param {string} address */
function value(address) {
  if (!address.includes(':')) return address.split('.').reduce((sum, part) => sum << 8n | BigInt(Number(part)), 0n);
  const [head, tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::').map((half) => half.split(':').filter(Boolean));
  const middle = tail ? Array(8 - head.length - tail.length).fill('0') : [];
  return [...head, ...middle, ...(tail ?? [])].reduce((sum, part) => sum << 16n | BigInt(`0x${part}`), 0n);
}

/** Whether one of the gateway's ranges, as `239.0.0.0/8` or `[ff15::]/16:5000-5999`, holds a group.
 * @param {string[]} ranges @param {string} group */
export function within(ranges, group) {
  const form = /^(?:\[([\da-f:.]+)\]|([\d.]+)|([\da-f:.]+))(?:\/(\d+))?(?::(\d+)(?:-(\d+))?)?$/i;
  const [, six, four, , , port] = form.exec(group) ?? [];
  return ranges.some((range) => {
    const [, bracketed, dotted, bare, length, first, last = first] = form.exec(range) ?? [];
    const prefix = bracketed ?? dotted ?? bare;
    if (!prefix || prefix.includes(':') !== Boolean(six)) return false;
    const bits = six ? 128 : 32;
    const rest = BigInt(bits - Number(length ?? bits));
    const inside = value(prefix) >> rest === value(six ?? four) >> rest;
    return inside && Number(port) >= Number(first ?? 1) && Number(port) <= Number(last ?? 65535);
  });
}

/** The name that the gateway has for a group, if it has one. @param {Target} target @param {Named} named */
export const nameOf = (target, named) =>
  target.name ?? Object.keys(named).find((name) => spell({ ...target, ...named[name], interface: '' }) === spell(target)) ?? '';
