// A board's page: what is ranked, by what, and which rows are shown.

const state = { setting: 0, view: 0, by: "ratio_gm", sort: "ratio_gm", turned: false };

function viewOf() {
  return report.settings[state.setting].views[state.view];
}

function linesOf(view) {
  return view.lines.map((number) => report.lines[number]);
}

/** Columns that say something here: one without any value is left out, levels that cannot be compared too. */
function columnsOf(view) {
  const lines = linesOf(view);
  return report.columns.filter(
    (column) => lines.some((line) => line[column.key] !== null) && (view.levels || !/^s[1-5]$/.test(column.key)),
  );
}

function textsOf(view) {
  return report.texts.filter((column) => linesOf(view).some((line) => line[column.key] !== ""));
}

function options(select, pairs, value) {
  select.replaceChildren(...pairs.map(([key, text]) => make("option", { value: key, selected: String(key) === String(value) }, text)));
}

function fillControls() {
  const setting = report.settings[state.setting];
  options(find("#setting"), report.settings.map((one, index) => [index, one.label]), state.setting);
  options(find("#view"), setting.views.map((one, index) => [index, one.title]), state.view);
  const ranked = columnsOf(viewOf()).filter((column) => column.ranked);
  if (!ranked.some((column) => column.key === state.by)) state.by = ranked.length ? ranked[0].key : "ratio_gm";
  options(find("#by"), ranked.map((column) => [column.key, column.head]), state.by);
}

function columnOf(key) {
  return [...report.columns, ...report.texts].find((column) => column.key === key) || (key === "model" ? { key: "model", head: "Model", meaning: "" } : null);
}

/** Sort by a column; a second time, the other way round. A column that can be ranked by is ranked by. */
function sortBy(key) {
  state.turned = state.sort === key && !state.turned;
  state.sort = key;
  if (columnOf(key).ranked) state.by = key;
  draw();
  // The head that was pressed is drawn anew: whoever uses the keyboard stays on it.
  find(`#board thead button[data-key="${key}"]`).focus();
}

function draw() {
  fillControls();
  const view = viewOf();
  const lines = linesOf(view);
  const [columns, texts] = [columnsOf(view), textsOf(view)];
  if (![...columns, ...texts].some((column) => column.key === state.sort) && state.sort !== "model") [state.sort, state.turned] = [state.by, false];
  const by = columnOf(state.by);
  const ranks = ranksOf(lines, by, lowerOf(by, view));
  const range = forestRange(lines, by);
  const sorted = columnOf(state.sort);
  const rising = sorted.better === undefined || lowerOf(sorted, view);
  const table = find("#board");
  const first = lines[0];
  const setting = report.settings[state.setting];
  find("caption span", table).textContent =
    `${view.title}, ${view.lower ? "lower" : "higher"} is better; recipe ${setting.recipe}; masks: ${setting.masker}; ` +
    `${first.n_subjects} subjects, ${first.n_samples} samples`;
  const head = (column) => headCell(column.head, column, state.sort === column.key, rising === state.turned, sortBy);
  table.tHead.replaceChildren(
    make(
      "tr",
      {},
      make("th", { scope: "col", class: "plain-head" }, "Rank"),
      head({ key: "model", head: "Model", meaning: "" }),
      ...columns.slice(0, 1).map(head),
      make("th", { class: "plain-head", "aria-hidden": "true" }, by.lo ? "95 % interval" : "On a scale"),
      ...columns.slice(1).map(head),
      ...texts.map(head),
    ),
  );
  const cell = (line, column) => {
    const under = underText(line, column, view);
    const made = make("td", { class: state.by === column.key ? "number sorted" : "number" }, numberText(line[column.key], column, view));
    if (under) made.append(make("small", {}, under));
    return made;
  };
  table.tBodies[0].replaceChildren(
    ...orderOf(lines, state.sort, rising, state.turned).map((index) => {
      const line = lines[index];
      const kind = [line.reference && "reference", line.stale && "stale"].filter(Boolean).join(" ");
      const row = make(
        "tr",
        { class: kind || null },
        rankCell(line, ranks[index]),
        modelCell(line),
        ...columns.slice(0, 1).map((column) => cell(line, column)),
        forestCell(line, by, range),
        ...columns.slice(1).map((column) => cell(line, column)),
        ...texts.map((column) => make("td", { class: "wide" }, line[column.key] || MISSING)),
      );
      row.dataset.licence = line.licence;
      row.dataset.verified = line.verified;
      return row;
    }),
  );
  const levels = report.columns.some((column) => column.key === "s1") && !view.levels;
  find("#columns-left-out").textContent = levels ? "Severities of this recipe have different corruptions, so means over them are not shown; main.csv has them." : "";
  filterRows();
  remember();
}

function filterRows() {
  const words = find("#words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [licence, verified] = [find("#licence").value, find("#verified").value];
  const rows = [...find("#board").tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = Boolean(!words.every((word) => text.includes(word)) || (licence && row.dataset.licence !== licence) || (verified && row.dataset.verified !== verified));
  }
  const view = viewOf();
  const by = columnOf(state.by);
  const ranked = linesOf(view).filter((line) => takesPart(line, by));
  const visible = rows.filter((row) => !row.hidden).length;
  const count = visible === rows.length ? `${rows.length} entr${rows.length === 1 ? "y" : "ies"}` : `${visible} of ${rows.length} entries`;
  const how = hasIntervals(ranked, by) ? "models whose intervals overlap are tied" : "this column has no intervals: values alone are compared";
  find("#said").textContent = `${count}. ${ranked.length} ranked by ${by.head.toLowerCase()}, ${lowerOf(by, view) ? "lower" : "higher"} is better; ${how}.`;
}

/** What is chosen stands in the address, so that it can be sent to somebody. */
function remember() {
  const setting = report.settings[state.setting];
  const chosen = new URLSearchParams({ recipe: setting.label, metric: viewOf().title, by: state.by });
  history.replaceState(null, "", `#${chosen}`);
}

function recall() {
  const chosen = new URLSearchParams(location.hash.slice(1));
  const setting = report.settings.findIndex((one) => one.label === chosen.get("recipe"));
  if (setting >= 0) state.setting = setting;
  const view = report.settings[state.setting].views.findIndex((one) => one.title === chosen.get("metric"));
  if (view >= 0) state.view = view;
  if (report.columns.some((column) => column.ranked && column.key === chosen.get("by"))) state.by = state.sort = chosen.get("by");
}

function startBoard() {
  find("#setting").addEventListener("change", (event) => {
    const metric = viewOf().name;
    state.setting = Number(event.target.value);
    state.view = Math.max(report.settings[state.setting].views.findIndex((view) => view.name === metric), 0);
    draw();
  });
  find("#view").addEventListener("change", (event) => {
    state.view = Number(event.target.value);
    draw();
  });
  find("#by").addEventListener("change", (event) => {
    [state.by, state.sort, state.turned] = [event.target.value, event.target.value, false];
    draw();
  });
  find("#words").addEventListener("input", filterRows);
  for (const name of ["#licence", "#verified"]) find(name).addEventListener("change", filterRows);
  find("#reset").addEventListener("click", () => {
    for (const name of ["#words", "#licence", "#verified"]) find(name).value = "";
    filterRows();
  });
  recall();
  draw();
}

startTheme();
if (report.settings.length) startBoard();
document.documentElement.dataset.ready = "yes";
