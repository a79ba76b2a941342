"""Commands, names and numbers, as messages and pages write them."""

import shlex
import subprocess

import pytest

from harness.wording import code_block, nearest, plural


def test_one_is_singular_and_all_other_numbers_are_plural() -> None:
    assert [plural(count, "row") for count in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    assert plural(1, "class", "classes") == "1 class"
    assert plural(3, "class", "classes") == "3 classes"


def test_a_name_that_nothing_is_near_to_is_answered_with_what_else_there_is_to_say() -> None:
    assert nearest("num_expert", ["num_experts", "seed"]) == "; did you mean num_experts?"
    assert nearest("colour", ["num_experts", "seed"], "; known: all") == "; known: all"


@pytest.mark.parametrize("values", [(), ("a b", "it's"), tuple("x" * n for n in range(1, 60))])
def test_a_code_block_holds_the_command_in_short_lines(values: tuple[str, ...]) -> None:
    options = [word for n in range(9) for word in (f"--parameter-{n}", f"value {n}" * (n % 4))]
    command = shlex.join(["python", "-m", "experiments.moe", *options, "--runs", *values])
    begin, *lines, end = code_block(command).split("\n")
    assert begin == end == "```"
    assert max(map(len, lines)) <= 88
    assert all(line.endswith(" \\") for line in lines[:-1])
    joined = subprocess.run(
        ["sh", "-c", "printf '%s\\n' " + "\n".join(lines)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert joined.stdout.split("\n")[:-1] == shlex.split(command)
    assert code_block("python -m experiments.moe") == "```\npython -m experiments.moe\n```"
