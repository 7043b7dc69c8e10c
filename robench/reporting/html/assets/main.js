// Start: controls first, then everything that follows them.

function startControls() {
  for (const name of ["metric", "measure", "order"]) {
    find(`#${name}`).addEventListener("change", (event) => {
      chosen[name] = name === "metric" ? Number(event.target.value) : event.target.value;
      changed();
    });
  }
}

startTheme();
startControls();
startTables();
follow(drawHeat);
follow(drawOverview);
follow(drawLegend);
follow(drawPanels);
follow(drawCauses);
startSamples();
document.documentElement.dataset.ready = "yes";
