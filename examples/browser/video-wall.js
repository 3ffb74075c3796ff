// Every group that ?group= names (as often as you like), on one connection. mpegts.js plays what it is given by a loader.
const asked = new URLSearchParams(location.search);
const address = asked.get('gateway') ?? 'http://localhost:8080';
const { connect } = await import(new URL('/wscast.js', address));
await new Promise((resolve) => {
  const script = Object.assign(document.createElement('script'), { src: 'mpegts.js', onload: resolve, onerror: resolve });
  document.head.append(script);
});
const { mpegts } = globalThis;
const groups = asked.getAll('group');
const [state, wall] = ['state', 'wall'].map((id) => document.getElementById(id));
const gateway = connect(address);
const show = () => { state.textContent = `${gateway.state}, ${groups.length} groups (name them: ?group=239.1.1.1:5000&group=239.1.1.2:5000)`; };
gateway.addEventListener('state', show);
show();

for (const group of groups) {
  const figure = document.createElement('figure');
  const [video, caption] = [document.createElement('video'), document.createElement('figcaption')];
  Object.assign(video, { muted: true, autoplay: true, playsInline: true });
  figure.append(video, caption);
  wall.append(figure);
  const subscription = gateway.join(group);
  let bytes = 0;
  let give = () => {};
  setInterval(() => {
    const lost = Object.values(subscription.lost).reduce((sum, one) => sum + one, 0);
    caption.textContent = `${group}: ${subscription.state}, ${((bytes * 8) / 1e6).toFixed(2)} Mbit/s, ${lost} lost`;
    bytes = 0;
  }, 1000);
  if (mpegts?.isSupported()) {
    class Loader extends mpegts.BaseLoader {
      constructor() { super('wscast'); }
      open() {
        let position = 0;
        give = (chunk) => {
          this.onDataArrival?.(chunk.buffer, position, position + chunk.length);
          position += chunk.length;
        };
      }
      abort() { give = () => {}; }
    }
    const player = mpegts.createPlayer({ type: 'mpegts', isLive: true, url: group }, { customLoader: Loader, liveBufferLatencyChasing: true });
    player.attachMediaElement(video);
    player.load();
    video.play().catch(() => {});
  }
  (async () => {
    for await (const batch of subscription.batches()) {
      for (const { payload } of batch) {
        bytes += payload.length;
        give(payload.slice());
      }
    }
  })().catch((error) => { caption.textContent = `${group}: ${error.message}`; });
}
