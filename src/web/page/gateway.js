// @ts-check
// The page's one connection to its gateway, what the gateway says of itself each second, and how the connection is.

import { connect } from '/wscast.js';
import { $, put } from './elements.js';
import { counted, duration } from './numbers.js';

/** JSON of the gateway, documented in src/model/status.rs. @typedef {Record<string, any>} Json */

/** Milliseconds from one status to the next. */
const INTERVAL = 1000;

export const gateway = connect(location.origin);

/** The last status; `null` before the first. @type {Json | null} */
export let status = null;

/** The streams that the configuration names. @returns {import('./target.js').Named} */
export const named = () => status?.gateway.named_streams ?? {};

/** Calls `show` with every status from now on, as long as the page lives. @param {(status: Json) => void} show */
export async function watch(show) {
  // A stream's state comes this way too.
  gateway.addEventListener('state', (/** @type {any} */ { detail }) => detail.subscription || connection(detail));
  gateway.addEventListener('reconnect', (/** @type {any} */ { detail }) => back(detail));
  gateway.addEventListener('error', (/** @type {any} */ { detail }) => banner(`The gateway says: ${detail.error.message}`, 'bad'));
  try {
    for await (const next of gateway.watch(INTERVAL)) {
      status = /** @type {Json} */ (next);
      show(status);
    }
  } catch (/** @type {any} */ error) {
    connection({ state: 'closed', error });
  }
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
  if (away) {
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
export function showGateway({ gateway: about, streams, sessions }) {
  put($('version'), about.version);
  put($('facts'), `${counted(streams.length, 'stream')} · ${counted(sessions.length, 'session')} · up ${duration(about.uptime_seconds)}`);
  $('draining').hidden = !about.draining;
}
