"""The WebSocket servers that are measured, one program a module, each with the same app.

A program is run as ``python -m benchmarks.websockets.NAME HOST PORT APP``. The app sends every message back, and one
that begins with ``!`` to everybody. ``echo`` does without compression, ``deflated`` agrees to it.
"""
