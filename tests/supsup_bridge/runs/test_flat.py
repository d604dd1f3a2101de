"""Settings as rows."""

from supsup_bridge.runs.flat import flat


def test_settings_inside_others_have_dotted_names() -> None:
    values = {"a": {"b": {"c": 1}, "d": None}, "e": [1, 2], "f": False}
    assert list(flat(values)) == [("a.b.c", "1"), ("a.d", "–"), ("e", "[1, 2]"), ("f", "False")]
