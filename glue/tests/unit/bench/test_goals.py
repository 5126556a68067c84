"""Which goals a run has reached."""

from __future__ import annotations

from bench.goals import judged
from bench.samples import Row

SCALE = {"rate": 1.0, "errors": 0.0}


def _rows(ratio: float, p99: float, memory: float) -> list[Row]:
    ours = {"p99": p99, "memory": memory, **SCALE}
    theirs = {"p99": 100.0, "memory": 1e8, **SCALE}
    return [
        Row("postane", "a", "held", 3, ours, {"rate": ratio}),
        Row("postfix-tuned", "a", "held", 3, theirs, {"rate": 1.0}),
        Row("postane", "a", "delivered", 3, ours, {"rate": ratio, "end_to_end": ratio}),
    ]


def test_a_goal_is_met_at_its_figure_and_missed_beside_it() -> None:
    by_name = {goal.name: goal for goal in judged(_rows(6.0, 100.0, 150e6), {})}
    assert by_name["a, accepted"].met is True
    assert by_name["a, end to end"].met is True
    assert by_name["a, p99"].met is True
    assert by_name["memory of the tree"].met is True
    by_name = {goal.name: goal for goal in judged(_rows(2.99, 101.0, 151e6), {})}
    assert by_name["a, accepted"].met is False
    assert by_name["a, end to end"].met is False
    assert by_name["a, p99"].met is False
    assert by_name["memory of the tree"].met is False


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    goals = judged([], {})
    assert {goal.met for goal in goals} == {None}
    assert {goal.got for goal in goals} == {None}


def test_idle_and_slow_peers() -> None:
    found = {"idle": {"kib_each": 10.5}, "slow": {"p99": 99.0}}
    by_name = {goal.name: goal for goal in judged([], found)}
    assert by_name["an idle connection"].met is False
    assert by_name["greeting beside slow peers, p99"].met is True


def test_all_checks() -> None:
    rows = [Row("postane-filters", "a", "held", 3, {"p99": 1.0, "memory": 1e8, **SCALE}, {"rate": 2.6})]
    by_name = {
        goal.name: goal for goal in judged(rows, {}, {"postane-filters": {"p50": 50.0, "p99": 60.0, "added": 51}})
    }
    assert by_name["a, accepted, with all checks"].met is True
    assert by_name["a message alone, p50 added by all checks"].met is False


def test_many_domains() -> None:
    def found(domains: float, cpu: float, **more: float) -> dict[str, float]:
        verbs = dict.fromkeys(("plan", "apply", "again", "drift", "far"), 30.0)
        return {"domains": domains, "cpu": cpu, **verbs, "changes": 0.0, "questions": 20.0, **more}

    by_name = {goal.name: goal for goal in judged([], {}, None, [found(10, 500), found(100, 90), found(1000, 99)])}
    assert all(goal.met for name, goal in by_name.items() if "domain" in name)
    worse = found(1000, 100, plan=60.1, apply=121, again=30.1, changes=1, far=301, questions=20.1)
    by_name = {goal.name: goal for goal in judged([], {}, None, [found(100, 90), worse])}
    assert [goal.met for name, goal in by_name.items() if "domain" in name] == [False] * 7
