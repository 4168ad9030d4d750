"use strict";

const read = (id) => JSON.parse(document.getElementById(id).textContent);

// --- pictures ---------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 640px)");
const touch = matchMedia("(pointer: coarse)");
const figures = read("figures");
const plots = [...document.querySelectorAll(".plot")];
const config = { displayModeBar: false, responsive: true, displaylogo: false, doubleClick: "reset" };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const theme = () => ({
  "font.color": colour("--text"),
  "hoverlabel.bgcolor": colour("--surface"),
  "hoverlabel.bordercolor": colour("--muted"),
  "hoverlabel.font.color": colour("--text"),
});

function layoutFor(layout) {
  const made = { ...layout, font: { color: colour("--text") } };
  made.hoverlabel = { bgcolor: colour("--surface"), bordercolor: colour("--muted"), font: { color: colour("--text") } };
  if (narrow.matches || touch.matches) made.dragmode = false; // a finger scrolls the page
  if (narrow.matches) made.legend = { ...layout.legend, font: { size: 11 } };
  return made;
}

async function draw() {
  for (const plot of plots) {
    const { data, layout } = figures[plot.dataset.figure];
    const named = layout.showlegend === false ? [] : data.filter((trace) => trace.name && trace.showlegend !== false);
    if (narrow.matches && named.length > 4) { // the legend then has a line for every one or two traces
      layout.height += 16 * named.length;
      plot.style.height = `${layout.height}px`;
    }
    await Plotly.newPlot(plot, data, layoutFor(layout), config);
    await new Promise((resolve) => setTimeout(resolve)); // keeps the page responsive
  }
  document.documentElement.dataset.drawn = "yes";
}

const drawn = () => plots.filter((plot) => plot.layout);
const restyle = (extra = () => ({})) => drawn().forEach((plot) => Plotly.relayout(plot, { ...theme(), ...extra(plot) }));
dark.addEventListener("change", () => restyle());
// On paper the width does not depend on the screen: the space between the margins of A4 (`@page`), in CSS pixels.
const paper = 690, gap = 14;
const onPaper = (plot) => (plot.closest(".beside") ? (paper - gap) / 2 : paper);
matchMedia("print").addEventListener("change", (print) => {
  restyle((plot) => (print.matches ? { width: onPaper(plot) } : { width: null, autosize: true }));
});

// --- the table of trials ----------------------------------------------------------------------------------------------

const table = document.getElementById("table");
if (table) {
  const { columns, rows, shown } = read("rows");
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const [earlier, later] = ["earlier", "later"].map((id) => document.getElementById(id));
  const texts = rows.map((row) => row.filter((value) => value !== null).join(" ").toLowerCase());
  let [column, ascending, first] = [null, true, 0];

  const close = (value) => Math.abs(value) > 0.99 && Math.abs(value) < 1;
  const rounded = (value) => String(Number(value.toPrecision(close(value) ? 6 : 4)));
  // All numbers of a column have the same number of decimals, where their sizes allow it.
  const numeric = columns.map((_, i) => rows.every(({ [i]: value }) => value === null || typeof value === "number"));
  const decimals = columns.map((_, i) => {
    const there = rows.map((row) => row[i]).filter((value) => typeof value === "number" && value !== 0);
    const wide = there.some((value) => Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6);
    const most = there.reduce((most, value) => Math.max(most, (rounded(value).split(".")[1] || "").length), 0);
    const whole = there.reduce((digits, value) => Math.max(digits, Math.floor(Math.log10(Math.abs(value))) + 1), 0);
    return numeric[i] && !wide ? Math.min(most, there.some(close) ? 6 : Math.max(0, 4 - whole)) : null;
  });
  const shownAs = (value, i) => {
    if (value === null) return "";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value !== "number") return value;
    return decimals[i] === null ? (Number.isInteger(value) ? String(value) : rounded(value)) : value.toFixed(decimals[i]);
  };
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null); // missing values come last in either order
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return ascending ? order : -order;
  };

  function show() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = rows.filter((_, i) => wanted.every((word) => texts[i].includes(word)));
    if (column !== null) matching.sort((a, b) => compare(a[column], b[column]));
    first = Math.max(0, Math.min(first, Math.floor((matching.length - 1) / shown) * shown));
    const visible = matching.slice(first, first + shown);
    const body = document.createElement("tbody");
    for (const row of visible) {
      const line = body.insertRow();
      row.forEach((value, i) => {
        const cell = line.insertCell();
        cell.textContent = shownAs(value, i);
        cell.classList.toggle("number", numeric[i]);
        if (cell.textContent.length > 40) cell.title = cell.textContent;
      });
    }
    table.tBodies[0].replaceWith(body);
    found.textContent = matching.length
      ? `${(first + 1).toLocaleString("en")}–${(first + visible.length).toLocaleString("en")} of ${matching.length.toLocaleString("en")}`
      : "none";
    earlier.disabled = first === 0;
    later.disabled = first + shown >= matching.length;
  }

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    for (const piece of columns[i].split(/(?<=\.)/)) button.append(piece, document.createElement("wbr"));
    head.replaceChildren(button);
    head.classList.toggle("number", numeric[i]);
    button.addEventListener("click", () => {
      [ascending, column, first] = [column === i ? !ascending : true, i, 0];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      show();
    });
  });
  search.addEventListener("input", () => { first = 0; show(); });
  earlier.addEventListener("click", () => { first -= shown; show(); });
  later.addEventListener("click", () => { first += shown; show(); });
  show();
}

// --- reloading while the run continues: only where `thaw report --serve` serves the page -------------------------------

const folds = [...document.querySelectorAll("details")];
if (location.protocol.startsWith("http")) {
  const wasOpen = JSON.parse(sessionStorage.getItem("open") || "[]");
  folds.forEach((fold, i) => { fold.open = wasOpen.includes(i); });
  const version = async () => (await fetch(location.href, { method: "HEAD", cache: "no-store" })).headers.get("ETag");
  const loaded = version().catch(() => null);
  setInterval(async () => {
    const [seen, now] = [await loaded, await version().catch(() => null)];
    if (seen === null || now === null || now === seen) return; // null: the server has stopped; keep the page
    sessionStorage.setItem("open", JSON.stringify(folds.flatMap((fold, i) => (fold.open ? [i] : []))));
    location.reload();
  }, 5000);
}

draw();
