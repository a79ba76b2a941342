"""`python -m playground`: the pages in a browser, on this machine; options are Streamlit's."""

import importlib.util
import sys
from pathlib import Path

from harness.command_line import run_command
from harness.errors import UserError

APP = Path(__file__).with_name("app.py")
OPTIONS = {
    "server.address": "localhost",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",  # it would search torch for changes
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "runner.magicEnabled": "false",  # it would write docstrings of constants on the page
    "theme.paddingTop": "2rem",
    "theme.headingFontSizes": '["1.9rem", "1.6rem", "1.3rem"]',
    "theme.base": "light",  # as the figures are
    "theme.primaryColor": "#0072B2",
}


def main() -> None:
    """Start the server, which opens the browser.

    Raises:
        UserError: Streamlit is not installed.

    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError('the playground needs Streamlit: pip install -e ".[playground]"')
    from streamlit.web import cli

    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    cli.main(["run", *options, *sys.argv[1:], str(APP)])


if __name__ == "__main__":
    run_command(main)
