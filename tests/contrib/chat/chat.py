from __future__ import annotations

import os

from flask import Flask, request, send_file, session
from flask_socketio import SocketIO, emit, join_room, leave_room

from greenserve.contrib.socketio import LocalManager

app = Flask(__name__)
app.config["SECRET_KEY"] = "for tests alone"
bus = os.environ.get("CHAT_BUS")
others = {"client_manager": LocalManager(bus)} if bus else {"message_queue": os.environ.get("CHAT_QUEUE")}
socketio = SocketIO(app, async_mode=os.environ.get("CHAT_MODE"), **others)


@app.get("/")
def page():
    return send_file("chat.html")


@app.get("/socket.io.js")
def client():
    return send_file(os.environ["CHAT_CLIENT"])


@socketio.on("join")
def join(data):
    if "room" in session:
        leave_room(session["room"])
        emit("said", {"who": session["name"], "text": "has left"}, to=session["room"])
    session["name"], session["room"] = data["name"], data["room"]
    join_room(data["room"])
    emit("said", {"who": data["name"], "text": "has come in"}, to=data["room"])


@socketio.on("say")
def say(text):
    emit("said", {"who": session["name"], "text": text}, to=session["room"])


@socketio.on("field")
def field(name):
    return request.headers.get(name)


@socketio.on("mode")
def mode(_):
    return [socketio.async_mode, request.environ["SERVER_SOFTWARE"].partition("/")[0]]


@socketio.on("big")
def big(size):
    emit("big", "x" * size)


if __name__ == "__main__":
    socketio.run(app, port=int(os.environ["CHAT_PORT"]))
