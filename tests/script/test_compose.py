"""docker-compose.yml and the Dockerfile agree with what the code reads; no Docker is needed to see that."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
READ_BY_CODE = ("portal/settings.py", "portal/web_server.py")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_every_part_of_the_portal_is_there(services: dict[str, dict[str, Any]]) -> None:
    assert {"setup", "web", "worker", "beat", "postgres", "redis"} == set(services)


def test_every_variable_it_sets_is_one_that_is_read(services: dict[str, dict[str, Any]]) -> None:
    source = "".join((ROOT / name).read_text() for name in READ_BY_CODE)
    read = set(re.findall(r"""env(?:iron\.get|\.\w+)\(\s*["']([A-Z_]+)["']""", source))
    given = {name for part in ("setup", "web", "worker", "beat") for name in services[part]["environment"]}
    assert given <= read, f"nothing reads {given - read}"


def test_no_secret_has_a_default(services: dict[str, dict[str, Any]]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses), f"{name} must be given"


def test_the_health_check_is_let_in_whatever_names_the_portal_is_given(services: dict[str, dict[str, Any]]) -> None:
    asked = re.search(r"http://([^/:]+)", services["web"]["healthcheck"]["test"][-1])
    assert asked
    names = re.sub(r"\$\{[^}]*\}", "lab.example", services["web"]["environment"]["ALLOWED_HOSTS"]).split(",")
    assert asked[1] in names


def test_nothing_but_the_web_listens_outside_and_that_on_this_machine(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["web"]
    assert services["web"]["ports"] == ["${LISTEN:-127.0.0.1:8000}:8000"]


def test_what_serves_waits_for_migrations_and_stores(services: dict[str, dict[str, Any]]) -> None:
    for name in ("web", "worker", "beat"):
        waits = {other: how["condition"] for other, how in services[name]["depends_on"].items()}
        assert waits == {
            "setup": "service_completed_successfully",
            "postgres": "service_healthy",
            "redis": "service_healthy",
        }


def test_everything_that_stays_up_says_how_to_tell(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in services.items() if "healthcheck" not in service] == ["setup"]


def test_the_database_outlives_its_container(services: dict[str, dict[str, Any]]) -> None:
    image, (volume,) = services["postgres"]["image"], services["postgres"]["volumes"]
    assert image == "pgvector/pgvector:pg18", "the version that script/server runs"
    assert volume == "postgres:/var/lib/postgresql", "where the images of PostgreSQL 18 and later keep data"


def test_the_image_does_not_run_as_root_and_holds_no_secret() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    instructions = [line.split()[0] for line in lines if line and line[0].isupper()]
    assert "USER leukoscope" in lines
    assert instructions.index("USER") < instructions.index("CMD")
    assert {"var", ".env", ".venv", ".git"} <= set((ROOT / ".dockerignore").read_text().splitlines())
