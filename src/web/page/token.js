// @ts-check
// The token of whoever looks: asked for where the gateway wants one, and kept for this tab alone, never in a URL.

import { $, on, put } from './elements.js';

const KEY = 'wscast-token';
/** Where the browser lets the page keep nothing. */
let memory = '';
/** Who waits for what is typed. @type {((token: string) => void) | null} */
let waiting = null;

/** What was typed in this tab; empty where nothing was. */
export function kept() {
  try {
    return sessionStorage.getItem(KEY) ?? memory;
  } catch {
    return memory;
  }
}

/** @param {string} token empty to forget it */
function keep(token) {
  memory = token;
  try {
    token ? sessionStorage.setItem(KEY, token) : sessionStorage.removeItem(KEY);
  } catch { /* Without a place to keep it, it lasts as long as the page. */ }
}

/** What the gateway says that this caller may (docs/access.md). @returns {Promise<Response | null>} null where it does not answer */
export const askGrant = () => ask('/api/v1/grant');

/** Asks the gateway for `path`, as whoever looks. @param {string} path @returns {Promise<Response | null>} null where it does not answer */
export function ask(path) {
  const headers = kept() ? { Authorization: `Bearer ${kept()}` } : undefined;
  return fetch(path, { cache: 'no-store', headers }).catch(() => null);
}

/** What a WebSocket to a stream's URL offers: the token, where there is one. */
export function protocols() {
  if (!kept()) return [];
  const text = btoa(String.fromCharCode(...new TextEncoder().encode(kept())));
  return ['wscast.raw', `wscast.bearer.${text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')}`];
}

/** The token for the next connection; waits for somebody to type one where the gateway wants it. @returns {Promise<string>} */
export async function token() {
  if (kept() || (await askGrant())?.status !== 401) return kept();
  if ($('token-form').hidden) want('This gateway wants a token.');
  return new Promise((resolve) => (waiting = resolve));
}

/** Asks for a token, as what was shown is not good. @param {string} words */
export function want(words) {
  keep('');
  put($('token-words'), words);
  $('token-form').hidden = false;
  $('token-forget').hidden = true;
  $('token').focus();
}

/** A connection stands: nobody needs to be asked. */
export function settled() {
  $('token-form').hidden = true;
  $('token-forget').hidden = !kept();
}

on($('token-form'), 'submit', () => {
  const typed = $('token').value.trim();
  if (!typed) return;
  keep(typed);
  $('token').value = '';
  if (!waiting) return location.reload();
  put($('token-words'), 'Asking the gateway…');
  waiting(typed);
  waiting = null;
});
on($('token-forget'), 'click', () => {
  keep('');
  location.reload();
});
