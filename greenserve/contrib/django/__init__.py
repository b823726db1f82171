"""``greenserve.contrib.django`` among ``INSTALLED_APPS`` gives ``manage.py greenserve``."""

from __future__ import annotations

__all__: list[str] = []
