"""Names of options stay whole at the end of a line, in text alone."""

from __future__ import annotations

import pytest

from sweeplaw.analysis.report.unbroken import unbroken


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<p>give --all-rows (all_rows=True)</p>", '<p>give <span class="nb">--all-rows</span> (all_rows=True)</p>'),
        ("<code>sweeplaw next s --plan 1</code>", '<code>sweeplaw next s <span class="nb">--plan</span> 1</code>'),
        ("<p>(--knob lr), --x.</p>", '<p>(<span class="nb">--knob</span> lr), <span class="nb">--x</span>.</p>'),
        ('<p title="--all-rows">a--b a -- b ---</p>', None),
        ("<style>a { color: var(--ink-2); }</style><script>let a = 1; a --b</script>", None),
        ("<svg><text>--knob</text></svg><pre>--x</pre><title>--y</title>", None),
        ("--knob", '<span class="nb">--knob</span>'),
    ],
)
def test_options_are_whole_in_text_and_nothing_else_changes(html: str, shown: str | None) -> None:
    assert unbroken(html) == (html if shown is None else shown)
