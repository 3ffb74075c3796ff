// @ts-check
// The list of sessions: who is connected, what they read and send, and how they keep up.

import { $, put } from './elements.js';
import { causes, duration, rough, scaled, whole } from './numbers.js';
import { Rates } from './rates.js';
import { fill } from './table.js';

/** @typedef {import('./gateway.js').Json} Json */

/** Sessions listed; the JSON has all. */
const ROWS = 200;
const rates = new Rates();

/** Adds up a counter, or each of a group of counters, over all books. @param {Json[]} books @param {string} field @returns {any} */
function total(books, field) {
  if (typeof books[0]?.[field] !== 'object') return books.reduce((sum, book) => sum + (book[field] ?? 0), 0);
  return Object.fromEntries(Object.keys(books[0][field]).map((key) => [key, total(books.map((book) => book[field]), key)]));
}

/** @param {Json} status */
export function showSessions({ gateway, sessions }) {
  const now = performance.now();
  const rows = sessions.slice(0, ROWS).map((/** @type {Json} */ session) => {
    const key = `${gateway.id}/${session.number}`;
    const books = session.subscriptions;
    const written = total(books, 'written');
    const { values, past } = rates.take(key, now, { datagrams: written, bits: session.bytes * 8 });
    return { key, cells: cells(session, written, values, past) };
  });
  rates.sweep();
  fill($('sessions'), rows);
  $('sessions-empty').hidden = rows.length > 0;
  $('sessions-more').hidden = sessions.length <= ROWS;
  put($('sessions-more'), `${whole(sessions.length - ROWS)} more are in the JSON.`);
}

/** @param {Json} session @param {number} written @param {Record<string, number> | null} values @param {Record<string, (number | null)[]>} past */
function cells(session, written, values, past) {
  const { subscriptions: books, blocked, sender, senders = sender ? [sender] : [] } = session;
  const pending = total(books, 'pending');
  const lost = causes(total(books, 'lost'));
  const withheld = causes(total(books, 'withheld'));
  const groups = books.slice(0, 3).map((/** @type {Json} */ book) => book.group);
  const more = books.length > 3 ? ` and ${books.length - 3} more` : '';
  const sends = senders.map((/** @type {Json} */ one) => {
    const refused = causes(one.refused);
    return `sends to ${one.group}: ${whole(one.sent)}${refused && `, refused ${refused}`}`;
  });
  return [
    { text: session.peer, note: `${session.kind} · ${duration(session.seconds)}` },
    { text: groups.join(', ') + more || 'none', note: sends.join('; ') },
    { text: values ? `${rough(values.datagrams)}/s` : '–', note: `${whole(written)} in all` },
    { text: values ? scaled(values.bits, 'bit/s') : '–', past: past.bits, title: `${scaled(session.bytes, 'B')} written` },
    { text: whole(pending), note: blocked ? 'blocked' : '', state: blocked ? 'warn' : '' },
    { text: lost || 'none', note: withheld && `withheld: ${withheld}`, state: lost ? 'warn' : '' },
  ];
}
