"""The browser that the other tests use: it sees errors and requests to other machines."""

import pytest
from chromium import WIDTHS, opened

pytestmark = pytest.mark.browser

PAGE = "<!doctype html><link rel=icon href=data:,><p>hello</p>"
BAD = PAGE + "<img src=http://192.0.2.1/a.png><script>throw Error('gone wrong')</script>"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_quiet_page(browser, tmp_path, width):
    (tmp_path / "page.html").write_text(PAGE)
    with opened(browser, (tmp_path / "page.html").as_uri(), width) as watched:
        assert watched.page.evaluate("innerWidth") == width and watched.page.inner_text("p") == "hello"
    assert (watched.errors, watched.outside) == ([], [])


def test_errors_and_requests_to_other_machines_are_seen(browser, tmp_path):
    (tmp_path / "page.html").write_text(BAD)
    with opened(browser, (tmp_path / "page.html").as_uri(), 1400) as watched:
        pass
    assert watched.outside == ["http://192.0.2.1/a.png"] and any("gone wrong" in error for error in watched.errors)
