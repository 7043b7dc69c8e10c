// Ranks, made by whoever looks: for one column, from values and intervals.

/** True if lines of a column have intervals: then one without is not known at all. */
function hasIntervals(lines, column) {
  return Boolean(column.lo) && lines.some((line) => line[column.lo] !== null && line[column.hi] !== null);
}

/** The interval of a line in a column, or null for a missing value. Without intervals, a value is its own. */
function spanOf(line, column, intervals) {
  const value = line[column.key];
  if (value === null) return null;
  if (!intervals) return [value, value];
  const [lo, hi] = [line[column.lo], line[column.hi]];
  return lo === null || hi === null ? [-Infinity, Infinity] : [lo, hi];
}

/** True for lines that take part: neither the reference, nor out of date, nor without a value. */
function takesPart(line, column) {
  return !line.reference && !line.stale && line[column.key] !== null;
}

/**
 * Rank lines in a column: for each line [first, last], or null for one that does not take part.
 * first = 1 + number of lines whose interval lies wholly on the better side; last = how many are not wholly worse.
 */
function ranksOf(lines, column, lower) {
  const ranked = lines.filter((line) => takesPart(line, column));
  const intervals = hasIntervals(ranked, column);
  const spans = ranked.map((line) => spanOf(line, column, intervals));
  const before = ([lo, hi], [otherLo, otherHi]) => (lower ? hi < otherLo : lo > otherHi);
  return lines.map((line) => {
    if (!takesPart(line, column)) return null;
    const own = spanOf(line, column, intervals);
    const better = spans.filter((span) => before(span, own)).length;
    const worse = spans.filter((span) => before(own, span)).length;
    return [1 + better, ranked.length - worse];
  });
}

/** The order of rows: best first (or worst first), missing values after them, lines that are out of date last. */
function orderOf(lines, key, lower, turned) {
  const numbers = lines.map((_, index) => index);
  const place = (line) => (line.stale ? 2 : line[key] === null || line[key] === "" ? 1 : 0);
  return numbers.sort((one, other) => {
    const [a, b] = [lines[one], lines[other]];
    if (place(a) !== place(b)) return place(a) - place(b);
    if (a[key] === b[key] || place(a) === 1) return one - other;
    const by = typeof a[key] === "number" ? a[key] - b[key] : String(a[key]).localeCompare(String(b[key]), "en", { numeric: true });
    return (lower === turned ? -by : by) || one - other;
  });
}
