// What the tests let the library do, in a page and in a worker of a real browser. `origin` is the gateway's.
const kept = { subscriptions: [], events: [] };
const programs = {
  async open() {
    const { connect } = await import(`${origin}/wscast.js`);
    kept.gateway = connect();
    for (const type of ['state', 'lost', 'reconnect'])
      kept.gateway.addEventListener(type, ({ detail: { subscription, error, ...rest } }) => kept.events.push({ type, at: performance.now(), ...rest }));
    return kept.gateway.opened;
  },
  /** Joins and reads; resolves when the gateway has answered. */
  async join(target, options) {
    const subscription = kept.gateway.join(target, options);
    const texts = [];
    kept.subscriptions.push({ subscription, texts });
    const ended = (async () => { for await (const { text } of subscription) texts.push(text); })();
    ended.catch(() => {});
    const { interface: on } = await subscription.joined;
    return { number: kept.subscriptions.length - 1, on };
  },
  async joinAll(all) { return Promise.all(all.map(([target, options]) => programs.join(target, options))); },
  texts: (number) => kept.subscriptions[number].texts,
  leave: (number) => kept.subscriptions[number].subscription.leave(),
  events: (type) => kept.events.filter((event) => event.type === type),
  state: () => kept.gateway.state,
  /** The error that a join ends with. */
  async refused(target, options) {
    const { code, message } = await kept.gateway.join(target, options).next().then(() => ({}), (error) => error);
    return { code, message };
  },
  async send(target, texts) {
    const sender = kept.gateway.sender(target);
    await sender.opened;
    for (const text of texts) sender.send(text);
    kept.sender = sender;
    return sender.source;
  },
  async reply() {
    const { value } = await kept.sender.next();
    return { text: value.text, source: value.source, port: value.port, kind: value.kind };
  },
  async status() {
    for await (const status of kept.gateway.watch(250)) return status.streams.map(({ group }) => group);
  },
  /** Reads datagrams that begin with their number, and balances: every number came or was told as lost. */
  async count(target, options) {
    const subscription = kept.gateway.join(target, options);
    const books = (kept.books = { received: 0, holes: 0, backwards: 0, last: -1, first: -1, jitter: [], subscription, text: '' });
    (async () => {
      for await (const { payload } of subscription) {
        books.text = new TextDecoder().decode(payload);
        const number = parseInt(books.text, 10);
        books.received += 1;
        if (books.first < 0) books.first = number;
        else if (number <= books.last) books.backwards += 1;
        else books.holes += number - books.last - 1;
        books.last = number;
      }
    })();
    await subscription.joined;
    let due = performance.now() + 10;
    const tick = () => {
      books.jitter.push(performance.now() - due);
      due = performance.now() + 10;
      setTimeout(tick, 10);
    };
    setTimeout(tick, 10);
  },
  books() {
    const { subscription, jitter, text, ...books } = kept.books;
    const sorted = [...jitter].sort((a, b) => a - b);
    const at = (part) => sorted[Math.floor((sorted.length - 1) * part)] ?? 0;
    return { ...books, lost: subscription.lost, gaps: subscription.gaps, waiting: subscription.waiting, p50: at(0.5), p99: at(0.99), most: at(1), ticks: sorted.length };
  },
  /** Does nothing else, as a page does that computes for long. */
  stall(ms) { for (const end = performance.now() + ms; performance.now() < end;); },
};
