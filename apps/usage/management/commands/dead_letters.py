"""`manage.py dead_letters`: what the recorder could not apply."""

import getpass
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from apps.usage import dead_letters, recorder
from apps.usage.models import DeadLetter


class Command(BaseCommand):
    """Lists them, with why; applies or drops those that are named. Nothing is done to others."""

    help = "List what the recorder could not apply (job events, usage, feedback); apply it again, or drop it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The action, and on which."""
        parser.add_argument("action", nargs="?", choices=["list", "retry", "drop"], default="list")
        parser.add_argument("numbers", nargs="*", type=int, help="their numbers, as they are listed")
        parser.add_argument("--all", action="store_true", help="all that wait")
        parser.add_argument("--settled", action="store_true", help="list what was decided on, too")

    def handle(self, *args: Any, **options: Any) -> None:
        """Fails where not everything that was named could be done."""
        if options["action"] == "list":
            self._list(DeadLetter.objects.order_by("pk") if options["settled"] else dead_letters.waiting())
            return
        if bool(options["numbers"]) == options["all"]:
            raise CommandError("Name numbers, or --all.")
        letters = dead_letters.waiting()
        if not options["all"]:
            letters = letters.filter(pk__in=options["numbers"])
            if missing := set(options["numbers"]) - set(letters.values_list("pk", flat=True)):
                raise CommandError(f"Not waiting: {', '.join(map(str, sorted(missing)))}.")
        left = sum(not self._do(letter, options["action"]) for letter in list(letters))
        if left:
            raise CommandError(f"{left} could not be applied and wait on.")

    def _do(self, letter: DeadLetter, action: str) -> bool:
        by = getpass.getuser()
        if action == "drop":
            done = dead_letters.settle(letter, DeadLetter.Outcome.DROPPED, by)
        else:
            done = recorder.apply_again(letter, by)
        letter.refresh_from_db()
        self.stdout.write(f"{letter.pk}  {letter.outcome or letter.reason}")
        return done

    def _list(self, letters: QuerySet[DeadLetter]) -> None:
        for letter in letters.iterator():
            line = f"{letter.pk}  {letter.created:%Y-%m-%d %H:%M}  {letter.stream} {letter.position}"
            if letter.settled:
                line += f"  {letter.outcome} by {letter.settled_by} {letter.settled:%Y-%m-%d %H:%M}"
            self.stdout.write(f"{line}\n    {letter.reason}\n    {letter.entry[:300]}")
        self.stdout.write(f"{dead_letters.waiting().count()} wait.")
