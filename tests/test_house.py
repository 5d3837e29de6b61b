"""The house rules that a machine can check: import direction, file and function length."""

import ast
from pathlib import Path

import pytest

import bertx

PACKAGE = Path(bertx.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAY_IMPORT = {
    "errors": "",
    "progress": "",
    "statistics": "errors",
    "models": "errors progress",
    "data": "errors models progress",
    "training": "errors models",
    "trace": "errors models",
    "perturb": "errors models trace",
    "attribution": "errors models perturb trace",
    "metrics": "errors models perturb statistics trace",
    "rendering": "errors metrics models statistics",
    "leaderboard": "errors rendering statistics",
    "report": "errors leaderboard metrics models rendering statistics",
    "explanation": "attribution errors models perturb progress rendering trace",
    "evaluation": "attribution errors explanation leaderboard metrics models perturb progress "
    "rendering statistics trace",
    "callbacks": "attribution errors evaluation explanation leaderboard metrics models perturb "
    "progress rendering report trace",
    "studies": "attribution errors evaluation explanation metrics models perturb progress "
    "rendering statistics trace",
    "cli": None,  # may import everything; nobody imports it
    "__main__": "cli",
    "__init__": "evaluation explanation",
}
"""The rooms that a room may import, from the ground up."""

LIGHTNING = {"callbacks", "cli", "data", "report", "training"}
"""The rooms that know Lightning and wandb."""


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def wrong_imports(path):
    here = room(path)
    allowed = MAY_IMPORT[here]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "bertx" and len(parts) > 1 and parts[1] != here:
            if parts[1] == "cli" and here != "__main__":
                yield f"{path}: {here} imports cli"
            elif allowed is not None and parts[1] not in allowed.split():
                yield f"{path}: {here} imports {name}"
        if here not in LIGHTNING and parts[0] in ("lightning", "wandb"):
            yield f"{path}: {here} imports {name}"


def too_long(path):
    text = path.read_text()
    if (lines := len(text.splitlines())) > 500:
        yield f"{path} has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            if length > 30:
                yield f"{path}:{node.lineno} {node.name} has {length} lines"


def test_imports_point_one_way():
    seen = set()
    for name, allowed in MAY_IMPORT.items():
        assert set((allowed or "").split()) <= seen | ({"cli"} if name == "__main__" else set())
        seen.add(name)
    assert not [line for path in FILES for line in wrong_imports(path)]


def test_files_and_functions_are_short():
    assert not [line for path in FILES for line in too_long(path)]


def keywords(call):
    return {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}


@pytest.mark.parametrize(
    "functions, keyword, value",
    [
        ({"from_pretrained", "from_config"}, "trust_remote_code", False),
        ({"torch.load", "load_from_checkpoint"}, "weights_only", True),
    ],
)
def test_nobodys_code_runs(functions, keyword, value):
    """Nothing that is loaded may bring code of its own."""
    found = 0
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in functions or name.rpartition(".")[2] in functions:
                found += 1
                assert keywords(node).get(keyword) is value, f"{path}:{node.lineno}"
    assert found
