// Joins a group, reads one datagram, answers it, and leaves: in any runtime with `import` and a WebSocket.
const [library, url, group] = (globalThis.Deno?.args ?? process.argv.slice(2));
const { connect } = await import(new URL(library, 'file:///').href);
const gateway = connect(url);
const subscription = gateway.join(group);
const { interface: on } = await subscription.joined;
console.log(`joined on ${on}`);
for await (const { source, text } of subscription) {
  console.log(`${source}: ${text}`);
  const sender = gateway.sender(group);
  await sender.opened;
  sender.send(`${text} zurück`);
  break;
}
await subscription.leave();
console.log('left');
gateway.close();
