"""The commit that a run was made with, and what was changed since."""

import subprocess

from harness.project import ROOT

DIFF = "git/uncommitted.diff"
MAX_CHARACTERS = 1_000_000
"""Of a diff: whoever changes more has data in the way."""


def git_tags() -> dict[str, str]:
    """Return commit and state of the project's working tree, where it is one."""
    try:
        return {
            "git_commit": _git("rev-parse", "HEAD").strip(),
            "git_dirty": str(bool(_git("status", "-s"))),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": "unknown", "git_dirty": "unknown"}


def uncommitted_changes() -> str:
    """Return what `git apply` needs to make the tree of the commit as it is; names of new files.

    A diff of more than `MAX_CHARACTERS` is cut there, and says so.
    """
    try:
        diff = _git(
            "diff", "HEAD", "--no-color", "--no-ext-diff", "--", ".", limit=MAX_CHARACTERS + 1
        )
        new = _git("ls-files", "--others", "--exclude-standard", limit=MAX_CHARACTERS)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"# git: {error}\n"
    if len(diff) > MAX_CHARACTERS:
        diff = f"{diff[:MAX_CHARACTERS]}\n# cut off here, after {MAX_CHARACTERS:,} characters\n"
    return "".join([*(f"# new, content not recorded: {name}\n" for name in new.splitlines()), diff])


def _git(*arguments: str, limit: int = -1) -> str:
    """Return what git says of the project's folder, up to `limit` characters (-1: all)."""
    command = ["git", "-C", str(ROOT), *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="backslashreplace",
    ) as process:
        assert process.stdout is not None
        text = process.stdout.read(limit)
        if len(text) == limit:  # the rest is not wanted
            process.kill()
            return text
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return text
