// Uploading files in resumable pieces (tus), one after the other, and the preview that follows.
"use strict";

const PIECE = 16 * 1024 * 1024;
const MOST = 50;
const AGAIN = 15 * 1000;

document.addEventListener("alpine:init", () => {
  Alpine.data("upload", () => ({
    state: "idle", // idle, sending, paused (by the user), lost (waits for the network), failed
    name: "", note: "", sent: 0, size: 0, before: 0, over: false,
    task: null, files: [], ids: [],

    init() { window.addEventListener("online", () => this.goOn()); },

    get idle() { return this.state === "idle" || this.state === "failed"; },
    get busy() { return !this.idle; },
    get sending() { return this.state === "sending"; },
    get stopped() { return this.state === "paused"; },
    get lost() { return this.state === "lost"; },
    get paused() { return this.stopped || this.lost; },
    get failed() { return this.state === "failed"; },
    get share() { return this.size ? this.sent / this.size : 0; },
    get percent() { return `${Math.floor(100 * this.share)} %`; },
    get amounts() { return `${bytes(this.sent)} / ${bytes(this.size)}`; },
    get zone() { return this.over ? "dropzone over" : "dropzone"; },

    browse() { this.$refs.file.click(); },
    chosen() { this.take(this.$refs.file.files); },
    dragOver(event) { event.preventDefault(); this.over = true; },
    dragLeave() { this.over = false; },
    dropped(event) {
      event.preventDefault();
      this.over = false;
      this.take(event.dataTransfer.files);
    },

    take(chosen) {
      const words = this.$root.dataset;
      const most = Number(words.max);
      const files = "many" in words ? [...chosen] : [...chosen].slice(0, 1);
      if (!files.length) return;
      if (files.length > MOST) return this.fail(words.manyAtOnce);
      for (const file of files) {
        this.name = file.name;
        if (file.size > most) return this.fail(`${words.tooLarge} ${bytes(file.size)} > ${bytes(most)}`);
        if (file.size === 0) return this.fail(words.empty);
      }
      this.files = files;
      this.ids = [];
      this.before = this.sent = 0;
      this.size = files.reduce((sum, file) => sum + file.size, 0);
      this.begin();
    },

    // Send the next file.
    begin() {
      const words = this.$root.dataset;
      const file = this.files[this.ids.length];
      const place = this.files.length > 1 ? `${this.ids.length + 1} / ${this.files.length} · ` : "";
      this.name = `${place}${file.name}`;
      const task = new tus.Upload(file, {
        endpoint: words.endpoint,
        chunkSize: PIECE,
        retryDelays: [0, 1000, 3000, 5000, 10000],
        headers: { "X-CSRFToken": words.csrf },
        metadata: { filename: file.name, project: words.project },
        removeFingerprintOnSuccess: true,
        onProgress: (sent) => { this.sent = this.before + sent; },
        onError: (error) => (error.originalResponse ? this.fail(reason(error)) : this.wait()),
        onSuccess: () => {
          this.ids.push(encodeURIComponent(task.url.split("/").pop()));
          this.before += file.size;
          if (this.ids.length < this.files.length) this.begin();
          else window.location.assign(words.next.replace("UPLOAD", this.ids.join(",")));
        },
      });
      this.task = task;
      // The same file, begun before the page was closed: go on where it stopped.
      task.findPreviousUploads().then((found) => {
        if (found.length) task.resumeFromPreviousUpload(found[0]);
        this.resume();
      });
    },

    resume() { this.state = "sending"; this.task.start(); },
    async pause() { this.state = "paused"; await this.task.abort(); },
    // No answer at all: the line is cut, or the computer slept.
    wait() { this.state = "lost"; setTimeout(() => this.goOn(), AGAIN); },
    goOn() { if (this.lost) this.resume(); },
    async cancel() {
      this.state = "idle";
      this.$refs.file.value = "";
      await this.task.abort(true).catch(() => {});
    },
    fail(note) {
      this.state = "failed";
      this.note = note;
      this.$refs.file.value = "";
    },
  }));

  // The import form: the chosen kind's selects count, and the sample's columns show what they are taken for.
  Alpine.data("importForm", () => ({
    init() { this.update(); },
    update() {
      const kind = this.$root.querySelector("[name=kind]:checked")?.value;
      for (const part of this.$root.querySelectorAll("[data-when]")) {
        part.hidden = part.dataset.when !== kind;
        for (const select of part.querySelectorAll("select")) select.disabled = part.hidden;
      }
      const chosen = [...this.$root.querySelectorAll("select[data-role]")].filter((one) => !one.disabled && one.value);
      const roles = new Map(chosen.map((select) => [select.value, select.dataset.role]));
      for (const head of this.$root.querySelectorAll("th[data-column]")) {
        const role = roles.get(head.dataset.column);
        head.querySelector("[data-role-tag]").textContent = role || "";
        for (const row of head.closest("table").rows) {
          row.cells[head.cellIndex]?.classList.toggle("chosen", Boolean(role));
        }
      }
    },
  }));
});

function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let place = 0;
  while (count >= 1000 && place < units.length - 1) { count /= 1000; place += 1; }
  return `${place ? count.toFixed(1) : count} ${units[place]}`;
}

// The server's own words, where it answered.
function reason(error) {
  const body = error?.originalResponse?.getBody?.();
  try {
    const told = JSON.parse(body).error;
    return `${told.message} ${told.hint}`.trim();
  } catch {
    return "";
  }
}
