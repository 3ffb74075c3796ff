// @ts-check
// Sending one datagram at a time to the group that is watched, where the gateway lets this page.

import { $, put } from './elements.js';
import { gateway, status } from './gateway.js';
import { unhex } from './hex.js';
import { clock, counted } from './numbers.js';
import { explain } from './refusals.js';
import { spell, within } from './target.js';

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
    const may = within(status?.gateway.policy.send ?? [], target.group);
    $('send-form').hidden = !may;
    $('send-off').hidden = may;
    put($('send-flag'), `--allow-send ${target.group}`);
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
    const { interface: on, group } = this.target;
    const sender = gateway.sender(spell({ ...this.target, sources: [] }), { interface: on || undefined, loop: true, replies: false, signal: this.signal });
    sender.addEventListener('refused', (/** @type {any} */ { detail }) => {
      put($('sent'), '');
      this.show($('send-error'), explain({ code: detail.code, message: detail.message || `The gateway did not send to ${group}: ${detail.code}` }));
    });
    return sender;
  }
}
