const regions = JSON.parse(document.getElementById("regions").textContent);
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
for (const region of Object.values(regions)) {
  const pairs = bytesOf(region.classes);
  let num = 0;
  for (let i = 1; i < pairs.length; i += 2) num += pairs[i];
  region.cells = new Uint8Array(num);
  for (let i = 0, at = 0; i < pairs.length; at += pairs[i + 1], i += 2) region.cells.fill(pairs[i], at, at + pairs[i + 1]);
  region.isCorrect = bytesOf(region.correct);
}
function showFrame(id, frame) {
  const region = regions[id];
  const [heatmap, right, wrong] = figures[id].data;
  const first = frame * region.rows * region.columns;
  heatmap.z = Array.from({ length: region.rows }, (_, row) =>
    region.cells.subarray(first + row * region.columns, first + (row + 1) * region.columns));
  const frameBytes = Math.ceil(region.x.length / 8);
  const isRight = (_, i) => ((region.isCorrect[frame * frameBytes + (i >> 3)] >> (7 - (i & 7))) & 1) === 1;
  for (const [trace, keep] of [[right, isRight], [wrong, (value, i) => !isRight(value, i)]]) {
    trace.x = region.x.filter(keep);
    trace.y = region.y.filter(keep);
    trace.marker = { ...trace.marker, color: region.labels.filter(keep) };
  }
}
Object.keys(regions).forEach((id) => showFrame(id, 0));

const slider = document.getElementById("walk-step");
const walkRegions = ["why-walk-good", "why-walk-bad"].filter((id) => id in regions);
const walkCurves = ["why-loss", "why-accuracy", "why-curvature"].filter((id) => id in figures);
const sign = (text) => text.replaceAll("-", "−");
const short = (value, digits) => (value === null ? "0 or not finite" : sign(String(Number(value.toPrecision(digits)))));
function placeWalk() {
  const index = Number(slider.value);
  for (const id of walkRegions) showFrame(id, index);
  for (const id of walkCurves) {
    const traces = figures[id].data;
    for (const network of [0, 1]) {
      traces[network + 2].x = [traces[network].x[index]];
      traces[network + 2].y = [traces[network].y[index]];
    }
  }
  const line = (id, network) => figures[id].data[network].y[index];
  const c = figures["why-loss"].data[0].customdata[index];
  const told = ["good", "bad"].map((name, network) =>
    `${name} network: loss ${short(line("why-loss", network), 2)}, ${short(100 * line("why-accuracy", network), 3)} % right`);
  const place = c === 0 ? "c = 0, the minima themselves" : `c = ${short(c, 2)} filter norms`;
  document.getElementById("walk-place").textContent = `${place} · ${told.join(" · ")}`;
  slider.setAttribute("aria-valuetext", `${place}; ${told.join("; ")}`);
}
let isWaiting = false;
slider.addEventListener("input", () => {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    placeWalk();
    [...walkRegions, ...walkCurves].forEach(drawFigure);
  });
});
placeWalk();

for (const choice of document.querySelectorAll("input[name=why-cutoff]")) {
  choice.addEventListener("change", () => {
    for (const [id, figure] of Object.entries(figures)) {
      const traces = figure.data.filter((trace) => trace.meta?.cutoff !== undefined);
      for (const trace of traces) trace.visible = trace.meta.cutoff === Number(choice.value);
      if (traces.length) drawFigure(id);
    }
  });
}
