from pathlib import Path

import bertx.report


def test_nothing_of_bertx_is_needed_but_errors():
    for path in Path(bertx.report.__file__).parent.glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip().startswith(("from bertx", "import bertx")):
                assert line.split()[1].startswith(("bertx.report", "bertx.errors")), path


def test_the_template_lies_beside_the_code():
    assert (Path(bertx.report.__file__).parent / "templates" / "page.html.jinja").is_file()
