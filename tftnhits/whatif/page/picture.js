
// The live picture of the what-if panel; plotly.js stands above this in the same module.
//
// What to draw is the value of another widget: the whole figure as one text, so that no picture is
// made of two answers. It isn't this widget's own, since anywidget (to 0.11) drops whatever is sent
// to a widget whose module took longer than two seconds to load, and plotly.js is 5 MB.
const { Plotly } = globalThis;

// Whether the page's text is light: so it is on a dark ground, in whatever kind of page.
function isDark(el) {
  const parts = getComputedStyle(el).color.match(/[\d.]+/g); // null before it has a place
  return parts !== null && parts.slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 382;
}

// On a phone the axis needs no name and the legend is small, in two columns.
const NARROW = {
  margin: { l: 45, r: 5, t: 5, b: 20 },
  yaxis: { title: { text: "" } },
  legend: { x: 0, font: { size: 10 }, entrywidthmode: "fraction", entrywidth: 0.5 },
};

const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false, // no button to upload it
  modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
};

async function render({ model, el }) {
  const source = await model.widget_manager.get_model(model.get("source"));
  const plot = document.createElement("div");
  plot.setAttribute("role", "figure");
  el.append(plot);

  let shown = ""; // for which place
  const place = () => `${isDark(el) ? "dark" : "light"}${el.clientWidth < 480 ? " narrow" : ""}`;

  async function draw() {
    const { title, dark, ...light } = JSON.parse(source.get("value"));
    shown = place();
    const { data, layout } = (shown.startsWith("dark") && dark) || light;
    const narrow = shown.endsWith("narrow");
    if (narrow) {
      for (const [part, values] of Object.entries(NARROW)) Object.assign(layout[part], values);
    }
    plot.setAttribute("aria-label", title);
    try {
      await Plotly.react(plot, data, layout, { ...CONFIG, displayModeBar: narrow ? false : "hover" });
    } catch (error) { // an older picture must not stay below the new title
      Plotly.purge(plot);
      plot.textContent = `The picture can't be drawn: ${error}`;
    }
  }

  source.on("change:value", draw); // before the first one is drawn: none comes in between
  draw();
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => shown === place() || draw();
  const themed = new MutationObserver(follow); // JupyterLab and others tell of a theme there
  themed.observe(document.body, { attributes: true });
  scheme.addEventListener("change", follow);
  // it is drawn before it has a place (JupyterLab gives it none until it is scrolled to), 700 pixels
  // wide; drawn anew, its legend has room
  const fit = new ResizeObserver(() => el.clientWidth && Plotly.Plots.resize(plot).then(draw));
  fit.observe(el);
  return () => {
    source.off("change:value", draw);
    fit.disconnect();
    themed.disconnect();
    scheme.removeEventListener("change", follow);
    Plotly.purge(plot);
  };
}

export default { render };
