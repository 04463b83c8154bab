"""An upstream that sends exactly the bytes a test scripts and keeps exactly the bytes it received.

Each accepted request takes the next step from `script`; a step is a function (exchange) -> None, and the helpers below make
the usual ones. With no step left, a whole chat reply is sent (`otherwise`).
"""

import json
import socket
import struct
import threading
import time

OK_REPLY = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "up-small",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "logprobs": None,
                         "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}}


# What a judge of answers takes for a refusal.
UNSURE = "I'm sorry, but I can't help with that."


def reply(text, prompt=10, completion=5, **choice):
    """A whole chat completion that says just that."""
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}}


class Exchange:
    """One request as it came in, and the connection to answer on."""

    def __init__(self, server, connection, raw_head, body, raw_body):
        self.server, self.connection = server, connection
        self.raw_head, self.body, self.raw_body = raw_head, body, raw_body
        lines = raw_head.decode("latin-1").split("\r\n")
        self.method, self.target = lines[0].split(" ")[:2]
        self.headers = [tuple(p.strip() for p in line.split(":", 1)) for line in lines[1:] if line]
        self.closing = False
        self.gone = server.gone  # of the test that it belongs to: a later one has a list of its own

    def header(self, name):
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    def send(self, data):
        self.connection.sendall(data)

    def close(self):
        """FIN after what was sent."""
        self.closing = True

    def reset(self):
        """RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closing = True

    def wait_gone(self):
        """Returns when the peer went away. Its thread is a daemon: a peer that stays costs nothing."""
        self.connection.settimeout(None)
        try:
            while self.connection.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        self.gone.append(time.monotonic())
        self.closing = True


class Upstream:
    def __init__(self, listener=None):
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.lock = threading.Lock()
        self.otherwise = whole()  # the step when none is left
        self.reset()
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self):
        with self.lock:
            self.script, self.seen, self.gone, self.notes, self.connections = [], [], [], [], 0

    def play(self, *steps):
        """The steps for the next requests, after forgetting everything before."""
        self.reset()
        self.script = list(steps)

    def note(self, text):
        self.notes.append(text)

    @property
    def last(self):
        return self.seen[-1]

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            buffer = b""
            try:
                while True:
                    exchange, buffer = self._read(connection, buffer)
                    if exchange is None:
                        return
                    with self.lock:
                        self.seen.append(exchange)
                        step = self.script.pop(0) if self.script else self.otherwise
                    try:
                        step(exchange)
                    except OSError:  # the peer went away before all was said
                        exchange.gone.append(time.monotonic())
                        return
                    if exchange.closing:
                        return
                    connection.settimeout(None)
            except OSError:
                return

    def _read(self, connection, buffer):
        while b"\r\n\r\n" not in buffer:
            data = connection.recv(65536)
            if not data:
                return None, b""
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            while not buffer.endswith(b"0\r\n\r\n"):
                buffer += connection.recv(65536)
            raw, rest, body = buffer, buffer, b""
            while True:
                size, _, rest = rest.partition(b"\r\n")
                if int(size, 16) == 0:
                    break
                body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
            return Exchange(self, connection, head, body, raw), b""
        size = int(fields.get(b"content-length", b"0"))
        while len(buffer) < size:
            data = connection.recv(1 << 20)
            if not data:
                return None, b""
            buffer += data
        return Exchange(self, connection, head, buffer[:size], buffer[:size]), buffer[size:]


# ---- steps ----

def whole(body=None, status=200, headers=(), content_type="application/json"):
    """A reply with Content-Length; body is bytes or something to dump."""
    data = json.dumps(OK_REPLY).encode() if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()

    def step(exchange):
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(data)}",
                 *(f"{n}: {v}" for n, v in headers)]
        exchange.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + data)
    return step


def error(status, code=None, message="no", kind="server_error", param=None, headers=()):
    return whole({"error": {"message": message, "type": kind, "param": param, "code": code}}, status, headers)


def raw(data, then="close"):
    """Exactly these bytes, then close, reset or keep."""
    def step(exchange):
        exchange.send(data)
        finish(exchange, then)
    return step


def silent(exchange):
    """No answer at all until the peer goes."""
    exchange.wait_gone()


def finish(exchange, then):
    if then == "close":
        exchange.close()
    elif then == "reset":
        exchange.reset()
    elif then == "hang":
        exchange.wait_gone()
    else:
        assert then == "keep", then


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def stream(*pieces, then="keep", end=True, pause_s=0):
    """An event stream: each piece (bytes) in one chunk and one segment. end: the terminating chunk follows.
    then: what comes after it, as for raw()."""
    def step(exchange):
        exchange.send(SSE_HEAD)
        for piece in pieces:
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            if pause_s:
                time.sleep(pause_s)
        if end:
            exchange.send(b"0\r\n\r\n")
        finish(exchange, then)
    return step


def close_delimited(*pieces):
    """An event stream that ends with the connection."""
    def step(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for piece in pieces:
            exchange.send(piece)
        exchange.close()
    return step


# ---- chat chunks ----

def chunk(delta=None, finish_reason=None, index=0, **more):
    """One chat chunk as an event."""
    choice = {"index": index, "delta": delta if delta is not None else {}, "logprobs": None, "finish_reason": finish_reason}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-small",
            "choices": [choice], **more}
    return event(body)


def event(body):
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def usage_chunk(prompt=10, completion=2, **more):
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "up-small",
                  "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                                           "total_tokens": prompt + completion, **more}})


ROLE = chunk({"role": "assistant", "content": ""})
DONE = b"data: [DONE]\n\n"


def answer(*words, usage=True):
    """The events of a complete chat answer."""
    return [ROLE, *(chunk({"content": w}) for w in words), chunk(finish_reason="stop"), *([usage_chunk()] if usage else []), DONE]
