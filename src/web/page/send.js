// @ts-check
// Sending one datagram at a time to the group that is watched, where the gateway lets this page.

import { $, put } from './elements.js';
import { gateway, may, wish } from './gateway.js';
import { unhex } from './hex.js';
import { clock, counted } from './numbers.js';
import { explain } from './refusals.js';
import { kept } from './token.js';

export class SendForm {
  /** @param {import('./target.js').Target} target @param {AbortSignal} signal @param {(place: any, explanation: any) => void} show */
  constructor(target, signal, show) {
    this.target = target;
    this.signal = signal;
    this.show = show;
    /** @type {any} */
    this.sender = null;
    $('send-form').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      this.send();
    }, { signal });
    put($('sent'), '');
    show($('send-error'), null);
    const allowed = may(target, 'send');
    $('send-form').hidden = !allowed;
    $('send-off').hidden = allowed;
    const { group, name } = target;
    put($('send-flag'), !kept() && group ? `--allow-send ${group}` : name ? `send-streams = ["${name}"]` : `send = ["${group}"]`);
  }

  async send() {
    const text = $('send-text').value;
    const bytes = $('send-kind').value === 'hex' ? unhex(text) : new TextEncoder().encode(text);
    this.show($('send-error'), null);
    put($('sent'), '');
    if (!bytes) return this.show($('send-error'), { words: 'This is no hex: write pairs of digits, as 48 65 6c 6c 6f.', how: '', command: '' });
    try {
      const sender = this.sender ??= this.open();
      await sender.opened;
      sender.send(bytes);
      put($('sent'), `Sent at ${clock(new Date()).slice(0, 8)}: ${counted(bytes.length, 'byte')}, from ${sender.source || 'the gateway'}.`);
      $('send-text').select();
    } catch (error) {
      this.sender = null;
      this.show($('send-error'), explain(error));
    }
  }

  /** Opened by the first datagram: looking costs nobody a socket. */
  open() {
    const { interface: on, group, name } = this.target;
    const sender = gateway.sender(wish(this.target, 'send'), { interface: on || undefined, loop: true, replies: false, signal: this.signal });
    sender.addEventListener('refused', (/** @type {any} */ { detail }) => {
      put($('sent'), '');
      this.show($('send-error'), explain({ code: detail.code, message: detail.message || `The gateway did not send to ${group || name}: ${detail.code}` }));
    });
    return sender;
  }
}
