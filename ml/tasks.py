"""The tasks we train for: class sets, where their images lie, how training starts out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Listed:
    """Of the pictures beneath the folder of `csv` (relative to --data) only those whose row has `value` in `column`;
    the row's `file` is the path from that folder. Pictures elsewhere all count."""

    csv: str
    column: str
    value: str


@dataclass(frozen=True)
class TaskClass:
    """One class; `folders` are the data folders (relative to --data) whose images belong to it, `only` says which."""

    code: str
    title: str
    description: str
    malignant: bool
    colour: str
    folders: tuple[str, ...]
    only: Listed | None = None


@dataclass(frozen=True)
class Task:
    """A named class set with its input kind ("field" or "single_cell").

    `experimental`: no data can show that it does what its classes say, so it serves only on a recorded waiver.
    """

    name: str
    title: str
    input: str
    classes: tuple[TaskClass, ...]
    experimental: bool = False

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(item.code for item in self.classes)


B_ALL_STAGE = Task(
    name="b-all-stage",
    title="B-ALL stage of a smear field",
    input="field",
    classes=(
        TaskClass(
            "Benign",
            "Benign (haematogones)",
            "Haematogones, the marrow's own B-cell precursors; this does not mean healthy blood.",
            False,
            "#0072B2",
            ("Benign",),
        ),
        TaskClass(
            "Early",
            "Early pre-B ALL",
            "Morphology as in early pre-B lymphoblastic leukaemia; flow cytometry decides the stage.",
            True,
            "#E69F00",
            ("Early",),
        ),
        TaskClass(
            "Pre",
            "Pre-B ALL",
            "Morphology as in pre-B lymphoblastic leukaemia; flow cytometry decides the stage.",
            True,
            "#CC79A7",
            ("Pre",),
        ),
        TaskClass(
            "Pro",
            "Pro-B ALL",
            "Morphology as in pro-B lymphoblastic leukaemia; flow cytometry decides the stage.",
            True,
            "#D55E00",
            ("Pro",),
        ),
    ),
)


def _cell(code: str, title: str, malignant: bool, colour: str, *folders: str) -> TaskClass:
    return TaskClass(code, title, f"{title}, by morphology.", malignant, colour, folders)


CELL_TYPE = Task(
    name="cell-type",
    title="Type of a single white cell",
    input="single_cell",
    classes=(
        _cell("blast", "Blast", True, "#D55E00", "deepapl/blast_no_lineage_spec"),
        _cell("promyelocyte", "Promyelocyte", True, "#E69F00", "deepapl/promyelocyte"),
        _cell(
            "immature_granulocyte",
            "Other immature granulocyte",
            False,
            "#F0E442",
            "pbc/ig",
            "deepapl/myelocyte",
            "deepapl/metamyelocyte",
        ),
        _cell(
            "neutrophil",
            "Neutrophil",
            False,
            "#009E73",
            "pbc/neutrophil",
            "deepapl/segmented_neutrophils",
            "deepapl/band_neutrophils",
        ),
        _cell(
            "lymphocyte",
            "Lymphocyte",
            False,
            "#0072B2",
            "pbc/lymphocyte",
            "deepapl/lymphocyte",
            "deepapl/lymphocyte_variant",
        ),
        _cell("monocyte", "Monocyte", False, "#56B4E9", "pbc/monocyte", "deepapl/monocyte"),
        _cell("eosinophil", "Eosinophil", False, "#CC79A7", "pbc/eosinophil", "deepapl/eosinophils"),
        _cell("basophil", "Basophil", False, "#332288", "pbc/basophil", "deepapl/basophil"),
        _cell("erythroblast", "Erythroblast", False, "#882255", "pbc/erythroblast", "deepapl/erythroblast"),
        _cell(
            "platelet",
            "Platelet",
            False,
            "#999999",
            "pbc/platelet",
            "deepapl/giant_thrombocyte",
            "deepapl/thrombocyte_aggregation",
        ),
        _cell("smudge_cell", "Smudge cell", False, "#666666", "deepapl/smudge_cells"),
    ),
)

LINEAGE = Task(
    name="lineage",
    title="Lineage of a single blast (experimental)",
    input="single_cell",
    classes=(
        TaskClass(
            "ALL",
            "Lymphoblast (ALL)",
            "Looks like the blasts of people with acute lymphoblastic leukaemia; flow cytometry decides the lineage.",
            True,
            "#D55E00",
            ("all_idb2/ALL",),
        ),
        TaskClass(
            "AML",
            "Myeloblast (AML)",
            "Looks like the blasts of people with acute myeloid leukaemia; flow cytometry decides the lineage.",
            True,
            "#E69F00",
            ("deepapl/blast_no_lineage_spec",),
            Listed("deepapl/cells.csv", "diagnosis", "AML"),
        ),
        TaskClass(
            "Normal",
            "Mature white cell",
            "A mature white cell; it says nothing of the other cells of the smear.",
            False,
            "#009E73",
            (
                "all_idb2/Healthy",
                *(f"deepapl/{kind}" for kind in ("segmented_neutrophils", "band_neutrophils", "lymphocyte")),
                *(f"deepapl/{kind}" for kind in ("monocyte", "eosinophils", "basophil")),
                *(f"pbc/{kind}" for kind in ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil")),
            ),
        ),
    ),
    experimental=True,
)

TASKS: dict[str, Task] = {task.name: task for task in (B_ALL_STAGE, CELL_TYPE, LINEAGE)}
