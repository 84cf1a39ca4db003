// The sample browser: decodes the answers, filters and searches them, and lists the prompts of those that match.

const ROW_HEIGHT = 52;
const EXPERT = 0, GREEDY = 1, DATA = 3;
// What the data bring along, rather than a policy.
const isGiven = (kind) => kind === EXPERT || kind === DATA;
// What the address calls each field of the form.
const ASKED = { search: "query", policy: "filter-policy", answer: "filter-kind", verdict: "filter-right", finish: "filter-finish", min: "shortest", max: "longest" };

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

/** The columns of all answers, with where each prompt's answers and each answer's tokens start. */
async function decode(packed) {
  const [columns, tokens] = await Promise.all([
    inflate(packed.columns).then((response) => response.json()),
    inflate(packed.tokens).then((response) => response.arrayBuffer()),
  ]);
  const count = tokens.byteLength / 4;
  const firstToken = new Uint32Array(columns.tokens.length + 1);
  columns.tokens.forEach((number, row) => { firstToken[row + 1] = firstToken[row] + number; });
  const firstRow = new Uint32Array(columns.prompts.length + 1).fill(columns.prompt.length);
  for (let row = columns.prompt.length - 1; row >= 0; row--) firstRow[columns.prompt[row]] = row;
  return {
    ...columns, firstToken, firstRow, lengths: new Uint16Array(tokens, 0, count), ratios: new Int16Array(tokens, 2 * count, count),
    lowerPrompts: columns.prompts.map((text, at) => [...columns.earlier[at], text].join("\n").toLowerCase()), lowerTexts: columns.texts.map((text) => text.toLowerCase()),
  };
}

const browser = {
  data: null,
  found: [],
  matches: null,
  filtered: false,
  selected: -1,
  shown: new Map(),
};

function readFilters() {
  const number = (id, otherwise) => (byId(id).value === "" ? otherwise : Number(byId(id).value));
  return {
    query: byId("query").value.trim().toLowerCase(),
    policy: byId("filter-policy").value,
    kind: byId("filter-kind").value,
    right: byId("filter-right").value,
    finish: byId("filter-finish").value,
    shortest: number("shortest", 0),
    longest: number("longest", Infinity),
  };
}

/** Whether nothing but the text is asked for. */
function isPlain({ policy, kind, right, finish, shortest, longest }) {
  return policy === "" && kind === "" && !right && !finish && shortest === 0 && longest === Infinity;
}

/** Which answers pass the filters; those that the data bring along pass only where nothing but the text is asked for. */
function matching(data, filters) {
  const { query, policy, kind, right, finish, shortest, longest } = filters;
  const wanted = { policy: policy === "" ? -1 : data.policies.indexOf(policy), kind: kind === "" ? -1 : data.kinds.indexOf(kind) };
  const plain = isPlain(filters);
  const textHit = query ? data.lowerTexts.map((text) => text.includes(query)) : null;
  const promptHit = query ? data.lowerPrompts.map((text) => text.includes(query)) : null;
  const passes = new Uint8Array(data.prompt.length);
  for (let row = 0; row < passes.length; row++) {
    if (isGiven(data.kind[row]) && !plain) continue;
    if (wanted.policy >= 0 && data.policy[row] !== wanted.policy) continue;
    if (wanted.kind >= 0 && data.kind[row] !== wanted.kind) continue;
    if (right && data.right[row] !== (right === "right")) continue;
    if (finish && data.finish[row] !== finish) continue;
    if (data.tokens[row] < shortest || data.tokens[row] > longest) continue;
    if (query && !textHit[data.text[row]] && !promptHit[data.prompt[row]]) continue;
    passes[row] = 1;
  }
  return passes;
}

function applyFilters() {
  const { data } = browser, filters = readFilters();
  browser.matches = matching(data, filters);
  browser.filtered = Boolean(filters.query) || !isPlain(filters);
  const found = [];
  let answers = 0;
  for (let prompt = 0; prompt < data.prompts.length; prompt++) {
    let hits = 0;
    for (let row = data.firstRow[prompt]; row < data.firstRow[prompt + 1]; row++) hits += browser.matches[row] && !isGiven(data.kind[row]) ? 1 : 0;
    let any = hits > 0;
    for (let row = data.firstRow[prompt]; !any && row < data.firstRow[prompt + 1]; row++) any = browser.matches[row] === 1;
    if (any) found.push(prompt);
    answers += hits;
  }
  browser.found = found;
  const many = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
  byId("found").textContent = found.length ? `${many(found.length, "prompt")} of ${data.prompts.length.toLocaleString("en")}, ${many(answers, "answer")} match` : "Nothing matches; clear a filter.";
  layOutList();
  const kept = found.indexOf(browser.selected);
  select(found.length ? found[Math.max(kept, 0)] : -1, { scroll: kept < 0 });
}

function layOutList() {
  const list = byId("prompts");
  list.replaceChildren(element("div", { className: "spacer", role: "presentation" }));
  list.firstChild.style.height = `${browser.found.length * ROW_HEIGHT}px`;
  browser.shown.clear();
  renderRows();
}

/** Only the rows in view are in the document. */
function renderRows() {
  const list = byId("prompts"), spacer = list.firstChild;
  if (!spacer) return;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - 4);
  const last = Math.min(browser.found.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + 4);
  for (const [place, row] of browser.shown) {
    if (place < first || place >= last) { row.remove(); browser.shown.delete(place); }
  }
  for (let place = first; place < last; place++) {
    if (browser.shown.has(place)) continue;
    const row = optionRow(place);
    browser.shown.set(place, row);
    spacer.append(row);
  }
  markSelected();
}

function optionRow(place) {
  const { data } = browser, prompt = browser.found[place];
  const row = element("div", { role: "option", id: `option-${prompt}`, "aria-posinset": place + 1, "aria-setsize": browser.found.length });
  row.style.top = `${place * ROW_HEIGHT}px`;
  row.append(element("span", { className: "option-text", textContent: data.prompts[prompt].slice(0, 200).replace(/\s+/g, " ") }));
  const meta = element("span", { className: "option-meta" }, element("span", { textContent: `#${data.indices[prompt]}` }));
  const marks = element("span", { className: "marks" });
  for (let row_ = data.firstRow[prompt]; row_ < data.firstRow[prompt + 1]; row_++) {
    if (data.kind[row_] === GREEDY && data.right[row_] !== null) marks.append(verdictMark(data.right[row_], data.policies[data.policy[row_]]));
  }
  meta.append(marks);
  row.append(meta);
  row.addEventListener("click", () => { select(prompt, { scroll: false }); writeAddress(); });
  return row;
}

function verdictMark(right, policy) {
  return element("span", { className: right ? "right" : "wrong", textContent: right ? "✓" : "✗", title: `${policy}, greedy: ${right ? "right" : "wrong"}` });
}

function markSelected() {
  const list = byId("prompts");
  for (const [place, row] of browser.shown) row.setAttribute("aria-selected", String(browser.found[place] === browser.selected));
  if (byId(`option-${browser.selected}`)) list.setAttribute("aria-activedescendant", `option-${browser.selected}`);
  else list.removeAttribute("aria-activedescendant");
}

function select(prompt, { scroll = true } = {}) {
  browser.selected = prompt;
  const list = byId("prompts"), place = browser.found.indexOf(prompt);
  if (scroll && place >= 0) {
    const top = place * ROW_HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
  }
  renderRows();
  showSample();
}

function move(by) {
  const { found } = browser;
  if (!found.length) return;
  const place = Math.max(0, found.indexOf(browser.selected));
  select(found[Math.min(found.length - 1, Math.max(0, place + by))]);
  writeAddress();
}

/** Keeps the filters and the chosen prompt in the address, so that it can be kept and sent. */
function writeAddress() {
  const { data, selected } = browser, asked = new URLSearchParams();
  for (const [name, id] of Object.entries(ASKED)) if (byId(id).value !== "") asked.set(name, byId(id).value);
  if (selected >= 0) asked.set("prompt", data.indices[selected]);
  history.replaceState(null, "", `#samples?${asked}`);
}

/** Takes filters and prompt from the address, where it has some, and goes to the samples. */
function readAddress() {
  if (!location.hash.startsWith("#samples?")) return;
  const asked = new URLSearchParams(location.hash.slice("#samples?".length));
  for (const [name, id] of Object.entries(ASKED)) byId(id).value = asked.get(name) ?? "";
  applyFilters();
  const prompt = browser.data.indices.indexOf(Number(asked.get("prompt") ?? NaN));
  if (browser.found.includes(prompt)) select(prompt);
  goToSamples();
}

function goToSamples() {
  byId("samples").scrollIntoView({ behavior: "instant" });
}

function fillSelects() {
  const { data } = browser;
  const fill = (id, entries) => {
    const chosen = byId(id).value;
    byId(id).replaceChildren(element("option", { value: "", textContent: "any" }), ...entries.map(([value, text]) => element("option", { value, textContent: text })));
    byId(id).value = entries.some(([value]) => value === chosen) ? chosen : "";
  };
  fill("filter-policy", data.policies.map((name) => [name, name]));
  fill("filter-finish", [...new Set(data.finish)].sort().map((name) => [name, name === "stop" ? "by itself" : name === "length" ? "cut" : name]));
  byId("filter-right").disabled = data.right.every((right) => right === null);
}

function showAnswers(data) {
  const index = browser.data?.indices[browser.selected];
  browser.data = data;
  browser.selected = Math.max(0, browser.data.indices.indexOf(index));
  fillSelects();
  applyFilters();
}

function listen() {
  const list = byId("prompts"), form = byId("browser").querySelector("form");
  const keys = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
  list.addEventListener("scroll", renderRows, { passive: true });
  list.addEventListener("keydown", (event) => {
    if (event.key === "Enter") byId("sample").focus();
    else if (event.key in keys) move(keys[event.key]);
    else return;
    event.preventDefault();
  });
  const ask = () => { applyFilters(); writeAddress(); };
  form.addEventListener("input", ask);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(ask));
  window.addEventListener("hashchange", readAddress);
  byId("query").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { event.preventDefault(); list.focus(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    goToSamples();
    byId("query").focus({ preventScroll: true });
  });
}

if (byId("browser")) {
  listen();
  decode(readJson("answers")).then(showAnswers).then(readAddress);
}
