// Services on this network: what announces itself by mDNS, and what answers an SSDP search. Written against the Direct Sockets
// draft; only the import and `configure` are wscast's.
const asked = new URLSearchParams(location.search);
const address = asked.get('gateway') ?? 'http://localhost:8080';
const { UDPSocket, configure } = await import(new URL('/wscast-udpsocket.js', address));
configure({ url: address });
const [state, table] = ['state', 'found'].map((id) => document.getElementById(id));
const rows = new Map();
const problems = [];
const say = (problem) => {
  if (problem) problems.push(problem);
  state.textContent = [`${rows.size} found.`, ...problems].join(' ');
};

function found(who, by, what) {
  const key = `${who} ${by} ${what}`;
  if (rows.has(key)) return;
  const row = document.createElement('tr');
  for (const text of [who, by, what]) row.append(Object.assign(document.createElement('td'), { textContent: text }));
  rows.set(key, row);
  table.append(row);
  say();
}

/** The names in a DNS message: of its questions and of its records. */
function* names(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const name = (at, hops = 0) => {
    const labels = [];
    for (;;) {
      const length = view.getUint8(at);
      if (length === 0) return [labels, at + 1];
      if (length >= 192) return [hops > 8 ? labels : [...labels, ...name(view.getUint16(at) & 0x3fff, hops + 1)[0]], at + 2];
      labels.push(new TextDecoder().decode(data.subarray(at + 1, at + 1 + length)));
      at += 1 + length;
    }
  };
  let at = 12;
  const [questions, records] = [view.getUint16(4), view.getUint16(6) + view.getUint16(8) + view.getUint16(10)];
  for (let count = 0; count < questions; count += 1) at = name(at)[1] + 4;
  for (let count = 0; count < records; count += 1) {
    const [labels, end] = name(at);
    const type = view.getUint16(end);
    if (type === 12) yield `${name(end + 10)[0].join('.')} (${labels.join('.')})`;
    else if (type === 1 || type === 28) yield labels.join('.');
    at = end + 10 + view.getUint16(end + 8);
  }
}

async function mdns() {
  const socket = new UDPSocket({ localAddress: '0.0.0.0', localPort: 5353, multicastAllowAddressSharing: true });
  const { readable, multicastController } = await socket.opened;
  await multicastController.joinGroup('224.0.0.251');
  for await (const { data, remoteAddress } of readable) {
    try { for (const name of names(data)) found(remoteAddress, 'mDNS', name); } catch { /* no DNS message */ }
  }
}

async function ssdp() {
  const socket = new UDPSocket({ localAddress: '0.0.0.0' });
  const { readable, writable } = await socket.opened;
  const search = ['M-SEARCH * HTTP/1.1', 'HOST: 239.255.255.250:1900', 'MAN: "ssdp:discover"', 'MX: 2', 'ST: ssdp:all', '', ''].join('\r\n');
  const writer = writable.getWriter();
  await writer.write({ data: new TextEncoder().encode(search), remoteAddress: '239.255.255.250', remotePort: 1900 });
  const reader = readable.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    const answer = new TextDecoder().decode(next.value.data);
    const field = (name) => new RegExp(`^${name}: *(.*)$`, 'im').exec(answer)?.[1].trim();
    found(next.value.remoteAddress, 'SSDP', `${field('ST') ?? field('NT') ?? ''} ${field('SERVER') ?? ''} ${field('LOCATION') ?? ''}`.trim());
  }
}

say();
mdns().catch((error) => say(`mDNS: ${error.message}.`));
ssdp().catch((error) => say(`SSDP: ${error.message}.`));
