// Charts in the colours of the page. A view leaves the ECharts option as JSON:
//   {% chart option _("Requests per day") %}   (on whole pages also {{ option|json_script:"x" }} and data-chart="x")
// Axes, grid, fonts and colours are set here, so an option holds data and little else. Redrawn when the theme changes
// and when htmx swaps. `slipwayChart(element, option)` is for pages that feed a chart live; it returns the ECharts object.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const resolve = (name) => {
    // Custom properties may hold light-dark(): let the browser compute the colour.
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  };
  const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const merge = (base, over) => {
    const out = { ...base };
    for (const [key, value] of Object.entries(over || {})) {
      out[key] = isPlain(value) && isPlain(out[key]) ? merge(out[key], value) : value;
    }
    return out;
  };

  function defaults() {
    const ink = resolve("--sw-ink-2"), line = resolve("--sw-line"), surface = resolve("--sw-surface"), text = resolve("--sw-ink");
    const axis = {
      axisLine: { show: false, lineStyle: { color: line } }, axisTick: { show: false },
      axisLabel: { color: ink, fontSize: 12, hideOverlap: true }, splitLine: { lineStyle: { color: line } },
      nameTextStyle: { color: ink },
    };
    return {
      axis,
      option: {
        color: ["--sw-chart-1", "--sw-chart-2", "--sw-chart-3", "--sw-chart-4", "--sw-chart-5", "--sw-chart-6"].map(resolve),
        textStyle: { fontFamily: css("--tblr-font-sans-serif"), color: text },
        grid: { left: 4, right: 12, top: 12, bottom: 4, containLabel: true },
        legend: { textStyle: { color: ink }, icon: "roundRect", itemWidth: 10, itemHeight: 10, top: 0, left: 0 },
        // richText: an HTML tooltip would need inline styles, which the Content-Security-Policy forbids.
        tooltip: {
          renderMode: "richText", backgroundColor: surface, borderColor: line, borderWidth: 1, padding: [8, 12],
          textStyle: { color: text, fontSize: 12 }, confine: true,
        },
        animationDuration: 300,
        aria: { enabled: true },
      },
    };
  }

  function themed(option) {
    const base = defaults();
    const out = merge(base.option, option);
    for (const name of ["xAxis", "yAxis", "parallelAxis"]) {
      if (!out[name]) continue;
      const many = Array.isArray(out[name]) ? out[name] : [out[name]];
      out[name] = many.map((one) => merge(base.axis, one));
    }
    // A series may ask for a colour of the page by its token: "--sw-bad".
    for (const one of [out.series ?? []].flat()) {
      if (one.color?.startsWith("--")) one.color = resolve(one.color);
      if (one.label?.color?.startsWith("--")) one.label = { ...one.label, color: resolve(one.label.color) };
    }
    if (!option.legend) delete out.legend;
    return out;
  }

  const live = new Map();

  function slipwayChart(element, option) {
    let chart = live.get(element)?.chart;
    if (!chart) {
      chart = echarts.init(element, null, { renderer: "canvas" });
      new ResizeObserver(() => chart.isDisposed() || chart.resize()).observe(element);
    }
    live.set(element, { chart, option });
    chart.setOption(themed(option), { notMerge: true });
    return chart;
  }

  function drawAll(root) {
    for (const element of root.querySelectorAll("[data-chart], [data-option]")) {
      const data = element.dataset.option || document.getElementById(element.dataset.chart)?.textContent;
      if (data && !live.has(element)) slipwayChart(element, JSON.parse(data));
    }
    for (const [element, { chart }] of live) {
      if (!element.isConnected) { chart.dispose(); live.delete(element); }
    }
  }

  window.slipwayChart = slipwayChart;
  document.addEventListener("DOMContentLoaded", () => drawAll(document));
  document.addEventListener("htmx:afterSettle", () => drawAll(document));
  document.addEventListener("slipway:theme", () => {
    for (const [element, { option }] of live) slipwayChart(element, option);
  });
})();
