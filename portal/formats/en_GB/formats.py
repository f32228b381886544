"""Times on a clock of 24 hours, as laboratories write them; the rest is as Django has it for this language."""

DATETIME_FORMAT = "j M Y, H:i"
SHORT_DATETIME_FORMAT = "d/m/Y H:i"
TIME_FORMAT = "H:i"
