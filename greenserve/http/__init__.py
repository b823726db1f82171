"""HTTP/1.1 as values: bytes and strings in, values out. Knows no sockets, no hub and no WSGI.

``head`` the request line and the fields; ``target`` the request target in the line; ``framing`` which body follows and
whether the connection stays; ``body`` readers that end where the body ends; ``response`` heads and chunks, checked
before they are bytes; ``date`` HTTP's dates; ``memo`` bounded memories for all of these.

What is accepted and what is refused, with the sections of the RFCs: ``docs/explanation/http-conformance.md``.
"""
