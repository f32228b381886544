"""The data sets we train on: where they come from and on what terms. A manifest and a card quote them."""

from __future__ import annotations

from dataclasses import dataclass

TALEQANI = {
    "name": "taleqani",
    "reference": (
        "Aria et al., Acute Lymphoblastic Leukemia (ALL) image dataset, 2021, doi:10.34740/KAGGLE/DSV/2175623; "
        "Ghaderzadeh et al., Int J Intell Syst 2022;37:5113, doi:10.1002/int.22753"
    ),
    "terms": "Research use; the authors ask that the images are not passed on.",
}
PBC = {
    "name": "pbc",
    "reference": "Acevedo et al., Data in Brief 2020;30:105474, doi:10.17632/snkd93bnjr.1",
    "terms": "CC BY 4.0",
}
DEEPAPL = {
    "name": "deepapl",
    "reference": "Sidhom et al., npj Precis Oncol 2021;5:38, doi:10.6084/m9.figshare.14294675.v1",
    "terms": "Not settled by the authors; research use only.",
}
ALL_IDB2 = {
    "name": "all_idb2",
    "reference": "Donida Labati, Piuri, Scotti, ICIP 2011, doi:10.1109/ICIP.2011.6115881",
    "terms": "Research use; not to be passed on.",
}

BY_NAME = {source["name"]: source for source in (TALEQANI, PBC, DEEPAPL, ALL_IDB2)}


@dataclass(frozen=True)
class Texts:
    """What a task's manifests and cards say in words."""

    intended_use: str
    caveats: tuple[str, ...]
    limitations: tuple[str, ...]


TEXTS = {
    "b-all-stage": Texts(
        intended_use=(
            "Research use only. A morphological suggestion on single fields of Romanowsky-stained marrow or blood "
            "smears of people in whom B-lineage acute lymphoblastic leukaemia is in question, shown to a "
            "haematologist who has read the smear first. Not a diagnostic device."
        ),
        caveats=(
            "Benign means haematogones, the marrow's own B-cell precursors. It does not mean healthy blood.",
            "Early, Pre and Pro are stages of B-ALL that flow cytometry decides; morphology only suggests them.",
            (
                "The model knows four classes. Any other disease, AML and T-ALL among them, is answered with one of "
                "these four."
            ),
        ),
        limitations=(
            (
                "Trained on fields of one hospital, one camera and one magnification (about 23 pixels to a white cell "
                "at 224 px)."
            ),
            (
                "The data set names no patients: fields of one patient may lie on both sides of a split; blocks of "
                "file numbers with an embargo lessen this, they do not rule it out."
            ),
            "Colours and optics of other laboratories are imitated in training, not sampled: expect worse there.",
            (
                "It needs the magnification it was trained at: at half or double of it, its answers are worthless "
                "unless the scale is told."
            ),
            "Overexposed pictures, whose glass is clipped to white, mislead it: leukaemia is then called benign.",
            "Stages of leukaemia are taken for each other more often than leukaemia for benign.",
            "The settings were found while looking at held-out blocks, so the figures are somewhat optimistic.",
            "The network sees the middle 160 of 224 pixels: cells at the edge of a field do not count for it.",
            (
                "The figures are the network's own. Where a picture is unlike the training data, its cells are asked "
                "too, and the answer as shipped can differ."
            ),
        ),
    ),
    "cell-type": Texts(
        intended_use=(
            "Research use only. A suggestion of the type of one stained white cell, cut out of a blood or marrow "
            "smear, and through many of them of a differential count, shown to a haematologist who has read the "
            "smear first. Not a diagnostic device."
        ),
        caveats=(
            "A blast is named by its looks alone; lineage and leukaemia are decided by flow cytometry and genetics.",
            "Haematogones look like blasts and are called blasts.",
            "Every cell gets one of the known types, whatever it is; plasma cells and hairy cells are not known.",
        ),
        limitations=(
            (
                "Blasts and promyelocytes come from one hospital, healthy cells from another: part of what tells them "
                "apart may be the laboratory, though glass and stain are evened out and varied in training."
            ),
            "The patients' cells were labelled by few people; monocytes, promyelocytes and blasts are disputed.",
            "Rare types have few pictures; their figures have wide intervals.",
        ),
    ),
    "lineage": Texts(
        intended_use=(
            "Research use only, experimental. Whether one stained cell, cut out of a blood or marrow smear, looks "
            "like the lymphoblasts or the myeloblasts of the pictures it learned from, or like a mature white cell. "
            "Not a diagnostic device."
        ),
        caveats=(
            "Lineage is decided by flow cytometry and cytochemistry; the look of a blast only suggests it.",
            (
                "All lymphoblasts it knows come from one laboratory and all myeloblasts from another. The colour of "
                "the glass alone tells these two apart, so no figure here shows that it tells lineages apart."
            ),
            "Whatever it is shown is called one of three: other precursors, plasma cells and red cells too.",
        ),
        limitations=(
            "It has seen 130 lymphoblasts, of an unknown number of people.",
            (
                "Only its last layer was trained for this; the network below it learned types of cells on the same "
                "patients' cells and on those of healthy people, so leaving one of these two sources out tests less "
                "than it seems."
            ),
            "The held-out third of the lymphoblasts may come from people whose other cells were learned from.",
        ),
    ),
}
LICENCE = (
    "The weights were made from research data and are for research use only; the images themselves are not part of "
    "the release. The code that runs them is under Apache-2.0."
)
