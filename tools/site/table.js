"use strict";
// The table of records: sorted by a click on a column, filtered by words, task and runtime.

const COLUMNS = [
  { key: "model", title: "model" },
  { key: "runtime", title: "runtime" },
  { key: "precision", title: "precision" },
  { key: "device", title: "device" },
  { key: "machine", title: "machine" },
  { key: "batch", title: "batch", digits: 0 },
  { key: "input", title: "input" },
  { key: "threads", title: "threads", digits: 0 },
  { key: "mode", title: "mode" },
  { key: "p50_ms", title: "p50, ms", digits: 2 },
  { key: "p95_ms", title: "p95, ms", digits: 2 },
  { key: "noise", title: "noise", percent: true },
  { key: "throughput", title: "a second", digits: 1 },
  { key: "macs", title: "MACs, G", digits: 3, scale: 1e-9 },
  { key: "parameters", title: "parameters, M", digits: 2, scale: 1e-6 },
  { key: "memory_mb", title: "memory, MB", digits: 0 },
];

/** An element with text or children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const isNumber = (column) => column.digits !== undefined || column.percent;

/** What a cell shows. */
function cellText(column, record) {
  const value = record[column.key];
  if (value === null) return "";
  if (column.percent) return (value * 100).toFixed(1) + " %" + (record.noisy ? " (noisy)" : "");
  return column.digits === undefined ? String(value) : (value * (column.scale ?? 1)).toFixed(column.digits);
}

/** The order of two names: numbers count as numbers, and a "p" between digits is a decimal point (c0p125 before c1). */
function compareNames(one, other) {
  const [some, others] = [one, other].map((name) => name.split(/(\d+(?:p\d+)?)/));
  for (let part = 0; part < Math.min(some.length, others.length); part += 1) {
    const numbers = [some[part], others[part]].map((text) => parseFloat(text.replace("p", ".")));
    const order = part % 2 ? numbers[0] - numbers[1] : some[part] < others[part] ? -1 : +(some[part] > others[part]);
    if (order) return order;
  }
  return some.length - others.length;
}

/** The order of two values; what was not measured comes last in either direction. */
function compareValues(one, other, direction) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "number" ? one - other : compareNames(one, other);
  return order * direction;
}

/** The rows of a table of `records`; the name of a model leads to its page. */
function recordRows(records) {
  return records.map((record) => element("tr", {}, ...COLUMNS.map((column) => {
    const cell = element("td", isNumber(column) ? { class: "number" } : {});
    const text = cellText(column, record);
    cell.append(column.key === "model" ? element("a", { href: "#" + encodeURIComponent(text) }, text) : text);
    return cell;
  })));
}

/** A table that is sorted and filtered; `records` are all there are. */
function startTable(records) {
  const [head, body] = document.querySelectorAll("#records > *");
  const [filter, task, runtime] = ["filter", "task", "runtime"].map((id) => document.getElementById(id));
  let sorted = { key: "p50_ms", direction: 1 };

  for (const [select, key] of [[task, "task"], [runtime, "runtime"]]) {
    select.append(element("option", { value: "" }, "all"));
    for (const value of [...new Set(records.map((record) => record[key]))].sort())
      select.append(element("option", { value }, value.replaceAll("_", " ")));
  }

  function show() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = records.filter((record) => {
      const text = COLUMNS.map((column) => cellText(column, record)).join(" ").toLowerCase();
      return words.every((word) => text.includes(word))
        && [["task", task], ["runtime", runtime]].every(([key, { value }]) => !value || record[key] === value);
    });
    shown.sort((one, other) => compareValues(one[sorted.key], other[sorted.key], sorted.direction));
    body.replaceChildren(...recordRows(shown));
    document.getElementById("count").textContent = `${shown.length} of ${records.length}`;
    for (const cell of head.querySelectorAll("th"))
      cell.setAttribute("aria-sort", cell.dataset.key !== sorted.key ? "none"
        : sorted.direction > 0 ? "ascending" : "descending");
  }

  head.append(element("tr", {}, ...COLUMNS.map((column) => {
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => {
      sorted = { key: column.key, direction: sorted.key === column.key ? -sorted.direction : 1 };
      show();
    });
    return element("th", { "data-key": column.key, ...(isNumber(column) ? { class: "number" } : {}) }, button);
  })));
  for (const control of [filter, task, runtime]) control.addEventListener("input", show);
  show();
}
