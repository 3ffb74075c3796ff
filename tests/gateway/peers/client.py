"""A WebSocket client of the package `websockets`, to the URL given. Each line of standard input is sent as a text message; each
message that arrives is printed as a line."""

import sys
import threading

from websockets.sync.client import connect

with connect(sys.argv[1]) as socket:

    def send():
        for line in sys.stdin:
            socket.send(line.rstrip("\n"))
        socket.close()

    threading.Thread(target=send, daemon=True).start()
    for message in socket:
        assert isinstance(message, bytes), "a datagram came as text"
        print(message.decode(), flush=True)
