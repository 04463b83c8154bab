"""An HTTP/1.1 client that sends exactly the bytes it is given and reads strictly, for tests of the wire itself."""

import socket

from weirproc import slowness


class Reply:
    """status, headers (a list, in order, names as sent), body bytes, chunks (sizes, when chunked), complete."""

    def __init__(self, status, headers, body, chunks, complete):
        self.status, self.headers, self.body, self.chunks, self.complete = status, headers, body, chunks, complete

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class Client:
    def __init__(self, address, timeout_s=10):
        self.socket = socket.create_connection(address, timeout_s * slowness())
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return False
        self.buffer += data
        return True

    def until(self, mark):
        """Bytes up to and with mark; None when the connection ended first."""
        while mark not in self.buffer:
            if not self._more():
                return None
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    def exactly(self, size):
        while len(self.buffer) < size:
            if not self._more():
                break
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def head(self):
        """(status, headers) of the next reply head, or None at the end of the connection."""
        raw = self.until(b"\r\n\r\n")
        if raw is None:
            assert not self.buffer, f"the connection ended within a head: {self.buffer!r}"
            return None
        lines = raw.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ", 2)[:2]
        assert version == "HTTP/1.1", lines[0]
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:] if line]
        assert all(len(h) == 2 for h in headers), headers
        return int(status), headers

    def reply(self, method="GET", interim=None):
        """The next final reply, body read to its end. interim: a list that collects 1xx statuses."""
        while True:
            head = self.head()
            assert head is not None, "the connection ended without a reply"
            status, headers = head
            if status >= 200:
                break
            assert interim is not None, f"an unexpected {status}"
            interim.append(status)
        return self.body(status, headers, method)

    def body(self, status, headers, method="GET"):
        """The reply whose head has been read, its body read to its end."""
        names = {n.lower(): v for n, v in headers}
        assert not ("content-length" in names and "transfer-encoding" in names), "both framings"
        if method == "HEAD" or status in (204, 304):
            return Reply(status, headers, b"", None, True)
        if "transfer-encoding" in names:
            assert names["transfer-encoding"] == "chunked"
            return self._chunked(status, headers)
        if "content-length" in names:
            size = int(names["content-length"])
            body = self.exactly(size)
            return Reply(status, headers, body, None, len(body) == size)
        while self._more():
            pass
        body, self.buffer = self.buffer, b""
        return Reply(status, headers, body, None, True)

    def _chunked(self, status, headers):
        body, sizes = b"", []
        while True:
            line = self.until(b"\r\n")
            if line is None:
                return Reply(status, headers, body, sizes, False)
            size = int(line.strip(), 16)
            if size == 0:
                return Reply(status, headers, body, sizes, self.exactly(2) == b"\r\n")
            data = self.exactly(size + 2)
            body += data[:size]
            sizes.append(size)
            if len(data) < size + 2:
                return Reply(status, headers, body, sizes, False)

    def closed(self, timeout_s=5):
        """True when the peer closes, without another byte, in time."""
        self.socket.settimeout(timeout_s * slowness())
        try:
            return not self.buffer and not self._more()
        except TimeoutError:
            return False


def request(method, target, body=b"", headers=(), host="weir.test"):
    """The bytes of one request; a body gets its Content-Length unless the headers frame it."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in headers)]
    framed = any(n.lower() in ("content-length", "transfer-encoding") for n, _ in headers)
    if (body or method == "POST") and not framed:
        lines.append(f"Content-Length: {len(body)}")
    if body and not any(n.lower() == "content-type" for n, _ in headers):
        lines.append("Content-Type: application/json")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chunked(body, size):
    """body in chunked coding, `size` bytes a chunk."""
    out = b""
    for at in range(0, len(body), size):
        part = body[at:at + size]
        out += b"%x\r\n%s\r\n" % (len(part), part)
    return out + b"0\r\n\r\n"


def events(body):
    """The data texts of an event stream in the order they came; strict about its lines."""
    assert body == b"" or body.endswith(b"\n\n"), f"the stream ends within an event: {body[-80:]!r}"
    out = []
    for block in body.split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        data = [line[len(b"data: "):] for line in lines if line.startswith(b"data: ")]
        assert len(data) == len(lines), f"something else than data lines: {block!r}"
        if data:
            out.append(b"\n".join(data).decode())
    return out
