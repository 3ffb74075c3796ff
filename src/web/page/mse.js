// @ts-check
// Plays MPEG-TS with mpegts.js, where the operator has it (`--player FILE`): the same datagrams, handed to its loader.

/** @type {Promise<any> | null} */
let loading = null;

/** The player's own module, loaded once. It is a classic script that leaves `mpegts` behind. @returns {Promise<any>} */
function load() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = '/player.js';
    script.onload = () => {
      const { mpegts } = /** @type {any} */ (globalThis);
      if (mpegts?.isSupported?.()) resolve(mpegts);
      else reject(new Error(mpegts ? 'this browser has no MediaSource for H.264' : 'the file of --player is not mpegts.js'));
    };
    script.onerror = () => reject(new Error('/player.js could not be loaded'));
    document.head.append(script);
  });
  return loading;
}

export class MsePlayer {
  /** @param {HTMLVideoElement} video @param {(words: string) => void} failed */
  constructor(video, failed) {
    this.video = video;
    this.failed = failed;
    /** @type {any} */
    this.player = null;
    this.over = false;
    /** Where the loader takes its bytes. @type {((bytes: Uint8Array) => void) | null} */
    this.feed = null;
    load().then((mpegts) => this.start(mpegts)).catch((error) => failed(`mpegts.js does not start: ${error.message}`));
  }

  /** @param {any} mpegts */
  start(mpegts) {
    if (this.over) return;
    const own = this;
    class Loader extends mpegts.BaseLoader {
      constructor() {
        super('wscast');
        this._needStash = true; // it puts together what datagrams cut
        this.taken = 0;
      }
      static isSupported() {
        return true;
      }
      open() {
        this._status = mpegts.LoaderStatus?.kBuffering ?? 2;
        own.feed = (bytes) => {
          const at = this.taken;
          this.taken += bytes.length;
          this._onDataArrival?.(bytes.slice().buffer, at, this.taken);
        };
      }
      abort() {
        own.feed = null;
        this._status = mpegts.LoaderStatus?.kComplete ?? 4;
      }
      destroy() {
        own.feed = null;
        super.destroy();
      }
    }
    mpegts.LoggingControl.enableVerbose = mpegts.LoggingControl.enableDebug = mpegts.LoggingControl.enableInfo = false;
    const config = {
      customLoader: Loader, enableWorker: false, enableStashBuffer: false, lazyLoad: false, liveBufferLatencyChasing: true,
      liveBufferLatencyMaxLatency: 3, liveBufferLatencyMinRemain: 0.5, autoCleanupSourceBuffer: true,
    };
    this.player = mpegts.createPlayer({ type: 'mpegts', isLive: true, url: `${location.origin}/live.ts` }, config);
    this.player.on(mpegts.Events.ERROR, (/** @type {string} */ type, /** @type {string} */ detail, /** @type {any} */ info) => {
      this.failed(`mpegts.js stopped: ${type}, ${detail}${info?.msg ? `: ${info.msg}` : ''}`);
    });
    this.video.muted = true; // browsers start nothing with sound by itself
    this.player.attachMediaElement(this.video);
    this.player.load();
    this.player.play()?.catch?.(() => {});
  }

  /** @param {Uint8Array} bytes */
  push(bytes) {
    this.feed?.(bytes);
  }

  get hasSound() {
    return false; // <video> has a control of its own
  }

  listen() {}

  get figures() {
    const { totalVideoFrames = 0, droppedVideoFrames = 0 } = this.video.getVideoPlaybackQuality?.() ?? {};
    const { videoWidth: width, videoHeight: height } = this.video;
    return { decoded: totalVideoFrames, dropped: droppedVideoFrames, skipped: 0, heard: 0, width, height, missing: 0 };
  }

  close() {
    this.over = true;
    this.feed = null;
    this.player?.destroy();
    this.player = null;
  }
}
