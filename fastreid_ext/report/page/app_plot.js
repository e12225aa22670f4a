// A chart: axes, ticks, lines, and a read-out of what lies under the pointer.

const FRAME = { width: 420, height: 270, left: 44, right: 408, top: 26, below: 40 };

/** Round steps, of 1, 2 or 5 of a power of ten, about `number` of them. */
function linearTicks(low, high, number = 5) {
  const rough = (high - low) / number;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6; i++) ticks.push(i * step);
  return ticks.map((tick) => Number(tick.toPrecision(6)));
}

function powerTicks(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-6);
  const last = Math.floor(Math.log10(high) + 1e-6);
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

/** Index of the last of ascending `values` that is at most `value`; nulls, which come first, are below all. */
function stepAt(values, value) {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (values[middle] <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Takes values of an axis to the drawing and back. */
class Scale {
  constructor({ low, high, log = false }, start, end) {
    const bend = log ? (value) => Math.log10(Math.max(value, low)) : (value) => value;
    const [from, to] = [bend(low), bend(high)];
    this.place = (value) => start + ((bend(value) - from) / (to - from)) * (end - start);
    this.value = (place) => {
      const bent = from + (Math.min(Math.max((place - start) / (end - start), 0), 1) * (to - from));
      return log ? 10 ** bent : bent;
    };
    this.ticks = log ? powerTicks(low, high) : linearTicks(low, high);
  }
}

class Plot {
  /** `x`, `y`: {low, high, log, title, tick}, where `tick` writes a value. `label` is for who cannot see it. */
  constructor({ label, x, y, height = FRAME.height }) {
    this.bottom = height - FRAME.below;
    this.x = new Scale(x, FRAME.left, FRAME.right);
    this.y = new Scale(y, this.bottom, FRAME.top);
    this.root = draw("svg", { viewBox: `0 0 ${FRAME.width} ${height}`, role: "img", "aria-label": label });
    this.drawAxes(x, y);
    this.marks = draw("g", { class: "marks" });
  }

  drawAxes(x, y) {
    const { left, right } = FRAME;
    const { bottom } = this;
    const middle = (left + right) / 2;
    const ticks = draw("g", { class: "axes" });
    for (const value of this.y.ticks) {
      const at = this.y.place(value);
      ticks.append(
        draw("line", { x1: left, x2: right, y1: at, y2: at }),
        draw("text", { x: left - 7, y: at + 4, "text-anchor": "end" }, y.tick(value)),
      );
    }
    for (const value of this.x.ticks) {
      const at = this.x.place(value);
      ticks.append(
        draw("line", { x1: at, x2: at, y1: bottom, y2: bottom + 4, class: "tick" }),
        draw("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, x.tick(value)),
      );
    }
    ticks.append(
      draw("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "tick" }),
      draw("text", { x: middle, y: bottom + 36, "text-anchor": "middle", class: "name" }, x.title),
      draw("text", { x: 4, y: 11, class: "name" }, y.title),
    );
    this.root.append(ticks);
  }

  path(points) {
    const at = ([x, y]) => `${this.x.place(x).toFixed(1)} ${this.y.place(y).toFixed(1)}`;
    return `M${points.map(at).join("L")}`;
  }

  line(points, name) {
    this.root.append(draw("path", { d: this.path(points), class: `line ${name}` }));
  }

  area(points, name) {
    const base = [[points.at(-1)[0], 0], [points[0][0], 0]];
    this.root.append(draw("path", { d: `${this.path([...points, ...base])}Z`, class: `area ${name}` }));
  }

  /** A line from top to bottom that stays. */
  rule(x, name) {
    const at = this.x.place(x);
    this.root.append(draw("line", { x1: at, x2: at, y1: FRAME.top, y2: this.bottom, class: `rule ${name}` }));
  }

  dot(x, y, name) {
    this.root.append(this.circle([x, y, name]));
  }

  circle([x, y, name]) {
    return draw("circle", { cx: this.x.place(x), cy: this.y.place(y), r: 4, class: name });
  }

  /**
   * Tells what lies under the pointer, or under the arrow keys, which go from one of `values` to the next.
   * `read(x)` gives {x, points: [[x, y, class]], text}; `choose(x)` hears of clicks and of Enter; `chosen` is where it was.
   */
  follow(caption, read, { values, choose = null, chosen = null }) {
    const rest = caption.textContent;
    const show = (value) => {
      const { x, points, text } = read(value);
      const at = this.x.place(x);
      const rule = draw("line", { x1: at, x2: at, y1: FRAME.top, y2: this.bottom, class: "pointer" });
      this.marks.replaceChildren(rule, ...points.map((each) => this.circle(each)));
      caption.textContent = text;
    };
    const leave = () => {
      this.marks.replaceChildren();
      caption.textContent = rest;
    };
    const valueAt = (event) => {
      const box = this.root.getBoundingClientRect();
      return this.x.value(((event.clientX - box.left) / box.width) * FRAME.width);
    };
    this.root.append(this.marks);
    this.root.addEventListener("pointermove", (event) => show(valueAt(event)));
    this.root.addEventListener("pointerleave", leave);
    this.root.addEventListener("blur", leave);
    if (choose) this.root.addEventListener("click", (event) => choose(valueAt(event)));
    this.listenToKeys(values, chosen === null ? -1 : stepAt(values, chosen), show, choose);
  }

  listenToKeys(values, start, show, choose) {
    let place = start;
    this.root.setAttribute("tabindex", "0");
    // Charts are for the tabulator key; a click would leave a frame around them.
    this.root.addEventListener("pointerdown", (event) => event.preventDefault());
    this.root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) place = Math.min(Math.max(place + step, 0), values.length - 1);
      if (step) show(values[place]);
      else if (event.key === "Enter" && choose && place >= 0) choose(values[place]);
      else return;
      event.preventDefault();
    });
  }
}
