/* The patient fields: a barcode scanner's Enter must not send the form, and a known MRN fills in what it stands for. */
const form = document.getElementById("case-form");
const names = ["family_name", "given_name", "birth_date", "sex"];
let prefilled = false;

form?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches?.("[data-scan] input")) return;
  event.preventDefault();
  const fields = [...form.querySelectorAll("input:not([type=hidden], [type=file]), select, textarea")].filter(
    (node) => !node.disabled && node.checkVisibility(),
  );
  const next = fields[fields.indexOf(event.target) + 1];
  next?.focus();
});

function setField(name, value) {
  const field = form.elements.namedItem(name);
  if (field && "value" in field) field.value = value;
}

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id !== "patient-lookup") return;
  const known = event.detail.target.querySelector('[data-patient="known"]');
  if (known) {
    setField("family_name", known.dataset.familyName);
    setField("given_name", known.dataset.givenName);
    setField("birth_date", known.dataset.birthDate ?? "");
    setField("sex", known.dataset.sex);
    prefilled = true;
    if (document.activeElement === document.body || document.activeElement.closest(".new-patient")) {
      form.elements.namedItem("accession_number")?.focus();
    }
  } else if (prefilled) {
    names.forEach((name) => setField(name, name === "sex" ? "unknown" : ""));
    prefilled = false;
  }
  form.dispatchEvent(new Event("leukoscope:patient"));
});
