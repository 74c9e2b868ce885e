"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 720px)");
function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const themedLayout = JSON.parse(JSON.stringify(layout));
  themedLayout.font = { color: color("--text"), family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13 };
  themedLayout.hoverlabel = { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--text") } };
  for (const axis of Object.keys(themedLayout).filter((name) => /^[xy]axis/.test(name))) {
    Object.assign(themedLayout[axis], { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, automargin: true });
  }
  if (narrow.matches) themedLayout.margin = { l: 48, r: 8, t: 40, b: 44 };
  return themedLayout;
}
function draw() {
  for (const [id, figure] of Object.entries(figures)) {
    Plotly.react(id, figure.data, themed(figure.layout), { responsive: true, displayModeBar: false });
  }
}
draw();
dark.addEventListener("change", draw);
narrow.addEventListener("change", draw);
