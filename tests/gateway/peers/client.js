// A WebSocket client of the package named first, to the URL named second. Each line of standard input is sent as a text message
// or, where the third argument is `binary`, as a binary one; each message that arrives is printed as a line.
'use strict';
const { WebSocket } = require(process.argv[2]);
const socket = new WebSocket(process.argv[3]);
const binary = process.argv[4] === 'binary';
socket.binaryType = 'arraybuffer';
socket.onopen = () => {
  const lines = require('node:readline').createInterface({ input: process.stdin });
  lines.on('line', (line) => socket.send(binary ? new TextEncoder().encode(line) : line));
  lines.on('close', () => socket.close(1000));
};
socket.onmessage = ({ data }) => {
  if (typeof data === 'string') throw new Error('a datagram came as text');
  console.log(new TextDecoder().decode(data));
};
socket.onerror = ({ message }) => console.error(message);
socket.onclose = ({ code, reason }) => {
  console.error(`closed: ${code} ${reason}`);
  process.exitCode = code === 1000 ? 0 : 1;
};
