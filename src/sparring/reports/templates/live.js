// Live: asks the page's own server whether the run went on, and takes over what changed where the reader is.
const INTERVAL_MS = 2000;

/** The element at the top of the window, and how far down it is, so that the reader can be kept there. */
function readersPlace() {
  const section = [...document.querySelectorAll("main section[id]")].find((each) => each.getBoundingClientRect().bottom > 80);
  return section ? { id: section.id, top: section.getBoundingClientRect().top } : null;
}

function restore(place) {
  const section = place && document.getElementById(place.id);
  if (section) window.scrollBy({ top: section.getBoundingClientRect().top - place.top, behavior: "instant" });
}

function takeOver(news) {
  const open = [...document.querySelectorAll("details[open]")].map((each) => each.id);
  const focused = document.activeElement?.id;
  const main = document.getElementById("main");
  const fresh = document.createElement("div");
  fresh.innerHTML = news.main;
  // Charts and the browser know what the reader did with them.
  for (const part of fresh.querySelectorAll(".chart, #browser")) {
    const known = document.getElementById(part.id);
    if (known) {
      known.querySelector(".plot")?.setAttribute("aria-label", part.querySelector(".plot").getAttribute("aria-label"));
      part.replaceWith(known);
    }
  }
  const scrolled = document.getElementById("prompts")?.scrollTop;
  main.replaceChildren(...fresh.childNodes);
  if (scrolled !== undefined) document.getElementById("prompts").scrollTop = scrolled;
  charts = news.charts;
  document.querySelector("nav").replaceChildren(...news.sections.map(([key, heading]) => {
    const link = document.createElement("a");
    link.href = `#${key}`;
    link.textContent = heading;
    return link;
  }));
  for (const id of open) if (document.getElementById(id)) document.getElementById(id).open = true;
  redraw();
  watchCharts();
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function ask(known) {
  const response = await fetch(`news?version=${known.live}&answers=${known.answers}`, { cache: "no-store" });
  if (response.status === 204) return;
  if (!response.ok) throw new Error(`status ${response.status}`);
  const news = await response.json();
  const data = news.answers?.columns && await decode(news.answers);
  const place = readersPlace(), isFirst = !document.getElementById("browser");
  takeOver(news);
  if (data && isFirst) listen();
  if (data) showAnswers(data);
  restore(place);
  known.live = news.version;
  known.answers = news.answers_version;
}

async function follow() {
  const shown = document.getElementById("live");
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    if (document.hidden) continue;
    try {
      await ask(document.documentElement.dataset);
      shown.textContent = "live";
      shown.classList.remove("lost");
    } catch {
      shown.textContent = "not served any more";
      shown.classList.add("lost");
    }
  }
}

if (document.documentElement.dataset.live) follow();
