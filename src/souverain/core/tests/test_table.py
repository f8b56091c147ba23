"""The table of every page: what is shown is escaped, sorted and exported by its own value."""

from __future__ import annotations

from souverain.core.templatetags.core_components import table_rows


def test_a_cell_shows_its_text_its_link_or_its_state() -> None:
    html = table_rows(
        [
            [
                {"text": "Agey", "url": "/communes/21002/?a=1&b=2"},
                {"text": 1234, "value": 1234, "kind": "number"},
                {"text": "En ordre", "state": "ok"},
                {"text": None},
                {"text": 0, "value": 0},
            ]
        ]
    )
    assert html == (
        '<tr><th scope="row"><a href="/communes/21002/?a=1&amp;b=2">Agey</a></th>'
        '<td class="number" data-value="1234">1234</td>'
        '<td><span class="state state-ok"><i class="bi bi-check-circle-fill" aria-hidden="true">'
        "</i>En ordre</span></td><td>None</td>"
        '<td data-value="0">0</td></tr>'
    )


def test_nothing_from_outside_becomes_markup() -> None:
    evil = "\"><script>alert('x')</script>"
    html = table_rows([[{"text": evil, "url": evil, "value": evil}, {"text": evil, "state": evil}]])
    assert "<script" not in html and "alert('x" not in html
