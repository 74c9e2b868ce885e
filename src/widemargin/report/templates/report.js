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
  for (const name of ["xaxis", "yaxis", "zaxis"]) {
    const axis = themedLayout.scene?.[name];
    if (axis) Object.assign(axis, { color: color("--text"), gridcolor: color("--line"), zerolinecolor: color("--line"), showbackground: false });
  }
  if (narrow.matches && !themedLayout.scene) Object.assign(themedLayout.margin, { l: 48, r: 8 });
  if (narrow.matches && themedLayout.yaxis?.scaleanchor) themedLayout.height = Math.min(themedLayout.height, 370);
  if (narrow.matches && themedLayout.meta?.hidesTicksWhenNarrow) {
    for (const axis of [themedLayout.xaxis, themedLayout.yaxis]) axis.showticklabels = false;
    themedLayout.height = 420;
  }
  if (narrow.matches && themedLayout.scene) for (const axis of ["x", "y", "z"]) themedLayout.scene.camera.eye[axis] *= 1.2;
  return themedLayout;
}
function drawFigure(id) {
  const figure = figures[id];
  Plotly.react(id, figure.data, themed(figure.layout), { responsive: true, displayModeBar: false, scrollZoom: false });
}
function draw() {
  Object.keys(figures).forEach(drawFigure);
}
