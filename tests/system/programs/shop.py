"""A Flask application that counts in Redis, and asks itself by HTTP for a part of each page."""

from __future__ import annotations

import os
import threading

import redis
import requests
from flask import Flask, request

app = Flask(__name__)
store = redis.Redis("127.0.0.1", int(os.environ["REDIS_PORT"]))
lock = threading.Lock()
served = {"pages": 0}


@app.get("/page/<int:number>")
def page(number: int) -> dict[str, object]:
    stock = requests.get(f"{request.host_url}stock/{number}", timeout=30).json()
    with lock:
        served["pages"] += 1
        visits = store.incr("visits")
    return {"page": number, "links": [2 * number + 1, 2 * number + 2], "visits": visits, **stock}


@app.get("/stock/<int:number>")
def stock(number: int) -> dict[str, int]:
    return {"stock": store.hincrby("stock", str(number), 1)}


@app.get("/total")
def total() -> dict[str, int]:
    return {"pages": served["pages"], "visits": int(store.get("visits")), "stock": store.hlen("stock")}
