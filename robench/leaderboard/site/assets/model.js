// A model's page: the curves of the place and metric that its reader chooses, drawn by the report's own functions.

const here = { place: 0, view: 0, level: "" };

function chosenView() {
  return report.places[here.place].views[here.view];
}

/** One condition a corruption: that of a severity, or its hardest one. */
function atLevel(rows, level) {
  const hardest = new Map();
  for (const row of rows) {
    const key = `${row.series}\n${row.corruption}`;
    if (row.corruption !== "clean" && level && row.severity !== level) continue;
    if (!hardest.has(key) || Number(row.severity) > Number(hardest.get(key).severity)) hardest.set(key, row);
  }
  return [...hardest.values()];
}

function severitiesOf(rows) {
  return [...new Set(rows.filter((row) => row.corruption !== "clean").map((row) => row.severity))].sort((one, other) => one - other);
}

function fill(select, pairs, value) {
  find(select).replaceChildren(...pairs.map(([key, text]) => make("option", { value: key, selected: String(key) === String(value) }, text)));
}

/** Give the report's functions what they draw: one metric, this place's entries. */
function choose() {
  const view = chosenView();
  const severities = severitiesOf(view.conditions);
  if (!severities.includes(here.level)) here.level = "";
  fill("#view", report.places[here.place].views.map((one, index) => [index, one.title]), here.view);
  fill("#level", [["", "hardest of each"], ...severities.map((level) => [level, level])], here.level);
  chosen.metric = 0;
  report.metrics = [view];
  report.series = view.series;
  report.conditions = view.conditions;
  report.overview = atLevel(view.conditions, here.level);
  const said = report.overview.map((row) => `${row.label}${row.corruption === "clean" ? "" : `, severity ${row.severity}`}, ${view.series[row.series]}: ${shown(row.value, view.digits)}`);
  find("#overview").setAttribute("aria-label", `${view.title} under each corruption. ${said.join("; ")}`);
}

function drawMean() {
  const view = chosenView();
  find("#mean").hidden = !view.means.length;
  if (!view.means.length) return;
  const box = find("#mean .plot");
  const last = Math.max(...view.means.map((row) => Number(row.severity)));
  const levels = Array.from({ length: last + 1 }, (_, level) => level);
  box.setAttribute("aria-label", `${view.title}, mean over corruptions. ${view.means.map((row) => `${view.series[row.series]}, severity ${row.severity}: ${shown(row.value, view.digits)}`).join("; ")}`);
  const layout = plotLayout({
    height: 260,
    xaxis: { range: [-0.3, last + 0.3], tickvals: levels, ticktext: levels.map((level) => (level ? String(level) : "clean")), title: { text: "severity", standoff: 4, font: { size: 11 } } },
    yaxis: { range: [0, axisEnd(view.means)], nticks: 5, title: { text: plain(view.unit || view.label), standoff: 4, font: { size: 11 } } },
  });
  Plotly.react(box, panelTraces(view.means, "mean", view), layout, PLOT_CONFIG);
}

function drawAll() {
  choose();
  const several = severitiesOf(report.conditions).length > 1 && atLevel(report.conditions, "").some((row) => row.corruption !== "clean" && report.conditions.some((other) => other.corruption === row.corruption && other.severity !== row.severity));
  find("#over-severity").hidden = !several;
  find("#legend").replaceChildren();
  if (!window.Plotly) return;
  drawOverview();
  if (!several) return;
  drawLegend();
  drawMean();
  drawPanels();
}

function startModel() {
  find("#place").addEventListener("change", (event) => {
    const metric = chosenView().name;
    here.place = Number(event.target.value);
    here.view = Math.max(report.places[here.place].views.findIndex((view) => view.name === metric), 0);
    changed();
  });
  find("#view").addEventListener("change", (event) => {
    here.view = Number(event.target.value);
    changed();
  });
  find("#level").addEventListener("change", (event) => {
    here.level = event.target.value;
    changed();
  });
  find("#order").addEventListener("change", (event) => {
    chosen.order = event.target.value;
    changed();
  });
  follow(drawAll);
}

/** The plotting library is a file of its own, which all pages of models share. */
function bringPlotly() {
  const ready = () => (document.documentElement.dataset.ready = "yes");
  const library = make("script", { src: report.plotly });
  library.addEventListener("load", () => {
    changed();
    ready();
  });
  library.addEventListener("error", () => {
    find("#no-plots").hidden = false;
    ready();
  });
  document.head.append(library);
}

startTheme();
startTables();
startModel();
bringPlotly();
