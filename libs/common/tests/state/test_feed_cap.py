"""A feed's length by the size of its entries."""

from dataforge.state.feed_cap import LEAST, FeedCap

MIB = 1024 * 1024


def test_small_entries_are_kept_up_to_their_number_and_large_ones_up_to_their_size() -> None:
    cap = FeedCap(5_000, 32 * MIB)
    assert cap.of("unknown") == 5_000
    assert cap.added("small", 500) == 5_000
    assert cap.added("large", 64 * 1024) == 512
    assert cap.added("huge", 10 * MIB) == LEAST
    assert cap.of("small") == 5_000


def test_the_cap_follows_the_mean_of_the_last_entries() -> None:
    cap = FeedCap(5_000, 32 * MIB)
    cap.added("feed", 64 * 1024)
    assert cap.added("feed", 1024 * 1024) < 512, "one large entry counts a little"
    for _ in range(500):
        cap.added("feed", 16 * 1024)
    assert 2_000 < cap.of("feed") <= 2_048
