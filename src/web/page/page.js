// @ts-check
// The gateway's own page: what runs, and a look into any stream. Plain modules, served under a CSP without any 'unsafe-...'.

import { showAnnounced } from './announced.js';
import { $, on } from './elements.js';
import { named, showGateway, status, watch } from './gateway.js';
import { showInterfaces } from './interfaces.js';
import { showSessions } from './sessions.js';
import { showStreams } from './streams.js';
import { parse, path } from './target.js';
import { showTopology } from './topology.js';
import { Viewer, showError } from './viewer.js';

/** @typedef {import('./target.js').Target} Target */

/** @type {Viewer | null} */
let viewer = null;
/** A link that came before the first status, which knows the names. */
let early = location.hash;

/** Watches what the form says, or says beside it what is wrong. @param {() => Target} choose */
function open(choose) {
  try {
    const target = choose();
    showError($('target-error'), null);
    viewer?.close();
    viewer = new Viewer(target, { replay: $('replay').checked });
    const link = target.name ? `/streams/${encodeURIComponent(target.name)}` : path(target);
    history.replaceState(null, '', `#watch=${link}`);
  } catch (/** @type {any} */ problem) {
    showError($('target-error'), { words: problem.message, how: '', command: '' });
    $('target').focus();
  }
}

/** Watches a stream, and lets the form say the same for the next try. @param {Target} target */
function follow(target) {
  open(() => {
    $('target').value = target.name ?? path({ ...target, interface: '' }).replace(/^\/udp\//, '');
    const name = target.name ? '' : target.interface;
    if (![...$('interface').options].some((option) => option.value === name)) $('interface').add(new Option(name, name));
    $('interface').value = name;
    return target;
  });
  // The keyboard goes where the datagrams appear.
  $('live-title').focus({ preventScroll: true });
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  $('watch').scrollIntoView({ behavior: calm ? 'auto' : 'smooth', block: 'start' });
}

function fromHash() {
  const link = /^#watch=(.+)$/.exec(early || location.hash)?.[1];
  early = '';
  if (!link) return;
  // Links made with encodeURIComponent mean the same.
  const text = /^%2f/i.test(link) ? decodeURIComponent(link) : link;
  let target;
  try {
    target = parse(text, named());
  } catch (/** @type {any} */ problem) {
    $('target').value = text;
    return showError($('target-error'), { words: problem.message, how: '', command: '' });
  }
  follow(target);
}

function stop() {
  viewer?.close();
  viewer = null;
  history.replaceState(null, '', location.pathname);
  $('target').focus();
}

on($('watch-form'), 'submit', () => open(() => {
  const target = parse($('target').value, named());
  return $('interface').value ? { ...target, interface: $('interface').value } : target;
}));
on($('stop'), 'click', stop);
on($('links-close'), 'click', () => $('links').close());
// A click beside the dialog closes it, as Escape does.
on($('links'), 'click', ({ target }) => target === $('links') && $('links').close());
on(window, 'hashchange', fromHash);

let first = true;
watch((next) => {
  showGateway(next);
  showInterfaces(next);
  showStreams(next, follow);
  showTopology(next);
  showSessions(next);
  showAnnounced(follow);
  const names = Object.keys(next.gateway.named_streams).map((name) => new Option(name));
  if ($('names').children.length !== names.length) $('names').replaceChildren(...names);
  if (first && status) {
    first = false;
    document.body.classList.add('ready');
    fromHash();
  }
});
