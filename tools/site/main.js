"use strict";
// The page: the overview, or the model that the address names behind its "#".

const data = JSON.parse(document.getElementById("data").textContent);

/** The page of a model: what was measured, and its card or those of the weights that it takes. */
function modelPage(name) {
  const own = data.records.filter((record) => record.model === name || record.weights.includes(name));
  const weights = [...new Set(own.flatMap((record) => record.weights))].filter((each) => each !== name);
  const parts = [element("p", {}, element("a", { href: "#" }, "← all models"))];
  if (!data.cards[name]) parts.push(element("h1", {}, name));
  if (data.cards[name]) {
    const card = element("article", { class: "card" });
    card.innerHTML = data.cards[name]; // made of the card's Markdown, raw HTML in it shown as text
    parts.push(card);
  } else if (weights.length) {
    const links = weights.map((each) => element("li", {}, element("a", { href: "#" + encodeURIComponent(each) }, each)));
    parts.push(element("p", {}, "Weights:"), element("ul", {}, ...links));
  }
  if (own.length) {
    const titles = COLUMNS.map((column) => element("th", {}, column.title));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...titles)),
      element("tbody", {}, ...recordRows(own)));
    parts.push(element("h2", {}, "Measured"), element("div", { class: "scroll" }, table));
  }
  if (parts.length === 2 && !data.cards[name]) parts.push(element("p", {}, "Nothing is known about a model of this name."));
  return parts;
}

function route() {
  const name = decodeURIComponent(location.hash.slice(1));
  const [overview, model] = [document.getElementById("overview"), document.getElementById("model")];
  [overview.hidden, model.hidden] = [name !== "", name === ""];
  if (name) model.replaceChildren(...modelPage(name));
  if (name) window.scrollTo(0, 0);
}

document.getElementById("machines").append(...data.machines.map((machine) => element("details", {},
  element("summary", {}, "Measured on " + (machine.GPU ?? machine.processor)),
  element("dl", {}, ...Object.entries(machine).flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value)])))));
document.getElementById("stream").src = data.stream.source;
document.getElementById("stream-caption").textContent = data.stream.caption;
startTable(data.records);
startPlot(data.points);
startCloud(data.cloud);
addEventListener("hashchange", route);
route();
