"""Numbers with their nouns."""

from harness.plural import plural


def test_one_is_singular_and_all_other_numbers_are_plural() -> None:
    assert [plural(count, "row") for count in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert plural(1, "class", "classes") == "1 class"
    assert plural(3, "class", "classes") == "3 classes"
