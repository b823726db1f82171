"""Sticky sessions by the client's address: the kernel picks the socket of a SO_REUSEPORT group. Linux alone.

Facts this rests on (Linux socket(7), SO_ATTACH_REUSEPORT_CBPF; the kernel's networking/filter documentation):

- The filter runs over the packet that begins a connection, and returns the index of the socket that gets it. Sockets
  are counted in the order in which they began to listen.
- Loads at ``SKF_NET_OFF`` are counted from the IP header. The source address is at byte 12 of IPv4's (RFC 791), at
  bytes 8 to 23 of IPv6's (RFC 8200).
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

from greenserve.net.sockets import GreenSocket

__all__ = ["stick_by_address"]

# Until Python has it. The same number on all architectures but alpha, hppa, mips and sparc.
_SO_ATTACH_REUSEPORT_CBPF = getattr(socket, "SO_ATTACH_REUSEPORT_CBPF", 51)

_NET = 0xFFF00000  # SKF_NET_OFF, -0x100000
_INSTRUCTION = struct.Struct("=HBBI")

# Instructions of classic BPF: linux/bpf_common.h.
_LOAD_WORD, _LOAD_BYTE = 0x20, 0x30
_SHIFT_RIGHT, _XOR_X, _MODULO = 0x74, 0xAC, 0x94
_TO_X, _RETURN_A, _JUMP_IF_EQUAL = 0x07, 0x16, 0x15


def _program(count: int) -> bytes:
    """Return a filter that makes an index below ``count`` of the source address."""
    code = [
        (_LOAD_BYTE, 0, 0, _NET),
        (_SHIFT_RIGHT, 0, 0, 4),  # the version
        (_JUMP_IF_EQUAL, 2, 0, 6),
        (_LOAD_WORD, 0, 0, _NET + 12),
        (_JUMP_IF_EQUAL, 10, 10, 0),  # past the IPv6 part, whether it is 0 or not
        # IPv6: all four words, folded into one.
        (_LOAD_WORD, 0, 0, _NET + 8),
        (_TO_X, 0, 0, 0),
        (_LOAD_WORD, 0, 0, _NET + 12),
        (_XOR_X, 0, 0, 0),
        (_TO_X, 0, 0, 0),
        (_LOAD_WORD, 0, 0, _NET + 16),
        (_XOR_X, 0, 0, 0),
        (_TO_X, 0, 0, 0),
        (_LOAD_WORD, 0, 0, _NET + 20),
        (_XOR_X, 0, 0, 0),
        (_MODULO, 0, 0, count),
        (_RETURN_A, 0, 0, 0),
    ]
    return b"".join(_INSTRUCTION.pack(*step) for step in code)


def stick_by_address(sock: GreenSocket, count: int) -> None:
    """Let each address have one of the ``count`` sockets of the group that ``sock`` is in.

    Raises:
        OSError: The system can't.
    """
    if sys.platform != "linux":
        raise OSError("only Linux picks a listening socket by the client's address")
    program = _program(count)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are.
    value = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, value)
