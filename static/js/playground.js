// The playground of an endpoint: suggestions that fill the form, a photo that is dropped, chosen or picked.
"use strict";
document.addEventListener("alpine:init", () => {
  Alpine.data("playground", () => ({
    fill() {
      const { fill, value } = this.$el.dataset;
      this.$root.querySelector(fill).value = value;
      this.$root.requestSubmit();
    },
    fillCells() {
      const cells = JSON.parse(this.$el.dataset.cells);
      for (const field of this.$root.querySelectorAll("[name^='cell-']")) field.value = cells[field.name.slice(5)] ?? "";
      this.$root.requestSubmit();
    },
    over() { this.$el.classList.add("over"); },
    away() { this.$el.classList.remove("over"); },
    drop() {
      this.away();
      if (this.$event.dataTransfer.files.length) this.take(this.$event.dataTransfer.files);
    },
    show() { this.preview(this.$refs.file.files[0]); },
    async pick() {
      const reply = await fetch(this.$el.dataset.url);
      const photo = await reply.blob();
      const shelf = new DataTransfer();
      shelf.items.add(new File([photo], "photo", { type: photo.type }));
      this.take(shelf.files);
      this.$root.requestSubmit();
    },
    take(files) {
      this.$refs.file.files = files;
      this.preview(files[0]);
    },
    preview(file) {
      if (!file) return;
      // As a data URL: the Content-Security-Policy knows no blob:.
      const reader = new FileReader();
      reader.addEventListener("load", () => {
        this.$refs.preview.src = reader.result;
        this.$refs.preview.hidden = false;
      });
      reader.readAsDataURL(file);
      this.$refs.words.textContent = file.name === "photo" ? "" : file.name;
    },
  }));
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.target?.id === "answer") document.body.dispatchEvent(new Event("slipway:answered"));
});
// The heat map lies over the very photo that was sent; the browser has it already.
document.addEventListener("htmx:afterSwap", (event) => {
  const sent = document.querySelector(".drop-preview");
  for (const photo of event.target.querySelectorAll("[data-photo]")) {
    photo.src = sent.src;
    // Of some models the middle only: what they see fills the map.
    if (photo.dataset.crop) photo.style.transform = `scale(${1 / Number(photo.dataset.crop)})`;
  }
});
