"use strict";

const find = (id) => document.getElementById(id);
const stations = [...document.querySelectorAll(".chain li")];
const hub = document.querySelector(".chain .hub");
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

// The light runs down the chain, as the request's bytes were asked for, and up again, as they came.
function walk() {
  if (calm) return;
  const there = stations.concat(stations.slice(0, -1).reverse());
  there.forEach((station, step) => {
    setTimeout(() => station.classList.add("lit"), step * 90);
    setTimeout(() => station.classList.remove("lit"), step * 90 + 260);
  });
}

// How late the hub woke each of the last ticks, one bar each; the full height is 3 ms.
const BARS = 60;
const bars = Array.from({ length: BARS }, (_, i) => {
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  bar.setAttribute("x", i * 4);
  bar.setAttribute("width", 2.4);
  find("lateness").append(bar);
  return bar;
});
const lateness = new Array(BARS).fill(0);

function draw() {
  lateness.forEach((late, i) => {
    const height = late ? Math.min(40, 2 + late * 12.7) : 0;
    bars[i].setAttribute("height", height);
    bars[i].setAttribute("y", 40 - height);
  });
}

let ticks = 0;
let last = 0;
const clock = new EventSource("/clock");
clock.onmessage = (event) => {
  const { now, late } = JSON.parse(event.data);
  last = performance.now();
  ticks += 1;
  find("time").textContent = now.slice(11, 21);
  find("time").dateTime = now;
  find("late").textContent = `tick ${ticks}, woken ${late.toFixed(2)} ms late`;
  lateness.push(late);
  lateness.shift();
  draw();
  hub.classList.toggle("beat", ticks % 2 === 1);
  setState("Live", true);
};

// A stream ends every few seconds and the browser opens the next one: only a longer silence is worth a word.
function setState(text, live) {
  const state = find("state");
  if (state.textContent !== text) state.textContent = text; // a screen reader speaks each change
  state.classList.toggle("live", live);
}
setInterval(() => {
  if (performance.now() - last > 2000) setState("Waiting for the server", false);
}, 1000);

find("send").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const answer = find("answer");
  answer.hidden = false;
  try {
    const response = await fetch("/headers", { headers: { [form.field.value]: form.value.value } });
    const { method, target, protocol, fields } = await response.json();
    answer.textContent = [`${method} ${target} ${protocol}`, ...fields.map((f) => `${f.name}: ${f.value}`)].join("\n");
    walk();
  } catch (error) {
    answer.textContent = `Not sent: ${error.message}`;
  }
});

walk();
