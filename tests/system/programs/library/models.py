from __future__ import annotations

from django.db import models


class Page(models.Model):
    number = models.IntegerField(unique=True)
    hits = models.IntegerField(default=0)
