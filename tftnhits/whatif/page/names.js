// Names for a slider's handle and number, for who can't see the label beside: ipywidgets has none.
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

function render({ el }) {
  let controls = null;
  const added = new MutationObserver(() => nameSliders(controls));
  const placed = new ResizeObserver(() => { // now it is in the page, and so are the controls
    controls = el.closest(".tftnhits-controls");
    if (controls === null) return;
    placed.disconnect();
    nameSliders(controls);
    added.observe(controls, { childList: true, subtree: true });
  });
  placed.observe(el);
  return () => {
    placed.disconnect();
    added.disconnect();
  };
}

export default { render };
