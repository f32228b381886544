"""Rules for every template, read from its source: what the Content-Security-Policy wants, and that nothing it names
is missing."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.urls import get_resolver

TEMPLATES = Path(settings.BASE_DIR) / "templates"
STATIC = Path(settings.BASE_DIR) / "portal" / "static"
NAMES = sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html"))
SCRIPTS = sorted(STATIC.glob("js/*.js"))
STYLES = sorted(STATIC.glob("css/*.css"))
# Found by name by Django, django-axes or the web server, not by a view of ours.
FOUND_BY_NAME = {"400.html", "403.html", "403_csrf.html", "404.html", "500.html", "admin/base_site.html"}


def source(name: str) -> str:
    text = (TEMPLATES / name).read_text()
    return re.sub(r"{% comment %}.*?{% endcomment %}", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_it_compiles(name: str) -> None:
    get_template(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_no_inline_style_or_handler(name: str) -> None:
    found = re.findall(r"<style\b|\sstyle=|\son[a-z]+=|javascript:|\shx-on", source(name))
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_its_scripts_are_files_of_ours(name: str) -> None:
    for attributes, body in re.findall(r"<script\b([^>]*)>(.*?)</script>", source(name), flags=re.DOTALL):
        assert re.search(r"""src="{% static '[^']+' %}\"""", attributes), attributes
        assert not body.strip()


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_nothing_from_another_host(name: str) -> None:
    assert re.findall(r"""(?:src|href|action|hx-get|hx-post)=["']?(?:https?:)?//""", source(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_its_forms_that_post_carry_the_token(name: str) -> None:
    for form in re.findall(r"<form\b.*?</form>", source(name), flags=re.DOTALL):
        if re.search(r"""method="post\"""", form):
            assert "{% csrf_token %}" in form


def test_every_static_file_named_exists() -> None:
    named = {file for name in NAMES for file in re.findall(r"{% static '([^']+)' %}", source(name))}
    assert named
    assert sorted(file for file in named if finders.find(file) is None) == []


def test_every_script_and_style_is_used() -> None:
    named = {file for name in NAMES for file in re.findall(r"{% static '([^']+)' %}", source(name))}
    ours = {str(path.relative_to(STATIC)) for path in [*SCRIPTS, *STYLES]}
    assert ours - named == set()


def test_every_template_is_used() -> None:
    python = [path.read_text() for room in ("portal", "accounts", "diagnosis") for path in python_files(room)]
    everything = "\n".join([*python, *map(source, NAMES)])
    chosen_by_page = tuple(f"{folder}/" for folder in re.findall(r'f"([\w/]+)/{\w+}\.html"', everything))
    unused = {name for name in NAMES if f'"{name}"' not in everything and name not in FOUND_BY_NAME}
    assert {name for name in unused if not name.startswith(chosen_by_page)} == set()


def python_files(room: str) -> list[Path]:
    return [*(Path(settings.BASE_DIR) / room).rglob("*.py")]


def test_every_address_named_exists() -> None:
    known = address_names()
    named = {address for name in NAMES for address in re.findall(r"""{% url ["']([\w:]+)["']""", source(name))}
    assert named
    assert named - known == set()


def address_names() -> set[str]:
    resolver = get_resolver()
    names = {name for name in resolver.reverse_dict if isinstance(name, str)}
    for space, (_, inner) in resolver.namespace_dict.items():
        names |= {f"{space}:{name}" for name in inner.reverse_dict if isinstance(name, str)}
    return names


@pytest.mark.parametrize("name", NAMES)
def test_it_never_calls_a_prediction_a_diagnosis(name: str) -> None:
    words = re.sub(r"{[{%].*?[%}]}|diagnosis[:/]|<[^>]*>", " ", source(name), flags=re.DOTALL).lower()
    for honest in ("not for diagnosis", "not proof of the diagnosis"):
        words = words.replace(honest, "")
    assert "diagnos" not in words
    assert "ai-powered" not in words


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_needs_what_the_policy_refuses(path: Path) -> None:
    """No evaluated strings and no markup put together from strings; DOMParser only for the server's own answers."""
    code = path.read_text()
    assert re.findall(r"\beval\(|new Function|innerHTML|outerHTML =|insertAdjacentHTML|document\.write", code) == []
    assert re.findall(r"""^\s*import\b|import\(""", code, flags=re.MULTILINE) == []


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_no_style_loads_anything(path: Path) -> None:
    assert re.findall(r"@import|url\(", path.read_text()) == []
