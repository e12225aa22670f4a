// A query and its ranking, as a row of the list.

const mark = (isRight) => make("span", { class: "mark", "aria-hidden": "true" }, isRight ? "\u2713" : "\u2715");

const told = (path, pid, camera) => [path, `pid ${pid}`, cameraName(camera)].filter(Boolean).join(", ");
const factsOf = (pid, camera) => joined(`pid ${pid}`, cameraName(camera));
const shortCamera = (camera) => (camera < 0 ? "" : `cam ${camera}`);

/** Results as [result, rank, false]; behind them, as [result, rank, true], the first right one if it comes later. */
function rankedResults({ results, found, first }) {
  const ranked = results.map((result, i) => [result, i + 1, false]);
  return found ? [...ranked, [found, first, true]] : ranked;
}

/** Tiles of the results of a query; `frame` makes what is in one from the image and what it is called. */
function tilesOf(query, model, frame) {
  const row = models[model].queries[query];
  return rankedResults(row).map(([result, rank, isLater]) => tile(result, rank, frame(result[0], altOf(result, rank)), isLater));
}

/** A result: a picture in a green frame with a tick, or a red one with a cross; what is under it, and more on hover. */
function tile([image, distance, isRight], rank, frame, isLater) {
  const [path, pid, camera] = images[image];
  const below = isLater ? `rank ${count(rank)}` : shortCamera(camera);
  return make(
    "figure",
    { class: `tile ${isRight ? "right" : "wrong"}${isLater ? " later" : ""}`, title: `${rank}. ${told(path, pid, camera)}` },
    make("div", { class: "frame" }, ...frame, mark(isRight)),
    make(
      "figcaption",
      {},
      make("span", { class: "unseen" }, `${isRight ? "right" : "wrong"}, `),
      make("span", {}, far(distance)),
      make("span", {}, below),
    ),
  );
}

const altOf = ([image], rank) => `rank ${rank}: pid ${images[image][1]}`;

function apText(query, model) {
  const { ap: precision } = models[model].queries[query];
  return precision === null ? "no match" : `AP ${percentOf(precision)}`;
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
    make("div", { class: "tiles" }, ...tilesOf(query, model, (shown, alt) => [picture(thumbnails, shown, alt)])),
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
