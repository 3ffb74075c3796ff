// Many clients of the library in one program: each joins a group of numbered datagrams. Says `joined` when all have.
// Its input is the number of the last datagram: when all have that, it says what each has seen.
const [library, url, group, clients] = process.argv.slice(2);
const { connect } = await import(new URL(library, 'file:///').href);

async function listen() {
  // A page's parts share one connection; these are pages of their own.
  const subscription = connect(url, { shared: false }).join(group);
  const story = { last: null, unexplained: 0, counted: 0, outages: [] };
  let told = false;
  subscription.addEventListener('lost', ({ detail: { datagrams, seconds } }) => {
    told = true;
    if (datagrams === null) story.outages.push(seconds);
    else story.counted += datagrams;
  });
  (async () => {
    for await (const { payload } of subscription) {
      const number = Number(new DataView(payload.buffer, payload.byteOffset).getBigUint64(0));
      if (story.last !== null && !told) story.unexplained += number - story.last - 1;
      [story.last, told] = [number, false];
    }
  })();
  await subscription.joined;
  return story;
}

const stories = await Promise.all(Array.from({ length: Number(clients) }, listen));
console.log('joined');
let input = '';
for await (const text of process.stdin) input += text;
const newest = Number(input);
for (const end = performance.now() + 10_000; performance.now() < end && stories.some(({ last }) => last < newest);)
  await new Promise((resolve) => setTimeout(resolve, 10));
console.log(JSON.stringify(stories));
process.exit(0);
