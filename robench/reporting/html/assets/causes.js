// Where losses come from: for each run a bar a corruption, of parts that add up to the loss.

// Pixels beside the bars for the numbers of the unmoved truth.
const BESIDE = 46;

function signed(triple, digits) {
  const [value, lo, hi] = triple;
  return `${shown(value, digits, true)}${lo === null ? "" : ` (interval ${shown(lo, digits)} to ${shown(hi, digits)})`}`;
}

function causeDigits(metric) {
  return metric.unit ? 2 : 3;
}

/** Corruptions of all runs in the order of the page, all of them together last: Plotly counts from below. */
function causeOrder(groups) {
  const worst = new Map();
  const labels = new Map();
  for (const row of groups.flatMap((group) => group.rows).filter((item) => !item.all)) {
    labels.set(row.corruption, row.label);
    worst.set(row.corruption, Math.max(worst.get(row.corruption) ?? -Infinity, row.loss[0] ?? -Infinity));
  }
  const names = [...labels.keys()].sort((one, other) => labels.get(one).localeCompare(labels.get(other), "en", { numeric: true }));
  if (chosen.order === "worst") names.sort((one, other) => (worst.get(other) > worst.get(one)) - (worst.get(other) < worst.get(one)));
  return names.reverse();
}

/** The ends of the axis: room for every bar, but not for every interval, which a few subjects make very long. */
function causeRange(groups) {
  const ends = [0];
  const bounds = [0];
  for (const group of groups) {
    for (const row of group.rows) {
      const values = row.complete ? group.parts.map((name) => row[name][0]) : [];
      ends.push(values.reduce((sum, value) => sum + Math.max(value, 0), 0), values.reduce((sum, value) => sum + Math.min(value, 0), 0));
      if (row.loss[0] !== null) ends.push(row.loss[0]);
      if (row.loss[1] !== null) bounds.push(row.loss[1], row.loss[2]);
    }
  }
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const room = 0.5 * (high - low) || 1;
  const left = Math.min(low, Math.max(Math.min(...bounds), low - room));
  const right = Math.max(high, Math.min(Math.max(...bounds), high + room));
  return [left - 0.04 * (right - left), right + 0.04 * (right - left)];
}

function causeHover(row, name, label, metric) {
  const unit = metric.unit ? ` ${metric.unit}` : "";
  const [value, lo, hi] = row[name];
  const lines = [row.label, `${label}: ${shown(value, causeDigits(metric), true)}${unit}`];
  if (lo !== null) lines.push(`interval ${shown(lo, causeDigits(metric))} to ${shown(hi, causeDigits(metric))}`);
  lines.push(`${row.subjects} subject${row.subjects === 1 ? "" : "s"}`);
  return lines.map(plain).join("<br>");
}

function causeTraces(group, place, metric) {
  const rows = group.rows.filter((row) => place.has(row.corruption));
  const complete = rows.filter((row) => row.complete);
  const traces = report.causes.parts
    .filter((part) => group.parts.includes(part.name))
    .map((part) => ({
      type: "bar",
      orientation: "h",
      name: part.short,
      x: complete.map((row) => row[part.name][0]),
      y: complete.map((row) => place.get(row.corruption)),
      width: 0.66,
      marker: { color: part.colour, line: { width: 0 }, pattern: { shape: part.pattern, fillmode: "overlay", fgcolor: ink("--card"), fgopacity: 0.9, size: part.pattern === "." ? 5 : 7, solidity: 0.25 } },
      text: complete.map((row) => causeHover(row, part.name, part.label, metric)),
      textposition: "none",
      hoverinfo: "text",
    }));
  const told = rows.filter((row) => row.loss[0] !== null);
  traces.push({
    type: "scatter",
    mode: "markers",
    name: "Loss",
    x: told.map((row) => row.loss[0]),
    y: told.map((row) => place.get(row.corruption)),
    error_x: {
      type: "data",
      symmetric: false,
      array: told.map((row) => (row.loss[2] === null ? 0 : Math.max(row.loss[2] - row.loss[0], 0))),
      arrayminus: told.map((row) => (row.loss[1] === null ? 0 : Math.max(row.loss[0] - row.loss[1], 0))),
      color: ink("--ink"),
      thickness: 1.2,
      width: 3,
    },
    marker: { color: ink("--ink"), size: 9, symbol: "diamond", line: { color: ink("--card"), width: 1.5 } },
    text: told.map((row) => causeHover(row, "loss", "Loss", metric)),
    hoverinfo: "text",
  });
  return traces;
}

/** What is told in numbers beside the bars: the unmoved truth, and where there is no bar. */
function causeNotes(group, place, metric, top) {
  const beside = { xref: "paper", x: 1, xanchor: "left", showarrow: false, font: { size: 11, color: ink("--pale") }, align: "left" };
  const moved = group.rows.filter((row) => row.camera[0] && place.has(row.corruption));
  const notes = moved.map((row) => ({ ...beside, y: place.get(row.corruption), text: ` ${shown(row.camera[0], causeDigits(metric), true)}` }));
  if (moved.length) notes.push({ ...beside, xanchor: "right", xshift: BESIDE, y: top, yanchor: "bottom", text: "truth not moved" });
  for (const row of group.rows.filter((item) => !item.complete && place.has(item.corruption))) {
    notes.push({ ...beside, xref: "x", x: 0, y: place.get(row.corruption), yshift: row.loss[0] === null ? 0 : 12, text: " not told apart" });
  }
  return notes;
}

function causeSummary(group, metric) {
  const labels = new Map(report.causes.parts.map((part) => [part.name, part.short]));
  const one = (row) => {
    const parts = group.parts.map((name) => `${labels.get(name)} ${shown(row[name][0], causeDigits(metric), true)}`);
    const camera = row.camera[0] ? `; ${shown(row.camera[0], causeDigits(metric), true)} if the truth is not moved` : "";
    return `${row.label}: loss ${signed(row.loss, causeDigits(metric))}${row.complete ? `, of it ${parts.join(", ")}` : ", not told apart"}${camera}`;
  };
  return `${group.title}, ${report.series[group.series]}. ${group.rows.map(one).join(". ")}. The same numbers are in the table below.`;
}

function drawCauses() {
  const box = find("#cause-panels");
  if (!box) return;
  const metric = report.metrics[chosen.metric];
  const groups = report.causes.groups.filter((group) => group.metric === metric.name);
  for (const old of box.querySelectorAll(".js-plotly-plot")) Plotly.purge(old);
  for (const item of document.querySelectorAll("#cause-legend [data-part]")) {
    item.hidden = !groups.some((group) => group.parts.includes(item.dataset.part));
  }
  if (!groups.length) {
    box.replaceChildren(make("p", {}, `Nothing tells where a loss in ${metric.label} comes from. Choose another metric.`));
    return;
  }
  const names = causeOrder(groups);
  const labels = new Map(groups.flatMap((group) => group.rows).map((row) => [row.corruption, row.label]));
  const together = groups[0].rows.find((row) => row.all);
  const place = new Map(names.map((name, index) => [name, index]));
  const first = names.length + 0.35;
  if (together) place.set(together.corruption, first);
  const top = (together ? first : names.length - 1) + 0.6;
  const range = causeRange(groups);
  const moves = groups.some((group) => group.rows.some((row) => row.camera[0]));
  const height = 70 + 34 * (place.size + 0.35) + (moves ? 18 : 0);
  const cards = groups.map((group) => {
    const plot = make("div", { class: "plot", role: "img", "aria-label": causeSummary(group, metric), style: { height: `${height}px` } });
    const caption = make("figcaption", {}, report.series[group.series], group.said ? make("small", {}, ` ${group.said}`) : null);
    return { group, plot, card: make("figure", { class: "card panel" }, caption, plot) };
  });
  box.replaceChildren(...cards.map((item) => item.card));
  for (const { group, plot } of cards) {
    const layout = plotLayout({
      height,
      barmode: "relative",
      margin: { l: 8, r: moves ? BESIDE + 4 : 12, t: moves ? 26 : 8, b: 8 },
      annotations: causeNotes(group, place, metric, top),
      shapes: [
        { type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: ink("--ink"), width: 1 } },
        ...(together ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: first - 0.68, y1: first - 0.68, line: { color: ink("--line"), width: 1 } }] : []),
      ],
      xaxis: { title: { text: plain(group.title), standoff: 8 }, range },
      yaxis: { tickvals: [...place.values()], ticktext: [...place.keys()].map((name) => wrapped(labels.get(name))), range: [-0.6, top], showgrid: false },
    });
    Plotly.newPlot(plot, causeTraces(group, place, metric), layout, PLOT_CONFIG);
  }
}
