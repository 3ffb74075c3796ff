// @ts-check
// The same stream elsewhere: lines to copy.

import { $, copy, make, on, put } from './elements.js';
import { path, spell } from './target.js';

/** A text between single quotes of a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {import('./target.js').Target} target @returns {{label: string, note: string, text: string}[]} */
export function snippets(target) {
  const place = target.name ? `/streams/${encodeURIComponent(target.name)}` : path(target);
  const http = location.origin + place;
  const ws = http.replace(/^http/, 'ws');
  const options = {
    ...(target.interface && { interface: target.interface }),
    ...(target.exclude.length && { exclude: target.exclude }),
  };
  const more = Object.keys(options).length ? `, ${JSON.stringify(options)}` : '';
  return [
    { label: 'WebSocket', note: 'one binary message is one datagram', text: ws },
    { label: 'HTTP', note: 'the payloads one after the other, for VLC and other players', text: http },
    { label: 'curl', note: '', text: `curl -gN ${quoted(http)}` },
    { label: 'ffplay', note: '', text: `ffplay -fflags nobuffer ${quoted(http)}` },
    { label: 'wscast', note: '', text: `wscast listen ${quoted(ws)}` },
    {
      label: 'JavaScript',
      note: 'in a page of this gateway, or of an origin that it allows',
      text: `import { connect } from '${location.origin}/wscast.js';

const gateway = connect('${location.origin}');
for await (const datagram of gateway.join('${spell(target)}'${more})) {
  console.log(datagram.source, datagram.text);
}`,
    },
  ];
}

/** Opens the dialog with a stream's lines. @param {import('./target.js').Target} target */
export function openLinks(target) {
  put($('links-title'), target.name && target.group ? `${target.name} · ${spell(target)}` : spell(target));
  $('links-list').replaceChildren(...snippets(target).map(({ label, note, text }) => {
    const button = make('button', { type: 'button', textContent: 'Copy', 'aria-label': `Copy for ${label}` });
    on(button, 'click', () => copy(text, button));
    const head = make('div', { class: 'head' }, make('b', { textContent: label }), make('small', { textContent: note }), button);
    return make('li', {}, head, make('pre', { textContent: text, tabIndex: 0, dataset: { snippet: label } }));
  }));
  $('links').showModal();
}
