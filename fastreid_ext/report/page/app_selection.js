// Which queries are shown, in which order.

/** As it is shown, which is what filters compare, too. */
const percentOf = (precision) => (100 * precision).toFixed(1);

const ap = (query, model) => models[model].queries[query].ap ?? 0;
const gain = (query) => ap(query, 1) - ap(query, 0);

/** Orders by the number that each gives for a query: smaller comes first. */
const SORTS = new Map([
  ["worst", { label: "AP, worst first", key: ap }],
  ["best", { label: "AP, best first", key: (query, model) => -ap(query, model) }],
  ["first", { label: "first right, latest first", key: (query, model) => -models[model].queries[query].first }],
  ["pid", { label: "pid", key: (query) => imageOf(query)[1] }],
]);
if (isPair) {
  SORTS.set("lost", { label: "AP, most lost first", key: gain });
  SORTS.set("gained", { label: "AP, most gained first", key: (query) => -gain(query) });
}

/** What "12, 40-45" says of a number; a text without any number is true of none. */
function rangesIn(text) {
  const ranges = [...text.matchAll(/(\d+)(?:\s*[-\u2013]\s*(\d+))?/g)].map(([, low, high = low]) => [Number(low), Number(high)]);
  return (number) => ranges.some(([low, high]) => low <= number && number <= high);
}

/** Every filter that is set, as a function of a query. */
function filters() {
  const { pid, camera, text, failures, from, to } = state;
  const model = Number(state.model);
  const isWanted = rangesIn(pid);
  const words = text.toLowerCase();
  const row = (query) => models[model].queries[query];
  return [
    pid.trim() && ((query) => isWanted(imageOf(query)[1])),
    camera && ((query) => imageOf(query)[2] === Number(camera)),
    words && ((query) => imageOf(query)[0].toLowerCase().includes(words)),
    failures && ((query) => row(query).first > 1),
    from && ((query) => row(query).ap !== null && Number(percentOf(row(query).ap)) >= Number(from)),
    to && ((query) => row(query).ap !== null && Number(percentOf(row(query).ap)) <= Number(to)),
  ].filter(Boolean);
}

/** Queries that pass all filters, in order; those without a match in the gallery, which have no AP, apart. */
function select() {
  const model = Number(state.model);
  const wanted = filters();
  const key = SORTS.get(state.sort).key;
  const passed = models[model].queries.map((_, query) => query).filter((query) => wanted.every((is) => is(query)));
  const hasMatch = (query) => models[model].queries[query].ap !== null;
  return {
    ranked: passed.filter(hasMatch).sort((a, b) => key(a, model) - key(b, model) || a - b),
    unmatched: passed.filter((query) => !hasMatch(query)),
  };
}
