// @ts-check
// A datagram as JSON: indented for people, and its numbers by their paths.

/** Levels, numbers and characters of a key that are looked at: a datagram is a stranger's. */
const [DEPTH, FIELDS, KEY] = [6, 40, 80];

/** The value of a JSON object or array; `undefined` for anything else. @param {Uint8Array} bytes @returns {any} */
export function parsed(bytes) {
  const first = bytes.find((byte) => byte > 0x20);
  if (first !== 0x7b && first !== 0x5b) return undefined; // { or [
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

/** Indents valid JSON without parsing its numbers: 9007199254740993 must not become ...992 on an operator's screen.
 * @param {string} json */
export function indent(json) {
  let depth = 0;
  const line = () => `\n${'  '.repeat(Math.min(depth, 16))}`; // capped: a datagram of brackets must not grow with its square
  return json.trim().replace(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|\s+/g, (token) => {
    if (token[0] === '"') return token;
    if (token === ',' || token === ':') return token === ',' ? `,${line()}` : ': ';
    if (token === '{' || token === '[') return (depth += 1, token + line());
    if (token === '}' || token === ']') return (depth -= 1, line() + token);
    return token.replace(/\s+/g, '');
  });
}

/** Its leaves by path, as `room.celsius` or `0.value`: finite numbers, and short strings.
 * @param {any} value @returns {{numbers: Map<string, number>, words: Map<string, string>}} */
export function leaves(value) {
  /** @type {{numbers: Map<string, number>, words: Map<string, string>}} */
  const found = { numbers: new Map(), words: new Map() };
  /** @param {any} node @param {string} path @param {number} depth */
  const walk = (node, path, depth) => {
    if (typeof node === 'number' && Number.isFinite(node) && found.numbers.size < FIELDS) found.numbers.set(path, node);
    else if (typeof node === 'string' && node.length <= KEY && found.words.size < FIELDS) found.words.set(path, node);
    else if (node && typeof node === 'object' && depth < DEPTH) {
      for (const [key, each] of Object.entries(node).slice(0, FIELDS)) {
        if (key.length <= KEY) walk(each, path ? `${path}.${key}` : key, depth + 1);
      }
    }
  };
  walk(value, '', 0);
  return found;
}
