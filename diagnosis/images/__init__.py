"""Everything that happens to the bytes of a smear image before a row points at them."""
