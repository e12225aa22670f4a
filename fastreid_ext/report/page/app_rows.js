// A query and its ranking, as a row of the list.

const mark = (isRight) => make("span", { class: "mark", "aria-hidden": "true" }, isRight ? "\u2713" : "\u2715");

const told = (path, pid, camera) => [path, `pid ${pid}`, cameraName(camera)].filter(Boolean).join(", ");
const factsOf = (pid, camera) => joined(`pid ${pid}`, cameraName(camera));
const shortCamera = (camera) => (camera < 0 ? "" : `c${camera}`);

/** A result: a picture in a green frame with a tick, or a red one with a cross; what is under it, and more on hover. */
function tile([image, distance, isRight], rank, frame) {
  const [path, pid, camera] = images[image];
  const caption = joined(shortCamera(camera), far(distance));
  return make(
    "figure",
    { class: `tile ${isRight ? "right" : "wrong"}`, title: `${rank}. ${told(path, pid, camera)}` },
    make("div", { class: "frame" }, ...frame, mark(isRight)),
    make("figcaption", {}, make("span", { class: "unseen" }, `${isRight ? "right" : "wrong"}, `), caption),
  );
}

const altOf = ([image], rank) => `rank ${rank}: pid ${images[image][1]}`;

function apText(query, model) {
  const { ap: precision } = models[model].queries[query];
  return precision === null ? "no match" : `AP ${(100 * precision).toFixed(1)}`;
}

function firstText(query, model) {
  const { first, results } = models[model].queries[query];
  if (first === null) return results.length ? "" : "nothing found";
  return first === 1 ? "right at rank 1" : `first right at ${count(first)}`;
}

function differenceBadge(query) {
  if (!isPair || models.some((model) => model.queries[query].ap === null)) return null;
  return difference(100 * gain(query));
}

function modelName(model) {
  const { name } = models[model];
  return make("span", { class: "model-name", title: name }, make("span", { class: "swatch" }), name);
}

function strip(query, model) {
  const { results } = models[model].queries[query];
  const tiles = results.map((result, i) => tile(result, i + 1, [picture(thumbnails, result[0], altOf(result, i + 1))]));
  return make(
    "div",
    { class: `strip ${tone(model)}` },
    make(
      "div",
      { class: "facts" },
      isPair ? modelName(model) : null,
      make("strong", {}, apText(query, model)),
      make("span", { class: "quiet" }, firstText(query, model)),
      model === 1 ? differenceBadge(query) : null,
    ),
    make("div", { class: "tiles" }, ...tiles),
  );
}

function queryRow(query, place) {
  const { image } = models[0].queries[query];
  const [path, pid, camera] = images[image];
  const shown = shownQueries();
  return make(
    "div",
    { class: "row", role: "listitem", "aria-setsize": shown.length, "aria-posinset": place + 1, "data-place": place,
      click: () => openQuery(query) },
    make(
      "button",
      { type: "button", class: "query", title: path, "aria-label": `Open query ${told(path, pid, camera)}` },
      make("div", { class: "frame" }, picture(thumbnails, image, "")),
      make(
        "span",
        { class: "facts" },
        make("span", { class: "number" }, `${count(place + 1)}`),
        make("span", {}, `pid ${pid}`),
        make("span", { class: "quiet" }, cameraName(camera)),
      ),
    ),
    make("div", { class: "strips" }, ...models.map((_, model) => strip(query, model))),
  );
}
