"""What Django needs to know of the app."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["GreenserveConfig"]


class GreenserveConfig(AppConfig):
    """The app: it has a command, and no models."""

    name = "greenserve.contrib.django"
    label = "greenserve"
