// Uploading a file in resumable pieces (tus), and the preview that follows.
"use strict";

const PIECE = 16 * 1024 * 1024;

document.addEventListener("alpine:init", () => {
  Alpine.data("upload", () => ({
    state: "idle", // idle, sending, paused, failed
    name: "", note: "", sent: 0, size: 0, over: false,
    task: null, started: 0, startedAt: 0,

    get idle() { return this.state === "idle" || this.state === "failed"; },
    get busy() { return this.state === "sending" || this.state === "paused"; },
    get sending() { return this.state === "sending"; },
    get paused() { return this.state === "paused"; },
    get failed() { return this.state === "failed"; },
    get share() { return this.size ? this.sent / this.size : 0; },
    get percent() { return `${Math.floor(100 * this.share)} %`; },
    get amounts() { return `${bytes(this.sent)} / ${bytes(this.size)}`; },
    get zone() { return this.over ? "dropzone over" : "dropzone"; },

    browse() { this.$refs.file.click(); },
    chosen() { if (this.$refs.file.files[0]) this.take(this.$refs.file.files[0]); },
    dragOver(event) { event.preventDefault(); this.over = true; },
    dragLeave() { this.over = false; },
    dropped(event) {
      event.preventDefault();
      this.over = false;
      if (event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
    },

    take(file) {
      const words = this.$root.dataset;
      const most = Number(words.max);
      this.name = file.name;
      if (file.size > most) return this.fail(`${words.tooLarge} ${bytes(file.size)} > ${bytes(most)}`);
      if (file.size === 0) return this.fail(words.empty);
      this.size = file.size;
      this.sent = 0;
      this.begin(file);
    },

    begin(file) {
      const words = this.$root.dataset;
      this.task = new tus.Upload(file, {
        endpoint: words.endpoint,
        chunkSize: PIECE,
        retryDelays: [0, 1000, 3000, 5000, 10000, 20000, 30000],
        headers: { "X-CSRFToken": words.csrf },
        metadata: { filename: file.name, project: words.project },
        removeFingerprintOnSuccess: true,
        onProgress: (sent, size) => { this.sent = sent; this.size = size; },
        onError: (error) => this.fail(reason(error) || words.lost),
        onSuccess: () => {
          const id = this.task.url.split("/").pop();
          window.location.assign(words.next.replace("UPLOAD", encodeURIComponent(id)));
        },
      });
      // The same file, begun before the page was closed: go on where it stopped.
      this.task.findPreviousUploads().then((found) => {
        if (found.length) this.task.resumeFromPreviousUpload(found[0]);
        this.resume();
      });
    },

    resume() { this.state = "sending"; this.task.start(); },
    async pause() { this.state = "paused"; await this.task.abort(); },
    async cancel() {
      await this.task.abort(true).catch(() => {});
      this.state = "idle";
      this.$refs.file.value = "";
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
