(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const number = (x, digits) =>
    digits > 9 || Math.abs(x) >= 1e12
      ? x.toPrecision(6)
      : x.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const price = (x) => number(x, data.digits);
  const count = data.bars.length, all = data.top.length;

  // The values of a bar, or of a step ahead, in a line
  const words = (i) => {
    const when = data.labels.map((line) => line[i]).join(" ").trim();
    if (i < count) {
      const [open, high, low, close, volume] = data.bars[i];
      const traded = volume === null ? "" : `  volume ${number(volume, 0)}`;
      return `${when}:  open ${price(open)}  high ${price(high)}  low ${price(low)}  close ${price(close)}${traded}`;
    }
    const step = i - count, [median, lower, upper] = data.path[step];
    const came = step < data.came.length ? `  came to ${price(data.came[step])}` : "";
    return `${when}:  median ${price(median)}  80% ${data.inner[step].map(price).join(" – ")}`
      + `  ${data.level} ${price(lower)} – ${price(upper)}${came}`;
  };

  // Zoom: another box, and its labels
  const label = (style, text) => {
    const span = document.createElement("span"), inner = document.createElement("b");
    Object.assign(span.style, style);
    (style.top ? span.appendChild(inner) : span).textContent = text;
    return span;
  };
  const steps = (low, high) => {
    const raw = (high - low) / 5, ten = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * ten).find((s) => s >= raw * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), ticks = [];
    for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(k * step);
    return ticks.map((x) => [x, digits < 12 && Math.abs(high) < 1e12 ? number(x, digits) : x.toPrecision(3)]);
  };
  const zoom = (figure, first, last) => {
    const top = Math.min(...data.top.slice(first, last + 1));
    const bottom = Math.max(...data.bottom.slice(first, last + 1));
    const room = 0.05 * Math.max(bottom - top, 1), height = bottom - top + 2 * room;
    const left = 10 * (first - 0.5), width = 10 * (last - first + 1);
    const [prices, volume] = figure.querySelectorAll("svg");
    prices.setAttribute("viewBox", [left, top - room, width, height].join(" "));
    if (volume) {
      const traded = data.bars.map((bar) => bar[4] ?? 0);
      const shown = 10000 * Math.max(...traded.slice(first, last + 1)) / Math.max(...traded);
      volume.setAttribute("viewBox", [left, 10000 - shown, width, Math.max(shown, 1)].join(" "));
    }
    const [most, unit] = data.axis, high = most - (top - room) * unit, low = high - height * unit;
    figure.querySelector(".up").replaceChildren(
      ...steps(low, high).map(([x, text]) => label({ top: `${100 * (high - x) / (high - low)}%` }, text)));
    let before = "";
    const places = [...new Set([0, 1, 2, 3, 4].map((k) => Math.round(first + k * (last - first) / 4)))];
    figure.querySelector(".across").replaceChildren(...places.map((i) => {
      const [upper, lower] = data.labels.map((line) => line[i]);
      const text = lower === before ? upper : `${upper}\n${lower}`;
      before = lower;
      return label({ left: `${100 * (i - first + 0.5) / (last - first + 1)}%` }, text.trim());
    }));
  };

  // The pointer, a drag that zooms, and arrow keys
  for (const figure of document.querySelectorAll("figure")) {
    const name = figure.dataset.plot, main = name === "price";
    const area = figure.querySelector(".area"), hair = area.querySelector(".hair");
    const says = figure.querySelector(".says"), svg = area.querySelector("svg");
    const text = (i) => (main ? words(i) : data.texts[name][i]);
    const rest = main ? text(count - 1) : "Point at the chart for its values.";
    const box = () => svg.getAttribute("viewBox").split(" ").map(Number);
    let at, from = null;
    const bar = (event) => {
      const { left, width } = area.getBoundingClientRect(), [x, , wide] = box();
      const place = Math.round((x + wide * (event.clientX - left) / width) / 10);
      return Math.min(Math.max(place, Math.ceil(x / 10)), Math.floor((x + wide - 1) / 10));
    };
    const percent = (i) => 100 * (10 * i - box()[0]) / box()[2];
    const point = (i) => {
      at = i;
      hair.hidden = false;
      hair.className = "hair";
      Object.assign(hair.style, { left: `${percent(i)}%`, width: "0" });
      says.textContent = text(i);
    };
    const away = () => {
      at = main ? count - 1 : data.texts[name].length - 1;
      hair.hidden = true;
      says.textContent = rest;
    };
    area.addEventListener("pointermove", (event) => {
      const i = bar(event);
      point(i);
      if (from !== null && i !== from) {
        hair.className = "hair zone";
        const left = percent(Math.min(i, from) - 0.5), right = percent(Math.max(i, from) + 0.5);
        Object.assign(hair.style, { left: `${left}%`, width: `${right - left}%` });
      }
    });
    area.addEventListener("pointerdown", (event) => {
      if (main && event.pointerType === "mouse") from = bar(event);
      point(bar(event));
    });
    area.addEventListener("pointerleave", () => {
      from = null;
      away();
    });
    area.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], [x, , wide] = box();
      if (!step) return;
      event.preventDefault();
      point(Math.min(Math.max(at + step, Math.ceil(x / 10)), Math.floor((x + wide - 1) / 10)));
    });
    area.addEventListener("blur", away);
    away();
    if (!main) continue;
    const buttons = [...figure.querySelectorAll("button")], starts = data.starts.map(([, first]) => first);
    const span = (k) => {
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === k));
      zoom(figure, starts[k], all - 1);
    };
    buttons.forEach((button, k) => button.addEventListener("click", () => span(k)));
    area.addEventListener("pointerup", (event) => {
      const ends = [from ?? 0, bar(event)].sort((a, b) => a - b);
      if (from !== null && ends[1] - ends[0] > 1) {
        zoom(figure, ...ends);
        buttons.forEach((button) => button.setAttribute("aria-pressed", false));
        away();
      }
      from = null;
    });
    area.addEventListener("dblclick", () => span(1));
  }
})();
