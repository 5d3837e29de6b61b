from pathlib import Path

import bertx.rendering


def test_the_template_lies_beside_the_code():
    assert (Path(bertx.rendering.__file__).parent / "templates" / "heatmaps.html.jinja").is_file()
