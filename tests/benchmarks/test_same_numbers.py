"""What counts as a difference of two checkouts."""

from benchmarks.same_numbers import differences


def test_what_is_new_is_no_difference_and_what_is_gone_is() -> None:
    other = {"metrics accuracy": 0.5, "items nll": ("<f8", b"1"), "metrics nll": float("nan")}
    assert list(differences(other, other | {"metrics warp_accuracy": 0.25})) == []
    assert list(differences(other | {"metrics top1": 1.0}, other)) == ["metrics top1 is gone"]
    assert list(differences(other, other | {"metrics accuracy": 0.75})) == ["metrics accuracy: 0.5 and 0.75"]
