from __future__ import annotations

from localchat.tui.widgets.prompt.recall import Recall


def test_from_the_newest_to_the_oldest_and_back() -> None:
    recall = Recall(["a", "b"])
    assert [recall.older("typed"), recall.older("b"), recall.older("a")] == ["b", "a", None]
    assert [recall.newer("a"), recall.newer("b"), recall.newer("typed")] == ["b", "typed", None]


def test_without_earlier_prompts_there_is_nowhere_to_go() -> None:
    recall = Recall()
    assert recall.older("typed") is None
    assert recall.newer("typed") is None


def test_changes_on_the_way_stay_each_time() -> None:
    recall = Recall(["a"])
    for typed, changed in (("x", "a1"), ("xy", "a2")):
        recall.older(typed)
        assert recall.newer(changed) == typed
        assert recall.older(typed) == changed
        assert recall.newer(changed) == typed
