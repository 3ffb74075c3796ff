// @ts-check
// Tables that are brought up to date in place: rows are kept by key, so that a focused button stays focused.

import { make, put } from './elements.js';
import { draw, sparkline } from './sparkline.js';

/** One cell: a text, a smaller one under it, a state that colours it, a line of its past.
 * @typedef {{text: string, note?: string, state?: string, past?: (number | null)[], title?: string}} Cell */
/** @typedef {{key: string, cells: (Cell | string)[], state?: string}} Row */

/** Brings the table to `rows`. The last column may have buttons: `actions` makes them once for each new row.
 * @param {any} table @param {Row[]} rows @param {(key: string) => Node[]} [actions] */
export function fill(table, rows, actions) {
  const [body] = table.tBodies;
  const heads = [...table.tHead.rows[0].cells];
  const present = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = new Set(rows.map(({ key }) => key));
  for (const [key, row] of present) if (!wanted.has(key)) row.remove();
  rows.forEach(({ key, cells, state = '' }, place) => {
    const row = present.get(key) ?? fresh(key, heads, cells.length, actions);
    row.dataset.state = state;
    cells.forEach((value, column) => update(row.cells[column], typeof value === 'string' ? { text: value } : value));
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
  });
  table.hidden = rows.length === 0;
}

/** @param {string} key @param {any[]} heads @param {number} count @param {((key: string) => Node[]) | undefined} actions */
function fresh(key, heads, count, actions) {
  // Explicit roles: the narrow layout takes `display: table` away, and with it the implied ones.
  const row = make('tr', { role: 'row', dataset: { key } });
  heads.forEach((head, column) => {
    const cell = make(column ? 'td' : 'th', { class: head.className, role: column ? 'cell' : 'rowheader' });
    if (!column) cell.scope = 'row';
    if (column < count) {
      if (column) cell.dataset.label = head.textContent;
      cell.append(make('span', { class: 'text' }), make('small'));
    } else {
      cell.classList.add('actions');
      cell.append(...(actions?.(key) ?? []));
    }
    row.append(cell);
  });
  return row;
}

/** @param {any} cell @param {Cell} value */
function update(cell, { text, note = '', state = '', past, title = '' }) {
  put(cell.children[0], text);
  put(cell.children[1], note);
  if (cell.title !== title) cell.title = title;
  if ((cell.dataset.state ?? '') !== state) cell.dataset.state = state;
  if (!past) return;
  if (!cell.children[2]) cell.append(sparkline());
  draw(cell.children[2], past);
}
