"""A small laboratory to look around in: invented people, drawn smears, and real predictions of them."""
