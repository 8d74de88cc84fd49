// Light or dark, before anything is drawn: the choice that was remembered, else the system's.
"use strict";
(() => {
  const KEY = "slipway-theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  const remembered = () => {
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const apply = () => {
    const theme = remembered() || (system.matches ? "dark" : "light");
    document.documentElement.dataset.bsTheme = theme;
    document.dispatchEvent(new CustomEvent("slipway:theme", { detail: theme }));
  };

  window.slipwayTheme = {
    current: () => document.documentElement.dataset.bsTheme,
    toggle() {
      const next = this.current() === "dark" ? "light" : "dark";
      try {
        // A choice that equals the system's is no choice: follow the system again.
        if (next === (system.matches ? "dark" : "light")) localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, next);
      } catch { /* private windows forget */ }
      apply();
    },
  };
  system.addEventListener("change", apply);
  apply();
})();
