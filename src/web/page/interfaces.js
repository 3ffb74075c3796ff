// @ts-check
// The list of the host's interfaces, and the choice between them.

import { options } from './chart.js';
import { $ } from './elements.js';
import { whole } from './numbers.js';
import { fill } from './table.js';

/** @typedef {import('./gateway.js').Json} Json */

/** @type {Record<string, string>} */
const COLOURS = { up: 'good', 'no carrier': 'warn', down: 'idle' };

/** @param {Json} status */
export function showInterfaces({ interfaces }) {
  fill($('interfaces'), interfaces.map((/** @type {Json} */ one) => {
    const { index, name, addresses, up, running, loopback, multicast, mtu } = one;
    const state = !up ? 'down' : running ? 'up' : 'no carrier';
    return {
      key: `${index}/${name}`,
      cells: [
        { text: name, note: loopback ? 'this machine only' : '' },
        { text: state, state: COLOURS[state] },
        { text: addresses.join(', ') || 'none' },
        { text: multicast || loopback ? 'yes' : 'no', note: !multicast && !loopback ? 'its multicast flag is off' : '', state: multicast || loopback ? '' : 'warn' },
        whole(mtu),
        String(index),
      ],
    };
  }));
  $('interfaces-empty').hidden = interfaces.length > 0;
  const { value } = $('interface');
  const choices = [['', 'default'], ...interfaces.map((/** @type {Json} */ { name, addresses }) => [name, addresses[0] ? `${name} · ${addresses[0]}` : name])];
  // A choice that came with a link, or whose interface is away just now, stays: the gateway waits for it too.
  if (!choices.some(([name]) => name === value)) choices.push([value, value]);
  options($('interface'), choices, value);
}
