// The heat map: a table a run, so that it can be read aloud and walked through with the keyboard.

// YlOrBr of ColorBrewer, safe for colour blindness; pale is good.
const HEAT = [[255, 255, 229], [255, 247, 188], [254, 227, 145], [254, 196, 79], [254, 153, 41], [236, 112, 20], [204, 76, 2], [153, 52, 4], [102, 37, 6]];

function measureText(row, metric) {
  if (chosen.measure === "ratio") return row.ratio === null ? MISSING : `${shown(row.ratio, 2)}×`;
  if (chosen.measure === "delta") return shown(row.delta, metric.digits, true);
  return shown(row.value, metric.digits);
}

function measureRange(rows, metric) {
  const aligned = rows.filter((row) => !row.corruption.endsWith(UNALIGNED));
  const values = aligned.map((row) => row[chosen.measure]).filter((value) => value !== null);
  if (chosen.measure === "ratio") values.push(1);
  if (chosen.measure === "delta") values.push(0);
  if (!values.length) return null;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return metric.lower ? [low, high] : [high, low];
}

function cellLabel(row, metric) {
  const unit = metric.unit ? ` ${metric.unit}` : "";
  const parts = [`${metric.label} ${shown(row.value, metric.digits)}${unit}`];
  if (row.lo !== null) parts.push(`interval ${shown(row.lo, metric.digits)} to ${shown(row.hi, metric.digits)}`);
  if (row.ratio !== null) parts.push(`${shown(row.ratio, 2)} times clean`);
  if (row.failures) parts.push(`${row.failures} of ${row.n_samples} failed`);
  return `${row.label}${row.corruption === "clean" ? "" : `, severity ${row.severity}`}: ${parts.join(", ")}`;
}

function heatCell(row, metric, range) {
  if (!row) return make("td", { class: "none" }, MISSING);
  const value = row[chosen.measure];
  const [good, bad] = range || [0, 1];
  const colour = value === null || !range ? null : mixed(HEAT, bad === good ? 0 : (value - good) / (bad - good));
  const label = cellLabel(row, metric);
  const button = make(
    "button",
    {
      type: "button",
      class: "heat",
      title: label,
      "aria-label": `${label}. Show samples`,
      "data-corruption": row.corruption,
      "data-severity": row.severity,
      style: colour ? { background: rgb(colour), color: inkOn(colour) } : {},
      on: { click: () => showSamples(row.corruption, row.severity, row.series) },
    },
    measureText(row, metric),
  );
  if (row.failures) button.append(make("span", { class: "failed", "aria-hidden": "true" }, `${row.failures} failed`));
  return make("td", {}, button);
}

function heatTable(index, rows, metric, range) {
  const own = rows.filter((row) => row.series === index);
  const at = new Map(own.map((row) => [`${row.severity}\n${row.corruption}`, row]));
  const severities = [...new Set(rows.filter((row) => row.corruption !== "clean").map((row) => row.severity))].sort((a, b) => a - b);
  const clean = own.find((row) => row.corruption === "clean");
  const body = make("tbody", {});
  if (clean) {
    const cell = heatCell(clean, metric, range);
    cell.colSpan = Math.max(severities.length, 1);
    // The clean score has no difference to itself; its value tells more than a dash.
    if (chosen.measure !== "value") find("button", cell).firstChild.data = shown(clean.value, metric.digits);
    body.append(make("tr", {}, make("th", { scope: "row" }, clean.label), cell));
  }
  for (const [name, label] of corruptionsOf(rows, metric)) {
    const cells = severities.map((severity) => heatCell(at.get(`${severity}\n${name}`), metric, range));
    body.append(make("tr", {}, make("th", { scope: "row" }, label), ...cells));
  }
  const heads = severities.map((severity) => make("th", { scope: "col" }, make("span", { class: "hidden" }, "Severity "), severity));
  return make(
    "div",
    { class: "scroll card", tabindex: "0", role: "region", "aria-label": `Heat map of ${report.series[index]}` },
    make(
      "table",
      { class: "heatmap" },
      make("caption", {}, report.series[index]),
      make("thead", {}, make("tr", {}, make("td", { class: "corner" }, "Severity"), ...heads)),
      body,
    ),
  );
}

function drawHeat() {
  const metric = report.metrics[chosen.metric];
  const rows = conditionsOf(metric);
  const range = measureRange(rows, metric);
  find("#heat").replaceChildren(...report.series.map((_, index) => heatTable(index, rows, metric, range)));
  const scale = find("#heat-scale");
  scale.replaceChildren();
  if (!range) return;
  const text = (value) => measureText({ [chosen.measure]: value }, metric);
  const bar = make("span", { class: "ramp", style: { background: `linear-gradient(90deg, ${HEAT.map(rgb).join(",")})` } });
  scale.append(text(range[0]), bar, text(range[1]), make("span", {}, ` ${metric.label}${metric.unit && chosen.measure !== "ratio" ? ` (${metric.unit})` : ""}`));
}
