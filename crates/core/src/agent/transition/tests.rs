use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn object() -> ObjectRef {
    ObjectRef {
        api_version: "apps.vworkspace.io/v1alpha1".into(),
        kind: "ApplicationInstance".into(),
        namespace: "n".into(),
        name: "web".into(),
        uid: "u".into(),
        generation: 1,
    }
}

fn ready(status: bool, reason: &str, second: i64) -> Condition {
    Condition {
        type_: "Ready".into(),
        status: status.into(),
        observed_generation: 1,
        last_transition_time: Timestamp::from_second(second).ok(),
        reason: reason.into(),
        message: String::new(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(100).unwrap()
}

proptest! {
    /// However a condition moves within one second, no two successive contents share a key.
    #[test]
    fn flaps_within_one_second_never_repeat_a_key(steps in proptest::collection::vec((any::<bool>(), 0..3u8), 1..40)) {
        let mut log = TransitionLog::default();
        let (mut keys, mut last, mut told) = (BTreeSet::new(), Vec::new(), 0);
        for (status, reason) in steps {
            let next = vec![ready(status, &reason.to_string(), 5)];
            for News { event, .. } in log.handle_transition(&object(), &last, &next, now()) {
                told += 1;
                keys.insert(event.event_key);
            }
            last = next;
        }
        prop_assert_eq!(keys.len(), told);
    }
}

/// The log as a new process finds it.
fn restarted(log: &mut TransitionLog, store: &mut BTreeMap<u64, String>) -> TransitionLog {
    for write in log.poll_writes() {
        match write {
            Write::Put { number, text } => drop(store.insert(number, text)),
            Write::Delete { number } => drop(store.remove(&number)),
        }
    }
    log.handle_written(true, now(), 0.5);
    let read = |text: &String| serde_json::from_str(text).ok();
    let shards = store.iter().map(|(number, text)| Stored { number: *number, records: read(text) });
    TransitionLog::restore(shards.collect())
}

#[test]
fn what_was_seen_before_what_was_told_last_is_outdated_in_this_process_alone() {
    let mut log = TransitionLog::default();
    log.handle_version(&object(), 9);
    assert!(!log.is_outdated(&object(), 8), "nothing was told");
    log.handle_transition(&object(), &[], &[ready(true, "A", 5)], now());
    log.handle_version(&object(), 9);
    assert_eq!([8, 9, 10].map(|version| log.is_outdated(&object(), version)), [true, false, false]);
    assert!(!log.is_outdated(&object(), 0), "nobody knows");
    log.handle_version(&object(), 3);
    assert!(!log.is_outdated(&object(), 8), "the cluster's database was restored");
}

#[test]
fn a_snapshot_repeats_the_stored_key_also_after_a_restart() {
    let (mut log, mut store) = (TransitionLog::default(), BTreeMap::new());
    let (first, second) = (vec![ready(false, "A", 5)], vec![ready(true, "B", 5)]);
    log.handle_transition(&object(), &[], &first, now());
    let told = log.handle_transition(&object(), &first, &second, now());
    let snapshot = log.handle_snapshot(&object(), &second, now());
    assert_eq!((&snapshot[0].event.event_key, snapshot[0].needs), (&told[0].event.event_key, told[0].needs));
    let mut restarted = restarted(&mut log, &mut store);
    let snapshot = restarted.handle_snapshot(&object(), &second, now());
    assert_eq!((&snapshot[0].event.event_key, snapshot[0].needs), (&told[0].event.event_key, 0));
    assert!(restarted.due().is_none(), "there is nothing to store");
}

#[test]
fn what_changed_must_be_stored_before_it_is_told() {
    let mut log = TransitionLog::default();
    let told = log.handle_snapshot(&object(), &[ready(true, "A", 5)], now());
    assert!(told[0].needs > log.stored());
    restarted(&mut log, &mut BTreeMap::new());
    assert!(told[0].needs <= log.stored());
}

#[test]
fn an_object_that_went_while_no_process_looked_is_told_until_that_is_known() {
    let (mut log, mut store) = (TransitionLog::default(), BTreeMap::new());
    let stays = ObjectRef { uid: "stays".into(), ..object() };
    for object in [&object(), &stays] {
        log.handle_snapshot(object, &[ready(true, "A", 5)], now());
    }
    let mut log = restarted(&mut log, &mut store);
    for _ in 0..2 {
        let ends = log.handle_listed([&stays].into_iter(), now());
        let told: Vec<_> =
            ends.iter().map(|end| (end.event.kind.as_str(), &end.event.resource_ref)).collect();
        assert_eq!(told, [(kind::OBJECT_DELETED, &object())]);
    }
    assert!(log.handle_snapshot(&object(), &[ready(true, "A", 5)], now()).is_empty());
    log.handle_end_known(&object());
    let mut log = restarted(&mut log, &mut store);
    assert!(log.handle_listed([&stays].into_iter(), now()).is_empty());
    assert_eq!(log.objects.len(), 1);
}

#[test]
fn an_object_told_by_this_process_is_not_taken_for_gone() {
    let mut log = TransitionLog::default();
    log.handle_snapshot(&object(), &[ready(true, "A", 5)], now());
    assert!(log.handle_listed([].into_iter(), now()).is_empty());
}

/// Its deletion was one observation too many.
#[test]
fn an_end_that_was_not_told_is_found_by_the_next_list() {
    let mut log = TransitionLog::default();
    log.handle_snapshot(&object(), &[ready(true, "A", 5)], now());
    assert!(log.handle_listed([&object()].into_iter(), now()).is_empty());
    assert_eq!(log.handle_listed([].into_iter(), now()).len(), 1, "it was in a list before");

    let (mut log, mut store) = (TransitionLog::default(), BTreeMap::new());
    log.handle_snapshot(&object(), &[ready(true, "A", 5)], now());
    let mut log = restarted(&mut log, &mut store);
    log.handle_transition(&object(), &[], &[ready(false, "B", 6)], now());
    assert_eq!(log.handle_listed([].into_iter(), now()).len(), 1, "it was there before this process");
}

#[test]
fn the_log_never_outgrows_its_bounds() {
    let (mut log, mut store) = (TransitionLog::default(), BTreeMap::new());
    let huge = "\u{1}".repeat(10_000);
    for i in 0..(MAX_REMEMBERED / 8 + 50) {
        let object = ObjectRef { uid: format!("{i:06}"), ..object() };
        let conditions: Vec<_> =
            (0..8).map(|c| Condition { type_: format!("C{c}"), ..ready(true, "R", 1) }).collect();
        log.handle_snapshot(&object, &conditions, now());
    }
    let hostile = ObjectRef { uid: huge.clone(), name: huge.clone(), ..object() };
    for c in 0..100 {
        let condition = Condition { type_: format!("{c}{huge}"), ..ready(true, "R", 1) };
        log.handle_snapshot(&hostile, &[condition], now());
    }
    let restarted = restarted(&mut log, &mut store);
    assert!(store.values().all(|text| text.len() <= shards::SHARD_BYTES));
    assert!(
        (MAX_REMEMBERED - 100..=MAX_REMEMBERED).contains(&restarted.conditions),
        "{}",
        restarted.conditions
    );
    assert_eq!(restarted.objects.len(), log.objects.len());
}

/// Found by the walkthrough: a condition was shown with the generation before, for ever.
#[test]
fn a_snapshot_between_a_new_wish_and_its_condition_does_not_use_up_the_key_of_what_follows() {
    let mut log = TransitionLog::default();
    let key = |news: Vec<News>| news[0].event.event_key.clone();
    let before = vec![ready(true, "A", 5)];
    let first = key(log.handle_transition(&object(), &[], &before, now()));
    let wished = ObjectRef { generation: 2, ..object() };
    let between = key(log.handle_snapshot(&wished, &before, now()));
    assert_eq!(between, first, "nothing is new about the condition");
    let after = vec![Condition { observed_generation: 2, ..ready(true, "A", 5) }];
    let told = key(log.handle_transition(&wished, &before, &after, now()));
    assert_ne!(told, between);
    assert_eq!(key(log.handle_snapshot(&wished, &after, now())), told);
}

#[test]
fn the_documented_key_is_the_prefix() {
    let events = TransitionLog::default().handle_snapshot(&object(), &[ready(true, "R", 1)], now());
    let (prefix, suffix) = events[0].event.event_key.split_once('#').unwrap();
    assert_eq!(prefix, "condition/apps.vworkspace.io/v1alpha1/ApplicationInstance/n/web/u/Ready/True@1");
    assert_eq!(suffix.len(), 16);
}

#[test]
fn each_rotation_is_an_event_of_its_own_and_the_same_one_when_told_again() {
    let told = |rotation| TransitionLog::handle_rotated(&object(), rotation, now());
    let (first, later) = (told("r-1"), told("r-2"));
    let (prefix, suffix) = first.event.event_key.split_once('#').unwrap();
    assert!(prefix.ends_with("/Authenticated/True@0"), "{prefix}");
    assert_eq!((suffix.len(), first.event.kind.as_str()), (16, "CredentialRotated"));
    let changed = ObjectRef { generation: 7, ..object() };
    let again = TransitionLog::handle_rotated(&changed, "r-1", now());
    assert_eq!(again.event.event_key, first.event.event_key);
    assert!(later.event.event_key != first.event.event_key && later.slot != first.slot);
    let condition = &first.event.conditions[0];
    assert_eq!((condition.reason.as_str(), condition.last_transition_time), ("CredentialRotated", None));
}

#[test]
fn removal_and_deletion_are_told() {
    let mut log = TransitionLog::default();
    let before = vec![ready(true, "R", 1)];
    let events = log.handle_transition(&object(), &before, &[], now());
    assert_eq!(events[0].event.conditions[0].reason, reasons::CONDITION_REMOVED);
    assert_eq!(log.handle_deleted(&object(), now()).unwrap().event.kind, kind::OBJECT_DELETED);
    assert!(log.handle_deleted(&object(), now()).is_none());
}

#[test]
fn unchanged_conditions_make_no_event() {
    let same = vec![ready(true, "R", 1)];
    assert!(TransitionLog::default().handle_transition(&object(), &same, &same, now()).is_empty());
}

/// Whoever took it away heard no answer: nothing but its absence says so.
#[test]
fn what_was_told_and_is_there_no_more_is_told_as_removed_once() {
    let (mut log, mut store) = (TransitionLog::default(), BTreeMap::new());
    let degraded = Condition { type_: "Degraded".into(), ..ready(true, "r", 5) };
    log.handle_transition(&object(), &[], &[ready(true, "r", 5), degraded.clone()], now());
    let without = [ready(true, "r", 5)];
    let told = |news: Vec<News>| -> Vec<String> {
        news.into_iter().map(|news| news.event.conditions[0].reason.clone()).collect()
    };
    assert_eq!(told(log.handle_seen(&object(), &without, now())), [reasons::CONDITION_REMOVED]);
    assert!(log.handle_seen(&object(), &without, now()).is_empty());
    let late = Timestamp::from_second(200).unwrap();
    assert!(
        log.handle_transition(&object(), &[without[0].clone(), degraded.clone()], &without, late).is_empty()
    );
    let key = |news: &[News]| news.last().map(|news| news.event.event_key.clone());
    let told_before = log.handle_snapshot(&object(), &without, now());
    let mut log = restarted(&mut log, &mut store);
    let told_again = log.handle_snapshot(&object(), &without, late);
    assert_eq!(key(&told_again), key(&told_before), "it may have been told to nobody");
    assert_eq!(told(told_again), ["r", reasons::CONDITION_REMOVED]);
    assert_eq!(told(log.handle_seen(&object(), &[without[0].clone(), degraded], now())), ["r"]);
    assert_eq!(told(log.handle_snapshot(&object(), &without, now())), ["r", reasons::CONDITION_REMOVED]);
}

#[test]
fn a_type_that_is_longer_than_what_is_remembered_of_it_is_there_all_the_same() {
    let mut log = TransitionLog::default();
    let long = Condition { type_: "t".repeat(300), ..ready(true, "r", 5) };
    assert_eq!(log.handle_seen(&object(), std::slice::from_ref(&long), now()).len(), 1);
    assert!(log.handle_seen(&object(), &[long], now()).is_empty());
}

#[test]
fn change_of_content_keeps_its_key_when_it_is_reported_again() {
    let change = |to: &str, second| ContentChange {
        from: "hello 1.0.0".into(),
        to: to.into(),
        at: Timestamp::from_second(second).unwrap(),
    };
    let object = ObjectRef { kind: "ApplicationInstance".into(), uid: "u".into(), ..ObjectRef::default() };
    let first = TransitionLog::handle_changed(&object, &change("hello 1.0.7", 1));
    let edited = ObjectRef { generation: 7, ..object.clone() };
    let again = TransitionLog::handle_changed(&edited, &change("hello 1.0.7", 1));
    assert_eq!((first.event.event_key.clone(), first.slot), (again.event.event_key, again.slot));
    assert_eq!(first.event.kind, kind::APPLICATION_CHANGED);
    assert!(first.event.conditions[0].message.contains("hello 1.0.7 runs instead of hello 1.0.0"));
    for other in [change("hello 1.0.8", 1), change("hello 1.0.7", 2)] {
        assert_ne!(TransitionLog::handle_changed(&object, &other).event.event_key, first.event.event_key);
    }
}
