// CMC, ROC and the histograms of distances; a threshold chosen on one is shown on all.

const drawn = models.map((model, place) => ({ ...model.curves, name: model.name, place })).filter((each) => each.cmc);
const curveView = { log: true, steps: null };

const tone = (place) => `model-${place}`;
const wholePercent = (share) => `${Math.round(100 * share)}`;
const shortPercent = (share) => `${Number((100 * share).toPrecision(3))}`;
const named = (each, text) => (isPair ? `${each.name}: ${text}` : text);

/** Which colour is whose, of {name, place} of models. */
function legendOf(shown) {
  const entry = ({ name, place }) => make("li", { class: tone(place) }, make("span", { class: "swatch" }), name);
  return make("ul", { class: "legend" }, ...shown.map(entry));
}

function chart(title, control, plots, caption) {
  const head = make("figcaption", {}, make("h3", {}, title), control);
  return make("figure", { class: "chart" }, head, ...plots.map((plot) => plot.root), isPair && plots.length === 1 ? legendOf(drawn) : null, caption);
}

const readOut = (text) => make("p", { class: "read-out", "aria-live": "polite" }, text);

function cmcChart() {
  const last = Math.max(...drawn.map((each) => each.cmc.length));
  const low = Math.min(...drawn.map((each) => each.cmc[0]));
  const plot = new Plot({
    label: `CMC: ${drawn.map((each) => `${each.name}, rank 1: ${percent(each.cmc[0])}`).join("; ")}`,
    x: { low: 1, high: Math.max(last, 2), title: "rank", tick: (rank) => (Number.isInteger(rank) ? `${rank}` : "") },
    y: { low: Math.floor(10 * low) / 10 - (low === 1 ? 0.1 : 0), high: 1, title: "% of queries found", tick: wholePercent },
  });
  for (const each of drawn) plot.line(each.cmc.map((share, i) => [i + 1, share]), tone(each.place));
  const caption = readOut("Share of the queries whose first right image comes up to a rank.");
  plot.follow(caption, (x) => {
    const rank = Math.min(Math.max(Math.round(x), 1), last);
    const at = (each) => each.cmc[Math.min(rank, each.cmc.length) - 1];
    return {
      x: rank,
      points: drawn.map((each) => [rank, at(each), tone(each.place)]),
      text: `Rank ${rank}: ${drawn.map((each) => named(each, percent(at(each)))).join(", ")}`,
    };
  }, { values: Array.from({ length: last }, (_, i) => i + 1) });
  return chart("CMC", null, [plot], caption);
}

/** The ROC steps of all models at the false positive rate that a step of one of them has. */
function chooseRate(fpr, place = null, own = null) {
  curveView.steps = new Map(drawn.map((each) => [each.place, each.place === place ? own : stepAt(each.fpr, fpr)]));
  renderCurves();
}

function leastFpr() {
  const least = Math.min(...drawn.map((each) => each.fpr.find((value) => value > 0) ?? 1));
  return Math.max(10 ** Math.floor(Math.log10(least) + 1e-9), 1e-8);
}

function logSwitch() {
  const change = (event) => {
    curveView.log = event.target.checked;
    renderCurves();
    document.querySelector("#curves input").focus();
  };
  return make("label", {}, make("input", { type: "checkbox", checked: curveView.log, change }), " log FPR");
}

function rocChart() {
  const { log } = curveView;
  const low = log ? Math.min(leastFpr(), 0.1) : 0;
  const plot = new Plot({
    label: "ROC: true positive rate over false positive rate of pairs of images",
    x: { low, high: 1, log, title: "FPR, % of impostor pairs", tick: shortPercent },
    y: { low: 0, high: 1, title: "TPR, % of genuine pairs", tick: wholePercent },
  });
  for (const each of drawn) {
    plot.line(each.fpr.map((fpr, i) => [fpr, each.tpr[i]]), tone(each.place));
    const step = curveView.steps?.get(each.place);
    if (step !== undefined) plot.dot(each.fpr[step], each.tpr[step], `chosen ${tone(each.place)}`);
  }
  const caption = readOut("Pairs accepted, right and wrong. Click to choose a threshold.");
  const tprAt = (each, fpr) => each.tpr[stepAt(each.fpr, fpr)];
  const read = (fpr) => ({
    x: fpr,
    points: drawn.map((each) => [fpr, tprAt(each, fpr), tone(each.place)]),
    text: `FPR ${rate(fpr)}: TPR ${drawn.map((each) => named(each, percent(tprAt(each, fpr)))).join(", ")}`,
  });
  const values = [...new Set(drawn.flatMap((each) => each.fpr))].sort((a, b) => a - b);
  const first = drawn[0];
  const chosen = curveView.steps ? first.fpr[curveView.steps.get(first.place)] : null;
  plot.follow(caption, read, { values, choose: chooseRate, chosen });
  return chart("ROC", logSwitch(), [plot], caption);
}

const stairs = (edges, shares) => shares.flatMap((share, i) => [[edges[i], share], [edges[i + 1], share]]);

function histogram(each, range, caption) {
  const high = Math.max(...drawn.flatMap(({ genuine, impostor }) => [...genuine, ...impostor]));
  const { metric } = models[each.place];
  const plot = new Plot({
    label: `Distances of ${each.name}: genuine and impostor pairs`,
    x: { ...range, title: metric, tick: String },
    y: { low: 0, high, title: isPair ? `${each.name}: % of pairs` : "% of pairs", tick: shortPercent },
    height: isPair ? 175 : FRAME.height,
  });
  plot.area(stairs(each.edges, each.impostor), "impostor");
  plot.area(stairs(each.edges, each.genuine), "genuine");
  const step = curveView.steps?.get(each.place);
  if (step !== undefined && each.thresholds[step] !== null) plot.rule(each.thresholds[step], "chosen");
  const read = (distance) => {
    const bin = Math.min(Math.max(stepAt(each.edges, distance), 0), each.genuine.length - 1);
    const shares = `genuine ${percent(each.genuine[bin])}, impostor ${percent(each.impostor[bin])}`;
    return { x: distance, points: [], text: `${each.edges[bin]} to ${each.edges[bin + 1]}: ${shares}` };
  };
  const choose = (distance) => {
    const own = stepAt(each.thresholds, distance);
    chooseRate(each.fpr[own], each.place, own);
  };
  const chosen = step === undefined ? null : each.thresholds[step];
  plot.follow(caption, read, { values: each.thresholds.filter((value) => value !== null), choose, chosen });
  return plot;
}

/** Of distances that are alike, one axis for both models; else each has its own. */
function rangesOfDistances() {
  const own = drawn.map(({ edges }) => ({ low: edges[0], high: edges.at(-1) }));
  const both = { low: Math.min(...own.map(({ low }) => low)), high: Math.max(...own.map(({ high }) => high)) };
  const isOneMetric = new Set(drawn.map(({ place }) => models[place].metric)).size === 1;
  const isNear = own.every(({ low, high }) => 3 * (high - low) >= both.high - both.low);
  return isOneMetric && isNear ? own.map(() => both) : own;
}

function histogramChart() {
  const ranges = rangesOfDistances();
  const caption = readOut("Distances of pairs. Click to choose a threshold.");
  const kind = (name) => make("li", { class: name }, make("span", { class: "swatch" }), name);
  const kinds = make("ul", { class: "legend" }, kind("genuine"), kind("impostor"));
  return chart("Distances", kinds, drawn.map((each, i) => histogram(each, ranges[i], caption)), caption);
}

function thresholdText(each, step) {
  const threshold = each.thresholds[step];
  const accepted = threshold === null ? "accepting no pair" : `a pair is accepted up to a distance of ${threshold}`;
  return named(each, `${accepted}: TPR ${percent(each.tpr[step])}, FPR ${rate(each.fpr[step])}`);
}

function renderCurves() {
  const section = byId("curves");
  section.hidden = drawn.length === 0;
  if (section.hidden) return;
  const charts = section.querySelector(".charts");
  const focused = [...charts.querySelectorAll("svg")].indexOf(document.activeElement);
  charts.replaceChildren(cmcChart(), rocChart(), histogramChart());
  charts.querySelectorAll("svg")[focused]?.focus({ preventScroll: true });
  const { steps } = curveView;
  const lines = steps ? drawn.map((each) => make("p", { class: tone(each.place) }, thresholdText(each, steps.get(each.place)))) : [];
  section.querySelector("output").replaceChildren(...lines);
}
