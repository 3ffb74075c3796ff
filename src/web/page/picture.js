// @ts-check
// The stream of a picture on a connection of its own: from its last key picture on, the tables first, RTP in order.

import { path } from './target.js';
import { protocols } from './token.js';

/** Where that is. @param {import('./target.js').Target} target @param {boolean} rtp whether it comes in RTP */
export function address(target, rtp) {
  const stream = target.name ? `/streams/${encodeURIComponent(target.name)}` : path(target);
  const at = rtp ? stream.replace(/^\/udp\//, '/rtp/') : stream;
  return `${at}${at.includes('?') ? '&' : '?'}start=keyframe`;
}

export class PictureStream {
  /** @param {import('./target.js').Target} target @param {boolean} rtp @param {(bytes: Uint8Array) => void} take */
  constructor(target, rtp, take) {
    /** Whether it can't be had, or no more: what the page hears of the stream anyway has to do. */
    this.failed = false;
    this.socket = new WebSocket(location.origin.replace('http', 'ws') + address(target, rtp), protocols());
    this.socket.binaryType = 'arraybuffer';
    this.socket.onmessage = ({ data }) => take(new Uint8Array(data));
    this.socket.onclose = () => (this.failed = true);
  }

  close() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }
}
