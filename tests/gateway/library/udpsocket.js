// The multicast cases that Chromium has for its own UDPSocket (udp.js of its browser tests), in a page that imported the module.
async (origin) => {
  await import(`${origin}/wscast-udpsocket.js`);
  const [A, B, SOURCE, OTHER] = ['239.1.2.3', '239.1.2.4', '10.1.0.2', '10.1.0.3'];
  const open = async (options = {}) => {
    const socket = new UDPSocket({ localAddress: '0.0.0.0', localPort: 5000, multicastAllowAddressSharing: true, ...options });
    const info = await socket.opened;
    return { socket, ...info, controller: info.multicastController };
  };
  const name = (promise) => promise.then(() => 'nothing', (error) => error.name);
  const is = (found, wanted, what) => {
    if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`${what}: ${JSON.stringify(found)} and not ${JSON.stringify(wanted)}`);
  };
  const cases = {
    async joinGroupTwice() {
      const { controller, socket } = await open();
      await controller.joinGroup(A);
      is(await name(controller.joinGroup(A)), 'InvalidStateError', 'the second join');
      is(controller.joinedGroups, [A], 'joinedGroups');
      await socket.close();
    },
    async leaveGroupTwiceAfterJoin() {
      const { controller, socket } = await open();
      await controller.joinGroup(A);
      await controller.leaveGroup(A);
      is(controller.joinedGroups, [], 'joinedGroups');
      is(await name(controller.leaveGroup(A)), 'InvalidStateError', 'the second leave');
      await controller.joinGroup(A);
      await socket.close();
    },
    async joinAndLeaveAfterClose() {
      const { controller, socket } = await open();
      await controller.joinGroup(A);
      await socket.close();
      is(await name(controller.joinGroup(B)), 'InvalidStateError', 'join');
      is(await name(controller.leaveGroup(A)), 'InvalidStateError', 'leave');
      is(await name(socket.closed), 'nothing', 'closed');
    },
    async multicastControllerAbsent() {
      const socket = new UDPSocket({ remoteAddress: A, remotePort: 5000 });
      is('multicastController' in (await socket.opened), false, 'multicastController in connected mode');
      await socket.close();
    },
    async joinGroupSSM() {
      const { controller, socket } = await open();
      await controller.joinGroup(A, { sourceAddress: SOURCE });
      await controller.joinGroup(A, { sourceAddress: OTHER });
      is(await name(controller.joinGroup(A, { sourceAddress: SOURCE })), 'InvalidStateError', 'twice with the same source');
      is(await name(controller.joinGroup(A, { sourceAddress: 'source' })), 'TypeError', 'an invalid source');
      is(await name(controller.leaveGroup(A, { sourceAddress: '10.1.0.9' })), 'InvalidStateError', 'leave with another source');
      is(await name(controller.leaveGroup(A)), 'InvalidStateError', 'leave without a source');
      is(controller.joinedGroups, [{ groupAddress: A, sourceAddress: SOURCE }, { groupAddress: A, sourceAddress: OTHER }], 'joinedGroups');
      await controller.leaveGroup(A, { sourceAddress: SOURCE });
      is(controller.joinedGroups, [{ groupAddress: A, sourceAddress: OTHER }], 'joinedGroups after leaving');
      await socket.close();
    },
    async cannotMixASMAndSSM() {
      const { controller, socket } = await open();
      await controller.joinGroup(A);
      is(await name(controller.joinGroup(A, { sourceAddress: SOURCE })), 'InvalidStateError', 'SSM after ASM');
      await controller.joinGroup(B, { sourceAddress: SOURCE });
      is(await name(controller.joinGroup(B)), 'InvalidStateError', 'ASM after SSM');
      await socket.close();
    },
    /** Two receivers that share the port, one sender, 35 datagrams of sizes 1 to 35. */
    async exchangeUdpMulticastPacketsMultipleReceivers() {
      const receivers = [await open(), await open()];
      for (const { controller } of receivers) await controller.joinGroup(A);
      const sender = await open({ localPort: undefined, multicastAllowAddressSharing: false });
      const payload = (size) => Uint8Array.from({ length: size }, (_, at) => (at * 7 + size) & 255);
      const read = async ({ readable }) => {
        const reader = readable.getReader();
        const got = [];
        while (got.length < 35) got.push((await reader.read()).value);
        reader.releaseLock();
        return got;
      };
      const reading = receivers.map(read);
      const writer = sender.writable.getWriter();
      for (let size = 1; size <= 35; size += 1) await writer.write({ data: payload(size), remoteAddress: A, remotePort: 5000 });
      writer.releaseLock();
      for (const got of await Promise.all(reading)) {
        is(got.map(({ data }) => [...data]), Array.from({ length: 35 }, (_, at) => [...payload(at + 1)]), 'what was received');
        for (const { data, remoteAddress, remotePort, groupAddress, interface: on, ttl } of got) {
          is([data instanceof Uint8Array, data.byteLength === data.buffer.byteLength], [true, true], 'data');
          is([remoteAddress, typeof remotePort, groupAddress, on, ttl], ['10.1.0.1', 'number', A, 'lan0', 1], 'the fields');
        }
      }
      for (const { socket } of [...receivers, sender]) await socket.close();
    },
    async policyAndPorts() {
      const { controller, socket } = await open({ localPort: 5353 });
      is(await name(controller.joinGroup('224.0.0.251')), 'NotAllowedError', 'a group that the gateway denies');
      is(await name(open({ localPort: 5353, multicastAllowAddressSharing: false })), 'NetworkError', 'a port that is taken');
      is(await name(open({ localPort: 1000 })), 'NotAllowedError', 'a low port');
      await socket.close();
    },
  };
  const said = {};
  for (const [each, run] of Object.entries(cases)) said[each] = await run().then(() => 'ok', (error) => `${error.name}: ${error.message}`);
  return said;
}
