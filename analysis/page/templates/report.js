"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const state = { rows: [], sort: "key", ascending: true, shown: 100, active: -1, points: [] };
const NS = "http://www.w3.org/2000/svg";

const text = (v) => {
  if (v === null || v === undefined || v === "" || Number.isNaN(v)) return "n/a";
  if (typeof v !== "number") return String(v);
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  return (Number.isInteger(v) ? String(v) : Number(v.toPrecision(4)).toString()).replaceAll("-", "−");
};
const two = (v) => {
  if (Number.isNaN(v)) return "undefined";
  const vanishes = v !== 0 && Number(v.toFixed(2)) === 0; // the sign has to show: two digits, as in the tables
  return (vanishes ? v.toPrecision(2) : Math.abs(v) === 0 ? "0.00" : v.toFixed(2)).replace("-", "−");
};
const cell = (row, name) => { const v = row.study.columns[name]; return v === undefined ? null : v[row.i]; };

function fill(select, options, chosen) {
  const before = chosen ?? select.value;
  select.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
  if (options.some(([value]) => value === before)) select.value = before;
}

function studies() { return data.filter((s) => by("study").value === "*" || s.name === by("study").value); }

function union(list) { // by value, in order of first appearance
  const found = new Map();
  for (const [value, words] of list) if (!found.has(value)) found.set(value, words);
  return [...found];
}

function setUp() {
  const every = data.map((s) => [s.name, s.title]);
  fill(by("study"), data.length > 1 ? [["*", "all studies"], ...every] : every);
  chooseStudy();
  for (const id of ["stop", "measure", "target", "colour", "logarithmic", "converged"]) {
    by(id).addEventListener("change", draw);
  }
  by("study").addEventListener("change", () => { chooseStudy(); draw(); });
  by("search").addEventListener("input", () => { state.shown = 100; drawTable(); });
  by("more").addEventListener("click", () => { state.shown += 400; drawTable(); });
  by("plot").addEventListener("keydown", onKey);
  by("plot").addEventListener("blur", () => point(-1));
  window.addEventListener("resize", drawPlot);
  draw();
}

function chooseStudy() {
  const chosen = studies();
  fill(by("stop"), union(chosen.flatMap((s) => s.stops.map((v) => [v, v]))));
  if (!by("stop").dataset.touched) by("stop").value = chosen[0].stop;
  by("stop").dataset.touched = "1";
  fill(by("measure"), union(chosen.flatMap((s) => s.measures)));
  fill(by("target"), union(chosen.flatMap((s) => s.targets)));
  const axes = union(chosen.flatMap((s) => s.axes));
  fill(by("colour"), [["", "nothing"], ...(chosen.length > 1 ? [["study", "study"]] : []), ...axes]);
  if (!by("colour").dataset.touched && axes.length) by("colour").value = chosen[0].colour;
  by("colour").dataset.touched = "1";
  const boxes = axes.map(([name, words]) => {
    const values = [...new Set(chosen.flatMap((s) => (s.columns[name] ?? []).map(text)))];
    const number = (v) => Number(v.replaceAll("−", "-"));
    values.sort((a, b) => number(a) - number(b) || compare(a, b));
    const select = document.createElement("select");
    fill(select, [["", "all"], ...values.map((v) => [v, v])]);
    select.dataset.axis = name;
    select.addEventListener("change", draw);
    const label = document.createElement("label");
    label.append(words, select);
    return label;
  });
  by("filters").replaceChildren(...boxes);
}

function select() {
  const wanted = [...by("filters").querySelectorAll("select")].filter((s) => s.value !== "");
  const rows = [];
  for (const study of studies()) {
    for (let i = 0; i < study.columns.key.length; i++) {
      const row = { study, i };
      if (cell(row, "stop") !== by("stop").value) continue;
      if (by("converged").checked && !study.kept[i]) continue;
      if (wanted.some((s) => text(cell(row, s.dataset.axis)) !== s.value)) continue;
      rows.push(row);
    }
  }
  return rows;
}

const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function draw() {
  state.rows = select();
  const x = state.rows.map((r) => cell(r, by("measure").value)), y = state.rows.map((r) => cell(r, by("target").value));
  const tau = kendall(x, y);
  const configurations = new Set(state.rows.map((r) => `${r.study.name} ${r.study.configurations[r.i]}`)).size;
  by("result").textContent =
    `Kendall τ_b ${two(tau.b)}, τ_a ${two(tau.a)}, Pearson r ${two(pearson(x, y))}; ` +
    `${counted(tau.n, "network")} with both values, of ${state.rows.length} selected in ${counted(configurations, "configuration")}`;
  by("result").dataset.tauB = tau.b;
  by("result").dataset.n = tau.n;
  drawPlot();
  drawTable();
}

function colours() {
  const name = by("colour").value;
  if (!name) return { of: () => "var(--accent)", legend: [] };
  const value = (r) => (name === "study" ? r.study.title : cell(r, name));
  const chosen = studies(), values = [...new Set(state.rows.map(value))].sort(compare);
  // The figures' colours, of one study; else by a level's place among all, whatever is filtered out.
  const every = name === "study" ? chosen.map((s) => s.title) : chosen.flatMap((s) => s.columns[name] ?? [null]);
  const levels = [...new Set(every)].sort(compare), { cycle } = data[0];
  const shade = (k) => (levels.length <= cycle.length ? cycle[k] : `hsl(${230 - 190 * k / (levels.length - 1)} 70% 50%)`);
  const given = chosen.length === 1 ? chosen[0].shades[name] : undefined;
  const index = new Map(given ?? levels.map((v, k) => [v, shade(k)]));
  return { of: (r) => index.get(value(r)), legend: values.map((v) => [text(v), index.get(v)]) };
}

function make(name, attributes, words) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (words !== undefined) element.textContent = words;
  return element;
}

function ticks(low, high, logarithmic) {
  if (logarithmic) {
    const powers = [];
    for (let p = Math.ceil(low); p <= Math.floor(high); p++) powers.push(p);
    if (powers.length >= 2) return powers.map((p) => [p, text(10 ** p)]);
    return [low, (low + high) / 2, high].map((p) => [p, (10 ** p).toPrecision(2)]);
  }
  const raw = (high - low) / 5 || 1, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * unit).find((s) => s >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) {
    found.push([v, text(Number(v.toPrecision(6)))]);
  }
  return found;
}

function drawPlot() {
  const svg = by("plot"), width = svg.clientWidth || 700, height = 400;
  const m = { left: 64, right: 12, top: 10, bottom: 44 };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const logarithmic = by("logarithmic").checked;
  const place = (v) => (logarithmic ? Math.log10(v) : v);
  const colour = colours();
  const points = [];
  for (const row of state.rows) {
    const x = cell(row, by("measure").value), y = cell(row, by("target").value);
    if (x === null || y === null || !Number.isFinite(place(x)) || !Number.isFinite(y)) continue;
    points.push({ row, x: place(x), y });
  }
  points.sort((a, b) => a.x - b.x || a.y - b.y);
  const range = (k) => {
    let low = Infinity, high = -Infinity;
    for (const p of points) { low = Math.min(low, p[k]); high = Math.max(high, p[k]); }
    if (!points.length) return [0, 1];
    const pad = (high - low) * 0.04 || Math.abs(high) * 0.1 || 1;
    return [low - pad, high + pad];
  };
  const [x0, x1] = range("x"), [y0, y1] = range("y");
  const px = (v) => m.left + (v - x0) / (x1 - x0) * (width - m.left - m.right);
  const py = (v) => height - m.bottom - (v - y0) / (y1 - y0) * (height - m.top - m.bottom);
  const parts = [];
  for (const [v, words] of ticks(x0, x1, logarithmic)) {
    parts.push(make("line", { x1: px(v), x2: px(v), y1: m.top, y2: height - m.bottom, class: "grid" }));
    parts.push(make("text", { x: px(v), y: height - m.bottom + 16, "text-anchor": "middle" }, words));
  }
  for (const [v, words] of ticks(y0, y1, false)) {
    parts.push(make("line", { x1: m.left, x2: width - m.right, y1: py(v), y2: py(v), class: "grid" }));
    parts.push(make("text", { x: m.left - 6, y: py(v) + 4, "text-anchor": "end" }, words));
  }
  const named = (id) => by(id).selectedOptions[0]?.textContent ?? "";
  parts.push(make("text", { x: (m.left + width) / 2, y: height - 8, "text-anchor": "middle" }, named("measure")));
  parts.push(make("text", { x: 14, y: (height - m.bottom) / 2, "text-anchor": "middle",
    transform: `rotate(-90 14 ${(height - m.bottom) / 2})` }, named("target")));
  state.points = points.map((p, k) => {
    const circle = make("circle", { cx: px(p.x), cy: py(p.y), r: 4, fill: colour.of(p.row) });
    circle.addEventListener("pointerenter", () => point(k));
    circle.addEventListener("pointerleave", () => point(-1));
    parts.push(circle);
    return { ...p, circle };
  });
  svg.replaceChildren(...parts);
  svg.setAttribute("aria-label", `Scatter of ${named("target")} against ${named("measure")}, ${counted(points.length, "network")}`);
  by("legend").replaceChildren(...colour.legend.map(([words, shade]) => {
    const item = document.createElement("li"), swatch = document.createElement("span");
    swatch.style.background = shade;
    item.append(swatch, words);
    return item;
  }));
  point(-1);
}

function point(k) {
  if (state.active >= 0) state.points[state.active]?.circle.classList.remove("active");
  state.active = k;
  const tip = by("tip");
  if (k < 0) { tip.textContent = "Hover over a point, or focus the picture and use the arrow keys."; return; }
  const { row, circle } = state.points[k];
  circle.classList.add("active");
  circle.parentNode.append(circle);
  const parts = row.study.axes.map(([name, words]) => `${words} ${text(cell(row, name))}`);
  if (row.study.columns["hp.seed"]) parts.push(`seed ${text(cell(row, "hp.seed"))}`);
  const named = (id) => by(id).selectedOptions[0].textContent;
  tip.textContent = `${cell(row, "key")} — ${parts.join(", ")}; ${named("measure")} ` +
    `${text(cell(row, by("measure").value))}, ${named("target")} ${text(cell(row, by("target").value))}`;
}

function onKey(event) {
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  const last = state.points.length - 1;
  let to = null;
  if (step) to = state.active < 0 ? (step > 0 ? 0 : last) : Math.min(last, Math.max(0, state.active + step));
  if (event.key === "Home") to = 0;
  if (event.key === "End") to = last;
  if (event.key === "Escape") to = -1;
  if (to === null || last < 0) return;
  event.preventDefault();
  point(to);
}

function tableColumns() {
  const chosen = studies();
  const fixed = [["key", "key"], ...(chosen.length > 1 ? [["study", "study"]] : [])];
  const seed = chosen.some((s) => s.columns["hp.seed"]) ? [["hp.seed", "seed"]] : [];
  return [...fixed, ...union(chosen.flatMap((s) => s.axes)), ...seed, ...union(chosen.flatMap((s) => s.targets)),
    ...union(chosen.flatMap((s) => s.measures)).filter(([name]) => !/[.@]/.test(name.slice(8)))];
}

function drawTable() {
  const columns = tableColumns();
  const value = (row, name) => (name === "study" ? row.study.name : cell(row, name));
  const needle = by("search").value.trim().toLowerCase(), typed = needle.replaceAll("-", "−"); // as keyboards have it
  const found = (words) => words.includes(needle) || words.includes(typed);
  const rows = state.rows.filter((r) => !needle || columns.some(([name]) => found(text(value(r, name)).toLowerCase())));
  const sign = state.ascending ? 1 : -1;
  rows.sort((a, b) => {
    const p = value(a, state.sort), q = value(b, state.sort);
    if (p === null || q === null) return (p === null) - (q === null); // a missing value stands last either way
    return sign * compare(p, q);
  });
  const head = document.createElement("tr");
  for (const [name, words] of columns) {
    const th = document.createElement("th"), button = document.createElement("button");
    th.scope = "col";
    th.ariaSort = name === state.sort ? (state.ascending ? "ascending" : "descending") : "none";
    button.type = "button";
    button.dataset.column = name;
    button.textContent = words + (name === state.sort ? (state.ascending ? " ▲" : " ▼") : "");
    button.addEventListener("click", () => {
      state.ascending = name === state.sort ? !state.ascending : true;
      state.sort = name;
      drawTable();
      by("runs-head").querySelector(`button[data-column="${CSS.escape(name)}"]`).focus();
    });
    th.append(button);
    head.append(th);
  }
  by("runs-head").replaceChildren(head);
  by("runs-body").replaceChildren(...rows.slice(0, state.shown).map((row) => {
    const tr = document.createElement("tr");
    tr.append(...columns.map(([name]) => {
      const td = document.createElement("td");
      td.textContent = text(value(row, name));
      return td;
    }));
    return tr;
  }));
  by("count").textContent = `${Math.min(state.shown, rows.length)} of ${rows.length} runs shown`;
  by("more").hidden = rows.length <= state.shown;
}

setUp();
