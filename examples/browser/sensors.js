// A line for each sender, of the first numeric field of its JSON (or of the one that ?field= names), over the last minute.
const asked = new URLSearchParams(location.search);
const address = asked.get('gateway') ?? 'http://localhost:8080';
const { connect } = await import(new URL('/wscast.js', address));
const gateway = connect(address);
const subscription = gateway.join(asked.get('group') ?? '239.255.77.1:5001', { replay: '10s' });
const [state, chart, legend] = ['state', 'chart', 'legend'].map((id) => document.getElementById(id));
const SPAN = 60_000;
const lines = new Map(); // by who sent it

const describe = () => {
  const lost = Object.values(subscription.lost).reduce((sum, one) => sum + one, 0);
  const gaps = subscription.gaps.count ? `, and ${subscription.gaps.count} gaps of unknown size` : '';
  state.textContent = `${gateway.state}, ${subscription.state}; ${subscription.received} received, ${lost} lost${gaps}`;
};
for (const type of ['state', 'lost', 'reconnect']) gateway.addEventListener(type, describe);

function draw() {
  requestAnimationFrame(draw);
  const now = Date.now();
  const points = [...lines.values()].flatMap(({ points }) => points);
  if (!points.length) return;
  const [least, most] = [Math.min(...points.map(([, value]) => value)), Math.max(...points.map(([, value]) => value))];
  for (const { line, points } of lines.values()) {
    while (points.length && now - points[0][0] > SPAN) points.shift();
    const at = ([time, value]) => `${(600 * (1 - (now - time) / SPAN)).toFixed(1)},${(190 - (180 * (value - least)) / (most - least || 1)).toFixed(1)}`;
    line.setAttribute('points', points.map(at).join(' '));
  }
}
requestAnimationFrame(draw);

for await (const datagram of subscription) {
  let reading;
  try { reading = JSON.parse(datagram.text); } catch { continue; }
  const field = asked.get('field') ?? Object.keys(reading ?? {}).find((name) => typeof reading[name] === 'number');
  if (typeof reading?.[field] !== 'number') continue;
  const who = reading.sensor ?? reading.name ?? reading.id ?? `${datagram.source}:${datagram.port}`;
  if (!lines.has(who)) {
    const colour = `hsl(${lines.size * 137} 70% 50%)`;
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    line.setAttribute('fill', 'none');
    line.setAttribute('stroke', colour);
    chart.append(line);
    const item = document.createElement('li');
    item.style.color = colour;
    legend.append(item);
    lines.set(who, { line, item, points: [] });
  }
  const { points, item } = lines.get(who);
  points.push([datagram.time || Date.now(), reading[field]]);
  item.textContent = `${who}: ${field} ${reading[field]}`;
  describe();
}
