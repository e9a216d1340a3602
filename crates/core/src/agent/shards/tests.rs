use super::*;
use proptest::prelude::*;

/// A record: key, revision, and as much text as it likes.
type Record = (u32, u64, String);

/// What owns the shards, and the store that holds them.
#[derive(Default)]
struct World {
    shards: Shards<u32>,
    records: BTreeMap<u32, Record>,
    store: BTreeMap<Number, String>,
    revision: u64,
    /// What was there when the last write was whole.
    durable: BTreeMap<u32, Record>,
    written: Vec<usize>,
}

impl World {
    fn put(&mut self, key: u32, bytes: usize) {
        self.revision += 1;
        let record = (key, self.revision, "x".repeat(bytes));
        self.shards.put(key, render(&record).len());
        self.records.insert(key, record);
    }

    fn remove(&mut self, key: u32) {
        self.shards.remove(&key);
        self.records.remove(&key);
    }

    /// Writes; only the first `steps` happen.
    fn write(&mut self, steps: usize) {
        let writes = self.shards.poll_writes(|key| render(&self.records[key]));
        let (done, all) = (writes.iter().take(steps).cloned().collect::<Vec<_>>(), writes.len());
        self.written = done.iter().map(|write| usize::try_from(write.number()).unwrap()).collect();
        let whole = done.len() == all;
        for write in done {
            match write {
                Write::Put { number, text } => {
                    assert!(text.len() <= SHARD_BYTES, "a shard of {} bytes", text.len());
                    self.store.insert(number, text);
                }
                Write::Delete { number } => drop(self.store.remove(&number)),
            }
        }
        self.shards.handle_written(whole);
        if whole {
            self.durable = self.records.clone();
        }
    }

    /// Starts again with what is stored.
    fn restart(&mut self) {
        (self.shards, self.records) = (Shards::default(), BTreeMap::new());
        for (number, text) in &self.store {
            let records: Option<Vec<Record>> = serde_json::from_str(text).ok();
            let sized = |record: &Record| (record.0, render(record).len());
            self.shards.restore(*number, records.as_ref().map(|all| all.iter().map(sized).collect()));
            self.records.extend(records.unwrap_or_default().into_iter().map(|record| (record.0, record)));
        }
        self.revision = self.records.values().map(|record| record.1).max().unwrap_or(0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32, usize),
    Remove(u32),
    Compact,
    Write,
    WriteInPart(usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u32..40, 0usize..40_000).prop_map(|(key, bytes)| Step::Put(key, bytes)),
        1 => (0u32..40).prop_map(Step::Remove),
        2 => Just(Step::Compact),
        4 => Just(Step::Write),
        1 => (0usize..3).prop_map(Step::WriteInPart),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is put, removed, written in part and read again: what was written whole is there, or what came after;
    /// and the store never outgrows what counts by more than half and a shard.
    #[test]
    fn what_was_written_is_read_again_whatever_failed(steps in steps()) {
        let mut world = World::default();
        for step in steps {
            match step {
                Step::Put(key, bytes) => world.put(key, bytes),
                Step::Remove(key) => world.remove(key),
                Step::Compact => world.shards.compact(),
                Step::Write => {
                    world.shards.compact();
                    world.write(usize::MAX);
                    let stored: usize = world.store.values().map(String::len).sum();
                    let counting: usize = world.records.values().map(|record| render(record).len() + 1).sum();
                    prop_assert!(stored <= 2 * counting + 2 * SHARD_BYTES, "{stored} for {counting}");
                }
                Step::WriteInPart(n) => world.write(n),
                Step::Restart => {
                    let removed_since: Vec<u32> =
                        world.durable.keys().filter(|key| !world.records.contains_key(key)).copied().collect();
                    let durable = world.durable.clone();
                    world.restart();
                    for (key, record) in durable {
                        let there = world.records.get(&key).map_or(0, |record| record.1);
                        prop_assert!(
                            there >= record.1 || removed_since.contains(&key),
                            "{key} was at {} and is at {there}", record.1
                        );
                    }
                    world.durable = world.records.clone();
                }
            }
        }
    }
}

#[test]
fn a_write_touches_the_newest_shard_only() {
    let mut world = World::default();
    for key in 0..20 {
        world.put(key, 30_000);
    }
    world.write(usize::MAX);
    assert!(world.written.len() > 3);
    world.put(99, 10);
    world.write(usize::MAX);
    assert_eq!(world.written.len(), 1);
    world.write(usize::MAX);
    assert!(world.written.is_empty(), "nothing changed");
}

#[test]
fn a_record_that_moves_is_stored_anew_before_its_former_copy_goes() {
    let mut world = World::default();
    world.put(1, 10);
    for key in 2..5 {
        world.put(key, 30_000);
    }
    world.write(usize::MAX);
    world.put(5, 20_000);
    world.put(1, 60_000);
    world.write(1);
    world.restart();
    assert!(world.records.contains_key(&1), "the process died between two shards");
}

#[test]
fn a_write_that_breaks_off_leaves_out_the_newest() {
    let mut world = World::default();
    world.put(0, 30_000);
    world.write(usize::MAX);
    for key in 1..6 {
        world.put(key, 30_000);
    }
    world.write(1);
    world.restart();
    let kept: Vec<u32> = world.records.keys().copied().collect();
    assert_eq!(kept, (0..u32::try_from(kept.len()).unwrap()).collect::<Vec<_>>());
    assert!((2..6).contains(&kept.len()), "{kept:?}");
}

#[test]
fn a_shard_of_which_nothing_counts_is_deleted_after_the_rest_is_written() {
    let mut world = World::default();
    for key in 0..8 {
        world.put(key, 30_000);
    }
    world.write(usize::MAX);
    for key in 0..4 {
        world.shards.forget(&key);
        world.records.remove(&key);
    }
    world.put(9, 10);
    let writes = world.shards.poll_writes(|key| render(&world.records[key]));
    assert!(matches!(
        writes[..],
        [Write::Put { number: 2, .. } | Write::Put { number: 1, .. }, Write::Delete { number: 0 }]
    ));
}

#[test]
fn a_shard_that_cannot_be_read_is_left_alone_until_all_that_count_are_newer() {
    let mut shards = Shards::<u32>::default();
    shards.restore(3, Some(vec![(1, 10)]));
    shards.restore(4, None);
    shards.put(2, 10);
    let puts = |shards: &mut Shards<u32>| shards.poll_writes(|_| "0".repeat(10));
    let writes = puts(&mut shards);
    assert!(matches!(writes[..], [Write::Put { number: 5, .. }]), "{writes:?}");
    shards.handle_written(true);
    shards.forget(&1);
    let writes = puts(&mut shards);
    assert_eq!(writes, [Write::Delete { number: 3 }, Write::Delete { number: 4 }]);
}
