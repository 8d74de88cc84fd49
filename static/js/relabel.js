// Looking through rows by keys, and changing labels: changes wait in this tab, one save makes one version.
// Markup: templates/datasets/_browser.html. A row's element has data-row, data-given (its labels, JSON), data-suggested (JSON, too).
"use strict";

const MOVES = { j: 1, ArrowDown: "down", ArrowRight: 1, k: -1, ArrowUp: "up", ArrowLeft: -1 };
const MOST_STEPS = 200;

document.addEventListener("alpine:init", () => {
  Alpine.data("relabel", () => ({
    changes: {}, // row → {given, labels}, where they differ
    steps: [], // for undo: each a list of [row, change before or null]
    picked: {}, // row → [its labels as stored, the suggested ones or null]
    current: null, anchor: null, landing: null,
    pending: 0, selected: 0, total: 0, everything: false, busy: false,

    get selectionWords() {
      if (this.everything) return this.words("all", this.total);
      return this.words("picked", this.selected);
    },
    get pendingWords() { return this.pending === 1 ? this.words("change") : this.words("changes", this.pending); },
    get extendable() { return !this.everything && this.selected < this.total; },

    init() {
      this.writable = "writable" in this.$root.dataset;
      this.several = "several" in this.$root.dataset;
      this.classes = this.writable ? JSON.parse(this.$root.dataset.classes) : [];
      try {
        Object.assign(this, JSON.parse(sessionStorage.getItem(this.$root.dataset.key)) || {});
      } catch { /* nothing that we wrote */ }
      this.$root.addEventListener("htmx:afterSwap", () => this.turned());
      this.turned();
    },

    // --- Where we are ----------------------------------------------------------------------------------------------
    rows() { return [...this.$root.querySelectorAll("[data-row]")]; },
    element(row) { return this.$root.querySelector(`[data-row="${row}"]`); },
    here() { return this.current === null ? null : this.element(this.current); },
    list() { return this.$root.querySelector("#rows-list"); },

    turned() {
      const list = this.list();
      this.total = Number(list.dataset.total);
      if (this.query !== undefined && this.query !== withoutPage(list.dataset.query)) this.everything = false;
      this.query = withoutPage(list.dataset.query);
      const rows = this.rows();
      if (this.landing && rows.length) this.go(this.landing === "first" ? rows[0] : rows[rows.length - 1]);
      else if (!this.here()) this.current = null;
      this.landing = null;
      this.paint();
    },

    go(element, extend = false) {
      if (!element) return;
      const row = element.dataset.row;
      if (extend) this.range(this.anchor ?? this.current ?? row, row);
      else this.anchor = row;
      this.current = row;
      this.paint();
      element.focus({ preventScroll: true });
      element.scrollIntoView({ block: "nearest" });
      if (this.$refs.viewer?.open) this.show(element);
    },

    move(step, extend = false) {
      const rows = this.rows();
      if (!rows.length) return;
      const place = rows.indexOf(this.here());
      if (place < 0) return this.go(rows[0]);
      const across = rows.filter((one) => one.offsetTop === rows[0].offsetTop).length;
      const to = place + (step === "down" ? across : step === "up" ? -across : step);
      if (rows[to]) return this.go(rows[to], extend);
      const turn = this.$root.querySelector(to < 0 ? "[data-turn=back]" : "[data-turn=on]");
      if (!turn || extend || this.landing) return;
      this.landing = to < 0 ? "last" : "first";
      turn.click();
    },
    next() { this.move(1); },
    previous() { this.move(-1); },

    // --- Selecting ---------------------------------------------------------------------------------------------------
    pick(element, on) {
      if (on) this.picked[element.dataset.row] = about(element);
      else delete this.picked[element.dataset.row];
      this.everything = false;
    },
    range(from, to) {
      const rows = this.rows();
      const places = [from, to].map((row) => rows.findIndex((one) => one.dataset.row === row)).sort((a, b) => a - b);
      for (const element of rows.slice(Math.max(0, places[0]), places[1] + 1)) this.pick(element, true);
    },
    pickAll() { this.everything = true; this.paint(); },
    clear() { this.picked = {}; this.everything = false; this.paint(); },

    // --- Labels ------------------------------------------------------------------------------------------------------
    // What a label is given to: [[row, labels as stored, suggested or null], …]: all that match, what is selected, or where we are.
    async targets() {
      if (this.everything) {
        const reply = await fetch(`${this.$root.dataset.matching}?${this.query}`, { headers: { "HX-Request": "true" } });
        if (!reply.ok) throw new Error(await told(reply));
        return (await reply.json()).rows.map(([row, ...known]) => [String(row), ...known]);
      }
      if (this.selected) return Object.entries(this.picked).map(([row, known]) => [row, ...known]);
      const here = this.here();
      if (!here) throw new Error(this.words("none"));
      return [[this.current, ...about(here)]];
    },

    async change(decide) {
      if (!this.writable) return;
      let targets;
      try {
        targets = await this.targets();
      } catch (error) {
        return toast(error instanceof TypeError ? this.words("lost") : error.message, "bad");
      }
      const alone = !this.selected && !this.everything;
      const step = [];
      for (const [row, given, suggested] of targets) {
        const before = this.changes[row] ?? null;
        const labels = decide(before?.labels ?? given, suggested, targets);
        if (!labels || same(labels, before?.labels ?? given)) continue;
        step.push([row, before]);
        if (same(labels, given)) delete this.changes[row];
        else this.changes[row] = { given, labels };
      }
      if (Object.keys(this.changes).length > Number(this.$root.dataset.most)) {
        this.take(step);
        return toast(this.words("tooMany", Number(this.$root.dataset.most)), "bad");
      }
      if (step.length) this.steps = [...this.steps, step].slice(-MOST_STEPS);
      if (!alone) this.clear();
      this.keep();
      if (alone && !this.several) this.next();
    },

    set(label) {
      if (!label) return;
      if (!this.several) return this.change(() => [label]);
      // One class of several: added where a row lacks it, else taken away.
      let lacking;
      return this.change((labels, _suggested, targets) => {
        lacking ??= targets.some(([row, given]) => !(this.changes[row]?.labels ?? given).includes(label));
        return lacking ? [...new Set([...labels, label])].sort() : labels.filter((one) => one !== label);
      });
    },
    choose() {
      const label = this.$el.dataset.class;
      this.$refs.chooser?.close();
      this.set(label);
    },
    ask() {
      this.$refs.typed.value = "";
      this.$refs.chooser.showModal();
    },
    typed() { this.set(this.$refs.typed.value.trim()); },
    accept() {
      return this.change((_labels, suggested) => suggested);
    },

    undo() {
      const step = this.steps.pop();
      if (!step) return;
      this.take(step);
      this.keep();
      if (step.length === 1) this.go(this.element(step[0][0]));
    },
    take(step) {
      for (const [row, before] of step) {
        if (before) this.changes[row] = before;
        else delete this.changes[row];
      }
    },
    discard() {
      this.changes = {};
      this.steps = [];
      this.keep();
    },

    async save() {
      if (!this.pending || this.busy) return;
      this.busy = true;
      const { save, csrf, version, key } = this.$root.dataset;
      const changes = Object.entries(this.changes).map(([row, { labels }]) => (
        this.several ? { row: Number(row), labels } : { row: Number(row), label: labels[0] }
      ));
      try {
        const reply = await fetch(save, {
          method: "POST",
          headers: { "X-CSRFToken": csrf, "HX-Request": "true" },
          body: new URLSearchParams({ version, changes: JSON.stringify(changes) }),
        });
        const following = reply.headers.get("HX-Redirect");
        if (!following) throw new Error(await told(reply));
        sessionStorage.removeItem(key);
        window.location.assign(following);
      } catch (error) {
        toast(error instanceof TypeError ? this.words("lost") : error.message, "bad");
        this.busy = false;
      }
    },

    keep() {
      const { key } = this.$root.dataset;
      try {
        if (Object.keys(this.changes).length) {
          sessionStorage.setItem(key, JSON.stringify({ changes: this.changes, steps: this.steps }));
        } else sessionStorage.removeItem(key);
      } catch { /* full: they stay in memory */ }
      this.paint();
    },

    // --- What is seen --------------------------------------------------------------------------------------------------
    paint() {
      this.pending = Object.keys(this.changes).length;
      this.selected = this.everything ? this.total : Object.keys(this.picked).length;
      for (const element of this.rows()) {
        const { row } = element.dataset;
        const picked = this.everything || row in this.picked;
        element.classList.toggle("current", row === this.current);
        element.classList.toggle("picked", picked);
        element.classList.toggle("changed", row in this.changes);
        const box = element.querySelector("[data-pick]");
        if (box) box.checked = picked;
        const shelf = element.querySelector("[data-labels]");
        if (shelf && element.dataset.given) this.tags(shelf, row, JSON.parse(element.dataset.given));
      }
    },
    tags(shelf, row, given) {
      const change = this.changes[row];
      if (!change && !shelf.dataset.painted && !this.writable) return;
      shelf.dataset.painted = "true";
      const labels = change?.labels ?? given;
      const gone = given.filter((label) => !labels.includes(label));
      shelf.replaceChildren(
        ...gone.map((label) => tag("s", label, "softer")),
        ...labels.map((label) => tag(this.writable ? "button" : "span", label, given.includes(label) ? "tag" : "tag tag-new")),
      );
      if (!labels.length && this.writable) shelf.append(tag("button", "∅", "tag"));
    },

    show(element) {
      this.$refs.photo.src = element.dataset.full;
      this.$refs.photo.alt = element.querySelector("img").alt;
      this.$refs.caption.textContent = element.dataset.caption;
      this.tags(this.$refs.photoLabels, element.dataset.row, JSON.parse(element.dataset.given));
    },
    enlarge() {
      const here = this.here();
      if (!here || !this.$refs.viewer) return;
      this.show(here);
      if (!this.$refs.viewer.open) this.$refs.viewer.showModal();
    },
    close() { this.$refs.viewer.close(); },
    help() { this.$refs.keys.showModal(); },

    // --- Hands -----------------------------------------------------------------------------------------------------------
    click(event) {
      const element = event.target.closest("[data-row]");
      if (!element) return;
      if (event.target.matches("[data-pick]")) {
        const { checked } = event.target;
        if (event.shiftKey) this.range(this.anchor ?? element.dataset.row, element.dataset.row);
        else this.pick(element, checked);
        this.anchor = this.current = element.dataset.row;
        return this.paint();
      }
      // Looked at before the row is painted anew.
      const hit = ["[data-accept]", "[data-enlarge]", "[data-labels] button"].find((one) => event.target.closest(one));
      this.go(element, event.shiftKey);
      if (event.shiftKey) return window.getSelection().removeAllRanges();
      if (hit === "[data-enlarge]") return this.enlarge();
      if (!hit) return;
      this.clear();
      if (hit === "[data-accept]") this.accept();
      else this.ask();
    },

    key(event) {
      if (event.defaultPrevented || event.altKey || !this.listening(event.target)) return;
      const { key } = event;
      if (event.ctrlKey || event.metaKey) {
        if (key.toLowerCase() !== "z" || event.shiftKey) return;
        event.preventDefault();
        return this.undo();
      }
      if (this.$refs.chooser?.open || this.$refs.keys?.open) return;
      const move = MOVES[key] ?? MOVES[key.toLowerCase()];
      const act = move !== undefined ? () => this.move(move, event.shiftKey) : this.acts(key, event.target);
      // Arrows scroll the page until somebody has gone to a row.
      if (!act || (key.startsWith("Arrow") && !this.here())) return;
      event.preventDefault();
      act();
    },
    acts(key, target) {
      if (this.writable && /^[1-9]$/.test(key) && this.classes[key - 1] !== undefined) return () => this.set(this.classes[key - 1]);
      if (key === "Escape" && this.selected && !this.$refs.viewer?.open) return () => this.clear();
      if (key === "Enter" && this.$refs.viewer && target.matches("[data-row]")) return () => this.enlarge();
      if (!this.writable) return null;
      const known = { x: "toggle", u: "undo", a: "accept", n: "ask", "?": "help" };
      return known[key] && (() => this[known[key]]());
    },
    toggle() {
      const here = this.here();
      if (here) this.pick(here, !(here.dataset.row in this.picked));
      this.paint();
    },
    // Keys are ours while the eye is on the rows: never in a field, elsewhere on the page only on the rows' own page.
    listening(target) {
      if (target.matches("input:not([type=checkbox]), select, textarea, [contenteditable]")) return false;
      if (this.$root.contains(target)) return true;
      return target === document.body && ("whole" in this.$root.dataset || this.current !== null);
    },

    words(name, count = 0) {
      const key = `words${name[0].toUpperCase()}${name.slice(1)}`;
      return this.$root.dataset[key].replace("{n}", count.toLocaleString(document.documentElement.lang || "en"));
    },
  }));
});

function tag(kind, text, css) {
  const made = Object.assign(document.createElement(kind), { textContent: text, className: css, title: text });
  if (kind === "button") made.type = "button";
  return made;
}

// The labels of a row as stored, and those that a model suggests.
function about({ dataset }) {
  return [JSON.parse(dataset.given), dataset.suggested === undefined ? null : JSON.parse(dataset.suggested)];
}

function same(one, other) { return one.length === other.length && one.every((label) => other.includes(label)); }

function withoutPage(query) {
  const parts = new URLSearchParams(query);
  parts.delete("page");
  return parts.toString();
}

// What the server says is wrong: templates/errors/_fragment.html.
async function told(reply) {
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  return page.querySelector("[role=alert]")?.textContent.trim() || document.body.dataset.offline;
}
