const asked = new URLSearchParams(location.search);
const gateway = asked.get('gateway') ?? 'http://localhost:8080';
const { connect } = await import(new URL('/wscast.js', gateway));
for await (const { text, source, port } of connect(gateway).join(asked.get('group') ?? '239.255.77.1:5001', { replay: 5 })) {
  const item = document.createElement('li');
  item.textContent = `${source}:${port} ${text}`;
  document.querySelector('#datagrams').prepend(item);
  document.querySelector('#datagrams').children[99]?.remove();
}
