#!/usr/bin/env python3
"""Servers that behave in one particular way each, for acceptance.sh.

Prints a line NAME PORT per server once all listen, then serves until its
standard input ends.
"""
import asyncio
import hashlib
import socket
import struct
import sys

CHUNK = bytes(range(256)) * 64  # 16 KiB
CHUNKS = 200


def reset(writer):
    """Ends a connection with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def request(reader):
    return await reader.readuntil(b"\r\n\r\n")


async def echo(reader, writer):
    """Everything back; after the client's FIN one more line, then FIN."""
    total = 0
    while data := await reader.read(65536):
        total += len(data)
        writer.write(data)
        await writer.drain()
    writer.write(b"\nafter your end: %d bytes\n" % total)
    await writer.drain()
    writer.close()


async def first_fin(reader, writer):
    """Speaks, ends its half, and goes on listening: the half-close of a server.

    What it heard after its own FIN it tells to the next connection.
    """
    writer.write(b"hello, that was all from me\n")
    await writer.drain()
    writer.write_eof()
    heard = hashlib.sha256()
    while data := await reader.read(65536):
        heard.update(data)
    first_fin.heard = heard.hexdigest()
    writer.close()


first_fin.heard = "nothing yet"


async def heard(reader, writer):
    writer.write(first_fin.heard.encode() + b"\n")
    await writer.drain()
    writer.close()


async def trickle(reader, writer):
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for n in range(20):
        writer.write(b"line %d\n" % n)
        await writer.drain()
        await asyncio.sleep(0.1)
    writer.close()


async def chunked(reader, writer):
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    for _ in range(CHUNKS):
        writer.write(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    writer.close()


async def reset_midway(reader, writer):
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nten bytes.")
    await writer.drain()
    await asyncio.sleep(0.2)
    reset(writer)


async def reset_at_once(_reader, writer):
    reset(writer)


async def main():
    servers = {
        "echo": echo,
        "first_fin": first_fin,
        "heard": heard,
        "trickle": trickle,
        "chunked": chunked,
        "reset_midway": reset_midway,
        "reset_at_once": reset_at_once,
    }
    running = []
    for name, handler in servers.items():
        async def quiet(reader, writer, handler=handler):
            try:
                await handler(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                writer.close()

        server = await asyncio.start_server(quiet, "127.0.0.1", 0)
        running.append(server)
        print(name, server.sockets[0].getsockname()[1])
    # A port that was free a moment ago and that nobody listens on.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        print("closed", closed.getsockname()[1])
    print("chunked_sha256", hashlib.sha256(CHUNK * CHUNKS).hexdigest(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
