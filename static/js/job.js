// The live job page: one event stream feeds the log, wakes the state panel and refreshes the curves.
"use strict";
(() => {
  const root = document.querySelector("[data-job]");
  const api = `/api/v1/jobs/${root.dataset.job}`;
  const log = root.querySelector("[data-log]");
  const charts = [...root.querySelectorAll("[data-series]")];
  const POINTS = 400;
  // What the server wrote stands until the stream tells the story from its start.
  let fresh = true;
  let over = root.dataset.over === "true";

  // At most one call per interval, and never an event forgotten.
  function throttled(action, interval) {
    let timer = null, last = 0;
    return () => {
      if (timer) return;
      timer = setTimeout(() => { timer = null; last = Date.now(); action(); }, Math.max(0, last + interval - Date.now()));
    };
  }

  async function draw() {
    for (const element of charts) {
      const query = new URLSearchParams({ names: element.dataset.series, points: POINTS });
      const reply = await fetch(`${api}/series?${query}`);
      if (!reply.ok) return;
      const { series } = await reply.json();
      const drawn = series.filter(({ points }) => points.length);
      element.hidden = drawn.length === 0;
      element.nextElementSibling.hidden = drawn.length > 0;
      // Some tasks have no such series: when the job is over, an empty card has nothing to wait for.
      element.closest(".card").hidden = over && drawn.length === 0;
      if (drawn.length) window.slipwayChart(element, option(drawn));
    }
  }

  function option(drawn) {
    return {
      legend: {},
      grid: { top: 36 },
      tooltip: { trigger: "axis" },
      xAxis: { type: "value", min: "dataMin", max: "dataMax" },
      yAxis: { type: "value", scale: true, ...(drawn.every(({ points }) => points.every(([, y]) => y <= 1)) && { max: 1 }) },
      series: drawn.map(({ name, points }) => ({
        name, type: "line", data: points, showSymbol: points.length < 30, symbolSize: 5, animation: false,
        lineStyle: { width: 2 },
      })),
    };
  }

  function append(event) {
    if (fresh) log.replaceChildren();
    fresh = false;
    const line = document.createElement("li");
    line.className = `log-${event.level}`;
    const time = document.createElement("time");
    time.textContent = new Date(event.time).toISOString().slice(11, 19);
    const text = document.createElement("span");
    text.textContent = event.message;
    line.append(time, text);
    const followed = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(line);
    if (followed) log.scrollTop = log.scrollHeight;
  }

  const redraw = throttled(draw, 1500);
  const wake = throttled(() => document.body.dispatchEvent(new Event("slipway:job")), 1000);

  draw();
  log.scrollTop = log.scrollHeight;
  if (over) return;

  // The stream tells the job's whole story from the start, and after a broken connection what came since.
  const stream = new EventSource(`${api}/events`);
  const listen = (type, action) => stream.addEventListener(type, (message) => { action(JSON.parse(message.data)); wake(); });
  listen("log", append);
  listen("metric", redraw);
  for (const type of ["started", "progress", "device", "checkpoint", "trial"]) listen(type, () => {});
  // The last frame of a job that is over: without closing, the browser would connect again and again.
  listen("state", ({ state }) => {
    over = ["succeeded", "failed", "cancelled"].includes(state);
    redraw();
    if (over) stream.close();
  });
})();
