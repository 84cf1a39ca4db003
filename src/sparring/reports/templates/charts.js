// Charts: drawn when they come into view, in the colours of the reader's theme.
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "star"];
const SERIES = 9;

let charts = readJson("charts");
const inView = new Set();

function readJson(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function translucent(hex, alpha) {
  const value = parseInt(hex.slice(1), 16);
  return `rgba(${value >> 16},${(value >> 8) & 255},${value & 255},${alpha})`;
}

function isNarrow() {
  return window.matchMedia("(max-width: 52rem)").matches;
}

function style(series, index) {
  const group = series.group ?? index;
  return { hue: colour(`series-${(group % SERIES) + 1}`), dash: DASHES[(series.dash ?? index) % DASHES.length], symbol: SYMBOLS[index % SYMBOLS.length] };
}

const TRACES = {
  steps(chart) {
    return chart.series.map((series, index) => {
      const { hue, dash } = style(series, index);
      const alone = series.x.length === 1;
      return { type: "scatter", mode: alone ? "markers" : "lines", name: series.name, x: series.x, y: series.y, line: { color: hue, width: 1.6, dash }, hovertemplate: "%{y:.4g}" };
    });
  },
  policies(chart) {
    return chart.series.map((series, index) => {
      const { hue, dash, symbol } = style(series, index);
      const error_y = { type: "data", symmetric: false, array: series.y.map((y, at) => series.high[at] - y), arrayminus: series.y.map((y, at) => y - series.low[at]), color: hue, thickness: 1.2, width: 4 };
      return { type: "scatter", mode: "lines+markers", name: series.name, x: series.x, y: series.y, error_y, line: { color: hue, width: 1.6, dash }, marker: { color: hue, symbol, size: 7 }, hovertemplate: "%{y:.4g}" };
    });
  },
  distributions(chart) {
    const names = [...new Set(chart.series.map((series) => series.name))];
    return names.map((name, index) => {
      const own = chart.series.filter((series) => series.name === name);
      const hue = style({}, index).hue;
      const few = own.every((series) => series.y.length <= 64);
      return {
        type: "violin", name, side: index ? "positive" : "negative", points: few ? "all" : false, pointpos: index ? 0.35 : -0.35, jitter: 0.25,
        x: own.flatMap((series) => series.y.map(() => series.x)), y: own.flatMap((series) => series.y),
        line: { color: hue, width: 1.4 }, fillcolor: translucent(hue, 0.25), marker: { color: hue, size: 3.5, opacity: 0.7 }, meanline: { visible: true }, spanmode: "hard", scalemode: "width", width: 0.9, hoverinfo: "y+name", hoveron: "violins",
      };
    });
  },
  bars(chart) {
    return chart.series.map((series, index) => ({
      type: "bar", orientation: "h", name: series.name, x: series.y, y: series.x, marker: { color: style({}, index).hue, line: { color: colour("paper"), width: 1 } }, hovertemplate: "%{x:.3g}",
    }));
  },
};

function layout(chart) {
  const [ink, quiet, grid, paper] = ["ink", "quiet", "grid", "paper"].map(colour);
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, tickfont: { color: quiet, size: 11 }, automargin: true, exponentformat: "e", fixedrange: isNarrow() };
  const shapes = [], annotations = [];
  for (const mark of chart.marks) {
    shapes.push({ type: "line", x0: mark.x, x1: mark.x, yref: "paper", y0: 0, y1: 1, line: { color: quiet, width: 1, dash: "dot" } });
    if (chart.marks.length <= (isNarrow() ? 4 : 8)) annotations.push({ x: mark.x, y: 1, yref: "paper", xanchor: "left", yanchor: "bottom", text: mark.text, showarrow: false, font: { color: quiet, size: 10 } });
  }
  for (const line of chart.lines) {
    shapes.push({ type: "line", y0: line.y, y1: line.y, xref: "paper", x0: 0, x1: 1, line: { color: ink, width: 1.2, dash: "dash" } });
    annotations.push({ x: 1, xref: "paper", xanchor: "right", y: line.y, yanchor: line.y > 0 ? "bottom" : "top", text: line.text, showarrow: false, font: { color: ink, size: 11 } });
  }
  const bars = chart.kind === "bars";
  const result = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: colour("sans"), size: 12, color: ink },
    margin: { l: 44, r: 14, t: chart.marks.length ? 20 : 8, b: 34 }, hovermode: bars ? "y unified" : chart.kind === "distributions" ? "closest" : "x unified",
    hoverlabel: { bgcolor: paper, bordercolor: grid, font: { color: ink } },
    showlegend: new Set(chart.series.map((series) => series.name)).size > 1, legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top", font: { size: 11 }, traceorder: "normal" },
    xaxis: { ...axis, showgrid: bars }, yaxis: { ...axis, showgrid: !bars, ...(chart.range ? { range: chart.range } : {}) }, shapes, annotations, uirevision: "kept", dragmode: isNarrow() ? false : "zoom",
  };
  // Below there are the policies' names, which a narrow screen turns.
  if (chart.kind === "policies") Object.assign(result.legend, { y: 1.02, yanchor: "bottom" });
  if (chart.kind === "distributions") Object.assign(result, { violinmode: "overlay", violingap: 0.25 });
  if (bars) Object.assign(result, { barmode: "stack", bargap: 0.35, yaxis: { ...axis, showgrid: false, autorange: "reversed" } });
  return result;
}

function draw(figure) {
  const chart = charts[figure.id.replace(/^chart-/, "")];
  const plot = figure.querySelector(".plot");
  return Plotly.react(plot, TRACES[chart.kind](chart), layout(chart), { displayModeBar: false, responsive: true });
}

const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting || inView.has(target)) continue;
    inView.add(target);
    draw(target);
  }
}, { rootMargin: "400px" });

function watchCharts() {
  for (const figure of document.querySelectorAll(".chart")) watcher.observe(figure);
}

function redraw() {
  for (const figure of inView) if (figure.isConnected) draw(figure);
}

for (const query of ["(prefers-color-scheme: dark)", "(max-width: 52rem)"]) window.matchMedia(query).addEventListener("change", redraw);

// Paper is white, whatever the screen is.
window.addEventListener("beforeprint", () => {
  document.documentElement.dataset.printing = "";
  for (const figure of document.querySelectorAll(".chart")) inView.add(figure);
  redraw();
});
window.addEventListener("afterprint", () => {
  delete document.documentElement.dataset.printing;
  redraw();
});

watchCharts();
