// What every page has: Alpine components, toasts, polling that rests while nobody looks. No inline script anywhere (CSP).
"use strict";

document.addEventListener("alpine:init", () => {
  // <div x-data="copy"> … <code x-ref="text"> … <button @click="copy"> … <span x-show="done">
  Alpine.data("copy", () => ({
    done: false,
    get idle() { return !this.done; },
    async copy() {
      await writeClipboard(this.$refs.text.textContent.trim());
      this.done = true;
      setTimeout(() => { this.done = false; }, 1600);
    },
  }));

  Alpine.data("password", () => ({
    shown: false,
    toggle() {
      this.shown = !this.shown;
      this.$root.querySelector("input").type = this.shown ? "text" : "password";
    },
  }));

  Alpine.data("theme", () => ({
    dark: window.slipwayTheme.current() === "dark",
    get light() { return !this.dark; },
    toggle() {
      window.slipwayTheme.toggle();
      this.dark = window.slipwayTheme.current() === "dark";
    },
  }));

  // A form or panel that opens in place: <div x-data="reveal"> <button @click="show"> <form x-show="open">
  Alpine.data("reveal", () => ({
    open: false,
    get closed() { return !this.open; },
    init() { this.open = this.$el.dataset.open === "true"; },
    show() {
      this.open = true;
      this.$nextTick(() => this.$root.querySelector("[data-focus]")?.focus());
    },
    hide() { this.open = false; },
    toggle() { this.open ? this.hide() : this.show(); },
  }));

  // <div x-data="tabs" data-tab="python"> <button data-tab="python" @click="pick" :class="…"> <div data-panel="python">
  Alpine.data("tabs", () => ({
    init() {
      this.show(this.$el.dataset.tab);
      this.$el.querySelector("[role=tablist]").addEventListener("keydown", (event) => this.step(event));
    },
    // Only the chosen tab is a stop of the Tab key; arrows lead to the others.
    step(event) {
      const tabs = [...this.$root.querySelectorAll("[role=tab]")];
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = tabs.at((tabs.indexOf(event.target) + step) % tabs.length);
      this.show(next.dataset.tab);
      next.focus();
    },
    pick() { this.show(this.$el.dataset.tab); },
    show(name) {
      for (const tab of this.$root.querySelectorAll("[role=tab]")) {
        const chosen = tab.dataset.tab === name;
        tab.setAttribute("aria-selected", String(chosen));
        tab.tabIndex = chosen ? 0 : -1;
      }
      for (const panel of this.$root.querySelectorAll("[data-panel]")) panel.hidden = panel.dataset.panel !== name;
    },
  }));
});

async function writeClipboard(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  document.body.append(area);
  area.select();
  document.execCommand("copy"); // the only way on plain http
  area.remove();
}

// --- Toasts: Django's messages at load, toast(text, tone) of our own ---------------------------------
function toast(text, tone = "good") {
  const shelf = document.getElementById("toasts");
  const template = document.getElementById("toast-template");
  if (!shelf || !template) return;
  const note = template.content.firstElementChild.cloneNode(true);
  note.classList.add(`toast-${tone}`);
  note.querySelector("[data-text]").textContent = text;
  shelf.append(note);
  expire(note);
}

function expire(note) {
  note.querySelector("[data-close]").addEventListener("click", () => note.remove());
  // Bad news stays until it has been read.
  if (!note.classList.contains("toast-bad")) setTimeout(() => note.remove(), 6000);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const note of document.querySelectorAll("#toasts > *")) expire(note);
});

// --- htmx ---------------------------------------------------------------------------------------------------------------
document.addEventListener("htmx:beforeRequest", (event) => {
  const polls = event.target.getAttribute("hx-trigger")?.includes("every ");
  // Nobody looks, or somebody is busy inside the part that would be replaced: wait for the next turn.
  if (polls && (document.hidden || event.target.contains(document.activeElement))) event.preventDefault();
});
// The session ended meanwhile: the answer is the sign-in page, which belongs into the window, not into a part of it.
document.addEventListener("htmx:beforeSwap", (event) => {
  const landed = new URL(event.detail.xhr.responseURL || location.href);
  if (landed.pathname.startsWith("/accounts/login") && !location.pathname.startsWith("/accounts/login")) {
    event.detail.shouldSwap = false;
    window.location.assign(`/accounts/login/?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
});
let offline = false;
document.addEventListener("htmx:sendError", () => {
  if (!offline) toast(document.body.dataset.offline, "bad");
  offline = true;
});
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) offline = false; });
// Errors change nothing on the page: their words (templates/errors/_fragment.html) arrive as a toast.
document.addEventListener("htmx:responseError", (event) => {
  const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  toast(answer.querySelector("[role=alert]")?.textContent.trim() || document.body.dataset.offline, "bad");
});

// --- Small manners -------------------------------------------------------------------------------------------------------
// A form is sent once: a second click on a slow line must not create a second thing.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.dataset.sent === "true" || form.method !== "post") return;
  form.dataset.sent = "true";
  const button = event.submitter;
  if (button) setTimeout(() => { button.disabled = true; button.classList.add("btn-loading"); }, 0);
});
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// <button data-confirm="Really?"> asks first.
document.addEventListener("click", (event) => {
  const asked = event.target.closest("[data-confirm]");
  if (asked && !window.confirm(asked.dataset.confirm)) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

// Controls that act as soon as they change: <select data-submit>, with data-ask="Really?" after a question.
document.addEventListener("change", (event) => {
  const control = event.target;
  if (!control.matches("[data-submit]")) return;
  if (control.dataset.ask && !window.confirm(control.dataset.ask)) control.form.reset();
  else control.form.requestSubmit();
});
