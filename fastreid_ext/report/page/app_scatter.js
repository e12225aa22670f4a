// t-SNE: a point an image. Under the pointer: the image, and all of its identity.

const PAD = 12;
const scatters = [];

/** Hues of identities, in the order of their pids: steps of the golden angle, which no two of a few dozen share. */
function huesOf(map) {
  const pids = [...new Set(map.images.map((image) => images[image][1]))].sort((a, b) => a - b);
  return new Map(pids.map((pid, place) => [pid, (place * 137.508) % 360]));
}

class Scatter {
  constructor(model, place) {
    Object.assign(this, { map: model.tsne, hues: huesOf(model.tsne), pid: null, near: null });
    this.canvas = make("canvas", { role: "img", "aria-label": `t-SNE of ${plural(this.map.images.length, "image")}, ${model.name}` });
    this.card = make("div", { class: "card", hidden: true });
    const stage = make("div", { class: "stage" }, this.canvas, this.card);
    this.figure = make("figure", { class: tone(place) }, isPair ? make("figcaption", {}, make("span", { class: "swatch" }), model.name) : null, stage);
    this.canvas.addEventListener("pointermove", (event) => event.pointerType === "touch" || this.pointed(event));
    this.canvas.addEventListener("pointerleave", ({ pointerType }) => pointerType === "touch" || this.pointAt(null));
    this.canvas.addEventListener("click", (event) => this.clicked(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /** Place of a point on the canvas, in pixels of the page. */
  at(i) {
    const { clientWidth, clientHeight } = this.canvas;
    return [PAD + this.map.x[i] * (clientWidth - 2 * PAD), PAD + (1 - this.map.y[i]) * (clientHeight - 2 * PAD)];
  }

  draw() {
    const { canvas, map } = this;
    const density = devicePixelRatio;
    canvas.width = canvas.clientWidth * density;
    canvas.height = canvas.clientHeight * density;
    const brush = canvas.getContext("2d");
    brush.scale(density, density);
    const isDark = matchesDark();
    brush.strokeStyle = getComputedStyle(canvas).color;
    map.images.forEach((image, i) => {
      const pid = images[image][1];
      const [x, y] = this.at(i);
      const isBright = this.pid === null || this.pid === pid;
      brush.fillStyle = `hsl(${this.hues.get(pid)} 60% ${isDark ? 62 : 45}% / ${isBright ? 0.9 : 0.12})`;
      brush.beginPath();
      brush.arc(x, y, this.near === i ? 6 : this.pid === pid ? 4.5 : 3, 0, 2 * Math.PI);
      brush.fill();
      if (!isBright || !map.queries[i]) return;
      brush.stroke();
    });
  }

  nearest(x, y) {
    let [best, least] = [null, 14 ** 2];
    for (let i = 0; i < this.map.images.length; i++) {
      const [ownX, ownY] = this.at(i);
      const distance = (ownX - x) ** 2 + (ownY - y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  pointed({ offsetX, offsetY }) {
    const near = this.nearest(offsetX, offsetY);
    if (near !== this.near) this.pointAt(near);
  }

  pointAt(near) {
    this.near = near;
    const image = near === null ? null : this.map.images[near];
    for (const scatter of scatters) {
      scatter.pid = image === null ? null : images[image][1];
      scatter.draw();
    }
    this.card.hidden = image === null;
    this.canvas.classList.toggle("opens", queryOfImage.has(image));
    if (image !== null) this.showCard(near, ...this.at(near));
  }

  showCard(near, x, y) {
    const image = this.map.images[near];
    const [path, pid, camera] = images[image];
    const ofQuery = queryOfImage.has(image) ? "a query: click to open" : "a query that is not listed";
    const note = this.map.queries[near] ? ofQuery : "of the gallery";
    this.card.replaceChildren(
      picture(thumbnails, image, path),
      make("span", {}, factsOf(pid, camera)),
      make("span", { class: "quiet" }, note),
    );
    this.card.classList.toggle("to-left", x > this.canvas.clientWidth / 2);
    this.card.classList.toggle("above", y > this.canvas.clientHeight / 2);
    this.card.style.left = `${x}px`;
    this.card.style.top = `${y}px`;
  }

  /** A finger, which cannot point without a click, points with the first and opens with the second. */
  clicked({ offsetX, offsetY, pointerType }) {
    const near = this.nearest(offsetX, offsetY);
    const query = queryOfImage.get(this.map.images[near]);
    if (pointerType === "touch" && near !== this.near) this.pointAt(near);
    else if (query !== undefined) openQuery(query);
  }
}

function startScatters() {
  models.forEach((model, place) => {
    if (model.tsne) scatters.push(new Scatter(model, place));
  });
  byId("tsne").hidden = !scatters.length;
  byId("tsne").querySelector(".maps").append(...scatters.map((each) => each.figure));
}
