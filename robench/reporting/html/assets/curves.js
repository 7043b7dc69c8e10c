// Plots by Plotly: cost of each corruption with whiskers, and the score over severity with bands.

function metricTitle(metric) {
  return plain(`${metric.label}${metric.unit ? ` (${metric.unit})` : ""}, ${metric.lower ? "lower" : "higher"} is better`);
}

function hoverText(row, metric) {
  const unit = metric.unit ? ` ${metric.unit}` : "";
  const lines = [
    `${row.label}${row.corruption === "clean" ? "" : `, severity ${row.severity}`}`,
    `${report.series[row.series]}: ${shown(row.value, metric.digits)}${unit}`,
  ];
  if (row.lo !== null) lines.push(`interval ${shown(row.lo, metric.digits)} to ${shown(row.hi, metric.digits)}`);
  if (row.ratio !== null) lines.push(`${shown(row.ratio, 2)}× clean`);
  if (row.failures) lines.push(`${row.failures} of ${row.n_samples} failed`);
  return lines.map(plain).join("<br>");
}

/** The end of an axis: room for the values, not for every interval, which a few subjects make very long. */
function axisEnd(rows) {
  const values = rows.map((row) => row.value).filter((value) => value !== null);
  const highs = rows.map((row) => row.hi).filter((value) => value !== null);
  const top = Math.max(...values, 1e-9);
  return Math.min(Math.max(...highs, top), 1.8 * top) * 1.06;
}

function drawOverview() {
  const metric = report.metrics[chosen.metric];
  const rows = report.overview.filter((row) => row.metric === metric.name && !row.corruption.endsWith(UNALIGNED));
  const names = corruptionsOf(rows, metric);
  const box = find("#overview");
  if (!names.length) {
    box.replaceChildren(make("p", {}, "There is no corrupted condition."));
    return;
  }
  const place = new Map(names.map(([name], index) => [name, names.length - 1 - index]));
  const count = report.series.length;
  const traces = report.series.map((name, index) => {
    const own = rows.filter((row) => row.series === index && place.has(row.corruption) && row.value !== null);
    const colour = seriesColour(index);
    return {
      type: "scatter",
      mode: "markers",
      name: plain(name),
      x: own.map((row) => row.value),
      y: own.map((row) => place.get(row.corruption) + (count > 1 ? ((count - 1) / 2 - index) * (0.6 / count) : 0)),
      error_x: {
        type: "data",
        symmetric: false,
        array: own.map((row) => (row.hi === null ? 0 : Math.max(row.hi - row.value, 0))),
        arrayminus: own.map((row) => (row.lo === null ? 0 : Math.max(row.value - row.lo, 0))),
        color: colour,
        thickness: 1.5,
        width: 3,
      },
      marker: { color: colour, size: 9, symbol: MARKERS[index % MARKERS.length] },
      text: own.map((row) => hoverText(row, metric)),
      hoverinfo: "text",
    };
  });
  const clean = rows.filter((row) => row.corruption === "clean" && row.value !== null);
  const shapes = clean.map((row) => ({
    type: "line",
    x0: row.value,
    x1: row.value,
    y0: -0.6,
    y1: names.length - 0.4,
    line: { color: seriesColour(row.series), width: 1.5, dash: "dash" },
    layer: "below",
  }));
  const layout = plotLayout({
    height: 90 + names.length * Math.max(30, 18 * count) + (count > 1 ? 24 : 0),
    shapes,
    showlegend: count > 1,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
    xaxis: { title: { text: metricTitle(metric), standoff: 8 }, range: [0, axisEnd(rows)] },
    yaxis: { tickvals: names.map(([name]) => place.get(name)), ticktext: names.map(([, label]) => wrapped(label)), range: [-0.6, names.length - 0.4] },
  });
  box.style.height = `${layout.height}px`;
  Plotly.react(box, traces, layout, PLOT_CONFIG);
}

/** A long label in lines that a phone has room for. */
function wrapped(label) {
  const lines = [""];
  for (const word of label.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length > 20) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  return lines.map(plain).join("<br>");
}

function panelTraces(rows, name, metric) {
  const traces = [];
  report.series.forEach((title, index) => {
    const own = rows
      .filter((row) => row.series === index && (row.corruption === name || row.corruption === "clean"))
      .filter((row) => row.value !== null)
      .sort((one, other) => one.severity - other.severity);
    const colour = seriesColour(index);
    const banded = own.filter((row) => row.lo !== null);
    if (banded.length > 1) {
      const edge = { type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", x: banded.map((row) => Number(row.severity)) };
      traces.push({ ...edge, y: banded.map((row) => row.lo) });
      traces.push({ ...edge, y: banded.map((row) => row.hi), fill: "tonexty", fillcolor: `${colour}33` });
    }
    traces.push({
      type: "scatter",
      mode: "lines+markers",
      name: plain(title),
      x: own.map((row) => Number(row.severity)),
      y: own.map((row) => row.value),
      line: { color: colour, width: 2, dash: DASHES[index % DASHES.length] },
      marker: { color: colour, size: 7, symbol: MARKERS[index % MARKERS.length] },
      text: own.map((row) => hoverText(row, metric)),
      hoverinfo: "text",
    });
  });
  return traces;
}

let panelObserver = null;

function drawPanels() {
  const box = find("#panels");
  if (!box) return;
  const metric = report.metrics[chosen.metric];
  const rows = conditionsOf(metric).filter((row) => !row.corruption.endsWith(UNALIGNED));
  const end = axisEnd(rows);
  const last = Math.max(...rows.map((row) => Number(row.severity)));
  const levels = Array.from({ length: last + 1 }, (_, level) => level);
  if (panelObserver) panelObserver.disconnect();
  for (const old of box.querySelectorAll(".js-plotly-plot")) Plotly.purge(old);
  box.replaceChildren();
  const draw = (plot, name) =>
    Plotly.newPlot(
      plot,
      panelTraces(rows, name, metric),
      plotLayout({
        height: 190,
        xaxis: { range: [-0.3, last + 0.3], tickvals: levels, ticktext: levels.map((level) => (level ? String(level) : "clean")), title: { text: "severity", standoff: 4, font: { size: 11 } } },
        yaxis: { range: [0, end], nticks: 5, title: { text: plain(metric.unit || metric.label), standoff: 4, font: { size: 11 } } },
      }),
      PLOT_CONFIG,
    );
  // A full recipe has fifty panels: each is drawn when it comes near the window.
  panelObserver = new IntersectionObserver(
    (entries, observer) => {
      for (const entry of entries.filter((item) => item.isIntersecting)) {
        observer.unobserve(entry.target);
        draw(entry.target, entry.target.dataset.corruption);
      }
    },
    { rootMargin: "400px" },
  );
  for (const [name, label] of corruptionsOf(rows, metric)) {
    const own = rows.filter((row) => row.corruption === name);
    const summary = own.map((row) => `${report.series[row.series]}, severity ${row.severity}: ${shown(row.value, metric.digits)}`).join("; ");
    const plot = make("div", { class: "plot", role: "img", "aria-label": `${metric.label} under ${label}. ${summary}`, "data-corruption": name, style: { height: "190px" } });
    box.append(make("figure", { class: "card panel" }, make("figcaption", {}, label), plot));
    panelObserver.observe(plot);
  }
}

function drawLegend() {
  const box = find("#legend");
  if (!box || report.series.length < 2) return;
  box.replaceChildren(
    ...report.series.map((name, index) => make("li", {}, make("span", { class: "swatch", style: { background: seriesColour(index) } }), name)),
  );
}
