
"use strict";
// Sorting by any column, and showing the rows that hold a text. Without this script the tables are complete.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    const data = cell.querySelector("data");
    if (!data) return cell.textContent;
    return data.value === "" ? null : Number(data.value);
  };
  const sort = (column, descending) => {
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null); // what has no value comes last
      const order = typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
      return descending ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      // Numbers begin with the largest, which is what one looks for; names with the first.
      const numbers = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const descending = before === null ? numbers : before === "ascending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(column, descending);
    });
  });
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    let count = 0;
    for (const row of body.rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      count += !row.hidden;
    }
    shown.textContent = wanted ? `${count} of ${body.rows.length}` : "";
  });
}
