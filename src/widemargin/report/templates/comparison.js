const measured = JSON.parse(document.getElementById("measured").textContent);
const byId = (id) => document.getElementById(id);
const safe = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const minus = (text) => text.replaceAll("-", "−");

function sortRows(button) {
  const heading = button.closest("th");
  const table = heading.closest("table");
  const column = heading.cellIndex;
  const isName = column === 0;
  const first = button.dataset.rising ? "ascending" : "descending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = heading.getAttribute("aria-sort") === first ? second : first;
  for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", other === heading ? direction : "none");
  const key = (row) => {
    const text = row.cells[column].dataset.value;
    if (isName) return text;
    if (text === "") return null;
    return button.dataset.magnitude ? Math.abs(Number(text)) : Number(text);
  };
  const factor = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return factor * (isName ? a.localeCompare(b) : a - b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}
for (const button of document.querySelectorAll(".leaderboard button")) {
  button.addEventListener("click", () => sortRows(button));
}
for (const heading of document.querySelectorAll(".leaderboard th[aria-sort=descending]")) {
  heading.setAttribute("aria-sort", "none");
  sortRows(heading.querySelector("button"));
}
byId("subset")?.addEventListener("change", (event) => {
  document.querySelectorAll(".leaderboard").forEach((table, index) => {
    table.hidden = index !== Number(event.target.value);
  });
});

function fill(select, options, chosen) {
  for (const [value, text] of options) select.add(new Option(text, value, false, value === chosen));
}
const pairX = byId("pair-x");
const pairY = byId("pair-y");
const pairColor = byId("pair-color");
const options = (columns) => columns.map((column) => [column.name, column.label]);
fill(pairX, options(measured.columns), measured.columns[0].name);
fill(pairY, options(measured.columns), measured.gap);
fill(pairColor, [["", "nothing"], ...options(measured.colorings)], "");

function kendallTau(x, y) {
  let sum = 0, xPairs = 0, yPairs = 0;
  for (let i = 0; i < x.length; i += 1) {
    for (let j = 0; j < i; j += 1) {
      const a = Math.sign(x[i] - x[j]);
      const b = Math.sign(y[i] - y[j]);
      sum += a * b;
      xPairs += a !== 0;
      yPairs += b !== 0;
    }
  }
  return xPairs && yPairs ? sum / Math.sqrt(xPairs * yPairs) : NaN;
}
const isLogarithmic = (values) => values.every((value) => value > 0) && Math.max(...values) > 100 * Math.min(...values);
function placePair() {
  const [x, y] = [pairX.value, pairY.value].map((name) => measured.columns.find((column) => column.name === name));
  const known = x.values.map((_, i) => i).filter((i) => x.values[i] !== null && y.values[i] !== null);
  const coloring = measured.colorings.find((column) => column.name === pairColor.value);
  const groups = new Map();
  for (const i of known) {
    const group = coloring ? coloring.values[i] : "";
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(i);
  }
  const ordered = [...groups].sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true }));
  figures.pair.data = ordered.map(([group, members], index) => ({
    type: "scatter",
    mode: "markers",
    name: safe(group),
    x: members.map((i) => x.values[i]),
    y: members.map((i) => y.values[i]),
    text: members.map((i) => measured.networks[i].map(safe).join("<br>")),
    marker: { size: 7, opacity: 0.8, color: coloring ? measured.palette[index % measured.palette.length] : "#8580c8",
      symbol: Math.floor(index / measured.palette.length) },
    hovertemplate: "%{x:.4g}, %{y:.4g}<br>%{text}<extra></extra>",
  }));
  const layout = figures.pair.layout;
  for (const [axis, column] of [[layout.xaxis, x], [layout.yaxis, y]]) {
    axis.title.text = safe(column.label);
    const values = known.map((i) => column.values[i]);
    axis.type = isLogarithmic(values) ? "log" : "linear";
    const fewDecades = axis.type === "log" && Math.max(...values) < 1000 * Math.min(...values);
    axis.dtick = fewDecades ? "D2" : null; // 2 and 5 alone: all nine digits would overlap
    axis.autorange = true;
  }
  layout.showlegend = Boolean(coloring);
  layout.legend.title = { text: coloring ? safe(coloring.label) : "" };
  const tau = kendallTau(known.map((i) => x.values[i]), known.map((i) => y.values[i]));
  const missing = x.values.length - known.length;
  byId("pair-told").textContent = `Kendall’s τ ${Number.isNaN(tau) ? "–" : minus(tau.toFixed(2))} over ${known.length} networks`
    + (missing ? `; ${missing} without a finite value of both are not shown.` : ".");
}
for (const select of [pairX, pairY, pairColor]) {
  select.addEventListener("change", () => {
    placePair();
    drawFigure("pair");
  });
}
placePair();
