// Tables that sort: <table data-sortable> whose heads hold <button type="button">. A cell sorts by data-value, or its text.
"use strict";
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-sortable] th button");
  if (!button) return;
  const head = button.closest("th");
  const place = [...head.parentElement.children].indexOf(head);
  const body = button.closest("table").tBodies[0];
  const key = (row) => row.cells[place].dataset.value ?? row.cells[place].textContent.trim();
  const isNumber = [...body.rows].every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
  // Figures begin with the worst, names with A; again turns it round.
  const turned = head.getAttribute("aria-sort") === "ascending";
  const compare = (a, b) => (isNumber ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b)));
  const rows = [...body.rows].sort((a, b) => (turned ? compare(b, a) : compare(a, b)));
  body.append(...rows);
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", turned ? "descending" : "ascending");
});
