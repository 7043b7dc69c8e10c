// Start: controls first, then everything that follows them.

function startControls() {
  for (const name of ["metric", "measure", "order"]) {
    find(`#${name}`).addEventListener("change", (event) => {
      chosen[name] = name === "metric" ? Number(event.target.value) : event.target.value;
      changed();
    });
  }
  find("#theme").addEventListener("change", (event) => {
    if (event.target.value) document.documentElement.dataset.theme = event.target.value;
    else delete document.documentElement.dataset.theme;
    changed();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

startControls();
startTables();
follow(drawHeat);
follow(drawOverview);
follow(drawLegend);
follow(drawPanels);
startSamples();
document.documentElement.dataset.ready = "yes";
