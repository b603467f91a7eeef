"use strict";
// Draws every chart where it comes into view, in the reader's theme, and again when that changes.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const specs = read("charts");
const views = {}; // by the name of the chart, once it is drawn
const waiting = {}; // what is to be done with a view as soon as there is one
const dark = matchMedia("(prefers-color-scheme: dark)");
const PALETTE = {
  light: ["#0b62a8", "#b34700", "#00734f", "#a03d7b", "#5b4bb5", "#6b5a00", "#4d5560"],
  dark: ["#6cb6ff", "#ff9a57", "#4cc9a0", "#f095cc", "#b3a7ff", "#e0c341", "#c4ccd6"],
};

function theme() {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
  const words = { labelColor: soft, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { ...words, gridColor: line, domainColor: soft, tickColor: soft },
    legend: words,
    header: words,
    rule: { color: ink },
    range: { category: PALETTE[dark.matches ? "dark" : "light"] },
  };
}

async function draw(place) {
  const name = place.dataset.chart;
  const options = { actions: false, renderer: "svg", config: theme(), tooltip: { theme: dark.matches ? "dark" : "light" } };
  const inside = document.createElement("div");
  inside.setAttribute("aria-hidden", "true"); // the place is one picture with a name; its numbers stand in a table
  place.replaceChildren(inside);
  views[name] = (await vegaEmbed(inside, specs[name], options)).view;
  (waiting[name] || []).forEach((act) => act(views[name]));
}

// Do something with a chart now, and whenever it is drawn anew.
function withChart(name, act) {
  (waiting[name] ||= []).push(act);
  if (views[name]) act(views[name]);
}

// Fill a table: a heading per column, and rows of which the first value names the row.
function tabulate(name, heads, rows) {
  const table = document.querySelector(`table[data-numbers="${name}"]`);
  const row = (values, isHead) => {
    const line = document.createElement("tr");
    values.forEach((value, place) => {
      const cell = document.createElement(isHead || place === 0 ? "th" : "td");
      if (cell.tagName === "TH") cell.scope = isHead ? "col" : "row";
      cell.textContent = value;
      line.append(cell);
    });
    return line;
  };
  table.tHead.replaceChildren(row(heads, true));
  table.tBodies[0].replaceChildren(...rows.map((values) => row(values, false)));
}

const places = [...document.querySelectorAll("[data-chart]")];
const seen = new IntersectionObserver(
  (entries) =>
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      seen.unobserve(entry.target);
      draw(entry.target);
    }),
  { rootMargin: "400px" },
);
places.forEach((place) => seen.observe(place));
dark.addEventListener("change", () => places.filter((place) => views[place.dataset.chart]).forEach(draw));

// Training: the reader chooses which of the logged values is drawn, and tabulated below.
if (specs.training) {
  const choice = document.querySelector("select[data-of=training]");
  const { terms, recipes, lines } = read("data").training;
  const logged = lines.split("\n").slice(1).map((line) => line.split(",").map(Number));
  const show = (view) => view.signal("term", choice.value).runAsync();
  const numbers = () => {
    const epochs = new Map();
    for (const [term, of, epoch, value] of logged) {
      if (terms[term] !== choice.value) continue;
      if (!epochs.has(epoch)) epochs.set(epoch, Array(recipes.length).fill("-"));
      epochs.get(epoch)[of] = value;
    }
    const rows = [...epochs].sort(([one], [other]) => one - other).map(([epoch, values]) => [epoch, ...values]);
    tabulate("training", ["epoch", ...recipes], rows);
  };
  specs.training.data.values = lines;
  withChart("training", show);
  choice.addEventListener("change", () => {
    numbers();
    if (views.training) show(views.training);
  });
  numbers();
}
