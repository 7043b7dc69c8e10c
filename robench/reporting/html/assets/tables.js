// Tables: sorting by a column, filtering by words, and download as CSV.

function sortTable(table, column, button) {
  const head = button.closest("th");
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const keyed = [...table.tBodies[0].rows].map((row, place) => {
    const cell = row.cells[column];
    const order = cell.dataset.order;
    return { row, place, numeric: order !== undefined, key: order === undefined ? cell.textContent : order === "" ? null : Number(order) };
  });
  keyed.sort((one, other) => {
    // A missing number stands last, whichever way the column is sorted.
    if (one.key === null || other.key === null) return (one.key === null) - (other.key === null) || one.place - other.place;
    const by = one.numeric && other.numeric ? one.key - other.key : String(one.key).localeCompare(String(other.key), "en", { numeric: true });
    return (descending ? -by : by) || one.place - other.place;
  });
  table.tBodies[0].append(...keyed.map((item) => item.row));
}

function filterTable(table, words, count) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...table.tBodies[0].rows];
  let visible = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    visible += row.hidden ? 0 : 1;
  }
  if (count) count.textContent = wanted.length ? `${visible} of ${rows.length} rows` : `${rows.length} rows`;
}

function download(name) {
  const address = URL.createObjectURL(new Blob([report.csv[name]], { type: "text/csv;charset=utf-8" }));
  const link = make("a", { href: address, download: `${name}.csv` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function startTables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = find("button", head);
      button.addEventListener("click", () => sortTable(table, column, button));
    });
  }
  for (const input of document.querySelectorAll("[data-filter]")) {
    const table = find(`table[data-table="${input.dataset.filter}"]`);
    const count = find(`[data-count="${input.dataset.filter}"]`);
    input.addEventListener("input", () => filterTable(table, input.value, count));
    filterTable(table, "", count);
  }
  for (const button of document.querySelectorAll("[data-csv]")) {
    button.addEventListener("click", () => download(button.dataset.csv));
  }
}
