// The kept samples: a gallery, worst first, and a dialog with everything about one of them.

const PICTURES = [
  ["input", "Input"],
  ["mask", "Mask"],
  ["front", "Front"],
  ["left", "Left"],
  ["back", "Back"],
  ["right", "Right"],
  ["error", "Error, front"],
  ["error_back", "Error, back"],
];

const gallery = { entries: [], open: -1, views: null, opener: null };

function firstOf(entry) {
  return Object.keys(entry.runs)[0];
}

function scoreOf(entry, number, metric) {
  return (entry.scores[number] || {})[metric.name] || [null, null];
}

/** How bad an entry is under the chosen metric, over its runs; without a score it is worst. */
function badnessOf(entry, metric) {
  const bad = Object.keys(entry.runs).map((number) => {
    const [value] = scoreOf(entry, number, metric);
    return value === null ? Infinity : metric.lower ? value : -value;
  });
  return Math.max(...bad);
}

function costOf(entry, metric) {
  const costs = Object.keys(entry.runs).map((number) => {
    const [value, clean] = scoreOf(entry, number, metric);
    if (value === null || clean === null) return -Infinity;
    return metric.lower ? value - clean : clean - value;
  });
  return Math.max(...costs);
}

function conditionLabel(entry) {
  return entry.severity ? `${entry.label}, severity ${entry.severity}` : entry.label;
}

function statusesOf(entry) {
  return [...new Set(Object.values(entry.runs).map((part) => part.status))];
}

function scoreText(entry, number, metric) {
  const [value, clean] = scoreOf(entry, number, metric);
  const unit = metric.unit ? ` ${metric.unit}` : "";
  const text = `${metric.short} ${shown(value, metric.digits)}${value === null ? "" : unit}`;
  if (!entry.severity || clean === null || value === null) return text;
  return `${text} (clean ${shown(clean, metric.digits)})`;
}

function picture(part, name, text) {
  const uri = report.samples.pictures[part.pictures[name]];
  return uri ? make("img", { src: uri, alt: text, decoding: "async" }) : null;
}

function cardOf(entry, index) {
  const metric = report.metrics[chosen.metric];
  const part = entry.runs[firstOf(entry)];
  const failed = Object.values(entry.runs).filter((one) => one.status !== "ok");
  const pictures = make("span", { class: "pair" }, picture(part, "input", ""), picture(part, "error", "") || picture(part, "front", "") || picture(part, "mask", ""));
  const lines = Object.keys(entry.runs).map((number) => {
    const name = report.series.length > 1 ? `${report.series[number]}: ` : "";
    return make("span", { class: "line" }, name + scoreText(entry, number, metric));
  });
  const badge = failed.length ? make("span", { class: "badge" }, failed[0].status.replaceAll("_", " ")) : null;
  const button = make(
    "button",
    { type: "button", class: "sample card", on: { click: (event) => openSample(index, event.currentTarget) } },
    pictures,
    make("span", { class: "text" }, make("b", {}, conditionLabel(entry)), make("span", { class: "line" }, entry.sample), ...lines, badge),
  );
  return make("li", {}, button);
}

function drawGallery() {
  const metric = report.metrics[chosen.metric];
  const wanted = {
    corruption: find("#by-corruption").value,
    severity: find("#by-severity").value,
    status: find("#by-status").value,
    name: find("#by-name").value.trim().toLowerCase(),
  };
  const order = find("#by-order").value;
  const kept = report.samples.entries.filter(
    (entry) =>
      (!wanted.corruption || entry.corruption === wanted.corruption) &&
      (!wanted.severity || String(entry.severity) === wanted.severity) &&
      (!wanted.status || statusesOf(entry).includes(wanted.status)) &&
      (!wanted.name || entry.sample.toLowerCase().includes(wanted.name)),
  );
  const down = (key) => (one, other) => {
    const [a, b] = [key(one, metric), key(other, metric)];
    return a === b ? 0 : b > a ? 1 : -1;
  };
  if (order === "worst") kept.sort(down(badnessOf));
  if (order === "cost") kept.sort(down(costOf));
  if (order === "name") kept.sort((one, other) => one.sample.localeCompare(other.sample, "en", { numeric: true }) || one.label.localeCompare(other.label) || one.severity - other.severity);
  gallery.entries = kept;
  find("#cards").replaceChildren(...kept.map(cardOf));
  const total = report.samples.entries.length;
  const parts = [kept.length === total ? `${total} samples` : `${kept.length} of ${total} samples`];
  if (report.samples.leftOut) parts.push(`${report.samples.leftOut} more are in the run's folder: this page has no room for them`);
  if (!kept.length) parts.push("no kept sample fits; the table below lists the worst cells of the whole run");
  find("#shown").textContent = `${parts.join("; ")}.`;
}

/** Show the samples of a cell of the heat map. */
function showSamples(corruption, severity) {
  if (!report.samples.entries.length) {
    find("#samples-title").focus();
    return;
  }
  for (const [selector, value] of [["#by-corruption", corruption.replace(UNALIGNED, "")], ["#by-severity", severity]]) {
    const select = find(selector);
    if (![...select.options].some((option) => option.value === value)) select.append(make("option", { value }, value));
    select.value = value;
  }
  find("#by-status").value = "";
  find("#by-name").value = "";
  drawGallery();
  find("#samples-title").focus({ preventScroll: true });
  find("#samples").scrollIntoView();
}

function figureOf(part, name, title) {
  const image = picture(part, name, title);
  return image ? make("figure", {}, image, make("figcaption", {}, title)) : null;
}

function partOf(entry, number, view) {
  const part = entry.runs[number];
  const lines = report.metrics.map((metric) => make("li", {}, scoreText(entry, number, metric)));
  const failed = part.status === "ok" ? null : make("p", { class: "warning" }, `${part.status.replaceAll("_", " ")}${part.message ? `: ${part.message}` : ""}. Its scores are penalties.`);
  return make(
    "section",
    { class: "part" },
    make("h3", {}, report.series[number]),
    make("ul", { class: "scores" }, ...lines),
    failed,
    make("div", { class: "strip" }, ...PICTURES.map(([name, title]) => figureOf(part, name, title))),
    view,
  );
}

function errorLegend() {
  const bar = make("span", { class: "ramp", style: { background: `linear-gradient(90deg, ${ERROR_STOPS.map(rgb).join(",")})` } });
  return make("p", { class: "scale" }, "0", bar, `${report.samples.top} cm and more`, make("span", {}, " distance of the prediction to the true surface"));
}

function openSample(index, opener) {
  const entry = gallery.entries[index];
  const dialog = find("#sample");
  if (gallery.views) gallery.views.stop();
  gallery.open = index;
  if (opener) gallery.opener = opener;
  const numbers = Object.keys(entry.runs);
  const truth = report.samples.truths[entry.sample] || null;
  gallery.views = makeViews(numbers.map((number) => ({ name: report.series[number], solid: entry.runs[number].solid || null })), truth, report.samples.top);
  find("#sample-title").textContent = `${conditionLabel(entry)}: ${entry.sample}`;
  const parts = numbers.map((number, place) => partOf(entry, number, gallery.views.boxes[place]));
  find("#sample-body").replaceChildren(errorLegend(), gallery.views.tools, make("div", { class: "parts" }, ...parts));
  find("#previous").disabled = index === 0;
  find("#next").disabled = index === gallery.entries.length - 1;
  if (!dialog.open) dialog.showModal();
  find("#sample-body").scrollTop = 0;
  find("#sample-title").focus();
  return gallery.views.start();
}

function startSamples() {
  const samples = report.samples;
  if (!samples.entries.length) {
    find("#browser").replaceChildren(make("p", {}, "The runs kept no pictures and meshes. robench evaluate --keep-meshes examples keeps those of a few samples."));
    return;
  }
  const fill = (selector, pairs) => find(selector).replaceChildren(make("option", { value: "" }, "all"), ...pairs.map(([value, text]) => make("option", { value }, text)));
  const labels = new Map(samples.entries.map((entry) => [entry.corruption, entry.label]));
  fill("#by-corruption", [...labels].sort((one, other) => one[1].localeCompare(other[1], "en", { numeric: true })));
  fill("#by-severity", [...new Set(samples.entries.map((entry) => entry.severity))].sort((a, b) => a - b).map((value) => [String(value), value ? String(value) : "0 (clean)"]));
  fill("#by-status", [...new Set(samples.entries.flatMap(statusesOf))].sort().map((value) => [value, value.replaceAll("_", " ")]));
  for (const selector of ["#by-corruption", "#by-severity", "#by-status", "#by-order"]) find(selector).addEventListener("change", drawGallery);
  find("#by-name").addEventListener("input", drawGallery);
  find("#reset").addEventListener("click", () => {
    for (const selector of ["#by-corruption", "#by-severity", "#by-status", "#by-name"]) find(selector).value = "";
    drawGallery();
  });
  const dialog = find("#sample");
  find("#previous").addEventListener("click", () => openSample(gallery.open - 1));
  find("#next").addEventListener("click", () => openSample(gallery.open + 1));
  find("#close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    gallery.views.stop();
    gallery.views = null;
    find("#sample-body").replaceChildren();
    if (gallery.opener && gallery.opener.isConnected) gallery.opener.focus();
  });
  follow(drawGallery);
}
