use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn digest(n: u8) -> ReportDigest {
    ReportDigest::from_bytes([n; 16])
}

fn settled(n: u8) -> Option<Settled> {
    Some(Settled { digest: digest(n), revision: 0 })
}

fn answer(divergence: &mut Divergence, held: u8) -> Comparison {
    divergence.handle_answer(settled(1), settled(1), Some(&digest(held).to_string()))
}

/// Takes the snapshot that is due and gives back how deep it was.
fn snapshot(divergence: &mut Divergence, second: i64) -> Depth {
    assert!(divergence.is_snapshot_due(at(second)));
    let depth = divergence.handle_snapshot_begun(at(second));
    assert!(!divergence.is_snapshot_due(at(second)), "one is under way");
    divergence.handle_snapshot_ended(true, at(second));
    depth
}

#[test]
fn two_differing_answers_in_a_row_make_one_snapshot_due() {
    let mut divergence = Divergence::default();
    assert_eq!(answer(&mut divergence, 2), Comparison::Differs);
    assert!(divergence.is_in_doubt() && !divergence.is_snapshot_due(at(0)));
    assert_eq!(answer(&mut divergence, 1), Comparison::Agrees);
    assert_eq!(answer(&mut divergence, 2), Comparison::Differs);
    assert!(!divergence.is_snapshot_due(at(0)) && !divergence.is_diverged(), "not in a row");
    answer(&mut divergence, 2);
    assert!(divergence.is_diverged() && !divergence.is_in_doubt());
    assert_eq!(snapshot(&mut divergence, 0), Depth::WithEnds);
    assert!(divergence.is_diverged() && !divergence.is_snapshot_due(at(86_400)), "two more must differ");
    assert_eq!(answer(&mut divergence, 1), Comparison::Agrees);
    assert!(!divergence.is_diverged());
}

#[test]
fn wait_between_snapshots_doubles_from_a_minute_to_an_hour() {
    let mut divergence = Divergence::default();
    let (mut now, mut depths, mut waits) = (0, Vec::new(), Vec::new());
    for _ in 0..10 {
        let begun = now;
        answer(&mut divergence, 2);
        answer(&mut divergence, 2);
        while !divergence.is_snapshot_due(at(now)) {
            now += 1;
        }
        assert!(divergence.poll_timeout().is_some_and(|due| due == at(now) || due < at(begun)));
        waits.push(now - begun);
        depths.push(snapshot(&mut divergence, now));
    }
    assert_eq!(waits, [0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    let anew = depths.iter().filter(|depth| **depth == Depth::Anew).count();
    assert_eq!((depths[1], anew), (Depth::Anew, 1));
    answer(&mut divergence, 1);
    answer(&mut divergence, 2);
    answer(&mut divergence, 2);
    assert!(!divergence.is_snapshot_due(at(now + 59)), "an agreement in between ends no pause");
    assert!(divergence.is_snapshot_due(at(now - 86_400)), "a clock that was set back holds nothing up");
    assert_eq!(snapshot(&mut divergence, now + 3600), Depth::WithEnds);
}

#[test]
fn nothing_is_compared_while_something_is_on_its_way() {
    let mut divergence = Divergence::default();
    for _ in 0..3 {
        let held = digest(2).to_string();
        assert_eq!(divergence.handle_answer(None, settled(1), Some(&held)), Comparison::None);
        assert_eq!(divergence.handle_answer(settled(1), None, Some(&held)), Comparison::None);
        let later = settled(1).map(|settled| Settled { revision: 1, ..settled });
        assert_eq!(divergence.handle_answer(settled(1), later, Some(&held)), Comparison::None);
    }
    divergence.handle_snapshot_begun(at(0));
    assert_eq!(answer(&mut divergence, 2), Comparison::None);
    divergence.handle_snapshot_ended(false, at(0));
    assert_eq!(answer(&mut divergence, 2), Comparison::Differs);
    divergence.handle_another_link();
    answer(&mut divergence, 2);
    assert!(!divergence.is_diverged(), "another control plane is judged by itself");
}

#[test]
fn snapshot_that_was_not_taken_is_due_again() {
    let mut divergence = Divergence::default();
    answer(&mut divergence, 2);
    answer(&mut divergence, 2);
    divergence.handle_snapshot_begun(at(0));
    assert_eq!(divergence.depth(), Depth::WithEnds);
    divergence.handle_snapshot_ended(false, at(1));
    assert_eq!((divergence.depth(), divergence.is_snapshot_due(at(1))), (Depth::Plain, true));
}

#[test]
fn without_digests_a_lost_connection_makes_a_snapshot_due() {
    let mut divergence = Divergence::default();
    divergence.handle_connection_lost();
    assert!(!divergence.is_snapshot_due(at(0)), "nobody knows whether it sends digests");
    divergence.handle_answer(settled(1), settled(1), None);
    assert_eq!(snapshot(&mut divergence, 0), Depth::Plain);
    divergence.handle_connection_lost();
    assert!(!divergence.is_snapshot_due(at(599)) && divergence.is_snapshot_due(at(600)));
    divergence.handle_snapshot_begun(at(100));
    divergence.handle_snapshot_ended(true, at(100));
    assert!(!divergence.is_snapshot_due(at(600)), "the snapshot of a cut is as good");
    for unknown in ["", "v2-00", "sha256:aa"] {
        divergence.handle_connection_lost();
        divergence.handle_answer(settled(1), settled(1), Some(unknown));
        assert!(divergence.is_snapshot_due(at(600)), "{unknown:?} is compared by nobody");
    }
    answer(&mut divergence, 1);
    assert!(!divergence.is_snapshot_due(at(600)), "digests decide from here on");
}

proptest! {
    /// However answers, cuts and clocks fall, repairs never come closer together than a minute.
    #[test]
    fn repairs_are_at_least_a_minute_apart(steps in prop::collection::vec((1u8..3, 0i64..90, any::<bool>()), 1..200)) {
        let (mut divergence, mut now, mut last) = (Divergence::default(), 0, None::<i64>);
        for (held, seconds, is_cut) in steps {
            now += seconds;
            answer(&mut divergence, held);
            if is_cut {
                divergence.handle_snapshot_begun(at(now));
                let repairs = divergence.depth() != Depth::Plain;
                divergence.handle_snapshot_ended(true, at(now));
                if repairs {
                    prop_assert!(last.is_none_or(|last| now - last >= 60));
                    last = Some(now);
                }
            }
        }
    }
}
