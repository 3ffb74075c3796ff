// @ts-check
// The picture of a stream: which player shows it, and how well that goes.

import { $, put } from './elements.js';
import { status } from './gateway.js';
import { MsePlayer } from './mse.js';
import { whole } from './numbers.js';
import { PictureStream } from './picture.js';
import { CodecsPlayer, obstacle } from './player.js';
import { withoutRtp } from './ts.js';

/** @typedef {'webcodecs' | 'mpegts'} Which */

export class Video {
  /** @param {import('./target.js').Target} target */
  constructor(target) {
    this.target = target;
    /** Whether the stream comes in RTP. */
    this.rtp = false;
    /** @type {PictureStream | null} */
    this.stream = null;
    /** @type {CodecsPlayer | MsePlayer | null} */
    this.player = null;
    this.visible = false;
    this.known = '';
    this.last = { at: performance.now(), decoded: 0 };
    this.abort = new AbortController();
    const { signal } = this.abort;
    for (const button of $('players').querySelectorAll('button')) {
      button.addEventListener('click', () => this.start(button.dataset.player), { signal });
    }
    $('sound').addEventListener('click', () => this.listen($('sound').ariaPressed !== 'true'), { signal });
    $('full').addEventListener('click', () => $('screen').requestFullscreen?.(), { signal });
    this.ticker = setInterval(() => this.tick(), 1000);
    this.reset();
  }

  reset() {
    const screen = $('screen');
    Object.assign(screen.dataset, { player: '', decoded: '0', dropped: '0', heard: '0', error: '' });
    $('canvas').hidden = $('video').hidden = true;
    put($('screen-words'), '');
    put($('video-figures'), '');
    $('sound').hidden = true;
    $('sound').ariaPressed = 'false';
    put($('sound'), 'Sound on');
  }

  /** @param {boolean} visible */
  show(visible) {
    if (visible === this.visible) return;
    this.visible = visible;
    if (!visible) return this.stop();
    $('players').hidden = !status?.gateway.player;
    const why = obstacle();
    if (!why) this.start('webcodecs');
    else if (status?.gateway.player) this.start('mpegts');
    else {
      this.failed(`The picture can’t be shown here: ${why}. Open this page through https or as http://localhost, or start the gateway with --player FILE (mpegts.js), which needs neither.`);
    }
  }

  /** @param {Which} which */
  start(which) {
    this.stop();
    this.which = which;
    const why = which === 'webcodecs' ? obstacle() : '';
    for (const button of $('players').querySelectorAll('button')) button.ariaPressed = String(button.dataset.player === which);
    if (why) return this.failed(`WebCodecs can’t be used: ${why}.`);
    $('screen').dataset.player = which;
    put($('screen-words'), 'Waiting for a picture to begin with…');
    this.last = { at: performance.now(), decoded: 0 };
    if (which === 'webcodecs') {
      $('canvas').hidden = false;
      this.player = new CodecsPlayer($('canvas'), (words) => this.failed(words));
    } else {
      $('video').hidden = false;
      this.player = new MsePlayer($('video'), (words) => this.failed(words));
    }
    this.stream = new PictureStream(this.target, this.rtp, (bytes) => this.player?.push(withoutRtp(bytes)));
  }

  /** @param {string} words */
  failed(words) {
    $('screen').dataset.error = words;
    put($('screen-words'), words);
  }

  /** What the page hears of the stream anyway; a picture begins sooner with a stream of its own, where that can be had.
   * @param {Uint8Array} bytes */
  push(bytes) {
    if (this.stream?.failed) this.player?.push(withoutRtp(bytes));
  }

  /** @param {boolean} on */
  listen(on) {
    this.player?.listen(on);
    $('sound').ariaPressed = String(on);
    put($('sound'), on ? 'Sound off' : 'Sound on');
  }

  tick() {
    if (!this.player) return;
    const { decoded, dropped, skipped, heard, width, height, missing } = this.player.figures;
    const now = performance.now();
    const rate = ((decoded - this.last.decoded) * 1000) / (now - this.last.at);
    this.last = { at: now, decoded };
    Object.assign($('screen').dataset, { decoded: String(decoded), dropped: String(dropped), heard: String(heard) });
    if (decoded && width && !$('screen').dataset.error) put($('screen-words'), '');
    $('sound').hidden = !this.player.hasSound;
    const facts = width ? [`${width} × ${height}`, `${rate.toFixed(1)} pictures/s`, `${whole(dropped)} dropped`] : [];
    if (missing) facts.push(`${whole(missing)} packets missing`);
    if (width && skipped) facts.push(`${whole(skipped)} skipped`);
    put($('video-figures'), facts.join(' · '));
  }

  /** What is in the stream, once it is known. */
  get tracks() {
    if (this.player instanceof CodecsPlayer) this.known = this.player.tracks.map(({ name }) => name).join(' + ');
    return this.known;
  }

  stop() {
    this.stream?.close();
    this.stream = null;
    this.player?.close();
    this.player = null;
    this.reset();
  }

  close() {
    clearInterval(this.ticker);
    this.abort.abort();
    this.stop();
  }
}
