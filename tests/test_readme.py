"""The README is one page: its lines for adopters run as they stand, except for the download."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_lines_for_adopters_run(capsys):
    (lines,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(lines.strip().splitlines()) <= 10
    scope: dict = {}
    exec(lines.replace("pretrained=True", "pretrained=False").replace("rand(8,", "rand(2,"), scope)
    assert "layers.0" in capsys.readouterr().out
    assert scope["logits"].shape == (2, 1000)
    assert scope["output"].residual.shape == (2, 2)


def test_every_file_that_it_names_is_there():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", README):
        assert (root / target).exists(), target


def test_it_is_short_and_says_first_how_to_run_to_adapt_and_to_read_on():
    lines = README.splitlines()
    assert len(lines) <= 140
    top = "\n".join(lines[:40])
    for said in ("python train_mnist.py", "python train_imagenet.py", "with_dec(", "Read on", "docs/"):
        assert said in top, said
