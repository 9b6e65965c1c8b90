// What the panel's controls lack in a page: names for a slider's handle and number, for who can't
// see the label beside (ipywidgets has none); a list that opens whole; their state in the address.
let labels = 0;

function nameSliders(controls) {
  for (const slider of controls.querySelectorAll(".widget-slider")) {
    const label = slider.querySelector(".widget-label");
    if (label === null) continue;
    label.id ||= `tftnhits-label-${++labels}`;
    for (const part of slider.querySelectorAll(".noUi-handle, .widget-readout")) {
      part.setAttribute("aria-labelledby", label.id);
    }
    slider.querySelector(".widget-readout")?.setAttribute("role", "textbox");
  }
}

// A browser offers only what begins with what stands in the box, so it is empty while it is used.
function openList({ target, type }) {
  if (!target.matches("input[list]")) return;
  if (type === "focusin") [target.placeholder, target.value] = [target.value, ""];
  else target.value ||= target.placeholder;
}

function writeAddress(state) {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(JSON.parse(state || "{}"))) {
    if (value === "") address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  if (address.href !== location.href) history.replaceState(history.state, "", address);
}

async function render({ model, el }) {
  const source = await model.widget_manager.get_model(model.get("source")); // as in picture.js
  let controls = null;
  const added = new MutationObserver(() => nameSliders(controls));
  const placed = new ResizeObserver(() => { // now it is in the page, and so are the controls
    controls = el.closest(".tftnhits-controls");
    if (controls === null) return;
    placed.disconnect();
    nameSliders(controls);
    added.observe(controls, { childList: true, subtree: true });
    for (const event of ["focusin", "focusout"]) controls.addEventListener(event, openList);
  });
  placed.observe(el);
  const write = () => writeAddress(source.get("value"));
  source.on("change:value", write);
  write();
  return () => {
    placed.disconnect();
    added.disconnect();
    source.off("change:value", write);
  };
}

export default { render };
