/* A filter applies as soon as it is changed. */
document.querySelector("form[data-filter]")?.addEventListener("change", (event) => {
  const form = event.currentTarget;
  for (const field of form.elements) {
    if (field.name && !field.value) field.disabled = true;
  }
  form.requestSubmit();
});
