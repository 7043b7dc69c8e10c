// The ranking as a table.

function digitsOf(column, view) {
  return column.digits === null ? view.digits : column.digits;
}

function lowerOf(column, view) {
  return column.better === "metric" ? view.lower : column.better !== "higher";
}

function numberText(value, column, view) {
  if (value === null) return MISSING;
  if (column.key === "failure_rate") return value ? `${shown(100 * value, column.digits)}${column.suffix}` : "0";
  return shown(value, digitsOf(column, view)) + column.suffix;
}

function underText(line, column, view) {
  if (column.key === "worst_ratio") return line.worst;
  if (!column.lo || line[column.lo] === null || line[column.hi] === null) return "";
  return `[${shown(line[column.lo], digitsOf(column, view))}, ${shown(line[column.hi], digitsOf(column, view))}]`;
}

/** What a screen reader and the eye get for a rank. */
function rankCell(line, rank) {
  const cell = make("td", { class: "rank" });
  if (line.stale) cell.append(make("span", { class: "badge" }, "out of date"));
  else if (line.reference) cell.append(make("span", { class: "badge plain" }, "reference"));
  else if (!rank) cell.append(MISSING, make("span", { class: "hidden" }, " no value"));
  else if (rank[0] === rank[1]) cell.append(String(rank[0]));
  else cell.append(`${rank[0]}–${rank[1]}`, make("span", { class: "hidden" }, " tied"));
  return cell;
}

/** Interval and value of a line on the axis that all rows share. */
function forestCell(line, column, range) {
  const cell = make("td", { "aria-hidden": "true" });
  const value = line[column.key];
  if (value === null || !range) return cell;
  const [low, high] = range;
  const at = (place) => Math.min(100, Math.max(0, high > low ? (100 * (place - low)) / (high - low) : 50));
  const box = make("span", { class: "forest" });
  const [lo, hi] = column.lo ? [line[column.lo], line[column.hi]] : [null, null];
  if (column.key === "ratio_gm" && low <= 1 && high >= 1) box.append(make("u", { style: { left: `${at(1)}%` } }));
  if (lo !== null && hi !== null) box.append(make("i", { style: { left: `${at(lo)}%`, width: `${at(hi) - at(lo)}%` } }));
  box.append(make("b", { style: { left: `${at(value)}%` } }));
  cell.append(box);
  return cell;
}

/** The axis of the intervals: all values, and intervals as far as a few long ones leave room. */
function forestRange(lines, column) {
  const values = lines.map((line) => line[column.key]).filter((value) => value !== null);
  if (!values.length) return null;
  const ends = (key, pick) => (key ? pick(...lines.map((line) => line[key]).filter((value) => value !== null), ...values) : pick(...values));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(high - low, 1e-9 * Math.abs(high));
  return [Math.max(ends(column.lo, Math.min), low - room), Math.min(ends(column.hi, Math.max), high + room)];
}

function modelCell(line) {
  const cell = make("th", { scope: "row" }, make("a", { href: `../models/${line.page}.html` }, line.model));
  const more = [line.variant, line.options].filter(Boolean).join("; ");
  if (more) cell.append(make("small", {}, more));
  return cell;
}

function headCell(head, column, sorted, turned, onSort) {
  const state = sorted ? (turned ? "descending" : "ascending") : null;
  const button = make("button", { type: "button", title: column.meaning, "data-key": column.key, on: { click: () => onSort(column.key) } }, head);
  return make("th", { scope: "col", "aria-sort": state }, button);
}
