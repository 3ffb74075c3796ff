// @ts-check
// What was refused, in words, and how to allow it.

/** @typedef {{words: string, how: string, command: string}} Explanation */

/** By the stable words of the protocol, where the gateway's own sentence does not say what to do. @type {Record<string, string>} */
const HOW = {
  too_many_streams: 'Leave another stream, or give the gateway a higher --limit streams-per-session.',
  streams: 'The gateway has as many streams joined as it may: --limit streams raises that.',
  join_rate: 'Too many joins at once: try again in a second.',
  datagram_too_large: 'Send less at once, or raise --limit send-size.',
  too_large: 'Send less at once, or raise --limit send-size.',
  rate: 'Too many at once: --limit send-rate-per-session raises that.',
  no_interface: 'Choose an interface beside the group; those with multicast are in the list below.',
  unauthorized: 'This gateway wants a token: type it above.',
  no_such_stream: 'It is not there, or not for you: whoever runs the gateway gives it to you with streams = [...].',
  left: 'The gateway’s configuration has changed: the group is not on its lists any more.',
};

/** @param {any} error a WscastError, or any other @returns {Explanation} */
export function explain(error) {
  const message = String(error?.message ?? error).replace(/^not_allowed: /, '');
  const flag = /--allow-(receive|send) (\[[^\]]*\]:\d+|[\d.]+:\d+)/.exec(message);
  if (flag) {
    const verb = flag[1] === 'send' ? 'sending to' : 'receiving';
    const why = message.replace(/;? ?--allow-\S+ \S+ would allow it/, '').replace(/^denied: /, 'on the list of groups that are never open by accident: ');
    return {
      words: `The gateway does not allow ${verb} ${flag[2]}: ${why}.`,
      how: 'To allow it, start the gateway with this flag (or the key of the same name in its configuration file):',
      command: flag[0],
    };
  }
  return { words: sentence(message), how: HOW[error?.code] ?? '', command: '' };
}

/** @param {string} words */
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? '' : '.');
