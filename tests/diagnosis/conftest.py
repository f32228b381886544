"""Cases in the states that many rules begin with."""

import pytest

from accounts.models import User
from diagnosis.models import Case, ModelVersion
from tests.factories import case_in_review, predicted_case, signed_case


@pytest.fixture
def awaiting(technician: User, model_version: ModelVersion) -> Case:
    return predicted_case(technician)


@pytest.fixture
def in_review(technician: User, haematologist: User, model_version: ModelVersion) -> Case:
    return case_in_review(technician, haematologist)


@pytest.fixture
def signed(technician: User, haematologist: User, model_version: ModelVersion) -> Case:
    return signed_case(technician, haematologist)
