"""The green-thread libraries that ``primitives`` measures, each behind the same few names, one module a library.

A module here has ``OPERATIONS`` (name to a function that does the operation so many times) and ``hold(count)``, which
leaves so many green threads asleep.
"""
