"""Wrong passwords are counted a name, of an account or not; the fifth within the window locks it for the window.

An attempt is written down as wrong before the password is looked at and erased when it was right, so that guesses made
at the same time all count.
"""

from __future__ import annotations

from sqlmodel import Session, col, delete, select

from schemas.tables import LoginAttempt


def begin(session: Session, username: str, address: str, now_ms: int, *, allowed: int, window_ms: int) -> int:
    """Write down an attempt; returns for how many ms the name is locked (0: go on). A locked one adds nothing."""
    session.exec(delete(LoginAttempt).where(col(LoginAttempt.at_ms) <= now_ms - window_ms))
    query = (
        select(LoginAttempt.at_ms)
        .where(LoginAttempt.username == username)
        .order_by(col(LoginAttempt.at_ms).desc())
        .limit(allowed)
    )
    wrong = list(session.exec(query))
    if len(wrong) < allowed:
        session.add(LoginAttempt(username=username, address=address, at_ms=now_ms))
    session.commit()
    return max(1, wrong[0] + window_ms - now_ms) if len(wrong) >= allowed else 0


def wrong_so_far(session: Session, username: str) -> int:
    return len(session.exec(select(LoginAttempt.id).where(LoginAttempt.username == username)).all())


def forget(session: Session, username: str) -> None:
    """The password was right: start anew."""
    session.exec(delete(LoginAttempt).where(col(LoginAttempt.username) == username))
    session.commit()
