#!/usr/bin/env python3
"""Raw TCP by way of a proxy, for acceptance.sh: an ssh ProxyCommand, and
checks of half-close that curl cannot do.

usage: tcp.py WAY HOST PORT pipe|client-fin|server-fin|drop
  WAY: direct, socks5:HOST:PORT or http:HOST:PORT
  pipe        copies standard input and output, like nc
  client-fin  sends, ends its half, and must still get everything back
  server-fin  the server ends its half first; what is sent after must arrive
  drop        sends half a request and goes away without a word
"""
import hashlib
import os
import socket
import struct
import sys
import threading

LIMIT = 20  # seconds
DATA = os.urandom(1) * 3_000_000


def exactly(sock, count):
    out = b""
    while len(out) < count:
        part = sock.recv(count - len(out))
        if not part:
            raise SystemExit("proxy closed the connection")
        out += part
    return out


def connect(way, host, port):
    kind, _, proxy = way.partition(":")
    if kind == "direct":
        return socket.create_connection((host, port), LIMIT)
    proxy_host, proxy_port = proxy.rsplit(":", 1)
    sock = socket.create_connection((proxy_host, int(proxy_port)), LIMIT)
    if kind == "socks5":
        sock.sendall(b"\x05\x01\x00")
        if exactly(sock, 2) != b"\x05\x00":
            raise SystemExit("not a SOCKS5 proxy")
        name = host.encode()
        sock.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port))
        head = exactly(sock, 4)
        if head[1]:
            raise SystemExit(f"SOCKS5 reply {head[1]}")
        exactly(sock, {1: 6, 4: 18}[head[3]])
    else:
        sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += exactly(sock, 1)
        if head.split()[1] != b"200":
            raise SystemExit(head.split(b"\r\n")[0].decode())
    return sock


def everything(sock):
    out = []
    while part := sock.recv(65536):
        out.append(part)
    return b"".join(out)


def pipe(sock):
    def up():
        while data := os.read(0, 65536):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    threading.Thread(target=up, daemon=True).start()
    try:
        while data := sock.recv(65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The reader has all that it wants, and compares that; the server's last line comes after it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def client_fin(sock):
    got = []
    reader = threading.Thread(target=lambda: got.append(everything(sock)))
    reader.start()
    sock.sendall(DATA)
    sock.shutdown(socket.SHUT_WR)
    reader.join(LIMIT)
    expected = DATA + b"\nafter your end: %d bytes\n" % len(DATA)
    if not got or got[0] != expected:
        raise SystemExit(f"got {len(got[0]) if got else 'nothing'} of {len(expected)} bytes back")


def server_fin(sock):
    said = everything(sock)  # returns at the server's FIN
    if said != b"hello, that was all from me\n":
        raise SystemExit(f"the server said {said!r}")
    sock.sendall(DATA)
    sock.shutdown(socket.SHUT_WR)
    print(hashlib.sha256(DATA).hexdigest())


def drop(sock):
    sock.sendall(b"GET / HTTP/1.1\r\n")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


way, host, port, what = sys.argv[1:5]
connection = connect(way, host, int(port))
connection.settimeout(LIMIT)
{"pipe": pipe, "client-fin": client_fin, "server-fin": server_fin, "drop": drop}[what](connection)
