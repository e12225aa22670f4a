// What is looked at. It is kept behind the # of the address, so that a link or a bookmark shows the same.

const AT_REST = {
  sort: "worst", model: "0", pid: "", camera: "", from: "", to: "", failures: "", text: "", query: "", theme: "",
};
const state = { ...AT_REST };

/** Whether a text is a place in a list. */
const isPlace = (list, text) => /^\d+$/.test(text) && Number(text) < list.length;

function readAddress() {
  const told = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(AT_REST)) state[name] = told.get(name) ?? AT_REST[name];
  if (!SORTS.has(state.sort)) state.sort = AT_REST.sort;
  if (!isPlace(models, state.model)) state.model = AT_REST.model;
  if (!isPlace(models[0].queries, state.query)) state.query = "";
  if (!cameras.includes(Number(state.camera))) state.camera = "";
  for (const bound of ["from", "to"]) if (!Number.isFinite(Number(state[bound]))) state[bound] = "";
}

let waiting = 0;

/** Browsers refuse a page that changes its address too often, as a key held down would, or at all within another. */
function writeAddress() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const told = new URLSearchParams(Object.entries(state).filter(([name, value]) => value !== AT_REST[name]));
    const address = told.size ? `#${told}` : location.pathname + location.search;
    try {
      history.replaceState(null, "", address);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
  }, 150);
}
