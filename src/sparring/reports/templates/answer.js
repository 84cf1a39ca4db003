// One prompt's answers, token by token.

// Nats at which a token's colour grows stronger.
const STEPS = [0.1, 0.5, 1, 2.5];

const byId = (id) => document.getElementById(id);
const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function showSample() {
  const { data, selected } = browser, article = byId("sample");
  if (selected < 0) { article.replaceChildren(); return; }
  const rows = [];
  for (let row = data.firstRow[selected]; row < data.firstRow[selected + 1]; row++) rows.push(row);
  const experts = rows.filter((row) => data.kind[row] === EXPERT);
  const judge = browser.expertUnder ?? data.policies.length - 1;
  const expert = experts.find((row) => data.policy[row] === judge) ?? experts[experts.length - 1];
  const compared = rows.filter((row) => data.kind[row] === DATA && data.policy[row] === judge);
  const cards = [
    ...(expert === undefined ? [] : [givenCard(expert, experts, "expert")]),
    ...compared.map((row) => givenCard(row, rows.filter((other) => data.kind[other] === DATA && data.text[other] === data.text[row]), `data, ${preferred(data.preference[row])}`)),
    ...rows.filter((row) => !isGiven(data.kind[row])).map(answerCard),
  ];
  article.replaceChildren(
    element("div", { className: "detail-head" }, element("h3", { textContent: `Prompt ${data.indices[selected]}` }),
      element("button", { type: "button", textContent: "Previous", onclick: () => move(-1) }), element("button", { type: "button", textContent: "Next", onclick: () => move(1) })),
    ...data.earlier[selected].map((turn) => element("p", { className: "earlier", textContent: turn })),
    element("p", { className: "prompt", textContent: data.prompts[selected] }),
    legend(),
    element("p", { id: "token", role: "status" }),
    element("div", { className: "answers" }, ...cards),
  );
}

function legend() {
  const scale = element("span", { className: "scale" });
  for (let level = STEPS.length; level > 0; level--) scale.append(element("span", { className: `down-${level}`, textContent: `−${STEPS[level - 1]}` }));
  scale.append(element("span", { textContent: "0" }));
  for (let level = 1; level <= STEPS.length; level++) scale.append(element("span", { className: `up-${level}`, textContent: `+${STEPS[level - 1]}` }));
  return element("p", { className: "legend" }, "less likely than under the base model", scale, "more likely; log π(token) − log π_base(token), nats");
}

function total(row) {
  const { data } = browser;
  let sum = 0;
  for (let place = data.firstToken[row]; place < data.firstToken[row + 1]; place++) sum += data.ratios[place];
  return sum / 100;
}

function meta(row) {
  const { data } = browser;
  const line = element("p", { className: "meta" });
  if (data.right[row] !== null) line.append(element("span", { className: data.right[row] ? "right" : "wrong", textContent: data.right[row] ? "✓ right" : "✗ wrong" }), " · ");
  const cut = data.finish[row] === "stop" ? "" : ` · ${data.finish[row] === "length" ? "cut at the limit" : data.finish[row]}`;
  const logProb = data.log_prob[row];
  const known = logProb === null ? "log π is no finite number" : `log π = ${logProb.toFixed(2).replace("-", "−")} · log π/π_base = ${signed(total(row))} nats`;
  line.append(`${data.tokens[row]} tokens${cut} · ${known}`);
  return line;
}

function answerCard(row) {
  const { data } = browser;
  const name = `${data.policies[data.policy[row]]}, ${data.kinds[data.kind[row]]}`;
  return element("section", { className: browser.filtered && browser.matches[row] ? "answer match" : "answer", "aria-label": name }, element("h4", { textContent: name }), meta(row), tokenText(row, name));
}

/** What the data say of a response: P(it beats the prompt's others). */
function preferred(preference) {
  if (preference === null) return "not compared";
  return preference === 1 ? "chosen" : preference === 0 ? "rejected" : `preference ${preference.toFixed(2)}`;
}

/** The card of a response that the data bring along, under one of the policies; `rows` has it under each. */
function givenCard(row, rows, name) {
  const { data } = browser;
  const under = element("select", { "aria-label": `Under which policy the tokens are coloured: ${name}` });
  for (const other of rows) under.append(element("option", { value: data.policy[other], textContent: data.policies[data.policy[other]], selected: other === row }));
  under.addEventListener("change", () => {
    browser.expertUnder = Number(under.value);
    showSample();
    byId("sample").querySelector("select").focus();
  });
  const heading = element("div", { className: "detail-head" }, element("h4", { textContent: name }), element("label", { className: "note" }, "under ", under));
  return element("section", { className: "answer expert", "aria-label": name }, heading, meta(row), tokenText(row, name));
}

function level(ratio) {
  const size = STEPS.filter((step) => Math.abs(ratio) >= step).length;
  return size ? `${ratio > 0 ? "up" : "down"}-${size}` : "";
}

/** The tokens of an answer. One that shows nothing, a part of a character, is counted with the next that does. */
function tokenText(row, name) {
  const { data } = browser;
  const characters = Array.from(data.texts[data.text[row]]);
  const text = element("p", { className: "text", tabIndex: 0, role: "group", "aria-label": `${name}: tokens, by the left and right arrow keys` });
  let at = 0, ratio = 0;
  for (let place = data.firstToken[row]; place < data.firstToken[row + 1]; place++) {
    ratio += data.ratios[place] / 100;
    const piece = characters.slice(at, at + data.lengths[place]).join("");
    at += data.lengths[place];
    if (!piece) continue;
    const special = /^<.*>$/.test(piece) ? " special" : "";
    const token = element("span", { className: level(ratio) + special, textContent: piece });
    token.dataset.ratio = ratio.toFixed(2);
    text.append(token);
    ratio = 0;
  }
  text.addEventListener("pointerover", ({ target }) => tell(target));
  text.addEventListener("click", ({ target }) => tell(target));
  text.addEventListener("keydown", (event) => stepToken(event, text));
  text.addEventListener("blur", () => text.querySelector(".active")?.classList.remove("active"));
  return text;
}

function stepToken(event, text) {
  if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
  event.preventDefault();
  const active = text.querySelector(".active");
  const next = event.key === "ArrowRight" ? (active ? active.nextSibling : text.firstChild) : active?.previousSibling;
  if (!next) return;
  active?.classList.remove("active");
  next.classList.add("active");
  tell(next);
}

function tell(token) {
  if (token.dataset?.ratio === undefined) return;
  const ratio = Number(token.dataset.ratio), factor = Math.exp(Math.abs(ratio));
  const times = factor < 1e4 ? factor.toPrecision(3) : factor.toExponential(1);
  byId("token").textContent = `${JSON.stringify(token.textContent)}: ${signed(ratio)} nats, ${times} times ${ratio < 0 ? "less" : "more"} likely than under the base model`;
}
