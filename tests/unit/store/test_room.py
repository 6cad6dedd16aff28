from __future__ import annotations

from mstore.store.room import PIECE_BYTES, room


def test_memory_is_used_again_but_by_one_at_a_time() -> None:
    with room(PIECE_BYTES) as first:
        mine = first.take(1000)
        mine[:] = b"x" * 1000
        with room(PIECE_BYTES) as second:
            second.take(1000)[:] = b"y" * 1000
        assert bytes(mine) == b"x" * 1000
        kept = first.piece
    with room(5 * PIECE_BYTES) as third:
        assert third.piece is kept
        assert len(third.take(PIECE_BYTES + 1)) == PIECE_BYTES + 1, "more than that when it is needed"
    with room(PIECE_BYTES) as fourth:
        assert len(fourth.piece) == PIECE_BYTES, "which is not kept"


def test_for_little_no_large_piece_is_taken() -> None:
    with room(1000) as little:
        assert len(little.take(1000)) == len(little.piece) == 1000
