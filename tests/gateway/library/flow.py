# Sends COUNT datagrams of 100 bytes to GROUP:PORT on eth0, each beginning with its number, RATE a second in bursts of a millisecond.
import socket, sys, time
(group, port), rate, count = sys.argv[1].split(":"), int(sys.argv[2]), int(sys.argv[3])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.1.0.2"))
sender.connect((group, int(port)))
start, sent = time.monotonic(), 0
while sent < count:
    due = min(count, int((time.monotonic() - start) * rate) + 1)
    while sent < due:
        sender.send(b"%-100d" % sent)
        sent += 1
    time.sleep(0.001)
