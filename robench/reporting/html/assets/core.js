// Data, elements, colours and events that the other parts share. All of them become one script.
"use strict";

const report = JSON.parse(document.getElementById("report-data").textContent);
const MISSING = "–";
// Okabe-Ito, readable with any common colour blindness; the last one stands out on light and on dark paper.
const SERIES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const MARKERS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"];
const UNALIGNED = " (unaligned)";

const chosen = { metric: 0, measure: "value", order: "worst" };
const listeners = [];

/** Call a function now and whenever metric, measure, order or colours change. */
function follow(listener) {
  listeners.push(listener);
  listener();
}

function changed() {
  for (const listener of listeners) listener();
}

/** Colours follow the system until somebody chooses. */
function startTheme() {
  find("#theme").addEventListener("change", (event) => {
    if (event.target.value) document.documentElement.dataset.theme = event.target.value;
    else delete document.documentElement.dataset.theme;
    changed();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

function find(selector, root) {
  return (root || document).querySelector(selector);
}

/** Make an element. Texts become text nodes: nothing that a run named is ever read as HTML. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "style") Object.assign(element.style, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function conditionsOf(metric) {
  return report.conditions.filter((row) => row.metric === metric.name);
}

/** Corruptions in the order of the page: [name, label], clean left out. */
function corruptionsOf(rows, metric) {
  const worst = new Map();
  const labels = new Map();
  for (const row of rows) {
    if (row.corruption === "clean") continue;
    labels.set(row.corruption, row.label);
    const bad = row.value === null ? -Infinity : metric.lower ? row.value : -row.value;
    worst.set(row.corruption, Math.max(worst.get(row.corruption) ?? -Infinity, bad));
  }
  const names = [...labels.keys()].sort((one, other) => labels.get(one).localeCompare(labels.get(other), "en", { numeric: true }));
  if (chosen.order === "worst") names.sort((one, other) => worst.get(other) - worst.get(one));
  // Unaligned scores are large by construction: they stand after the others.
  names.sort((one, other) => one.endsWith(UNALIGNED) - other.endsWith(UNALIGNED));
  return names.map((name) => [name, labels.get(name)]);
}

/** Plotly reads a little HTML in its labels; this shows a text as its letters. */
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** The number as the tables print it, with a true minus sign. */
function shown(value, digits, sign) {
  if (value === null || value === undefined) return MISSING;
  const text = Math.abs(value).toFixed(digits);
  const zero = Number(text) === 0;
  return (value < 0 && !zero ? "−" : sign && !zero ? "+" : "") + text;
}

function seriesColour(index) {
  return SERIES[index % SERIES.length];
}

/** A colour of the style sheet, as it is under the theme of now. */
function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function mixed(stops, share) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((value, channel) => Math.round(value + (place - low) * (stops[low + 1][channel] - value)));
}

function rgb(colour) {
  return `rgb(${colour.join(",")})`;
}

/** Black or white, whichever is easier to read on a colour (relative luminance of WCAG 2). */
function inkOn(colour) {
  const [r, g, b] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** What every plot has in common: paper, ink and grid of the theme. */
function plotLayout(extra) {
  const axis = { gridcolor: ink("--line"), linecolor: ink("--line"), zeroline: false, fixedrange: true, automargin: true };
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink("--ink") },
    margin: { l: 8, r: 12, t: 8, b: 8 },
    showlegend: false,
    hovermode: "closest",
    dragmode: false,
    hoverlabel: { bgcolor: ink("--card"), bordercolor: ink("--line"), font: { color: ink("--ink") }, align: "left" },
    ...extra,
  };
  layout.xaxis = { ...axis, ...extra.xaxis };
  layout.yaxis = { ...axis, ...extra.yaxis };
  return layout;
}

const PLOT_CONFIG = { displaylogo: false, displayModeBar: false, responsive: true };
