// @ts-check
// Numbers in words.

const grouped = new Intl.NumberFormat('en');
const three = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

/** `12,345`. @param {number} value */
export const whole = (value) => grouped.format(value);

/** `1.23`, `45.6`, `789`, `12,300`. @param {number} value */
export const rough = (value) => three.format(value);

/** `1.23 Mbit/s`. @param {number} value @param {string} unit */
export function scaled(value, unit) {
  const step = value >= 999.5e6 ? 3 : value >= 999.5e3 ? 2 : value >= 999.5 ? 1 : 0;
  return `${three.format(value / 1000 ** step)} ${['', 'k', 'M', 'G'][step]}${unit}`;
}

/** `42 s`, `01:02:03`, `3 d 04:05:06`. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const parts = [(seconds / 3600) % 24, (seconds / 60) % 60, seconds % 60].map((n) => String(Math.floor(n)).padStart(2, '0'));
  return `${seconds < 86400 ? '' : `${Math.floor(seconds / 86400)} d `}${parts.join(':')}`;
}

/** `17:04:05.678`. @param {Date} at */
export const clock = (at) => `${at.toTimeString().slice(0, 8)}.${String(at.getMilliseconds()).padStart(3, '0')}`;

/** `one datagram`, `3 datagrams`. @param {number} count @param {string} noun */
export const counted = (count, noun) => `${count === 1 ? 'one' : whole(count)} ${noun}${count === 1 ? '' : 's'}`;

/** `kernel 3, truncated 1`: only what happened. @param {Record<string, number | null>} counts */
export function causes(counts) {
  const happened = Object.entries(counts).filter(([, count]) => (count ?? 0) > 0);
  return happened.map(([cause, count]) => `${cause.replaceAll('_', ' ')} ${whole(count ?? 0)}`).join(', ');
}
