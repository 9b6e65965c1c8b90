
// The live picture of the what-if panel; plotly.js stands above this in the same module.
//
// What to draw is the value of another widget: the whole figure as one text, so that no picture is
// made of two answers. It isn't this widget's own, since anywidget (to 0.11) drops whatever is sent
// to a widget whose module took longer than two seconds to load, and plotly.js is 5 MB.
const { Plotly } = globalThis;

async function render({ model, el }) {
  const source = await model.widget_manager.get_model(model.get("source"));
  const plot = document.createElement("div");
  plot.setAttribute("role", "figure");
  el.append(plot);

  async function draw() {
    const { data, layout, title } = JSON.parse(source.get("value"));
    plot.setAttribute("aria-label", title);
    try {
      await Plotly.react(plot, data, layout, { responsive: true, displaylogo: false });
    } catch (error) { // an older picture must not stay below the new title
      Plotly.purge(plot);
      plot.textContent = `The picture can't be drawn: ${error}`;
    }
  }

  source.on("change:value", draw); // before the first one is drawn: none comes in between
  draw();
  // it is drawn before it has a place, 700 pixels wide
  const fit = new ResizeObserver(() => el.clientWidth && Plotly.Plots.resize(plot));
  fit.observe(el);
  return () => {
    source.off("change:value", draw);
    fit.disconnect();
    Plotly.purge(plot);
  };
}

export default { render };
