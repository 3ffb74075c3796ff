// @ts-check
// A datagram as a hex dump.

/** Bytes shown. */
export const LIMIT = 512;

/** @param {Uint8Array} bytes @param {number} width bytes in a line */
export function hex(bytes, width) {
  let dump = '';
  for (let at = 0; at < Math.min(bytes.length, LIMIT); at += width) {
    const part = [...bytes.subarray(at, Math.min(at + width, LIMIT))];
    const digits = part.map((byte) => byte.toString(16).padStart(2, '0')).join(' ').padEnd(width * 3 - 1);
    const letters = String.fromCharCode(...part).replace(/[^ -~]/g, '·');
    dump += `${at.toString(16).padStart(4, '0')}  ${digits}  ${letters}\n`;
  }
  return dump.trimEnd();
}

/** The bytes that hex digits mean, spaces and colons aside; `null` where it is no hex. @param {string} text */
export function unhex(text) {
  const digits = text.replace(/^0x/i, '').replace(/[\s:]/g, '');
  if (digits.length % 2 || /[^\da-f]/i.test(digits)) return null;
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
