"""Who and what the demonstration is: sites, people, patients, and the state each case is to come to. All invented."""

import datetime
from dataclasses import dataclass, field
from enum import Enum, auto

from diagnosis.states import Priority, Sex, Specimen, Stain

MARK = "Demonstration"
"""Every clinical note of the demonstration begins with it, so that it is told from real cases."""

SECOND_SITE = ("St Marien Laboratory", "STM")


class Ending(Enum):
    """Where a case is left for the visitor to find."""

    DRAFT = auto()
    SUBMITTED = auto()
    AWAITING = auto()
    IN_REVIEW = auto()
    SECOND_READ = auto()
    RETURNED = auto()
    SIGNED = auto()
    OVERRIDDEN = auto()
    AMENDED = auto()
    CANCELLED = auto()


@dataclass(frozen=True)
class Person:
    """A patient."""

    mrn: str
    family_name: str
    given_name: str
    birth_date: datetime.date
    sex: Sex


@dataclass(frozen=True)
class PlannedCase:
    """`home` is the first laboratory. `submitted_ago` is its age when the demonstration is made. `blasts` decides what
    is drawn, and which of the given images are taken."""

    accession_number: str
    person: Person
    ending: Ending
    images: int
    note: str
    submitted_ago: datetime.timedelta
    blasts: bool = True
    home: bool = True
    priority: Priority = Priority.ROUTINE
    specimen: Specimen = Specimen.PERIPHERAL_BLOOD
    stain: Stain = Stain.WRIGHT_GIEMSA
    spoilt: frozenset[int] = field(default_factory=frozenset)  # positions drawn out of focus


def _person(mrn: str, family: str, given: str, born: str, sex: Sex) -> Person:
    return Person(mrn, family, given, datetime.date.fromisoformat(born), sex)


def _ago(days: float = 0, hours: float = 0, minutes: float = 0) -> datetime.timedelta:
    return datetime.timedelta(days=days, hours=hours, minutes=minutes)


MAREK = _person("40127731", "Marek", "Jonas", "2019-03-14", Sex.MALE)
ADEYEMI = _person("40118206", "Adeyemi", "Folake", "2016-11-02", Sex.FEMALE)
LINDQVIST = _person("40130958", "Lindqvist", "Alma", "2021-07-29", Sex.FEMALE)
TANAKA = _person("40109442", "Tanaka", "Ren", "2012-01-19", Sex.MALE)
OYELARAN = _person("40126617", "Oyelaran", "Tobi", "2018-09-05", Sex.MALE)
FERREIRA = _person("40121393", "Ferreira", "Beatriz", "2014-05-23", Sex.FEMALE)
KOWALCZYK = _person("40132284", "Kowalczyk", "Hanna", "1987-12-11", Sex.FEMALE)
RAHIMI = _person("40115079", "Rahimi", "Dariush", "2020-02-08", Sex.MALE)
MORETTI = _person("40128840", "Moretti", "Elio", "2017-08-16", Sex.MALE)
OSULLIVAN = _person("40133512", "O'Sullivan", "Niamh", "2015-04-30", Sex.FEMALE)
NGUYEN = _person("77-00418", "Nguyen", "Minh Anh", "2019-10-21", Sex.FEMALE)
HARTMANN = _person("77-00397", "Hartmann", "Paul", "1979-06-03", Sex.MALE)
DIALLO = _person("77-00425", "Diallo", "Aminata", "2013-02-27", Sex.FEMALE)
VESELY = _person("77-00431", "Veselý", "Tomáš", "2022-01-12", Sex.MALE)

MARROW = Specimen.BONE_MARROW_ASPIRATE
STAT, URGENT = Priority.STAT, Priority.URGENT
MGG = Stain.MAY_GRUENWALD_GIEMSA

CASES = (
    PlannedCase(
        "H26-01902", FERREIRA, Ending.SIGNED, 3, "Anaemia and bruising for two weeks.", _ago(hours=20, minutes=15)
    ),
    PlannedCase(
        "H26-01931",
        TANAKA,
        Ending.AMENDED,
        3,
        "Fever, leucocytes 38 G/l.",
        _ago(hours=16, minutes=40),
        specimen=MARROW,
    ),
    PlannedCase(
        "H26-01958",
        OSULLIVAN,
        Ending.SIGNED,
        3,
        "Thrombocytes 84 G/l after a virus.",
        _ago(hours=9, minutes=5),
        blasts=False,
    ),
    PlannedCase(
        "H26-01977",
        KOWALCZYK,
        Ending.OVERRIDDEN,
        3,
        "Regenerating marrow, day 35.",
        _ago(hours=22),
        blasts=False,
        specimen=MARROW,
        stain=MGG,
    ),
    PlannedCase(
        "H26-01990",
        MORETTI,
        Ending.SIGNED,
        2,
        "Blasts reported by the analyser.",
        _ago(hours=3, minutes=10),
        priority=URGENT,
    ),
    PlannedCase(
        "H26-01996", RAHIMI, Ending.SECOND_READ, 3, "Pallor, petechiae, large spleen.", _ago(hours=5), priority=URGENT
    ),
    PlannedCase(
        "H26-01998", ADEYEMI, Ending.RETURNED, 2, "Bone pain for three weeks.", _ago(hours=7), spoilt=frozenset({2})
    ),
    PlannedCase("H26-02001", OYELARAN, Ending.IN_REVIEW, 3, "Day 15 of induction.", _ago(hours=2), specimen=MARROW),
    PlannedCase(
        "H26-02003", LINDQVIST, Ending.AWAITING, 3, "Pale for a month, haemoglobin 68 g/l.", _ago(days=1, hours=2)
    ),
    PlannedCase(
        "H26-02007",
        FERREIRA,
        Ending.AWAITING,
        4,
        "Marrow of the patient of H26-01902.",
        _ago(hours=1, minutes=40),
        priority=URGENT,
        specimen=MARROW,
    ),
    PlannedCase(
        "H26-02010",
        MAREK,
        Ending.AWAITING,
        4,
        "Leucocytes 112 G/l, dyspnoea. Please phone.",
        _ago(minutes=38),
        priority=STAT,
    ),
    PlannedCase(
        "H26-02011", OSULLIVAN, Ending.AWAITING, 2, "Control.", _ago(hours=4), blasts=False, stain=Stain.LEISHMAN
    ),
    PlannedCase("H26-02012", TANAKA, Ending.CANCELLED, 2, "Second tube of H26-01931.", _ago(hours=16)),
    PlannedCase("H26-02014", MORETTI, Ending.DRAFT, 2, "Day 8 of induction.", _ago(minutes=12)),
    PlannedCase(
        "STM-2619",
        NGUYEN,
        Ending.SIGNED,
        3,
        "Lymph nodes on both sides of the neck.",
        _ago(hours=13, minutes=20),
        home=False,
    ),
    PlannedCase(
        "STM-2624", HARTMANN, Ending.IN_REVIEW, 2, "Pancytopenia.", _ago(hours=6), home=False, specimen=MARROW
    ),
    PlannedCase(
        "STM-2625", DIALLO, Ending.AWAITING, 3, "Leucocytes 64 G/l.", _ago(minutes=55), home=False, priority=STAT
    ),
    PlannedCase(
        "STM-2626", VESELY, Ending.AWAITING, 3, "Bruises, thrombocytes 12 G/l.", _ago(hours=3), home=False, stain=MGG
    ),
    PlannedCase("STM-2627", HARTMANN, Ending.DRAFT, 1, "Control.", _ago(minutes=20), home=False, blasts=False),
    PlannedCase("H26-02015", OYELARAN, Ending.SUBMITTED, 3, "Day 33 of induction.", _ago(minutes=1), specimen=MARROW),
)
