"""HTTP/2 frame by frame: what must be answered, and what must end a stream or the connection.

As in h2spec, an error of a stream may also be answered as one of the connection, and each error of the
connection by closing it (RFC 9113 §5.4). The names begin with the section: of RFC 9113, or of RFC 7541
after "HPACK".

Where the library of the service (h2) ends the connection, it says PROTOCOL_ERROR of nearly every frame that it
cannot read, also where the RFC has a code of its own. Clients treat all codes alike, so it is taken here too.
What it does not refuse at all, and does no harm, is in ACCEPTED, with the reason.
"""

import socket
import ssl
import struct
import sys
from urllib.parse import urlsplit

from hpack import Encoder
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = 1, 3, 5, 6, 7, 8, 9
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
# The flags, which also occur as sums: 5 is a header block that is complete, of a stream that ends.
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

ACCEPTED = {
    # The settings then are those by default.
    "3.4 the preface must go on with SETTINGS",
    # The service ignores all trailers.
    "8.3 a pseudo-header in trailers",
}

url = urlsplit(sys.argv[1])
tls = None
if url.scheme == "https":
    tls = ssl.create_default_context(cafile=sys.argv[2])
    tls.set_alpn_protocols(["h2"])


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def block(*extra, without=(), method="GET", path="/health/live"):
    """A header block that refers to nothing in the dynamic table."""
    fields = [(":method", method), (":scheme", url.scheme), (":path", path), (":authority", url.netloc)]
    fields = [field for field in fields if field[0] not in without] + list(extra)
    # As literals, because an encoder would put some of these names in another order or case.
    return b"".join(literal(name, value) for name, value in fields)


def literal(name, value):
    name, value = name.encode(), value.encode()
    assert len(name) < 127 and len(value) < 127
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def get(stream=1, *extra, **how):
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, block(*extra, **how))


def post(stream=1, *extra, flags=END_HEADERS, path="/kv/frames"):
    json = ("content-type", "application/json")
    return frame(HEADERS, flags, stream, block(json, *extra, method="PUT", path=path))


class Connection:
    def __init__(self, greeting=PREFACE + settings()):
        self.socket = socket.create_connection((url.hostname, url.port), timeout=15)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=url.hostname)
            assert self.socket.selected_alpn_protocol() == "h2"
        self.buffer = b""
        self.send(greeting)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # What was answered before is still to be read.

    def frames(self):
        """The frames that come, until the connection ends."""
        while True:
            while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
                try:
                    more = self.socket.recv(65536)
                except ConnectionError:
                    more = b""
                if not more:
                    return
                self.buffer += more
            one, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
            one.parse_body(memoryview(self.buffer[9 : 9 + length]))
            self.buffer = self.buffer[9 + length :]
            yield one

    def outcome(self):
        """The first of: an error of the connection or of a stream, the end, or the answer to a last ping."""
        # An answer to a ping overtakes what is to be said of streams, but the second does not.
        self.send(frame(PING, payload=b"not-last"))
        try:
            for one in self.frames():
                if isinstance(one, GoAwayFrame):
                    return "connection", one.error_code
                if isinstance(one, RstStreamFrame):
                    return "stream", one.error_code
                if isinstance(one, PingFrame) and one.opaque_data == b"not-last":
                    self.send(frame(PING, payload=b"the-last"))
                if isinstance(one, PingFrame) and one.opaque_data == b"the-last":
                    return "alive", None
        except TimeoutError:
            return "silent", None
        return "closed", None

    def until(self, wanted):
        for one in self.frames():
            if wanted(one):
                return one
        return None

    def settled(self):
        """The handshake is over on both sides."""
        self.until(lambda one: isinstance(one, SettingsFrame) and "ACK" not in one.flags)
        self.send(frame(SETTINGS, ACK))
        return self


def step(what, holds, found=""):
    if what in ACCEPTED:
        # Once it is refused, it is no exception any more.
        what, holds = f"accepted: {what}", not holds
    print("ok" if holds else "not ok", what, "" if holds else f"({found})", flush=True)


def connection_error(what, data, *codes):
    found = refuse(data)
    step(what, found[0] == "closed" or found[0] == "connection" and found[1] in (PROTOCOL, *codes), found)


def stream_error(what, data, *codes):
    found = refuse(data)
    step(what, found[0] == "closed" or found[0] == "stream" and found[1] in codes
         or found[0] == "connection" and found[1] in (PROTOCOL, *codes), found)


def refuse(data):
    connection = Connection().settled()
    connection.send(data)
    return connection.outcome()


def answered(what, data, stream=1, status=None):
    connection = Connection().settled()
    connection.send(data)
    try:
        one = connection.until(lambda one: isinstance(one, HeadersFrame) and one.stream_id == stream
                               or isinstance(one, (RstStreamFrame, GoAwayFrame)))
    except TimeoutError:
        one = "nothing"
    step(what, isinstance(one, HeadersFrame), one)


def lives(what, data):
    found = refuse(data)
    step(what, found[0] == "alive", found)


def refused_request(what, data):
    """A malformed request: an error of the stream, or a refusal by status (RFC 9113 §8.1.1)."""
    connection = Connection().settled()
    connection.send(data + frame(PING, payload=b"the-last"))
    found = "closed"
    for one in connection.frames():
        if isinstance(one, (RstStreamFrame, GoAwayFrame)):
            found = one.error_code
            break
        if isinstance(one, HeadersFrame):
            # The status is the first field: 400 is 0x8c in the static table.
            found = bytes(one.data[:1])
            break
    step(what, found in ("closed", PROTOCOL, b"\x8c"), found)


# 3.4: the preface.
connection = Connection()
first = next(connection.frames())
step("3.4 the first frame of the server is SETTINGS", isinstance(first, SettingsFrame) and not first.flags)
wrong = Connection(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + settings())
step("3.4 a wrong preface ends the connection", wrong.outcome()[0] in ("closed", "connection"))
no_settings = Connection(PREFACE + frame(PING, payload=b"too-soon"))
step("3.4 the preface must go on with SETTINGS", no_settings.outcome()[0] in ("closed", "connection"))

# 4: frames.
lives("4.1 a frame of an unknown type is ignored", frame(0x16, 0xFF, 0, b"unknown"))
lives("4.1 unknown flags are ignored", frame(PING, 0xFE, 0, b"12345678"))
answered("4.1 the reserved bit is ignored", frame(HEADERS, 5, 1 | 1 << 31, block()))
answered("4.2 a frame of 16,384 bytes is read", post(1) + frame(DATA, END_STREAM, 1, b'"' + b"a" * 16382 + b'"'))
stream_error("4.2 a larger DATA frame is refused", post(1) + frame(DATA, END_STREAM, 1, b"1" * 16385), FRAME_SIZE)
connection_error("4.2 a larger HEADERS frame is refused", frame(HEADERS, 5, 1, b"\0" * 16385), FRAME_SIZE, COMPRESSION)
connection_error("4.3 a header block that cannot be decoded", frame(HEADERS, 5, 1, b"\x40\x01a"), COMPRESSION)
begun = frame(HEADERS, END_STREAM, 1, block()[:4])
connection_error("4.3 PRIORITY within a header block", begun + frame(PRIORITY, 0, 1, bytes(5)), PROTOCOL)
connection_error("4.3 HEADERS of another stream within a header block", begun + get(3), PROTOCOL)
rest = frame(CONTINUATION, END_HEADERS, 1, block()[4:])
answered("6.10 a header block in pieces", begun + rest)

# 5.1: the states of a stream.
connection_error("5.1 idle: DATA", frame(DATA, END_STREAM, 1, b"1"), PROTOCOL, STREAM_CLOSED)
connection_error("5.1 idle: RST_STREAM", frame(RST, 0, 1, bytes(4)), PROTOCOL)
connection_error("5.1 idle: WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), PROTOCOL)
connection_error("5.1 idle: CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, block()), PROTOCOL)
waits = frame(HEADERS, END_STREAM | END_HEADERS, 1, block(path="/watch"))
stream_error("5.1 half closed: DATA", waits + frame(DATA, END_STREAM, 1, b"1"), STREAM_CLOSED)
stream_error("5.1 half closed: HEADERS", waits + get(1), STREAM_CLOSED)
connection_error("5.1 half closed: CONTINUATION", waits + frame(CONTINUATION, 4, 1, block()), PROTOCOL, STREAM_CLOSED)
lives("5.1 half closed: WINDOW_UPDATE is taken", waits + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))
lives("5.1 half closed: PRIORITY is taken", waits + frame(PRIORITY, 0, 1, b"\0\0\0\0\1"))
reset = waits + frame(RST, 0, 1, struct.pack(">I", CANCEL))
stream_error("5.1 closed: DATA after RST_STREAM", reset + frame(DATA, END_STREAM, 1, b"1"), STREAM_CLOSED)
stream_error("5.1 closed: HEADERS after RST_STREAM", reset + get(1), STREAM_CLOSED, PROTOCOL)
lives("5.1 closed: PRIORITY is taken", reset + frame(PRIORITY, 0, 1, b"\0\0\0\0\1"))
connection_error("5.1.1 a client's stream has an odd number", get(2), PROTOCOL)
connection_error("5.1.1 its number is larger than those before", waits.replace(b"\0\0\0\1", b"\0\0\0\5", 1) + get(3),
                 PROTOCOL, STREAM_CLOSED)

# 5.1.2: the limit of streams is the one that was said.
connection = Connection()
said = next(connection.frames()).settings
limit = said.get(SettingsFrame.MAX_CONCURRENT_STREAMS)
connection.send(frame(SETTINGS, ACK))
connection.send(b"".join(frame(HEADERS, 5, 1 + 2 * n, block(path="/watch")) for n in range(limit + 1)))
found = connection.outcome()
step("5.1.2 one more stream than said is refused", found[1] in (PROTOCOL, REFUSED), found)

lives("5.5 an unknown extension is ignored", frame(0xFF, 0, 0, bytes(8)))
connection_error("5.5 not within a header block", begun + frame(0xFF, 0, 0, bytes(8)), PROTOCOL)

# 6: the types of frames.
connection_error("6.1 DATA of stream 0", frame(DATA, END_STREAM, 0, b"1"), PROTOCOL)
connection_error("6.1 DATA with too much padding", post() + frame(DATA, 9, 1, b"\x06" + b"1" * 5), PROTOCOL)
answered("6.1 DATA with padding", post() + frame(DATA, 9, 1, b"\x03" + b"1" + bytes(3)))
connection_error("6.2 HEADERS of stream 0", get(0), PROTOCOL)
connection_error("6.2 HEADERS with too much padding", frame(HEADERS, 13, 1, b"\xff" + block()[:40]), PROTOCOL)
answered("6.2 HEADERS with padding and priority", frame(HEADERS, 45, 1, b"\x03\0\0\0\0\x10" + block() + bytes(3)))
connection_error("6.3 PRIORITY of stream 0", frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL)
stream_error("6.3 PRIORITY of a wrong size", waits + frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE)
connection_error("6.4 RST_STREAM of stream 0", frame(RST, 0, 0, bytes(4)), PROTOCOL)
connection_error("6.4 RST_STREAM of a wrong size", waits + frame(RST, 0, 1, bytes(3)), FRAME_SIZE)
connection_error("6.5 an ACK with settings", frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE)
connection_error("6.5 SETTINGS of a stream", frame(SETTINGS, 0, 1, b""), PROTOCOL)
connection_error("6.5 SETTINGS of a wrong size", frame(SETTINGS, 0, 0, bytes(3)), FRAME_SIZE)
connection_error("6.5.2 ENABLE_PUSH is 0 or 1", settings((2, 2)), PROTOCOL)
connection_error("6.5.2 INITIAL_WINDOW_SIZE has 31 bits", settings((4, 1 << 31)), FLOW_CONTROL)
connection_error("6.5.2 MAX_FRAME_SIZE is not smaller than 16,384", settings((5, 16383)), PROTOCOL)
connection_error("6.5.2 MAX_FRAME_SIZE has 24 bits", settings((5, 1 << 24)), PROTOCOL)
lives("6.5.2 an unknown setting is ignored", settings((0xFF, 1)))
connection = Connection().settled()
connection.until(lambda one: isinstance(one, SettingsFrame) and "ACK" in one.flags)
connection.send(settings((3, 10)))
one = connection.until(lambda one: isinstance(one, SettingsFrame) and "ACK" in one.flags)
step("6.5.3 SETTINGS are acknowledged", one is not None)
connection_error("6.6 PUSH_PROMISE of a client", frame(PUSH, 4, 1, b"\0\0\0\2" + block()), PROTOCOL)
connection = Connection().settled()
connection.send(frame(PING, 0, 0, b"h2-check"))
one = connection.until(lambda one: isinstance(one, PingFrame))
step("6.7 PING is answered with its bytes", one is not None and one.opaque_data == b"h2-check" and "ACK" in one.flags)
connection_error("6.7 PING of a stream", frame(PING, 0, 1, bytes(8)), PROTOCOL)
connection_error("6.7 PING of a wrong size", frame(PING, 0, 0, bytes(6)), FRAME_SIZE)
lives("6.7 an ACK that nobody asked for is ignored", frame(PING, ACK, 0, b"invented"))
connection_error("6.8 GOAWAY of a stream", frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL)
connection_error("6.9 WINDOW_UPDATE of 0 for the connection", frame(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL)
stream_error("6.9 WINDOW_UPDATE of 0 for a stream", waits + frame(WINDOW_UPDATE, 0, 1, bytes(4)), PROTOCOL)
connection_error("6.9 WINDOW_UPDATE of a wrong size", frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE)
largest = struct.pack(">I", (1 << 31) - 1)
connection_error("6.9.1 the window of the connection is too large", frame(WINDOW_UPDATE, 0, 0, largest), FLOW_CONTROL)
stream_error("6.9.1 the window of a stream is too large", waits + frame(WINDOW_UPDATE, 0, 1, largest), FLOW_CONTROL)
connection_error("6.9.2 a setting makes the window too large", waits + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\xff")
                 + settings((4, (1 << 31) - 1)), FLOW_CONTROL)
connection = Connection(PREFACE + settings((4, 1))).settled()
connection.send(get(1))
one = connection.until(lambda one: one.type == DATA)
step("6.9.2 the window of a client is kept", one is not None and len(one.data) == 1)
connection.send(settings((4, 2)))
one = connection.until(lambda one: one.type == DATA)
step("6.9.2 a setting enlarges the window of a stream", one is not None and len(one.data) == 1)
connection.send(settings((4, 0)) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\3"))
one = connection.until(lambda one: one.type == DATA)
step("6.9.2 a setting can make it negative", one is not None and len(one.data) == 1)
connection_error("6.10 CONTINUATION after the end of the headers", waits + frame(CONTINUATION, 4, 1, block()),
                 PROTOCOL, STREAM_CLOSED)
connection_error("6.10 CONTINUATION of stream 0", begun + frame(CONTINUATION, 4, 0, block()[4:]), PROTOCOL)
connection_error("6.10 DATA before CONTINUATION", begun + frame(DATA, 1, 1, b"1"), PROTOCOL)

# 8: the messages.
answered("8.1 HEAD", get(method="HEAD"))
answered("8.1 trailers", post(1) + frame(DATA, 0, 1, b"1") + frame(HEADERS, 5, 1, literal("x-checksum", "1")))
stream_error("8.1 a second HEADERS that does not end the stream",
             post(1) + frame(DATA, 0, 1, b"1") + frame(HEADERS, 4, 1, literal("x-checksum", "1")), PROTOCOL)
for what, data in {
    "8.2 a field name in upper case": get(1, ("X-Upper", "1")),
    "8.2.1 a field value with a line feed": get(1, ("x-value", "a\nb")),
    "8.2.1 a field value with NUL": get(1, ("x-value", "a\0b")),
    "8.2.2 Connection": get(1, ("connection", "keep-alive")),
    "8.2.2 Transfer-Encoding": get(1, ("transfer-encoding", "chunked")),
    "8.2.2 TE other than trailers": get(1, ("te", "trailers, deflate")),
    "8.3 an unknown pseudo-header": get(1, (":unknown", "1")),
    "8.3 a pseudo-header of responses": get(1, (":status", "200")),
    "8.3 a pseudo-header after a field": get(1, ("x-a", "1"), (":method", "GET"), without=[":method"]),
    "8.3 a pseudo-header in trailers": post(1) + frame(DATA, 0, 1, b"1") + frame(HEADERS, 5, 1, literal(":method", "GET")),
    "8.3.1 no method": get(1, without=[":method"]),
    "8.3.1 no scheme": get(1, without=[":scheme"]),
    "8.3.1 no path": get(1, without=[":path"]),
    "8.3.1 an empty path": get(1, path=""),
    "8.3.1 two methods": get(1, (":method", "GET")),
    "8.3.1 two schemes": get(1, (":scheme", "http")),
    "8.3.1 two paths": get(1, (":path", "/")),
    "8.1.1 a length that is not that of the DATA frame": post(1, ("content-length", "1")) + frame(DATA, 1, 1, b"12"),
    "8.1.1 a length that is not that of several": post(1, ("content-length", "1")) + frame(DATA, 0, 1, b"1")
    + frame(DATA, 1, 1, b"2"),
    "8.1.1 a length of what does not come": post(1, ("content-length", "9")) + frame(DATA, 1, 1, b"1"),
}.items():
    refused_request(what, data)
answered("8.2.2 TE: trailers", get(1, ("te", "trailers")))
answered("8.2.3 Cookie in two fields", get(1, ("cookie", "a=1"), ("cookie", "b=2")))

# RFC 7541.
answered("HPACK 2.3 entries of the dynamic table", frame(HEADERS, 5, 1, Encoder().encode(
    [(":method", "GET"), (":scheme", url.scheme), (":path", "/health/live"), (":authority", url.netloc), ("x-a", "b")])))
answered("HPACK 5.2 texts in Huffman's code", frame(HEADERS, 5, 1, Encoder().encode(
    [(":method", "GET"), (":scheme", url.scheme), (":path", "/health/live"), (":authority", url.netloc)], huffman=True)))
for what, bad in {
    "HPACK 2.3.3 an index past both tables": b"\xc0",
    "HPACK 6.1 index 0": b"\x80",
    "HPACK 4.2 an update of the size after a field": block() + b"\x20",
    "HPACK 6.3 a table that is larger than was said": b"\x3f\xff\xff\x03" + block(),
    "HPACK 5.2 padding of more than 7 bits": block() + b"\x00\x02aa\x83\x1c\xff\xff",
    "HPACK 5.2 padding of zeros": block() + b"\x00\x02aa\x81\x18",
    "HPACK 5.2 the end of a text within it": block() + b"\x00\x02aa\x84\xff\xff\xff\xff",
    "HPACK 5.1 an integer without end": b"\xff" + b"\xff" * 12 + block(),
}.items():
    connection_error(what, frame(HEADERS, 5, 1, bad), COMPRESSION)
