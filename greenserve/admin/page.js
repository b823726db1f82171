"use strict";

const find = (id) => document.getElementById(id);
const KEPT = 120;
const NARROWEST = 30; // points: a young chart is not drawn any wider
let points = [];
let events = 0;

// Texts -------------------------------------------------------------------------------------------------------------

function number(value) {
  if (value >= 99950) return [(value / 1000).toFixed(0), "k"];
  if (value >= 9995) return [(value / 1000).toFixed(1), "k"];
  return [value >= 10 || Number.isInteger(value) ? Math.round(value).toString() : value.toFixed(1), ""];
}

function seconds(value) {
  if (value === null || value === undefined) return ["–", ""];
  if (value < 0.001) return [Math.round(value * 1e6).toString(), "µs"];
  if (value < 0.01) return [(value * 1000).toFixed(1), "ms"];
  if (value < 1) return [Math.round(value * 1000).toString(), "ms"];
  return [value.toFixed(value < 10 ? 1 : 0), "s"];
}

function bytes(value) {
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return [(value / size).toFixed(value < size * 10 ? 1 : 0), unit];
  }
  return [Math.round(value).toString(), "B"];
}

function age(value) {
  if (value < 60) return `${Math.floor(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}

const percent = (value) => [(value * 100).toFixed(value < 0.0995 ? 1 : 0), "%"];
const join = ([text, unit]) => (unit ? `${text} ${unit}` : text);

// Elements ----------------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function show(id, [text, unit], isBad = false) {
  const element = find(id);
  element.replaceChildren(text, ...(unit ? [make("small", {}, unit)] : []));
  element.classList.toggle("warn", isBad);
}

// Charts ------------------------------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

// The next round number: the scale moves rarely, and its label is short.
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// Each series is {values, style, filled}; a null leaves a gap. The newest point is at the right edge.
function draw(id, series, { top, label } = {}) {
  const chart = find(id);
  let svg = chart.querySelector("svg");
  if (!svg) {
    svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    chart.append(svg);
  }
  const largest = Math.max(0, ...series.flatMap(({ values }) => values.filter((value) => value !== null)));
  const limit = ceiling(Math.max(largest, top || 0));
  const span = Math.max(NARROWEST, points.length) - 1;
  const x = (index, count) => 100 - ((count - 1 - index) * 100) / span;
  const y = (value) => 100 - (Math.min(value, limit) * 100) / limit;
  const paths = [];
  const add = (d, style) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", style);
    paths.push(path);
  };
  if (label) for (const line of [0, 50, 100]) add(`M0 ${line}H100`, "grid");
  for (const { values, style, filled } of series) {
    let d = "";
    let open = false;
    let first = 0;
    let last = 0;
    values.forEach((value, index) => {
      if (value === null) { open = false; return; }
      const at = x(index, values.length);
      if (!d) first = at;
      last = at;
      d += `${open ? "L" : "M"}${at.toFixed(2)} ${y(value).toFixed(2)}`;
      open = true;
    });
    if (!d) continue;
    if (filled) add(`${d}L${last.toFixed(2)} 100L${first.toFixed(2)} 100Z`, `area ${style}`);
    add(d, style);
  }
  svg.replaceChildren(...paths);
  if (!label) return;
  chart.querySelectorAll("span").forEach((old) => old.remove());
  const upper = make("span", { class: "scale" }, label(limit));
  const middle = make("span", { class: "scale" }, label(limit / 2));
  upper.style.top = "-5px";
  middle.style.top = "calc(50% - 5px)";
  const ages = make("span", { class: "ages" }, make("span", {}, span >= 119 ? "2 min ago" : `${span} s ago`), make("span", {}, "now"));
  chart.append(upper, middle, ages);
}

const column = (name) => points.map((point) => point[name]);

function drawAll() {
  draw("chart-requests", [
    { values: column("requests"), style: "s-green", filled: true },
    { values: column("failed"), style: "s-red", filled: true },
  ], { top: 5, label: (value) => join(number(value)) });
  draw("chart-latency", [
    { values: column("p50"), style: "s-green", filled: true },
    { values: column("p90"), style: "s-amber" },
    { values: column("p99"), style: "s-red" },
  ], { top: 0.001, label: (value) => join(seconds(value)) });
  draw("chart-running", [{ values: column("running"), style: "s-green", filled: true }], { top: 4 });
  draw("chart-connections", [{ values: column("connections"), style: "s-green", filled: true }], { top: 4 });
  draw("chart-lag", [{ values: column("lag"), style: "s-green", filled: true }], { top: 0.02 });
  draw("chart-cpu", [{ values: column("cpu"), style: "s-green", filled: true }], { top: 0.2 });
}

// Sections ----------------------------------------------------------------------------------------------------------

function showWorkers(workers, ended) {
  find("workers").replaceChildren(...workers.map((worker) => {
    const row = make("tr");
    const cell = (label, content, isBad = false) => {
      row.append(make("td", { "data-label": label, ...(isBad ? { class: "warn" } : {}) }, content));
    };
    const state = worker.silent ? "silent" : worker.state;
    cell("process", String(worker.pid));
    cell("", make("span", { class: `pill ${state}` }, worker.silent ? `silent for ${age(worker.silent)}` : state));
    cell("age", age(worker.age));
    cell("requests/s", join(number(worker.requests)));
    cell("in flight", String(worker.running));
    cell("connections", String(worker.connections));
    cell("green threads", String(worker.green_threads));
    cell("CPU", join(percent(worker.cpu)));
    cell("memory", join(bytes(worker.rss)));
    cell("hub lag", join(seconds(worker.lag)), worker.lag > 0.1);
    return row;
  }));
  const ends = Object.entries(ended).map(([reason, count]) => `${reason}: ${count}`);
  find("ended").textContent = ends.length ? `Ended so far: ${ends.join(", ")}` : "";
}

function showRunning(running) {
  const list = find("slowest");
  const open = new Set([...list.querySelectorAll("details[open]")].map((each) => each.dataset.key));
  const row = (request) => {
    const key = `${request.pid} ${request.client} ${request.method} ${request.target}`;
    const details = make("details", { "data-key": key },
      make("summary", {},
        make("span", { class: "took" }, join(seconds(request.seconds))),
        make("span", { class: "what", title: request.target }, make("b", {}, request.method), ` ${request.target}`),
        make("span", { class: "who" }, `${request.client} → ${request.pid}`)),
      make("div", { class: "frames", tabindex: "0" }, ...request.stack.map((line) => make("div", {}, line))));
    details.open = open.has(key);
    return make("li", {}, details);
  };
  list.replaceChildren(...running.map(row));
  find("no-slowest").hidden = running.length > 0;
}

function showBlocks(blocks) {
  find("blocks").replaceChildren(...blocks.map((block) => {
    const at = new Date(block.at * 1000);
    const [first, ...rest] = block.text.split("\n");
    const item = make("li", {}, make("time", { datetime: at.toISOString() }, at.toLocaleTimeString()),
      `process ${block.pid}: ${first}`);
    if (rest.length) item.append(make("pre", { tabindex: "0" }, rest.join("\n")));
    return item;
  }));
  find("no-blocks").hidden = blocks.length > 0;
}

const CLASSES = { "2xx": "c2", "3xx": "c3", "4xx": "c4", "5xx": "c5", other: "c0" };

function showStatuses(statuses) {
  const entries = Object.entries(statuses).filter(([, count]) => count);
  const total = entries.reduce((sum, [, count]) => sum + count, 0);
  const part = ([name, count]) => {
    const element = make("div", { class: CLASSES[name] });
    element.style.flexGrow = count / total;
    return element;
  };
  find("statuses").replaceChildren(...entries.map(part));
  find("statuses").setAttribute("aria-label", entries.map(([name, count]) => `${name}: ${count}`).join(", "));
  find("legend").replaceChildren(...entries.map(([name, count]) => make("div", {},
    make("dt", {}, make("i", { class: CLASSES[name] }), name), make("dd", {}, count.toLocaleString("en")))));
  find("answered").textContent = `${total.toLocaleString("en")} in all`;
}

function showFacts(state, now) {
  const { idle, head, closing, taken } = state.connections;
  const facts = [
    ["memory", join(bytes(now.rss))],
    ["green threads", state.green_threads.toLocaleString("en")],
    ["bodies in", `${join(bytes(now.in))}/s`],
    ["bodies out", `${join(bytes(now.out))}/s`],
    ["idle connections", idle.toLocaleString("en")],
    ["reading a head", head.toLocaleString("en")],
    ["closing", closing.toLocaleString("en")],
    ["taken over (WebSocket)", taken.toLocaleString("en")],
    ["native threads busy", `${state.pool.busy} of ${state.pool.size}`],
    ["calls waiting for one", String(state.pool.waiting)],
    ["accept queue", now.backlog < 0 ? "unknown" : String(now.backlog)],
    ["log lines dropped", state.totals.log_dropped.toLocaleString("en")],
  ];
  find("facts").replaceChildren(...facts.map(([name, text]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, text))));
}

function showState(state) {
  points = [...points, ...state.points].slice(-KEPT);
  const now = points[points.length - 1];
  if (!now) return;
  find("title").textContent = state.title;
  find("version").textContent = state.version;
  document.title = `${join(number(now.requests))}/s · ${state.title}`;
  show("requests", number(now.requests));
  find("requests-note").textContent =
    `${state.totals.requests.toLocaleString("en")} so far, ${state.totals.failed.toLocaleString("en")} failed`;
  for (const name of ["p50", "p90", "p99"]) show(name, seconds(now[name]));
  show("running", number(now.running));
  show("connections", number(now.connections));
  show("lag", seconds(now.lag), now.lag > 0.1);
  show("cpu", percent(now.cpu));
  drawAll();
  showWorkers(state.workers, state.ended);
  showRunning(state.running);
  showBlocks(state.blocks);
  showStatuses(state.statuses);
  showFacts(state, now);
  const silent = state.workers.filter((worker) => worker.silent);
  find("alert").hidden = !silent.length;
  find("alert").textContent = silent.map((worker) =>
    `Process ${worker.pid} has not answered for ${age(worker.silent)}: its application blocks it, or it was stopped.`
  ).join(" ");
  events += 1;
}

// The stream --------------------------------------------------------------------------------------------------------

function listen() {
  const source = new EventSource("events");
  source.onopen = () => { points = []; };
  source.onmessage = (event) => {
    find("live").classList.add("on");
    find("live-text").textContent = "Live";
    showState(JSON.parse(event.data));
  };
  source.onerror = () => {
    find("live").classList.remove("on");
    find("live-text").textContent = "Waiting for the server";
    // Chromium gives up after a refused connection; it is up to us to come again.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
}

listen();
