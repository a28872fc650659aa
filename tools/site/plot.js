"use strict";
// Accuracy against latency, as SVG: a dot for each of the weights, the Pareto front, and words where the mouse is.

const FRAME = { width: 1000, height: 420, left: 70, right: 30, top: 20, bottom: 50 };

/** An SVG element. */
function shape(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** The points than which none is both faster and more accurate, the fastest first. */
function paretoFront(points) {
  const front = [];
  for (const point of [...points].sort((a, b) => a.ms - b.ms || b.value - a.value))
    if (!front.length || point.value > front.at(-1).value) front.push(point);
  return front;
}

/** Round values between two ends for a logarithmic axis: 1, 2 and 5 times a power of ten, more where they are near. */
function logTicks(low, high) {
  const ticks = [];
  const digits = high / low < 5 ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1)
    for (const digit of digits) ticks.push(digit * 10 ** power);
  return ticks.filter((tick) => tick >= low && tick <= high);
}

/** A few round values between two ends. */
function evenTicks(low, high) {
  const step = 10 ** Math.floor(Math.log10(high - low));
  const fine = [step, step / 2, step / 5].find((each) => (high - low) / each >= 4) ?? step / 10;
  const first = Math.ceil(low / fine);
  return Array.from({ length: Math.floor(high / fine) - first + 1 }, (_, index) => (first + index) * fine);
}

/** The picture of `points`, which are all of one figure on one data set. */
function drawPlot(points, onHover) {
  const svg = shape("svg", { viewBox: `0 0 ${FRAME.width} ${FRAME.height}`, role: "img", "aria-label": points[0].what });
  const times = points.map((point) => point.ms), values = points.map((point) => point.value);
  const [fast, slow] = [Math.min(...times) / 1.3, Math.max(...times) * 1.3];
  const margin = (Math.max(...values) - Math.min(...values)) * 0.15 || 0.05;
  const [low, high] = [Math.min(...values) - margin, Math.max(...values) + margin];
  const x = (ms) => FRAME.left + Math.log(ms / fast) / Math.log(slow / fast) * (FRAME.width - FRAME.left - FRAME.right);
  const y = (value) => FRAME.height - FRAME.bottom
    - (value - low) / (high - low) * (FRAME.height - FRAME.bottom - FRAME.top);

  const bottom = FRAME.height - FRAME.bottom;
  for (const tick of logTicks(fast, slow)) {
    svg.append(shape("line", { class: "grid", x1: x(tick), x2: x(tick), y1: FRAME.top, y2: bottom }));
    svg.append(shape("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle" }, String(+tick.toPrecision(2))));
  }
  for (const tick of evenTicks(low, high)) {
    svg.append(shape("line", { class: "grid", x1: FRAME.left, x2: FRAME.width - FRAME.right, y1: y(tick), y2: y(tick) }));
    svg.append(shape("text", { x: FRAME.left - 8, y: y(tick) + 4, "text-anchor": "end" }, String(+tick.toPrecision(3))));
  }
  svg.append(shape("text", { x: FRAME.width / 2, y: FRAME.height - 10, "text-anchor": "middle" },
    "median latency of one input, ms"));
  svg.append(shape("text", { x: 16, y: FRAME.top + 4 }, points[0].metric));

  const front = paretoFront(points);
  svg.append(shape("polyline", { class: "front", points: front.map((at) => `${x(at.ms)},${y(at.value)}`).join(" ") }));
  for (const point of points) {
    const dot = shape("circle", { cx: x(point.ms), cy: y(point.value), r: 6, tabindex: 0,
      class: front.includes(point) ? "best" : "", "data-name": point.name });
    for (const event of ["mouseenter", "focus"]) dot.addEventListener(event, () => onHover(point, dot));
    for (const event of ["mouseleave", "blur"]) dot.addEventListener(event, () => onHover(null, dot));
    dot.addEventListener("click", () => { location.hash = encodeURIComponent(point.name); });
    svg.append(dot);
  }
  return svg;
}

/** The plot with its choice of figures; `points` have name, ms, value, metric, what (figure and data set) and how. */
function startPlot(points) {
  const [select, plot, tip] = ["dataset", "plot", "tip"].map((id) => document.getElementById(id));
  const kinds = [...new Set(points.map((point) => point.what))];
  if (!kinds.length) {
    plot.replaceChildren("Nothing was measured of weights whose accuracy is known.");
    return;
  }
  select.append(...kinds.map((kind) => element("option", { value: kind }, kind)));

  function hover(point, dot) {
    tip.hidden = point === null;
    if (point === null) return;
    tip.textContent = `${point.name}\n${point.how}\n${point.ms.toPrecision(4)} ms, ${point.metric} ${point.value}`;
    const [at, frame] = [dot.getBoundingClientRect(), plot.getBoundingClientRect()];
    tip.style.left = `${Math.min(at.right - frame.left + 8, frame.width - tip.offsetWidth)}px`;
    tip.style.top = `${at.top - frame.top + 12}px`;
  }

  function show() {
    plot.querySelector("svg")?.remove();
    plot.append(drawPlot(points.filter((point) => point.what === select.value), hover));
  }
  select.addEventListener("input", show);
  show();
}
