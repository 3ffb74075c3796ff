// @ts-check
// The page's one connection to its gateway, what the gateway says of itself each second, and how the connection is.

import { connect } from '/wscast.js';
import { $, put } from './elements.js';
import { counted, duration } from './numbers.js';
import { spell, within } from './target.js';
import { askGrant, kept, settled, token, want } from './token.js';

/** JSON of the gateway, documented in src/model/status.rs. @typedef {Record<string, any>} Json */

/** Milliseconds from one status to the next. */
const INTERVAL = 1000;

export const gateway = connect(location.origin, { token });

/** The last status; `null` before the first. @type {Json | null} */
export let status = null;

/** What this caller may, as `/api/v1/grant` says it. @type {Json} */
export let grant = { principal: '', status: true, receive: null, send: [], streams: {} };

/** How a stream is asked for: by its name where its address is not this caller's to choose.
 * @param {import('./target.js').Target} target @param {'receive' | 'send'} how */
export function wish(target, how) {
  const { group, name } = target;
  if (name && !may({ ...target, name: undefined }, how)) return { name };
  return group ? spell(how === 'send' ? { ...target, sources: [] } : target) : { name: name ?? '' };
}

/** Whether the lists of this caller's grant have it. @param {import('./target.js').Target} target @param {'receive' | 'send'} how */
export function may({ group, name }, how) {
  const chosen = group && (grant[how] === null || within(grant[how], group));
  return Boolean(chosen || (name && grant.streams[name]?.[how]));
}

/** The streams that the configuration names. @returns {import('./target.js').Named} */
export const named = () => status?.gateway.named_streams ?? {};

/** Calls `show` with every status from now on, as long as the page lives. @param {(status: Json) => void} show */
export async function watch(show) {
  // A stream's state comes this way too.
  gateway.addEventListener('state', (/** @type {any} */ { detail }) => detail.subscription || connection(detail));
  gateway.addEventListener('reconnect', (/** @type {any} */ { detail }) => back(detail));
  gateway.addEventListener('error', (/** @type {any} */ { detail }) => banner(`The gateway says: ${detail.error.message}`, 'bad'));
  try {
    await gateway.opened;
    await learn();
    if (!grant.status) return show((status = narrow()));
    for await (const next of gateway.watch(INTERVAL)) {
      status = /** @type {Json} */ (next);
      show(status);
    }
  } catch (/** @type {any} */ error) {
    connection({ state: 'closed', error });
  }
}

async function learn() {
  const answer = await askGrant();
  if (answer?.ok) grant = await answer.json();
}

/** What a caller who may not see the status can see of it: the names of its streams. @returns {Json} */
function narrow() {
  const unknown = { group: '', sources: [], exclude: [], interface: null };
  const seen = Object.entries(grant.streams).filter(([, { receive }]) => receive);
  const names = Object.fromEntries(seen.map(([name]) => [name, unknown]));
  const about = { id: '', named_streams: names, draining: false, uptime_seconds: 0, version: '' };
  return { narrow: true, gateway: about, streams: [], sessions: [], interfaces: [] };
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let hiding;

/** @param {{state: string, code?: number, reason?: string, error?: Error}} how */
function connection({ state, code, reason, error }) {
  /** @type {Record<string, string>} */
  const words = { open: 'Live', connecting: 'Connecting', waiting: 'Reconnecting', paused: 'Paused', closed: 'Disconnected' };
  const link = $('link');
  link.dataset.state = state;
  put(link.querySelector('span'), words[state] ?? state);
  const away = state === 'waiting' || state === 'closed';
  document.body.classList.toggle('stale', away);
  if (state === 'open') settled();
  const refused = /** @type {any} */ (error)?.code;
  if (code === 4401 || refused === 'unauthorized' || refused === 'auth_timeout') {
    const words = (error?.message ?? reason ?? '').replace(/^.*unauthorized: /, '');
    want(kept() ? `The gateway does not take this token: ${words}. Type another.` : 'This gateway wants a token.');
    $('banner').hidden = true;
  } else if (away) {
    clearTimeout(hiding);
    const why = error?.message ?? (code === 1001 ? 'it is stopping' : code === 1006 || !code ? 'it does not answer' : `${code} ${reason}`);
    const next = state === 'waiting' ? 'This page comes back by itself; what stands below is from before.' : 'Reload the page to try again.';
    banner(`The gateway can’t be reached: ${why}. ${next}`, state === 'closed' ? 'bad' : 'warn');
  }
}

/** @param {{same: boolean, seconds: number}} how */
function back({ same, seconds }) {
  const away = seconds < 1.5 ? 'about a second' : duration(seconds);
  banner(`Connected again after ${away}${same ? '' : '; the gateway was started anew, and its counters with it'}.`, 'good');
  clearTimeout(hiding);
  hiding = setTimeout(() => ($('banner').hidden = true), 10_000);
}

/** @param {string} words @param {string} state */
function banner(words, state) {
  $('banner').hidden = false;
  $('banner').dataset.state = state;
  put($('banner'), words);
}

/** What the gateway says of itself, in the head of the page. @param {Json} status */
export function showGateway({ gateway: about, streams, sessions, narrow }) {
  put($('version'), about.version);
  const counts = [counted(streams.length, 'stream'), counted(sessions.length, 'session'), `up ${duration(about.uptime_seconds)}`];
  put($('facts'), [...(narrow ? [] : counts), kept() && `as ${grant.principal}`].filter(Boolean).join(' · '));
  // What a link asks for comes without the token.
  $('json').hidden = Boolean(narrow || kept());
  for (const part of ['sessions-part', 'interfaces-part']) $(part).hidden = Boolean(narrow);
  $('draining').hidden = !about.draining;
}
