"""The DNS as a few lines of text, for evaluations that only ask: no server, no socket."""

from __future__ import annotations

from typing import TypeVar

from postane.core.question import NO_SUCH_NAME, Answer, Evaluation, Question

T = TypeVar("T")


class Zone:
    """Lines of `name KIND data`; MX data is `preference host`; KIND `FAIL` makes every question for a name fail, or
    those for the kinds that stand behind it.

    A name with anything at or below it exists. `questions` notes what was asked, in order.
    """

    def __init__(self, text: str) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        for line in filter(None, map(str.strip, text.splitlines())):
            name, kind, *data = line.split(" ", 2)
            self.add(name, kind, *data)
        self.questions: list[Question] = []

    def add(self, name: str, kind: str, *data: str) -> None:
        self.records.setdefault((name.lower(), kind), []).extend(data)

    def answer(self, question: Question) -> Answer:
        self.questions.append(question)
        name = question.name.lower()
        assert all(0 < len(label) < 64 for label in name.split(".")), "no such question can be put"
        assert len(name) <= 253
        failing = self.records.get((name, "FAIL"))
        if failing is not None and (not failing or question.kind in failing[0].split()):
            return Answer(failed=f"SERVFAIL for {name}")
        found = self.records.get((name, question.kind), [])
        if question.kind == "MX":
            found = [host for _, host in sorted((int(one.split()[0]), one.split()[1].rstrip(".")) for one in found)]
        if found:
            return Answer(tuple(found))
        exists = any(known == name or known.endswith(f".{name}") for known, _ in self.records)
        return Answer() if exists else NO_SUCH_NAME

    async def ask(self, question: Question) -> Answer:
        return self.answer(question)

    def decide(self, evaluation: Evaluation[T]) -> T:
        """Runs an evaluation to its end."""
        try:
            question = next(evaluation)
            while True:
                question = evaluation.send(self.answer(question))
        except StopIteration as done:
            result: T = done.value
            return result
