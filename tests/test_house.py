"""The house rules that a machine can check: import direction, file and function length."""

import ast
from pathlib import Path

import pytest

import bertx

PACKAGE = Path(bertx.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LEAVES = {"arguments", "classifier", "errors", "precision", "pretrained", "progress", "inputs"}
MAY_IMPORT = {
    "errors": set(),
    "failures": set(),
    "arguments": {"errors", "pretrained"},
    "checkpoint": {"errors", "failures"},
    "pretrained": {"checkpoint", "errors", "failures", "progress"},
    "classifier": {"errors"},
    "inputs": {"classifier", "errors", "words"},
    "heads": LEAVES | {"scope"},
    "anatomy": LEAVES | {"activations"},
    "precision": set(),
    "progress": set(),
    "attend": {"precision"},
    "rules": LEAVES,
    "scope": LEAVES | {"attend"},
    "activations": {"scope"},
    "needs": set(),
    "skipping": set(),
    "switch": LEAVES | {"activations", "attend", "rules", "scope", "skipping"},
    "trace": LEAVES | {"anatomy", "needs", "rules", "scope", "skipping", "switch"},
    "attribution": LEAVES
    | {"activations", "anatomy", "perturb", "rules", "rerun", "scope", "search", "switch", "trace"},
    "packing": {"errors"},
    "perturb": LEAVES | {"packing", "scope"},
    "search": LEAVES | {"perturb"},
    "rerun": LEAVES | {"anatomy", "packing", "perturb", "scope", "skipping", "trace"},
    "faithfulness": LEAVES
    | {"anatomy", "needs", "packing", "perturb", "rerun", "scope", "search", "trace"},
    "plausibility": LEAVES | {"faithfulness"},
    "stability": LEAVES | {"anatomy", "faithfulness", "needs", "scope", "trace"},
    "statistics": LEAVES,
    "leaderboards": LEAVES | {"report", "statistics"},
    "judging": LEAVES
    | {"anatomy", "attribution", "choices", "explaining", "faithfulness", "heads", "leaderboards"}
    | {"needs", "packing", "perturb", "plausibility", "report", "rerun", "scope", "search"}
    | {"stability", "statistics", "trace", "words"},
    "report": {"errors"},
    "data": LEAVES | {"failures", "words"},
    "model": LEAVES | {"checkpoint", "freezing", "weighting"},
    "freezing": LEAVES | {"anatomy"},
    "weighting": {"errors"},
    "words": set(),
    "choices": LEAVES | {"anatomy", "attribution"},
    "explaining": LEAVES
    | {"anatomy", "attribution", "choices", "heads", "packing", "perturb", "report", "scope"}
    | {"trace", "words"},
    "callbacks": LEAVES
    | {"anatomy", "attribution", "choices", "explaining", "failures", "faithfulness", "heads"}
    | {"judging", "leaderboards", "needs"}
    | {"packing", "perturb", "plausibility", "report", "rerun", "scope", "search", "stability"}
    | {"statistics", "trace", "words"},
    "studies": LEAVES
    | {"anatomy", "attribution", "choices", "explaining", "failures", "faithfulness", "heads"}
    | {"judging", "needs"}
    | {"packing", "perturb", "plausibility", "report", "rerun", "scope", "search", "stability"}
    | {"statistics", "trace", "words"},
    "cli": None,  # may import everything; nobody imports it
    "__main__": {"cli"},
    "__init__": {"explaining", "judging"},
}
NO_LIGHTNING = (
    "activations",
    "anatomy",
    "arguments",
    "attend",
    "attribution",
    "checkpoint",
    "choices",
    "classifier",
    "errors",
    "explaining",
    "failures",
    "faithfulness",
    "freezing",
    "heads",
    "inputs",
    "judging",
    "leaderboards",
    "needs",
    "packing",
    "perturb",
    "plausibility",
    "precision",
    "pretrained",
    "progress",
    "rerun",
    "rules",
    "scope",
    "search",
    "skipping",
    "stability",
    "statistics",
    "studies",
    "switch",
    "trace",
    "weighting",
    "words",
)


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
            elif allowed is not None and parts[1] not in allowed:
                yield f"{path}: {here} imports {name}"
        if here in NO_LIGHTNING and parts[0] in ("lightning", "wandb"):
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
