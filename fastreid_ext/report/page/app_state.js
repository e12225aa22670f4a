// What is looked at. It is kept behind the # of the address, so that a link or a bookmark shows the same.

const AT_REST = {
  sort: "worst", model: "0", pid: "", camera: "", from: "", to: "", failures: "", text: "", query: "", theme: "",
};
const state = { ...AT_REST };

function readAddress() {
  const told = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(AT_REST)) state[name] = told.get(name) ?? AT_REST[name];
  if (!SORTS.has(state.sort)) state.sort = AT_REST.sort;
  if (!models[state.model]) state.model = AT_REST.model;
  if (!models[0].queries[state.query]) state.query = "";
}

function writeAddress() {
  const told = new URLSearchParams(Object.entries(state).filter(([name, value]) => value !== AT_REST[name]));
  const address = told.size ? `#${told}` : location.pathname + location.search;
  history.replaceState(null, "", address);
}
