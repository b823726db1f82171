"""Small programs for eventlet that wait for file descriptors: sockets, pipes, servers and their clients."""

from __future__ import annotations

__all__ = ["WITH_SOCKETS"]

WITH_SOCKETS: dict[str, str] = {
    "trampoline waits for an fd, or until a timeout": """
        import eventlet, os
        from eventlet import hubs
        read, write = os.pipe()
        eventlet.spawn_after(0.01, os.write, write, b"x")
        hubs.trampoline(read, read=True)
        print(os.read(read, 1))
        try:
            hubs.trampoline(read, read=True, timeout=0.01)
        except eventlet.Timeout:
            print("timeout")
        try:
            hubs.trampoline(read, read=True, timeout=0.01, timeout_exc=KeyError("own"))
        except KeyError as exc:
            print(repr(exc))
        hubs.trampoline(write, write=True)
        def wait():
            hubs.trampoline(read, read=True)
        waiting = eventlet.spawn(wait)
        eventlet.sleep(0)
        print(len(hubs.get_hub().get_readers()))
        for arguments in ({"read": True}, {"read": True, "write": True}):
            try:
                hubs.trampoline(read, **arguments)
            except RuntimeError as exc:
                print(type(exc).__name__)
        os.write(write, b"y")
        waiting.wait()
        """,
    "a listener is told until it is removed": """
        import eventlet, os
        from eventlet import hubs
        read, write = os.pipe()
        seen = []
        hub = hubs.get_hub()
        def ready(fd):
            seen.append(os.read(fd, 1))
            if len(seen) == 2:
                hub.remove(listener)
        listener = hub.add(hub.READ, read, ready, lambda *args: None, None)
        print(listener.evtype, listener.fileno == read, hub.READ, hub.WRITE)
        os.write(write, b"abc")
        eventlet.sleep(0.01)
        print(seen, len(hub.get_readers()))
        """,
    "sockets, a listener and its clients": """
        import eventlet, socket
        from eventlet import greenio
        listener = eventlet.listen(("127.0.0.1", 0))
        def handle(conn, address):
            conn.sendall(conn.recv(10).upper())
            if conn.recv(10) == b"stop":
                raise eventlet.StopServe()
        server = eventlet.spawn(eventlet.serve, listener, handle)
        def ask(text, more):
            sock = eventlet.connect(listener.getsockname())
            sock.sendall(text)
            answer = sock.recv(10)
            sock.sendall(more)
            return answer, sock.recv(1)
        print(ask(b"abc", b"go"), ask(b"def", b"stop"))
        print(server.wait())
        one, two = (greenio.GreenSocket(sock) for sock in socket.socketpair())
        one.settimeout(0.01)
        try:
            one.recv(1)
        except socket.timeout as exc:
            print(exc, one.gettimeout(), one.act_non_blocking)
        one.setblocking(False)
        try:
            one.recv(1)
        except BlockingIOError:
            print("would block", one.gettimeout(), one.act_non_blocking)
        two.send(b"x")
        print(one.fd.recv(1), one.fd.fileno() == one.fileno())
        two.close()
        one.close()
        print(one.fileno())
        """,
    "what a handler raises is raised by serve": """
        import eventlet
        listener = eventlet.listen(("127.0.0.1", 0))
        eventlet.debug = __import__("eventlet.debug").debug
        eventlet.debug.hub_exceptions(False)
        def handle(conn, address):
            raise KeyError("handler")
        server = eventlet.spawn(eventlet.serve, listener, handle)
        eventlet.connect(listener.getsockname())
        try:
            server.wait()
        except KeyError as exc:
            print(repr(exc))
        """,
    "pipes as files": """
        import eventlet, os
        from eventlet import greenio
        read, write = os.pipe()
        reader, writer = greenio.GreenPipe(read, "r"), greenio.GreenPipe(write, "w")
        def send():
            writer.write("line\\n")
            writer.flush()
            eventlet.sleep(0)
            writer.write("rest")
            writer.close()
        eventlet.spawn(send)
        print(repr(reader.readline()), repr(reader.read()))
        """,
    "one green thread at a time reads from a socket": """
        import eventlet
        from eventlet import debug
        listener = eventlet.listen(("127.0.0.1", 0))
        sock = eventlet.connect(listener.getsockname())
        peer, _ = listener.accept()
        first = eventlet.spawn(sock.recv, 1)
        eventlet.sleep(0)
        try:
            sock.recv(1)
        except RuntimeError as exc:
            print(str(exc)[:24])
        peer.sendall(b"a")
        print(first.wait())
        debug.hub_prevent_multiple_readers(False)
        both = [eventlet.spawn(sock.recv, 1) for _ in range(2)]
        eventlet.sleep(0)
        peer.sendall(b"bc")
        print(sorted(each.wait() for each in both))
        debug.hub_prevent_multiple_readers(True)
        """,
    "a console for whoever connects": """
        import contextlib, io, eventlet, logging
        from eventlet import backdoor
        logging.disable()
        with contextlib.redirect_stdout(io.StringIO()):
            listener = eventlet.listen(("127.0.0.1", 0))
            server = eventlet.spawn(backdoor.backdoor_server, listener, {"n": 6})
            sock = eventlet.connect(listener.getsockname())
            lines = sock.makefile("r")
            seen = [lines.readline()[:6], lines.readline(), lines.readline(), lines.read(4)]
            sock.sendall(b"n * 7\\n")
            seen += [lines.readline(), lines.read(4)]
            lines.close()
            sock.close()
            server.kill()
            eventlet.sleep(0.01)
        print(seen)
        """,
    "what a client of the server sees": """
        import re, eventlet
        from eventlet import wsgi
        def hello(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"hello"]
        def closes(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
            return [b"bye"]
        def nothing(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b""
        def empty(environ, start_response):
            start_response("200 OK", [])
            return b""
        def no_content(environ, start_response):
            start_response("204 No Content", [])
            return []
        def fails(environ, start_response):
            raise RuntimeError("no")
        def hooks(environ, start_response):
            environ["eventlet.posthooks"] = [(lambda environ, word: print(word, environ["PATH_INFO"]), ("hook",), {})]
            return hello(environ, start_response)
        def ask(app, fields=(), count=1, **keywords):
            listener = eventlet.listen(("127.0.0.1", 0))
            server = eventlet.spawn(wsgi.server, listener, app, log_output=False, debug=False, **keywords)
            sock = eventlet.connect(listener.getsockname())
            head = "".join(f"{line}\\r\\n" for line in ("GET /p HTTP/1.1", "Host: h", *fields, ""))
            got = b""
            for _ in range(count):
                sock.sendall(head.encode())
                eventlet.sleep(0.05)
                got += sock.recv(65536)
            server.kill()
            eventlet.sleep(0)
            print(sock.recv(1) == b"", listener.fileno())
            for answer in re.split("(?=HTTP/1.1 )", got.decode())[1:]:
                head, _, body = answer.partition("\\r\\n\\r\\n")
                first, *lines = [line for line in head.split("\\r\\n") if not line.startswith("Date:")]
                fields = [line for line in lines if line.startswith(("Connection", "Keep-Alive", "Content-L", "Tr"))]
                print(first, sorted(fields), repr(body))
        keep = ["Connection: keep-alive"]
        ask(hello, count=2)
        ask(hello, keep, count=2)
        ask(hello, keep, keepalive=7.5)
        ask(hello, keep, keepalive=False)
        ask(hello, ["Connection: close"])
        ask(nothing, count=2)
        ask(empty)
        ask(no_content, keep, count=2)
        ask(fails)
        ask(hooks)
        listener = eventlet.listen(("127.0.0.1", 0))
        server = eventlet.spawn(wsgi.server, listener, closes, log_output=False)
        sock = eventlet.connect(listener.getsockname())
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n")
        print(sock.makefile("rb").read()[-7:])
        server.kill()
        """,
    "a listener that does not listen ends its server": """
        import contextlib, io, os, eventlet
        from eventlet import wsgi
        from eventlet.green import socket
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                eventlet.spawn(wsgi.server, sock, None, log_output=False).wait()
            except OSError as exc:
                print(exc.strerror)
        """,
    "a WebSocket made of a socket": """
        import eventlet
        from eventlet import websocket, wsgi
        def echo(ws):
            print("path", ws.path, "protocol", ws.protocol)
            while (message := ws.wait()) is not None:
                ws.send(message)
        app = websocket.WebSocketWSGI.configured(echo, supported_protocols=["chat"])
        listener = eventlet.listen(("127.0.0.1", 0))
        server = eventlet.spawn(wsgi.server, listener, app, log_output=False)
        lines = ["GET /e HTTP/1.1", "Host: h", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        def ask(*more):
            sock = eventlet.connect(listener.getsockname())
            sock.sendall("\\r\\n".join([*lines, *more, "", ""]).encode())
            got = b""
            while b"\\r\\n\\r\\n" not in got:
                got += sock.recv(1)
            return sock, got.decode()
        sock, answer = ask()
        print(answer.split()[1], "Connection: close" in answer)
        sock, answer = ask("Sec-WebSocket-Key: d9MXuOzlVQ0h+qRllvSCIg==", "Sec-WebSocket-Protocol: chat")
        print(sorted(answer.split("\\r\\n")))
        ws = websocket.RFC6455WebSocket(sock, {}, client=True, protocol="chat")
        for message in ("text", b"bytes", "x" * 70000):
            ws.send(message)
            print(ws.wait() == message)
        ws.close()
        server.kill()
        """,
}
