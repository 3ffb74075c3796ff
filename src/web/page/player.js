// @ts-check
// Plays MPEG-TS with the browser's own decoders (WebCodecs): pictures on a canvas, sound through an AudioContext.

import { Demuxer } from './ts.js';

/** How long a picture waits to be shown, in milliseconds: what arrives unevenly is shown evenly. */
const BUFFER = 200;
/** Further ahead or behind than this (the source began again) the clock is set anew. */
const APART = 1500;
/** Pictures decoded and not shown yet; chunks given to the decoder. */
const [PICTURES, QUEUE] = [60, 60];
/** Half a second of silence may lie between two pieces of sound before their clock is set anew. */
const DRIFT = 0.06;

/** Whether this browser can, at this address. @returns {string} why not, or nothing */
export function obstacle() {
  if (!globalThis.isSecureContext) return 'this browser lets only https and localhost use its decoders';
  if (!('VideoDecoder' in globalThis)) return 'this browser has no WebCodecs';
  return '';
}

export class CodecsPlayer {
  /** @param {HTMLCanvasElement} canvas @param {(words: string) => void} failed what can't be played, and why */
  constructor(canvas, failed) {
    this.canvas = canvas;
    this.pen = canvas.getContext('2d', { alpha: false });
    this.failed = failed;
    this.decoded = this.shown = this.dropped = this.skipped = this.heard = 0;
    this.over = false;
    /** @type {VideoFrame[]} */
    this.pictures = [];
    this.waiting = true; // for a key picture
    this.codec = '';
    /** Milliseconds of this page's clock at media time 0. @type {number | null} */
    this.origin = null;
    /** @type {VideoDecoder | null} */
    this.video = null;
    /** @type {{context: AudioContext, decoder: AudioDecoder | null, next: number, codec: string} | null} */
    this.audio = null;
    /** @type {import('./ts.js').Track[]} */
    this.tracks = [];
    this.demuxer = new Demuxer({
      tracks: (tracks) => this.found(tracks),
      picture: (picture) => this.picture(picture),
      sound: (sound) => this.sound(sound),
    });
    this.frame = requestAnimationFrame(() => this.draw());
  }

  /** @param {Uint8Array} bytes */
  push(bytes) {
    if (!this.over) this.demuxer.push(bytes);
  }

  /** @param {import('./ts.js').Track[]} tracks */
  found(tracks) {
    this.tracks = tracks;
    const video = tracks.filter(({ name }) => /video|H\.26/.test(name));
    if (video.length && !video.some(({ plays }) => plays)) {
      this.failed(`The picture is ${video[0].name}; browsers play H.264. Open the stream in VLC or ffplay: see Links.`);
    } else if (!tracks.some(({ plays }) => plays)) {
      this.failed(`There is nothing here that browsers play: ${tracks.map(({ name }) => name).join(', ') || 'an empty programme'}.`);
    } else this.failed('');
  }

  /** @param {import('./ts.js').Picture} picture */
  picture({ type, timestamp, data, codec }) {
    // A hidden page draws nothing; it goes on with the next key picture.
    if (document.hidden || (this.video && this.video.decodeQueueSize > QUEUE)) this.waiting = true;
    if (this.missing !== this.demuxer.missing) [this.missing, this.waiting] = [this.demuxer.missing, true];
    if (this.waiting && type !== 'key') return void (this.skipped += 1);
    this.waiting = false;
    if (!this.video || this.video.state === 'closed' || codec !== this.codec) {
      this.codec = codec;
      this.video?.state !== 'closed' && this.video?.close();
      this.video = new VideoDecoder({ output: (frame) => this.ready(frame), error: (error) => this.broke(error) });
      this.video.configure({ codec });
    }
    this.video.decode(new EncodedVideoChunk({ type, timestamp, data }));
  }

  /** @param {Error} error */
  broke(error) {
    this.waiting = true;
    this.errors = (this.errors ?? 0) + 1;
    if (this.errors > 3 && !this.decoded) this.failed(`The decoder gives up: ${error.message}`);
  }

  missing = 0;
  /** @type {number} */
  errors = 0;

  /** When a media time is due, in milliseconds of this page's clock. @param {number} timestamp */
  due(timestamp) {
    const now = performance.now();
    const media = timestamp / 1000;
    this.origin ??= now + BUFFER - media;
    const early = this.origin + media - now;
    if (Math.abs(early - BUFFER) > APART) this.origin = now + BUFFER - media;
    else if (early < 0) this.origin -= early - BUFFER / 4; // late: what follows waits a little longer
    return this.origin + media;
  }

  /** @param {VideoFrame} frame */
  ready(frame) {
    this.decoded += 1;
    if (this.over || document.hidden) return frame.close();
    this.due(frame.timestamp);
    this.pictures.push(frame);
    if (this.pictures.length > PICTURES) {
      this.pictures.shift()?.close();
      this.dropped += 1;
    }
  }

  draw() {
    if (this.over) return;
    this.frame = requestAnimationFrame(() => this.draw());
    const now = performance.now() + 8; // half a screen's refresh: the nearest, not the one before
    let due = null;
    while (this.pictures.length && (this.origin ?? 0) + this.pictures[0].timestamp / 1000 <= now) {
      if (due) {
        due.close();
        this.dropped += 1;
      }
      due = this.pictures.shift();
    }
    if (!due) return;
    const { displayWidth: width, displayHeight: height } = due;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.pen?.drawImage(due, 0, 0, width, height);
    due.close();
    this.shown += 1;
  }

  // ---- Sound ----

  get hasSound() {
    return this.tracks.some(({ name, plays }) => plays && name === 'AAC');
  }

  /** Turns the sound on or off, inside a click: browsers let no page begin by itself. @param {boolean} on */
  listen(on) {
    if (on === Boolean(this.audio)) return;
    if (on) this.audio = { context: new AudioContext(), decoder: null, next: 0, codec: '' };
    else this.silence();
  }

  silence() {
    const { audio } = this;
    this.audio = null;
    if (!audio) return;
    if (audio.decoder && audio.decoder.state !== 'closed') audio.decoder.close();
    audio.context.close().catch(() => {});
  }

  /** @param {import('./ts.js').Sound} sound */
  sound({ timestamp, data, codec, sampleRate, channels }) {
    const { audio } = this;
    if (!audio) return;
    const name = `${codec} ${sampleRate} ${channels}`;
    if (!audio.decoder || audio.decoder.state === 'closed' || audio.codec !== name) {
      if (audio.decoder && audio.decoder.state !== 'closed') audio.decoder.close();
      audio.codec = name;
      audio.decoder = new AudioDecoder({ output: (heard) => this.play(heard), error: () => {} });
      audio.decoder.configure({ codec, sampleRate, numberOfChannels: channels });
    }
    if (audio.decoder.decodeQueueSize < QUEUE) audio.decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp, data }));
  }

  /** @param {AudioData} heard */
  play(heard) {
    const { audio } = this;
    if (audio && audio.context.state === 'running') {
      const { numberOfChannels, numberOfFrames, sampleRate, timestamp } = heard;
      const buffer = audio.context.createBuffer(numberOfChannels, numberOfFrames, sampleRate);
      let silent = true;
      for (let channel = 0; channel < numberOfChannels; channel += 1) {
        const samples = new Float32Array(numberOfFrames);
        heard.copyTo(samples, { planeIndex: channel, format: 'f32-planar' });
        buffer.copyToChannel(samples, channel);
        silent &&= !samples.some((sample) => sample);
      }
      const now = audio.context.currentTime;
      const wanted = now + (this.due(timestamp) - performance.now()) / 1000;
      // One piece right behind the other, or it crackles, as long as their clocks agree.
      const at = Math.abs(wanted - audio.next) < DRIFT && audio.next > now ? audio.next : Math.max(wanted, now);
      audio.next = at + buffer.duration;
      const source = new AudioBufferSourceNode(audio.context, { buffer });
      source.connect(audio.context.destination);
      source.start(at);
      if (!silent) this.heard += 1;
    }
    heard.close();
  }

  /** In numbers. */
  get figures() {
    const { decoded, dropped, skipped, heard, canvas, demuxer } = this;
    return { decoded, dropped, skipped, heard, width: this.shown ? canvas.width : 0, height: this.shown ? canvas.height : 0, missing: demuxer.missing };
  }

  close() {
    this.over = true;
    cancelAnimationFrame(this.frame);
    this.silence();
    if (this.video && this.video.state !== 'closed') this.video.close();
    for (const frame of this.pictures.splice(0)) frame.close();
  }
}
