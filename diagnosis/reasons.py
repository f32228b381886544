"""What the reason codes of the models mean. A manifest may bring other words for its own.

Three different things, which must never look alike: a picture that was refused, an answer the model is not certain of,
and a flag: an answer that may look certain, to a picture the model was not made for.
"""

REASONS = {
    "unreadable": "The file could not be read as a picture.",
    "too_small": "The picture has too few pixels.",
    "blank": "The picture is empty or evenly grey.",
    "too_dark": "The picture is too dark.",
    "out_of_focus": "The picture is out of focus.",
    "not_a_smear": "The colours are not those of a stained blood or marrow smear.",
    "low_confidence": "The model is not certain enough to suggest a class.",
    "unlike_training": "Unlike the pictures the model was trained on.",
    "wrong_scale": "The magnification is not one the model was trained at.",
}

FLAGS = ("unlike_training", "wrong_scale")
