"""
How much a vendor takes, found out by asking: a pace for who refuses, a limit for who slows down.

Both are told what became of each ask and when, and know of no clock and no loop of their own.
"""

from __future__ import annotations

import math
import statistics

import attrs

FIRST_PACE = 20.0
"""Asks a second, at least, after the first refusal; it doubles from there until it is too much."""

_LEAST_PACE = 0.5
_SHORTEST_WAIT = 0.1  # seconds; what asks for less has not asked to wait
_FEW = 3  # answers that tell something at a slow pace, where there are no more
_ENOUGH = 8  # answers that tell something
_MANY = 20  # answers that tell how much
_MARGIN = 0.99  # of what the vendor admits
_SLOW = 5.0  # asks a second; what is slower rises as fast as can be
_STEP = 1.05  # of the first rise above what is known to be admitted
_NEAR = 1.04  # a refused pace this close to an admitted one: there is nothing more to find
_OWN_PAUSE = 0.25  # seconds, where the vendor says nothing; it doubles
_LONGEST_OWN_PAUSE = 8.0
_LONGEST_HOLD = 60.0


@attrs.frozen
class Ask:
    """
    An ask under way.

    Attributes:
        began: Moment at which it began, in seconds.

        spell: Number of the pace's spell that it belongs to.
    """

    began: float
    spell: int


class Pacer:
    """
    A pace for a vendor that admits so many requests a second and refuses what comes beyond.

    As long as nothing is refused there is no pace. After the first refusal it doubles from a slow
    one until a good part is refused; what was admitted meanwhile is the vendor's capacity, and the
    pace stays just below. Now and then it rises a little, then faster, to see whether there is more
    by now. One that was refused too much falls to what was admitted.

    Where the vendor says how long to wait, nothing is asked meanwhile, and each such wait is time
    lost: so the pace then rises seldom, and halves the gap between what was refused and what was
    admitted.

    Time is divided into spells of one pace. An answer counts for the spell in which its ask began:
    what was on its way when the pace changed says nothing of the new one.

    Attributes:
        pace: Asks a second; `math.inf` for as many as there are.

        until: Moment before which nothing is to be asked.
    """

    def __init__(self) -> None:
        self.pace = math.inf
        self.until = 0.0
        self._searching = True
        self._step = _STEP
        self._hold = 0.0  # moment before which the pace does not rise
        self._admitted = 0.0  # the highest pace that was admitted for a while
        self._best = 0.0  # the most that was admitted since a pace was far too high
        self._refused = math.inf  # the lowest pace that was told to wait
        self._wait = 0.0  # seconds that a wait costs
        self._own_pause = _OWN_PAUSE
        self._clear = 0  # answers under this pace, since its last spell with refusals
        self._clear_since = 0.0
        # Of the spell: its number, its beginning, its latest ask that was answered, the answers.
        self._spell = 0
        self._began = self._last = 0.0
        self._yes = self._no = 0

    def begin(self, now: float) -> Ask:
        """Return a new ask, to be handed to `end`."""
        return Ask(now, self._spell)

    def end(self, ask: Ask, now: float, *, refused: bool, wait: float | None = None) -> None:
        """
        Take in what became of *ask*.

        Args:
            ask: From `begin`.

            now: Moment of its answer.

            refused: Whether the vendor asks for fewer.

            wait: Seconds that a vendor who refuses asks to wait; None where it does not say.
        """
        if wait is not None and wait < _SHORTEST_WAIT:
            wait = None
        if refused and wait is not None:
            self.until = max(self.until, now + wait)
        if ask.spell != self._spell:
            return
        self._last = max(self._last, ask.began)
        if refused:
            self._no += 1
        else:
            self._yes += 1
            self._own_pause = _OWN_PAUSE
        if self.pace == math.inf:
            self._unpaced(now, refused=refused)
        elif refused and wait is not None:
            self._told_to_wait(now, wait)
        elif self._no >= 5 and not self._yes:
            self._shut_out(now)
        else:
            self._weigh(now)
        if refused and wait is not None:
            self._resume_at(now + wait, wait)

    def _begin_spell(self, now: float) -> None:
        self._spell += 1
        self._began = self._last = now
        self._yes = self._no = 0

    def _set(self, pace: float, now: float) -> None:
        self.pace = max(pace, _LEAST_PACE)
        self._clear, self._clear_since = 0, now
        self._begin_spell(now)

    def _resume_at(self, moment: float, wait: float) -> None:
        self._wait = max(0.8 * self._wait, wait)
        self.until = max(self.until, moment)
        self._clear_since = moment
        self._begin_spell(moment)

    def _unpaced(self, now: float, *, refused: bool) -> None:
        span = self._last - self._began
        if refused:
            self._set(max(self._yes / max(span, 0.5), FIRST_PACE), now)
        elif span >= 1:
            self._begin_spell(now)

    def _shut_out(self, now: float) -> None:
        # Whatever the limit is, it is used up for now, be it by what was asked before this spell.
        pause, self._own_pause = self._own_pause, min(_LONGEST_OWN_PAUSE, 2 * self._own_pause)
        if not self._searching or pause > 4 * _OWN_PAUSE:  # it is no matter of a moment
            self._set(0.8 * self.pace, now)
            self._admitted = 0.0
            self._hold = now + pause + 2.0
        self._resume_at(now + pause, 0.0)

    def _weigh(self, now: float) -> None:
        """Decide, once there are enough answers to go by, whether the pace is right."""
        answers = self._yes + self._no
        span = self._last - self._began
        share = self._no / answers
        if self._searching:
            if self._no >= 2 and share >= 0.25 and answers >= _ENOUGH and span >= 0.25:
                self._fall(now, span, share)
            elif span >= 0.5 and answers >= _ENOUGH:
                if not self._is_used(answers, span) and share >= 0.1 and answers >= 2 * _MANY:
                    self._fall(now, span, share)  # there is no more to be had by a higher pace
                elif self._is_used(answers, span):
                    self._admitted = self.pace / 2
                    self._set(2 * self.pace, now)
                else:
                    self._begin_spell(now)
        elif self._no >= 5 and share > 0.3 and span >= 0.5:
            self._fall(now, span, share)
        elif (
            (span >= 1 and answers >= _MANY)
            or (span >= 5 and answers >= _ENOUGH)
            or (span >= 2 and answers >= _FEW and self.pace < _SLOW)
        ):
            if self._no >= 2 and share > 0.01:
                self._fall(now, span, share)
            else:
                self._pass(now, answers, span)

    def _is_used(self, answers: int, span: float) -> bool:
        """Tell whether the pace is what holds the asks back, rather than something else."""
        return answers >= 0.7 * self.pace * span

    def _fall(self, now: float, span: float, share: float) -> None:
        capacity = min(self._yes / span, self.pace) * _MARGIN
        if span < 1:
            # Of a vendor that counts by the second it may be the second's end alone.
            capacity = max(capacity, 0.4 * self.pace)
        if share <= 0.2 and not self._searching:
            # A few refusals that have nothing to do with the pace must not wear it down.
            capacity = max(capacity, self._best / 2)
            self._best = max(capacity, self._best)
        else:
            self._best = capacity
        if not self._searching and self.pace > self._admitted * 1.001:
            capacity = max(capacity, self._admitted)  # a rise that failed
        else:
            self._admitted = 0.0
        self._searching = False
        self._step, self._refused = _STEP, math.inf
        self._set(capacity, now)
        self._hold = now + max(2.0, min(20.0, 150 / self.pace))

    def _told_to_wait(self, now: float, wait: float) -> None:
        if self._searching:
            self._best = self._admitted
        self._searching = False
        self._step, self._refused = _STEP, self.pace
        if self.pace <= self._admitted * 1.001 or not self._admitted:
            # The longer it went well, the less it was too much.
            went_well = max(self._clear + self._yes, 1)
            self._admitted = self.pace * (1 - min(0.3, 20 / went_well))
            # Refusals that have nothing to do with the pace must not wear it down to nothing.
            self._admitted = max(self._admitted, self._best / 8)
        self._set(self._admitted, now)
        self._resume_at(now + wait, wait)
        self._hold = now + wait + self._patience()

    def _patience(self) -> float:
        if self._refused < self.pace * _NEAR:
            # At a slow pace a wait costs little, and there is much to be found.
            slow = min(1.0, self.pace / FIRST_PACE)
            return max(2.0, min(_LONGEST_HOLD, 60 * self._wait) * slow)
        return max(1.0, min(20.0 if self.pace >= _SLOW else 4.0, 40 / self.pace))

    def _pass(self, now: float, answers: int, span: float) -> None:
        self._clear += answers
        if self._clear >= 2 * _MANY and now - self._clear_since >= 1:
            self._admitted = max(self._admitted, self.pace)
            self._best = max(self._best, self.pace)
        if now < self._hold or not self._is_used(answers, span):
            self._begin_spell(now)
        elif self.pace * _NEAR < self._refused < math.inf:
            self._set(math.sqrt(self.pace * self._refused), now)
            self._hold = now + self._patience()
        else:
            self._refused = math.inf
            step, self._step = self._step, min(2.0, 2 * self._step - 1)
            self._set(self.pace * (step if self.pace >= _SLOW else 2.0), now)


class Limit:
    """
    A limit of asks in flight for a vendor that takes all, and slows down.

    It doubles with each round of answers until it is at its most, or the answers take much longer
    than they did of late; from then on it rises by its square root and falls with what the answers
    take longer. What "of late" means moves on, so that a vendor who is slower for good is asked as
    often as it can answer.

    Args:
        most: The limit of the limit.

        start: Where it begins.

    Source: Gradient2 of Netflix's concurrency-limits.
    """

    _QUICK = 0.01  # seconds
    _SMOOTHING = 0.2
    _TOLERANCE = 2.0
    _MEMORY = 1 / 60  # of a round in what the answers took of late

    def __init__(self, most: int, start: int = 8) -> None:
        self._most = most
        self._limit = float(min(start, most))
        self._rising = True
        self._times: list[float] = []
        self._busiest = 0
        self._of_late: float | None = None

    @property
    def limit(self) -> int:
        """Asks that may be in flight, at least 1."""
        return int(self._limit)

    def end(self, seconds: float, in_flight: int) -> None:
        """
        Take in an answer.

        Args:
            seconds: What it took.

            in_flight: Asks in flight when it came, its own included.
        """
        self._times.append(seconds)
        self._busiest = max(self._busiest, in_flight)
        if len(self._times) >= max(10, self.limit):
            # The median, for a few slow answers are no slow vendor.
            self._round(statistics.median(self._times))
            self._times.clear()
            self._busiest = 0

    def halve(self) -> None:
        """Begin anew from half of it, and let it rise fast again."""
        self._limit = max(1.0, self._limit / 2)
        self._rising = True

    def _round(self, seconds: float) -> None:
        # What is quicker tells of the time that this event loop takes, not of the vendor's.
        seconds = max(seconds, self._QUICK)
        late = seconds if self._of_late is None else self._of_late
        late += (seconds - late) * self._MEMORY
        if late > 2 * seconds:  # it has got over it
            late *= 0.9
        self._of_late = late
        if self._busiest < self.limit / 2:
            return  # the limit was not what held the asks back
        gradient = min(1.0, max(0.5, self._TOLERANCE * late / max(seconds, 1e-9)))
        if self._rising and gradient == 1.0:
            wanted = 2 * self._limit
        else:
            self._rising = False
            aim = self._limit * gradient + math.sqrt(self._limit)
            wanted = self._limit + (aim - self._limit) * self._SMOOTHING
        self._limit = min(float(self._most), max(1.0, wanted))
